//! Listeners, their queues, and what is left when all is over.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
};

use conn_trace_tests::{
    agent::{Agent, free_address},
    connz::Row,
    held::{Gone, Held, new_socket},
    protocol::{Counts, End},
    wait::{eventually, eventually_equal},
};
use socket2::Socket;

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// The other end of a connection that waits to be accepted.
fn waiting(client: &Held) -> Gone {
    Gone {
        end: End {
            id: 0,
            local: client.end.peer,
            peer: client.end.local,
        },
        counts: Counts::default(),
    }
}

#[track_caller]
fn assert_nobodys(row: &Row) {
    assert_eq!((&*row.owner, row.pid), ("unknown", None), "{row:#?}");
    assert_eq!((&*row.kind, &*row.direction), ("Client", "in"), "{row:#?}");
}

#[test]
fn connection_in_the_queue_is_open_and_nobodys() {
    let agent = Agent::start();
    let (listener, address) = listener();
    let mut client = Held::connect(address);
    client.send(300);
    let queued = waiting(&client).end;
    let before = agent.open(&queued);
    assert_eq!(before.state, "ESTABLISHED");
    assert_eq!((before.in_bytes, before.recv_queue_bytes), (0, 300));
    assert_nobodys(&before);
    let (server, _) = listener.accept().expect("a connection");
    let mut server = Held::of(server.into());
    server.receive(300);
    let row = server.open(&agent);
    assert_eq!((row.cid, row.start), (before.cid, before.start));
    assert_eq!((&*row.owner, row.pid), ("exact", Some(std::process::id())));
}

#[test]
fn client_that_gave_up_in_the_queue_is_accepted_all_the_same() {
    let agent = Agent::start();
    let (listener, address) = listener();
    let mut client = Held::connect(address);
    client.send(300);
    let queued = waiting(&client).end;
    client.close().closed(&agent, "local_fin");
    eventually_equal("state", &"CLOSE_WAIT".to_owned(), || {
        agent.open(&queued).state
    });
    assert_nobodys(&agent.open(&queued));
    let (server, _) = listener.accept().expect("a connection");
    let mut server = Held::of(server.into());
    assert_eq!(server.receive_to_end(), 300);
    server.open(&agent);
    server.close().closed(&agent, "peer_fin");
}

#[test]
fn client_that_reset_in_the_queue_ends_once() {
    let agent = Agent::start();
    let (listener, address) = listener();
    let mut client = Held::connect(address);
    client.send(300);
    let queued = waiting(&client);
    let zero = Some(std::time::Duration::ZERO);
    client.socket.set_linger(zero).expect("an option");
    client.close().closed(&agent, "local_reset");
    // The listener hands it out until it is closed (accept(2), ECONNABORTED elsewhere).
    queued.closed(&agent, "peer_reset");
    drop(listener);
    queued.closed(&agent, "peer_reset");
}

#[test]
fn whole_queue_is_reset_with_the_listener() {
    const COUNT: usize = 50;
    let agent = Agent::start();
    let (listener, address) = listener();
    let clients: Vec<_> = (0..COUNT).map(|_| Held::connect(address)).collect();
    for client in &clients {
        assert_nobodys(&agent.open(&waiting(client).end));
    }
    drop(listener);
    for client in clients {
        waiting(&client).closed(&agent, "local_reset");
        client.close().closed(&agent, "peer_reset");
    }
    assert_eq!(
        agent
            .rows(&format!("state=any&port={}", address.port()))
            .len(),
        COUNT
    );
}

#[test]
fn accepted_connections_outlive_their_listener() {
    let agent = Agent::start();
    let (listener, address) = listener();
    let (mut client, mut server) = Held::pair_by(&listener);
    let before = [client.open(&agent), server.open(&agent)].map(|row| row.cid);
    drop(listener);
    let refused = new_socket(address).connect(&address.into());
    assert!(refused.is_err(), "the listener is gone");
    client.send(70);
    server.receive(70);
    server.send(30);
    client.receive(30);
    let after = [client.open(&agent), server.open(&agent)].map(|row| row.cid);
    assert_eq!(before, after);
    let client = client.close();
    assert_eq!(server.receive_to_end(), 0);
    client.closed(&agent, "local_fin");
    server.close().closed(&agent, "peer_fin");
}

