//! How connections end: once, with the cause that it was, and with the last byte counted.

use conn_trace_tests::{
    agent::{Agent, free_address},
    connz::Row,
    pair::{Pair, Two, matched},
    peer::Peer,
    protocol::{Command, Counts, End},
    wait::{eventually, eventually_equal},
};

/// Both ends are closed once, with these causes and bytes. Gives both rows: client, server.
#[track_caller]
fn assert_closed(agent: &Agent, pair: &Pair, causes: [&str; 2]) -> (Row, Row) {
    let rows = (agent.closed(&pair.client), agent.closed(&pair.server));
    let seen = [&rows.0, &rows.1].map(|row| row.close_cause.clone().unwrap_or_default());
    assert_eq!(seen, causes, "{rows:#?}");
    rows
}

/// Moves 100 bytes forth and 40 back.
fn exchange(two: &mut Two) -> Pair {
    let pair = two.open();
    two.forth(&pair, 100, 100);
    two.back(&pair, 40, 40);
    pair
}

#[track_caller]
fn assert_exchanged((client, server): &(Row, Row)) {
    let forth = Counts {
        in_bytes: 40,
        out_bytes: 100,
        in_calls: 1,
        out_calls: 1,
    };
    let back = Counts {
        in_bytes: 100,
        out_bytes: 40,
        in_calls: 1,
        out_calls: 1,
    };
    assert_eq!((client.counts(), server.counts()), (forth, back));
}

#[test]
fn client_closes_first() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = exchange(&mut two);
    two.client.close(&[pair.client]);
    assert_eq!(two.server.receive_to_end(&pair.server), Counts::default());
    two.server.close(&[pair.server]);
    let rows = assert_closed(&agent, &pair, ["local_fin", "peer_fin"]);
    assert_exchanged(&rows);
    assert_eq!(rows.0.reason.as_deref(), Some("Client Closed"));
    assert_eq!(rows.1.reason.as_deref(), Some("Client Closed"));
}

#[test]
fn server_closes_first() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = exchange(&mut two);
    two.server.close(&[pair.server]);
    assert_eq!(two.client.receive_to_end(&pair.client), Counts::default());
    two.client.close(&[pair.client]);
    let rows = assert_closed(&agent, &pair, ["peer_fin", "local_fin"]);
    assert_exchanged(&rows);
    assert_eq!(rows.0.reason.as_deref(), Some("Server Closed"));
    assert_eq!(rows.1.reason.as_deref(), Some("Server Closed"));
    assert_eq!(rows.1.pid, Some(two.server.pid()));
}

#[test]
fn client_resets() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = exchange(&mut two);
    two.client.reset(&pair.client);
    assert_exchanged(&assert_closed(&agent, &pair, ["local_reset", "peer_reset"]));
}

#[test]
fn close_with_unread_data_is_a_reset() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = exchange(&mut two);
    two.server.send(&pair.server, 1000, 1000);
    eventually_equal("the data is there", &1000, || {
        agent.open(&pair.client).recv_queue_bytes
    });
    two.client.close(&[pair.client]);
    let (client, server) = assert_closed(&agent, &pair, ["local_reset", "peer_reset"]);
    assert_eq!(
        (client.in_bytes, client.out_bytes),
        (40, 100),
        "{client:#?}"
    );
    assert_eq!(
        (server.in_bytes, server.out_bytes),
        (100, 1040),
        "{server:#?}"
    );
}

#[test]
fn data_read_after_the_peer_reset_is_counted() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = exchange(&mut two);
    two.client.send(&pair.client, 700, 700);
    two.client.close(&[pair.client]);
    // The FIN came; what follows is answered by a reset, which leaves the queue as it is.
    two.server.send(&pair.server, 1, 1);
    eventually("the server's end is closed", || {
        agent.rows_of(&pair.server, "open").is_empty().then_some(())
    });
    let read = two.server.receive(&pair.server, 700, 700);
    assert_eq!(read.in_calls, 1);
    two.server.close(&[pair.server]);
    let counted = Counts {
        in_bytes: 800,
        out_bytes: 41,
        in_calls: 2,
        out_calls: 2,
    };
    eventually_equal("everything the server moved", &counted, || {
        agent.closed(&pair.server).counts()
    });
}

#[test]
fn killed_client() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = exchange(&mut two);
    two.client.kill();
    assert_eq!(two.server.receive_to_end(&pair.server), Counts::default());
    two.server.close(&[pair.server]);
    let rows = assert_closed(&agent, &pair, ["killed", "peer_fin"]);
    assert_exchanged(&rows);
    assert_eq!(rows.0.pid, Some(two.client.pid()));
}

#[test]
fn killed_server_with_unread_data() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = exchange(&mut two);
    two.client.send(&pair.client, 60, 60);
    two.server.kill();
    let (client, server) = assert_closed(&agent, &pair, ["peer_reset", "killed"]);
    assert_eq!((client.in_bytes, client.out_bytes), (40, 160));
    assert_eq!((server.in_bytes, server.out_bytes), (100, 40));
}

#[test]
fn process_that_ends_by_itself_closes_its_connections() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = exchange(&mut two);
    assert!(two.client.exit().success());
    assert_eq!(two.server.receive_to_end(&pair.server), Counts::default());
    two.server.close(&[pair.server]);
    assert_exchanged(&assert_closed(&agent, &pair, ["local_fin", "peer_fin"]));
}

