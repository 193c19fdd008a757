//! One poller, written to the rules of NATS's clients, at a real nats-server and at the agent.

use async_nats::Client;
use conn_trace_tests::{
    agent::Agent,
    nats::{NatsPage, NatsServer, Poller, assert_near},
    skip::installed,
    wait::eventually,
};
use serde_json::Value;
use tokio::runtime::Runtime;

const CLIENTS: usize = 20;
const GONE: usize = 8;

/// The same connections in the same order, with the same times and ends.
#[track_caller]
fn assert_same(ours: &NatsPage, theirs: &NatsPage) {
    assert_eq!(
        (ours.num_connections, ours.total, ours.offset, ours.limit),
        (
            theirs.num_connections,
            theirs.total,
            theirs.offset,
            theirs.limit
        )
    );
    for (row, nats) in ours.connections.iter().zip(&theirs.connections) {
        let context = format!("{row:#?} {nats:#?}");
        assert_eq!((row.ip, row.port), (nats.ip, nats.port), "{context}");
        assert_eq!((&*row.kind, row.subscriptions), ("Client", 0));
        assert_near(row.start, nats.start, "start");
        assert_eq!(row.stop.is_some(), nats.stop.is_some(), "{context}");
        if let (Some(ours), Some(theirs)) = (row.stop, nats.stop) {
            assert_near(ours, theirs, "stop");
        }
        assert_eq!(row.reason, nats.reason, "{context}");
        // Theirs are payloads, ours all that passed.
        assert!(row.in_bytes > nats.in_bytes, "{context}");
        assert!(row.out_bytes > nats.out_bytes, "{context}");
    }
}

#[test]
fn a_poller_of_nats_finds_the_same_at_the_agent() {
    let test = "a_poller_of_nats_finds_the_same_at_the_agent";
    let Some([program]) = installed(test, ["nats-server"]) else {
        return;
    };
    let agent = Agent::start();
    let server = NatsServer::start(&program);
    let theirs = server.poller();
    let condition = format!("local_port={}", server.address().port());
    let ours = Poller::new(agent.address, "/nats", &condition);
    let runtime = Runtime::new().expect("a runtime");
    let mut clients: Vec<Client> = (0..CLIENTS)
        .map(|_| {
            let address = server.address().to_string();
            let client = runtime.block_on(async_nats::connect(address));
            client.expect("a client")
        })
        .collect();

    // No limit, a page, the end of the list, past it; the order of `cid` is that of coming.
    for query in [
        "sort=start",
        "auth=true&subs=1",
        "limit=7&offset=7&sort=cid",
        "limit=0&offset=-3&state=&sort=",
        "offset=15",
        "offset=1000",
    ] {
        assert_same(&ours.page(query), &theirs.page(query));
    }
    assert_eq!(ours.page("").num_connections, CLIENTS as u64);
    assert!(ours.page("").now < ours.page("").now);

    // Each numbers by itself; a number makes a page of one.
    for poller in [&ours, &theirs] {
        let cid = poller.page("sort=cid").connections[3].cid;
        let page = poller.page(&format!("cid={cid}&limit=50"));
        assert_eq!((page.limit, page.connections[0].cid), (1, cid));
    }

    for query in [
        "sort=bogus",
        "sort=stop",
        "sort=reason",
        "limit=abc",
        "limit=99999999999999999999",
        "offset=abc",
        "cid=abc",
        "cid=-1",
        "state=bogus",
        "auth=maybe",
        "subs=2",
    ] {
        let (ours, theirs) = (ours.ask(query), theirs.ask(query));
        assert_eq!((ours.status, theirs.status), (400, 400), "{query}");
        assert_eq!(ours.body.trim_end(), theirs.body, "{query}");
        assert_eq!(
            ours.headers.get("content-type"),
            theirs.headers.get("content-type")
        );
    }

    // The server pings each client to know its round trip time. A client that goes before it has
    // read that is reset by its kernel: closed to the server, a read error to TCP.
    eventually("all clients have answered the server's ping", || {
        let page: Value = serde_json::from_str(&theirs.ask("").body).expect("JSON");
        let rows = page["connections"].as_array().expect("rows");
        let is_timed = |row: &Value| row["rtt"].as_str().is_some_and(|rtt| rtt != "0s");
        rows.iter().all(is_timed).then_some(())
    });
    drop(clients.split_off(CLIENTS - GONE));
    for poller in [&theirs, &ours] {
        eventually("the closed ones", || {
            let closed = poller.page("state=closed").num_connections;
            (closed == GONE as u64).then_some(())
        });
    }
    for query in [
        "state=closed&sort=start",
        "state=open",
        "state=ALL&sort=start",
    ] {
        assert_same(&ours.page(query), &theirs.page(query));
    }
    assert_eq!(ours.page("").num_connections, clients.len() as u64);
}