#[test]
fn listeners_are_no_connections() {
    let agent = Agent::start();
    let (_listener, address) = listener();
    let port = address.port();
    assert_eq!(agent.rows(&format!("state=any&local_port={port}")), []);
}

/// What the kernel remembers of a connection whose socket is gone: `/proc/net/tcp`, state 06.
fn is_in_time_wait(end: &End) -> bool {
    let hex = |address: SocketAddr| {
        let SocketAddr::V4(v4) = address else {
            panic!("{address}");
        };
        let ip = u32::from_ne_bytes(v4.ip().octets());
        format!("{ip:08X}:{:04X}", v4.port())
    };
    let wanted = format!(" {} {} 06 ", hex(end.local), hex(end.peer));
    fs::read_to_string("/proc/net/tcp")
        .expect("/proc/net/tcp")
        .contains(&wanted)
}

#[test]
fn time_wait_is_over_for_the_program_and_so_for_the_agent() {
    let agent = Agent::start();
    let (mut client, mut server) = Held::pair();
    client.send(12);
    server.receive(12);
    let client = client.close();
    assert_eq!(server.receive_to_end(), 0);
    server.close().closed(&agent, "peer_fin");
    assert!(eventually("TIME_WAIT", || is_in_time_wait(&client.end).then_some(true)));
    client.closed(&agent, "local_fin");
    for state in ["open", "time_wait"] {
        assert_eq!(agent.rows_of(&client.end, state), [], "{state}");
    }
    // An agent that starts now does not see it at all.
    let later = Agent::start();
    assert!(is_in_time_wait(&client.end));
    assert_eq!(later.rows_of(&client.end, "any"), []);
}

/// A socket bound to this address, also if another was connected from there.
fn bound(to: SocketAddr) -> Socket {
    let socket = new_socket(to);
    socket.set_reuse_address(true).expect("an option");
    socket.bind(&to.into()).expect("an address");
    socket
}

#[test]
fn addresses_in_time_wait_used_again_are_another_connection() {
    let agent = Agent::start();
    let (listener, address) = listener();
    let from = free_address();
    let mut cids = Vec::new();
    for bytes in [10, 20, 30] {
        let socket = bound(from);
        socket.connect(&address.into()).expect("a connection");
        let mut client = Held::of(socket);
        let (server, _) = listener.accept().expect("a connection");
        let mut server = Held::of(server.into());
        client.send(bytes);
        server.receive(bytes);
        cids.push(client.open(&agent).cid);
        cids.push(server.open(&agent).cid);
        // The end in TIME_WAIT is the server's, which takes a SYN again at once.
        let server = server.close();
        assert_eq!(client.receive_to_end(), 0);
        let client = client.close();
        for gone in [client, server] {
            eventually_equal("open rows", &0, || agent.rows_of(&gone.end, "open").len());
        }
        assert!(is_in_time_wait(&server.end));
        let client_rows = agent.rows_of(&client.end, "closed");
        let last = client_rows.last().expect("a row");
        assert_eq!(last.counts(), client.counts);
        assert_eq!(last.close_cause.as_deref(), Some("peer_fin"));
    }
    let distinct: std::collections::HashSet<_> = cids.iter().collect();
    assert_eq!(distinct.len(), 6);
    let end = End {
        id: 0,
        local: from,
        peer: address,
    };
    let rows = agent.rows_of(&end, "any");
    let sent: Vec<u64> = rows.iter().map(|row| row.out_bytes).collect();
    assert_eq!(sent, [10, 20, 30]);
    assert!(rows.is_sorted_by_key(|row| (row.cid, row.start)));
    assert_eq!(from.ip(), Ipv4Addr::LOCALHOST);
}
