//! MPTCP: one row for each end of a connection, none for its subflows.

use std::{
    fs,
    mem::MaybeUninit,
    net::{Ipv4Addr, SocketAddr},
};

use conn_trace_tests::{
    agent::Agent,
    events::{Message, Reader, Told},
    pair::{Pair, Two},
    peer::Peer,
    protocol::{Command, Counts, End, Way},
    skip::skip,
    wait::eventually_equal,
};
use socket2::{Domain, Protocol, Socket, Type};

/// The processes, if the kernel has MPTCP.
fn two(test: &str) -> Option<Two> {
    let enabled = fs::read_to_string("/proc/sys/net/mptcp/enabled").unwrap_or_default();
    if enabled.trim() != "1" {
        skip(test, "the kernel has no MPTCP, or it is turned off");
        return None;
    }
    let peer = Peer::start_mptcp;
    Some(Two::of(peer("client"), peer("server"), "127.0.0.1:0"))
}

/// All rows of the listener's port, open and closed.
fn all_rows(agent: &Agent, two: &Two) -> usize {
    let port = two.address.port();
    ["port", "local_port"]
        .map(|end| agent.rows(&format!("state=all&{end}={port}")).len())
        .iter()
        .sum()
}

#[track_caller]
fn assert_counted(agent: &Agent, two: &mut Two, pair: &Pair, types: (&str, &str)) {
    let (client, server) = two.reports(pair);
    let (client_row, server_row) = (agent.open(&pair.client), agent.open(&pair.server));
    assert_eq!((client_row.counts(), server_row.counts()), (client, server));
    assert_eq!((&*client_row.transport, &*server_row.transport), types);
    assert_eq!(
        (&*client_row.direction, &*server_row.direction),
        ("out", "in")
    );
    assert_eq!(
        (client_row.pid, server_row.pid),
        (Some(two.client.pid()), Some(two.server.pid()))
    );
}

