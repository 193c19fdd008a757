//! nats-server with real clients, against its own `/connz`.

use async_nats::Client;
use conn_trace_tests::{
    agent::Agent,
    connz::Row,
    nats::{NatsServer, assert_near},
    skip::installed,
    wait::eventually,
};
use tokio::runtime::Runtime;

const CLIENTS: usize = 20;

/// Our rows of the server's clients, in the order in which they came.
fn ours(agent: &Agent, port: u16, state: &str) -> Vec<Row> {
    agent.rows(&format!(
        "state={state}&local_port={port}&direction=in&sort=start"
    ))
}

#[test]
fn nats_server_lists_the_same_connections() {
    let test = "nats_server_lists_the_same_connections";
    let Some([program]) = installed(test, ["nats-server"]) else {
        return;
    };
    let agent = Agent::start();
    let server = NatsServer::start(&program);
    let (address, poller) = (server.address(), server.poller());
    let theirs = |state: &str| poller.page(&format!("limit=1000&state={state}&sort=start"));
    let runtime = Runtime::new().expect("a runtime");
    let clients: Vec<Client> = (0..CLIENTS)
        .map(|_| {
            runtime
                .block_on(async_nats::connect(address.to_string()))
                .expect("a client")
        })
        .collect();
    runtime.block_on(talk(&clients));

    let (rows, page) = (ours(&agent, address.port(), "open"), theirs("open"));
    assert_eq!(page.num_connections, CLIENTS as u64);
    assert_eq!(page.connections.len(), CLIENTS);
    assert_eq!(rows.len(), CLIENTS);
    for (row, nats) in rows.iter().zip(&page.connections) {
        assert_eq!(
            (row.ip, row.port),
            (nats.ip, nats.port),
            "{row:#?} {nats:?}"
        );
        assert_near(row.start, nats.start, "start");
        assert_eq!(row.pid, Some(server.pid()), "{row:#?}");
        assert_eq!(row.comm.as_deref(), Some("nats-server"), "{row:#?}");
        assert_eq!(row.kind, "Client");
        // The other end of it, in this process. Server and clients ping each other at any time.
        eventually("both ends agree", || {
            let (address, client) = (address.port(), nats.port);
            let here = agent.rows(&format!("port={address}&local_port={client}"));
            let there = agent.rows(&format!("local_port={address}&port={client}"));
            assert_eq!((here.len(), there.len()), (1, 1));
            let forth = (here[0].out_bytes, there[0].in_bytes);
            let back = (there[0].out_bytes, here[0].in_bytes);
            (forth.0 == forth.1 && back.0 == back.1 && back.0 > 0).then_some(())
        });
    }

    let (gone, stay): (Vec<Client>, Vec<Client>) = {
        let mut clients = clients;
        let stay = clients.split_off(CLIENTS / 2);
        (clients, stay)
    };
    drop(gone);
    let closed = eventually("the server's list of closed ones", || {
        let page = theirs("closed");
        (page.connections.len() == CLIENTS / 2).then_some(page.connections)
    });
    let rows = eventually("ours", || {
        let rows = ours(&agent, address.port(), "closed");
        (rows.len() == closed.len()).then_some(rows)
    });
    for nats in &closed {
        let row = rows
            .iter()
            .find(|row| (row.ip, row.port) == (nats.ip, nats.port));
        let row = row.unwrap_or_else(|| panic!("{nats:?} is not among ours"));
        assert_near(row.start, nats.start, "start");
        assert_near(
            row.stop.expect("a stop"),
            nats.stop.expect("a stop"),
            "stop",
        );
        assert_eq!(row.reason, nats.reason, "cid {}: {row:#?}", nats.cid);
    }
    assert_eq!(ours(&agent, address.port(), "open").len(), stay.len());
    assert_eq!(theirs("open").num_connections, stay.len() as u64);
}

/// Every client gets every message of every other.
async fn talk(clients: &[Client]) {
    for (number, client) in clients.iter().enumerate() {
        let size = 1 + 100 * number;
        client
            .publish("room", vec![b'n'; size].into())
            .await
            .expect("published");
        client.flush().await.expect("flushed");
    }
}