#[test]
fn exec_closes_what_is_close_on_exec() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = exchange(&mut two);
    two.client.tell(&Command::Exec);
    assert_eq!(two.server.receive_to_end(&pair.server), Counts::default());
    two.server.close(&[pair.server]);
    assert_exchanged(&assert_closed(&agent, &pair, ["local_fin", "peer_fin"]));
}

#[test]
fn half_closed_connection_stays_open_and_counts_on() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = exchange(&mut two);
    two.client
        .done(&Command::ShutdownWrite { id: pair.client.id });
    assert_eq!(two.server.receive_to_end(&pair.server), Counts::default());
    eventually_equal(
        "states",
        &["FIN_WAIT2".to_owned(), "CLOSE_WAIT".to_owned()],
        || {
            [
                agent.open(&pair.client).state,
                agent.open(&pair.server).state,
            ]
        },
    );
    two.back(&pair, 333, 111);
    assert_eq!(agent.open(&pair.client).in_bytes, 373);
    assert_eq!(agent.open(&pair.server).out_bytes, 373);
    for (end, state) in [(&pair.client, "fin_wait2"), (&pair.server, "close_wait")] {
        assert_eq!(agent.rows_of(end, state).len(), 1);
        assert_eq!(agent.rows_of(end, "closed"), []);
    }
    two.server.close(&[pair.server]);
    two.client.receive_to_end(&pair.client);
    two.client.close(&[pair.client]);
    let (client, server) = assert_closed(&agent, &pair, ["local_fin", "peer_fin"]);
    assert_eq!((client.in_bytes, client.out_bytes), (373, 100));
    assert_eq!((server.in_bytes, server.out_bytes), (100, 373));
}

#[test]
fn close_while_the_peer_still_sends() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = exchange(&mut two);
    two.client.close(&[pair.client]);
    // The kernel remembers a closed end without its socket (tcp_time_wait() in __tcp_close()).
    assert_eq!(agent.closed(&pair.client).in_bytes, 40);
    eventually_equal("state", &"CLOSE_WAIT".to_owned(), || {
        agent.open(&pair.server).state
    });
    // To an end that nobody has any more: answered by a reset.
    two.server.send(&pair.server, 5, 5);
    let (client, server) = assert_closed(&agent, &pair, ["local_fin", "peer_reset"]);
    assert_eq!((client.in_bytes, server.out_bytes), (40, 45));
}

#[test]
fn connection_that_nobody_accepted_is_reset_with_its_listener() {
    let agent = Agent::start();
    let mut two = Two::start();
    let client = two.client.connect(two.address, 1)[0];
    let server = End {
        id: 0,
        local: client.peer,
        peer: client.local,
    };
    let waiting = agent.open(&server);
    assert_eq!(
        (&*waiting.owner, waiting.pid),
        ("unknown", None),
        "{waiting:#?}"
    );
    two.server.done(&Command::StopListening);
    let pair = Pair { client, server };
    assert_closed(&agent, &pair, ["peer_reset", "local_reset"]);
}

#[test]
fn connection_without_any_traffic_is_opened_and_closed() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = two.open();
    assert_eq!(agent.open(&pair.client).state, "ESTABLISHED");
    two.client.close(&[pair.client]);
    two.server.close(&[pair.server]);
    let (client, server) = assert_closed(&agent, &pair, ["local_fin", "peer_fin"]);
    assert_eq!((client.counts(), server.counts()), Default::default());
}

#[test]
fn same_addresses_used_again_are_another_connection() {
    let agent = Agent::start();
    let mut two = Two::start();
    let from = free_address();
    let client = two.client.connect_from(from, two.address);
    let first = matched(vec![client], two.server.accept(1))[0];
    // A reset leaves nothing behind, so the addresses can be had again at once.
    two.client.reset(&first.client);
    let old = agent.closed(&first.client);
    let again = two.client.connect_from(from, two.address);
    let second = matched(vec![again], two.server.accept(1))[0];
    assert_eq!(second.client.local, first.client.local);
    two.forth(&second, 9, 9);
    let new = agent.open(&second.client);
    assert_ne!(new.cid, old.cid);
    assert!(new.start > old.start);
    assert_eq!(new.counts().out_bytes, 9);
    assert_eq!(
        agent.one(&first.client, "closed"),
        old,
        "the history does not move"
    );
    two.client.reset(&second.client);
    eventually_equal("one closed row of each", &vec![old.cid, new.cid], || {
        let rows = agent.rows_of(&second.client, "closed");
        rows.iter().map(|row| row.cid).collect()
    });
}

#[test]
fn connect_without_an_answer_is_shown_and_cancelled() {
    let agent = Agent::start();
    let (mut client, mut server) = (Peer::start("client"), Peer::start("server"));
    let address = server.listen_for_one();
    // Nobody accepts it: it fills the queue, and further SYNs are ignored.
    client.connect(address, 1);
    let end = client.ends(&Command::ConnectWithoutWaiting { address })[0];
    let row = agent.open(&end);
    assert_eq!(
        (&*row.state, &*row.direction),
        ("SYN_SENT", "out"),
        "{row:#?}"
    );
    assert_eq!((row.pid, &*row.owner), (Some(client.pid()), "exact"));
    assert_eq!(agent.one(&end, "syn_sent").cid, row.cid);
    client.close(&[end]);
    let closed = agent.closed(&end);
    assert_eq!(
        closed.close_cause.as_deref(),
        Some("cancelled"),
        "{closed:#?}"
    );
    assert_eq!((closed.cid, closed.start), (row.cid, row.start));
    assert_eq!(closed.counts(), Counts::default());
}