#[test]
fn messages_are_told_as_the_programs_moved_them() {
    let Some(mut two) = two("messages_are_told_as_the_programs_moved_them") else {
        return;
    };
    let agent = Agent::start();
    let query = format!("port={}", two.address.port());
    let mut reader = Reader::open_messages(&agent, &query);
    let pair = two.open();
    let mut expected = Vec::new();
    for (number, bytes) in (1..).zip([10, 2000, 1]) {
        two.forth(&pair, bytes, bytes);
        two.back(&pair, 3 * bytes, 3 * bytes);
        expected.push(("out".to_owned(), bytes, number));
        expected.push(("in".to_owned(), 3 * bytes, number));
    }
    let mut told = Vec::new();
    while told.len() < expected.len() {
        match reader.next_told() {
            Told::Message(Message {
                direction,
                bytes,
                number,
                ..
            }) => told.push((direction, bytes, number)),
            Told::Opened { .. } | Told::Established { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(told, expected);
}

#[test]
fn connection_is_one_row_at_each_end() {
    let Some(mut two) = two("connection_is_one_row_at_each_end") else {
        return;
    };
    let agent = Agent::start();
    // Of many others, some always close.
    let is_almost_alone = agent.varz().connections < 10;
    let pair = two.open();
    // Silent: known by its addresses already.
    for end in [&pair.client, &pair.server] {
        let row = agent.open(end);
        assert_eq!((&*row.state, &*row.transport), ("ESTABLISHED", "mptcp"));
        assert_eq!(row.counts(), Counts::default());
    }
    two.forth(&pair, 900, 300);
    two.back(&pair, 70_000, 7000);
    for way in [Way::Writev, Way::ThreeBuffers, Way::TwoMessages] {
        two.client.send_by(&pair.client, 3000, way);
        two.server.receive(&pair.server, 3000, 500);
    }
    two.client.send(&pair.client, 40, 40);
    two.server.ask(&Command::Peek {
        id: pair.server.id,
        bytes: 40,
    });
    two.server.receive(&pair.server, 40, 40);
    assert_counted(&agent, &mut two, &pair, ("mptcp", "mptcp"));
    assert_eq!(all_rows(&agent, &two), 2);

    let (client, server) = two.reports(&pair);
    two.client.close(&[pair.client]);
    two.server.receive_to_end(&pair.server);
    two.server.close(&[pair.server]);
    let (client_row, server_row) = (agent.closed(&pair.client), agent.closed(&pair.server));
    assert_eq!((client_row.counts(), server_row.counts()), (client, server));
    assert_eq!(client_row.close_cause.as_deref(), Some("local_fin"));
    assert_eq!(server_row.close_cause.as_deref(), Some("peer_fin"));
    // The table gives the slots back when the sockets are gone, and nothing shows twice.
    if is_almost_alone {
        eventually_equal("slots in use", &0, || {
            let varz = agent.varz();
            varz.conn_trace.used.saturating_sub(varz.connections)
        });
        assert_eq!(agent.varz().conn_trace.losses.missed_ends, 0);
    }
    assert_eq!(all_rows(&agent, &two), 2);
    agent.stop();
}

#[test]
fn end_that_falls_back_is_what_its_application_has() {
    let Some(mut two) = two("end_that_falls_back_is_what_its_application_has") else {
        return;
    };
    let agent = Agent::start();
    // A plain client: the server is given a socket of TCP.
    let plain = Peer::start("client");
    let other = std::mem::replace(&mut two.client, plain);
    let pair = two.open();
    two.forth(&pair, 500, 100);
    two.back(&pair, 60, 60);
    assert_counted(&agent, &mut two, &pair, ("tcp", "tcp"));
    assert_eq!(all_rows(&agent, &two), 2);

    // A plain server: the client keeps its socket of MPTCP.
    let mut two = Two::of(other, Peer::start("server"), "127.0.0.1:0");
    let pair = two.open();
    two.forth(&pair, 500, 100);
    two.back(&pair, 60, 60);
    assert_counted(&agent, &mut two, &pair, ("mptcp", "tcp"));
    assert_eq!(all_rows(&agent, &two), 2);
    agent.stop();
}

#[test]
fn many_open_and_close_exactly_once() {
    const COUNT: u32 = 100;
    let Some(mut two) = two("many_open_and_close_exactly_once") else {
        return;
    };
    let agent = Agent::start();
    let pairs = two.open_many(COUNT);
    for (number, pair) in (1..).zip(&pairs) {
        two.forth(pair, number, 10);
    }
    let (clients, servers): (Vec<_>, Vec<_>) =
        pairs.iter().map(|pair| (pair.client, pair.server)).unzip();
    let counted: Vec<_> = pairs.iter().map(|pair| two.reports(pair)).collect();
    two.server.close(&servers);
    two.client.close(&clients);
    for (pair, (client, server)) in pairs.iter().zip(counted) {
        assert_eq!(agent.closed(&pair.client).counts(), client);
        assert_eq!(agent.closed(&pair.server).counts(), server);
    }
    assert_eq!(all_rows(&agent, &two), 2 * COUNT as usize);
    agent.stop();
}

#[test]
fn refused_connect_is_one_closed_row() {
    let Some(mut two) = two("refused_connect_is_one_closed_row") else {
        return;
    };
    let agent = Agent::start();
    two.server.done(&Command::StopListening);
    let address = (Ipv4Addr::LOCALHOST, two.address.port()).into();
    two.client
        .ask(&Command::ConnectRefused { address, count: 1 });
    let find = || agent.rows(&format!("state=closed&port={}", address.port()));
    eventually_equal("closed rows", &1, || find().len());
    let row = find().remove(0);
    assert_eq!(
        (row.close_cause.as_deref(), &*row.transport, row.pid),
        (Some("refused"), "mptcp", Some(two.client.pid()))
    );
    agent.stop();
}

#[track_caller]
fn assert_cause(agent: &Agent, end: &End, cause: &str) {
    let row = agent.closed(end);
    assert_eq!(
        (row.close_cause.as_deref(), &*row.transport),
        (Some(cause), "mptcp"),
        "{row:#?}"
    );
}

#[test]
fn close_with_unread_data_resets_both_ends() {
    let Some(mut two) = two("close_with_unread_data_resets_both_ends") else {
        return;
    };
    let agent = Agent::start();
    let pair = two.open();
    two.forth(&pair, 100, 100);
    two.client.send(&pair.client, 50, 50);
    two.server.ask(&Command::Peek {
        id: pair.server.id,
        bytes: 50,
    });
    two.server.close(&[pair.server]);
    assert_cause(&agent, &pair.server, "local_reset");
    assert_cause(&agent, &pair.client, "peer_reset");
    agent.stop();
}

#[test]
fn reset_of_a_plain_peer_is_the_cause() {
    let Some(two) = two("reset_of_a_plain_peer_is_the_cause") else {
        return;
    };
    let agent = Agent::start();
    let mut two = Two::of(two.client, Peer::start("server"), "127.0.0.1:0");
    let pair = two.open();
    two.forth(&pair, 500, 100);
    two.server.reset(&pair.server);
    assert_cause(&agent, &pair.client, "peer_reset");
    agent.stop();
}

/// The kernel gives every connection of such a listener the same cookie.
#[test]
fn connections_of_a_listener_with_a_cookie_are_not_mixed_up() {
    let test = "connections_of_a_listener_with_a_cookie_are_not_mixed_up";
    if two(test).is_none() {
        return;
    }
    let agent = Agent::start();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let socket = || Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP));
    let listener = socket().expect("a socket");
    listener.bind(&any.into()).expect("an address");
    listener.listen(8).expect("a listener");
    let cookie = listener.cookie().expect("a cookie");
    let address = listener.local_addr().expect("an address");
    let ends: Vec<_> = (0..3)
        .map(|_| {
            let client = socket().expect("a socket");
            client.connect(&address).expect("a connection");
            let (server, _) = listener.accept().expect("a connection");
            (client, server)
        })
        .collect();
    let shared = ends
        .iter()
        .filter(|(_, server)| server.cookie().is_ok_and(|other| other == cookie));
    let untracked = shared.count().saturating_sub(1) as u64;
    for ((client, server), bytes) in ends.iter().zip(1..) {
        assert_eq!(client.send(&vec![0; bytes]).expect("sent"), bytes);
        let mut buffer = vec![MaybeUninit::uninit(); bytes];
        assert_eq!(server.recv(&mut buffer).expect("received"), bytes);
    }
    let port = address.as_socket().expect("of IP").port();
    let clients = agent.rows(&format!("port={port}&sort=cid"));
    let sent: Vec<_> = clients.iter().map(|row| row.out_bytes).collect();
    assert_eq!(sent, [1, 2, 3]);
    let servers = agent.rows(&format!("local_port={port}&sort=cid"));
    let received: Vec<_> = servers.iter().map(|row| row.in_bytes).collect();
    assert_eq!(received, [1, 2, 3][..3 - untracked as usize]);
    let losses = agent.varz().conn_trace.losses;
    assert_eq!(
        (losses.untracked, losses.untracked_messages),
        (untracked, untracked)
    );
}

#[test]
fn connection_older_than_the_agent_shows_with_its_next_message() {
    let Some(mut two) = two("connection_older_than_the_agent_shows_with_its_next_message") else {
        return;
    };
    let pair = two.open();
    two.forth(&pair, 500, 100);
    let agent = Agent::start();
    let before = two.reports(&pair);
    two.forth(&pair, 70, 10);
    let after = two.reports(&pair);
    let rows = (agent.open(&pair.client), agent.open(&pair.server));
    assert_eq!(rows.0.out_bytes, after.0.out_bytes - before.0.out_bytes);
    assert_eq!(rows.1.in_bytes, after.1.in_bytes - before.1.in_bytes);
    assert_eq!((rows.0.out_msgs, rows.1.in_msgs), (7, 7));
    for row in [&rows.0, &rows.1] {
        assert!(
            row.counted_since.is_some() && row.start_estimated,
            "{row:#?}"
        );
        assert_eq!((&*row.transport, &*row.direction), ("mptcp", "unknown"));
    }
    agent.stop();
}
