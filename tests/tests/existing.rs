//! Connections that are older than the agent.

use std::collections::HashMap;

use conn_trace_tests::{
    agent::{Agent, free_address},
    connz::Row,
    netns::Namespace,
    pair::{Pair, Two, matched},
    peer::Peer,
    protocol::{Command, Counts, End},
    skip::skip,
    sockets,
    wait::eventually,
};
use jiff::Timestamp;
use nix::sys::signal::Signal;

/// Rows of all these ends, by end.
fn rows(agent: &Agent, ends: impl IntoIterator<Item = End>) -> HashMap<End, Row> {
    let mut all: HashMap<_, _> = agent
        .rows("state=open")
        .into_iter()
        .map(|row| (row.tuple(), row))
        .collect();
    ends.into_iter()
        .filter_map(|end| Some((end, all.remove(&(end.local, end.peer))?)))
        .collect()
}

/// What is true of every row that is older than the agent, from the first look on.
#[track_caller]
fn assert_older(row: &Row, direction: &str, peer: &Peer, began: (Timestamp, Timestamp)) {
    assert!(row.preexisting && row.start_estimated, "{row:#?}");
    assert_eq!(row.direction, direction, "{row:#?}");
    let (made, started) = began;
    let since = row.counted_since.expect("counted_since");
    assert!(since >= started, "{row:#?}");
    assert!(
        row.start >= made && row.start <= since,
        "made {made}: {row:#?}"
    );
    assert_eq!(row.pid, Some(peer.pid()), "{row:#?}");
    assert_eq!(row.comm.as_deref(), Some(&*peer.name), "{row:#?}");
    assert!(["exact", "scan"].contains(&&*row.owner), "{row:#?}");
}

/// The bytes of the whole life, and messages since the agent counts.
#[track_caller]
fn assert_counts(row: &Row, before: Counts, now: Counts) {
    let expected = Counts {
        in_calls: now.in_calls - before.in_calls,
        out_calls: now.out_calls - before.out_calls,
        ..now
    };
    assert_eq!(row.counts(), expected, "{row:#?}");
}

#[test]
fn connections_older_than_the_agent_are_listed_with_their_whole_life() {
    const COUNT: u32 = 200;
    // Clocks are compared to the tick: a connection may seem some milliseconds older than it is.
    let made = Timestamp::now() - jiff::SignedDuration::from_millis(20);
    let mut two = Two::start();
    let pairs = two.open_many(COUNT);
    // Every other one is silent.
    for (number, pair) in (1..).zip(pairs.iter().step_by(2)) {
        two.forth(pair, 10 * number, 7);
        two.back(pair, 3 * number, 5);
    }
    let before: Vec<_> = pairs.iter().map(|pair| two.reports(pair)).collect();
    let began = (made, Timestamp::now());
    let agent = Agent::start();

    let clients = rows(&agent, pairs.iter().map(|pair| pair.client));
    let servers = rows(&agent, pairs.iter().map(|pair| pair.server));
    assert_eq!(
        (clients.len(), servers.len()),
        (COUNT as usize, COUNT as usize)
    );
    for (pair, &(client, server)) in pairs.iter().zip(&before) {
        assert_older(&clients[&pair.client], "out", &two.client, began);
        assert_older(&servers[&pair.server], "in", &two.server, began);
        assert_counts(&clients[&pair.client], client, client);
        assert_counts(&servers[&pair.server], server, server);
    }

    for (number, pair) in (1..).zip(pairs.iter().step_by(3)) {
        two.forth(pair, 2 * number, 9);
        two.back(pair, number, 4);
    }
    let clients = rows(&agent, pairs.iter().map(|pair| pair.client));
    let servers = rows(&agent, pairs.iter().map(|pair| pair.server));
    for (pair, (client, server)) in pairs.iter().zip(before.clone()) {
        let (client_now, server_now) = two.reports(pair);
        assert_older(&clients[&pair.client], "out", &two.client, began);
        assert_older(&servers[&pair.server], "in", &two.server, began);
        assert_counts(&clients[&pair.client], client, client_now);
        assert_counts(&servers[&pair.server], server, server_now);
    }

    // Closed like any other.
    let last: Vec<_> = pairs.iter().map(|pair| two.reports(pair)).collect();
    two.client
        .close(&pairs.iter().map(|pair| pair.client).collect::<Vec<_>>());
    two.server
        .close(&pairs.iter().map(|pair| pair.server).collect::<Vec<_>>());
    for ((pair, before), now) in pairs.iter().zip(&before).zip(&last).step_by(37) {
        let (client, server) = (agent.closed(&pair.client), agent.closed(&pair.server));
        assert_counts(&client, before.0, now.0);
        assert_counts(&server, before.1, now.1);
        assert_eq!(client.close_cause.as_deref(), Some("local_fin"));
        assert_eq!(server.close_cause.as_deref(), Some("peer_fin"));
    }
    let port = two.address.port();
    for end in ["port", "local_port"] {
        let closed = || {
            agent
                .connz(&format!("state=closed&{end}={port}&limit=1"))
                .total
        };
        eventually("all are closed", || {
            (closed() == u64::from(COUNT)).then_some(())
        });
    }
    agent.stop();
}

#[test]
fn directions_are_right_when_the_listener_is_gone() {
    let mut two = Two::start();
    let silent = two.open();
    let used = two.open();
    two.forth(&used, 5, 5);
    let halfway = two.open();
    two.back(&halfway, 6, 6);
    two.client.done(&Command::ShutdownWrite {
        id: halfway.client.id,
    });
    assert_eq!(
        two.server.receive_to_end(&halfway.server),
        Counts::default()
    );
    two.server.done(&Command::StopListening);
    let agent = Agent::start();
    for pair in [&silent, &used, &halfway] {
        assert_eq!(agent.open(&pair.client).direction, "out");
        assert_eq!(agent.open(&pair.server).direction, "in");
    }
    // The FIN of either side is no byte.
    let (client, server) = (agent.open(&halfway.client), agent.open(&halfway.server));
    assert_eq!(
        [&*client.state, &*server.state],
        ["FIN_WAIT2", "CLOSE_WAIT"]
    );
    assert_eq!((client.in_bytes, client.out_bytes), (6, 0), "{client:#?}");
    assert_eq!((server.in_bytes, server.out_bytes), (0, 6), "{server:#?}");
    assert_eq!(server.recv_queue_bytes, 0, "{server:#?}");
}

#[test]
fn receiver_blocked_since_before_the_start_is_counted() {
    let mut two = Two::start();
    let pair = two.open();
    two.server.tell(&Command::Receive {
        id: pair.server.id,
        bytes: 100,
        chunk: 4096,
    });
    two.server.wait_until_blocked();
    let agent = Agent::start();
    assert_eq!(agent.open(&pair.server).counts(), Counts::default());
    two.client.send(&pair.client, 100, 100);
    two.server.reply();
    let row = agent.open(&pair.server);
    if agent.varz().conn_trace.variant == "fexit" {
        // A call that began before the hook was attached returns past it: bytes, no message. The
        // next one counts.
        assert_eq!((row.in_bytes, row.in_msgs), (100, 0), "{row:#?}");
        two.forth(&pair, 50, 50);
        let row = agent.open(&pair.server);
        assert_eq!((row.in_bytes, row.in_msgs), (150, 1), "{row:#?}");
    } else {
        assert_eq!((row.in_bytes, row.in_msgs), (100, 1), "{row:#?}");
    }
    let row = agent.open(&pair.server);
    assert_eq!((row.pid, &*row.owner), (Some(two.server.pid()), "exact"));
}

#[test]
fn unread_and_unacknowledged_bytes_from_before_the_start() {
    let mut two = Two::start();
    let pair = two.open();
    two.forth(&pair, 300, 300);
    let filled = two.client.moved(&Command::Fill {
        id: pair.client.id,
        bytes: 1 << 30,
    });
    let agent = Agent::start();
    let (client, server) = (agent.open(&pair.client), agent.open(&pair.server));
    assert_eq!(client.out_bytes, 300 + filled.out_bytes);
    assert_eq!(server.in_bytes, 300);
    assert_eq!(
        client.pending_bytes + server.recv_queue_bytes,
        filled.out_bytes
    );
    two.server.receive(&pair.server, filled.out_bytes, 1 << 20);
    assert_eq!(agent.open(&pair.server).in_bytes, 300 + filled.out_bytes);
}

#[test]
fn who_closed_first_is_known_where_both_closed_before_the_start() {
    let mut two = Two::start();
    let pair = two.open();
    // The client's FIN waits behind what the server leaves unread, and crosses the server's.
    let filled = two.client.moved(&Command::Fill {
        id: pair.client.id,
        bytes: 1 << 30,
    });
    let shut = |end: &End| Command::ShutdownWrite { id: end.id };
    two.client.done(&shut(&pair.client));
    two.server.done(&shut(&pair.server));
    let End { local, peer, .. } = pair.client;
    eventually("both FINs are on their way", || {
        let states = [(local, peer), (peer, local)]
            .map(|(local, peer)| sockets::connection(local, peer).state);
        (states == ["CLOSING", "FIN_WAIT2"]).then_some(())
    });
    let agent = Agent::start();
    let row = agent.open(&pair.client);
    assert_eq!((&*row.state, row.out_bytes), ("CLOSING", filled.out_bytes));
    let read = two.server.receive_to_end(&pair.server);
    assert_eq!(read.in_bytes, filled.out_bytes);
    for end in [&pair.client, &pair.server] {
        let row = agent.closed(end);
        assert_eq!(row.close_cause.as_deref(), Some("local_fin"), "{row:#?}");
    }
}

#[test]
fn other_network_namespaces_are_seen_before_and_after_the_start() {
    let test = "other_network_namespaces_are_seen_before_and_after_the_start";
    let Some(namespace) = Namespace::new("other") else {
        return skip(test, "no network namespace can be made");
    };
    let inside = || (namespace.peer("client"), namespace.peer("server"));
    let (client, server) = inside();
    let mut two = Two::of(client, server, "127.0.0.1:0");
    let old = two.open();
    two.forth(&old, 1234, 100);
    let agent = Agent::start();
    let from = free_address();
    let client = two.client.connect_from(from, two.address);
    let young = matched(vec![client], two.server.accept(1))[0];
    two.back(&young, 4321, 1000);
    let in_namespace = |end: &End, preexisting: bool| {
        let row = agent.open(end);
        assert_eq!(row.netns, namespace.inode(), "{row:#?}");
        assert_eq!(row.preexisting, preexisting, "{row:#?}");
        row
    };
    let (client, server) = (
        in_namespace(&old.client, true),
        in_namespace(&old.server, true),
    );
    assert_eq!((client.out_bytes, server.in_bytes), (1234, 1234));
    assert_eq!(
        (client.pid, server.pid),
        (Some(two.client.pid()), Some(two.server.pid()))
    );
    let (client, server) = (
        in_namespace(&young.client, false),
        in_namespace(&young.server, false),
    );
    assert_eq!(client.counts(), two.client.report(&young.client));
    assert_eq!(server.counts(), two.server.report(&young.server));

    // The same addresses and ports outside are another connection.
    let mut outside = Two::start_on(&two.address.to_string());
    let same = outside.client.connect_from(from, outside.address);
    assert_eq!(
        (same.local, same.peer),
        (young.client.local, young.client.peer)
    );
    let mut netns: Vec<u64> = agent
        .rows_of(&same, "open")
        .iter()
        .map(|row| row.netns)
        .collect();
    netns.sort_unstable();
    netns.dedup();
    assert_eq!(netns.len(), 2, "{netns:?}");
    let only = agent.rows(&format!(
        "netns={}&pid={}",
        namespace.inode(),
        two.client.pid()
    ));
    assert_eq!(only.len(), 2, "{only:#?}");
}

#[test]
fn restart_after_a_kill_takes_everything_up_again() {
    let mut two = Two::start();
    let first = Agent::start();
    let pairs: Vec<Pair> = two.open_many(20);
    for pair in &pairs {
        two.forth(pair, 500, 100);
    }
    assert!(!first.open(&pairs[0].client).preexisting);
    first.signal(Signal::SIGKILL);
    drop(first);
    // While nobody watches.
    for pair in &pairs {
        two.back(pair, 50, 10);
    }
    let second = Agent::start();
    for pair in &pairs {
        two.forth(pair, 5, 5);
        let (client, server) = (second.open(&pair.client), second.open(&pair.server));
        assert!(client.preexisting && server.preexisting);
        assert_eq!((client.out_bytes, client.in_bytes), (505, 50));
        assert_eq!((server.out_bytes, server.in_bytes), (50, 505));
        assert_eq!((client.out_msgs, client.in_msgs), (1, 0));
        assert_eq!((server.out_msgs, server.in_msgs), (0, 1));
    }
    second.stop();
}
