//! How connections come about: with or without a listener, at once or in the end.

use std::net::{SocketAddr, TcpListener};

use conn_trace_tests::{
    agent::{Agent, free_address},
    held::{Held, connected, connecting, new_socket},
    link::Link,
    peer::Peer,
    protocol::{Command, End, Reply},
    skip::skip,
    wait::{eventually, eventually_equal},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use socket2::Socket;

use crate::NO_NAMESPACE;

/// Two sockets that connect to each other; nobody listens.
fn both_connect(link: &Link) -> [(Socket, End); 2] {
    let near = SocketAddr::from((link.near.address, 7001));
    let far = SocketAddr::from((link.far.address, 7002));
    [(&link.near, near, far), (&link.far, far, near)].map(|(host, from, to)| {
        host.namespace.inside(|| {
            let socket = new_socket(from);
            socket.bind(&from.into()).expect("an address");
            let end = connecting(&socket, to);
            (socket, end)
        })
    })
}

/// What is true after both SYNs met: each end connected, each is open once, and counts.
fn assert_simultaneous(agent: &Agent, ends: [(Socket, End); 2]) {
    let [mut near, mut far] = ends.map(|(socket, end)| {
        assert_eq!(connected(&socket), None);
        socket.set_nonblocking(false).expect("an option");
        let held = Held::of(socket);
        assert_eq!(held.end, end);
        let row = held.wait_for_state(agent, "ESTABLISHED");
        assert_eq!((&*row.kind, &*row.direction), ("Outbound", "out"));
        held
    });
    near.send(1000);
    far.receive(1000);
    far.send(10);
    near.receive(10);
    near.open(agent);
    far.open(agent);
    let near = near.close();
    assert_eq!(far.receive_to_end(), 0);
    let far = far.close();
    let (near, far) = (
        near.closed(agent, "local_fin"),
        far.closed(agent, "peer_fin"),
    );
    // Both connected, so both are clients, and each calls the other the server.
    assert_eq!(near.reason.as_deref(), Some("Client Closed"));
    assert_eq!(far.reason.as_deref(), Some("Server Closed"));
}

#[test]
fn two_that_connect_to_each_other_are_one_connection() {
    let test = "two_that_connect_to_each_other_are_one_connection";
    let Some(link) = Link::new("both") else {
        return skip(test, NO_NAMESPACE);
    };
    let agent = Agent::start();
    link.cut();
    let ends = both_connect(&link);
    for (_, end) in &ends {
        assert_eq!(agent.open(end).state, "SYN_SENT");
    }
    // The SYNs that are sent again arrive where one was sent, too.
    link.mend();
    assert_simultaneous(&agent, ends);
}

#[test]
fn syns_that_cross_on_the_way_are_one_connection() {
    let test = "syns_that_cross_on_the_way_are_one_connection";
    let Some(link) = Link::new("cross") else {
        return skip(test, NO_NAMESPACE);
    };
    for host in [&link.near, &link.far] {
        if !host.tc("qdisc add dev cable root netem delay 500ms") {
            return skip(test, "the kernel has no netem, or tc is not installed");
        }
    }
    let agent = Agent::start();
    let ends = both_connect(&link);
    assert_simultaneous(&agent, ends);
}

#[test]
fn connection_of_a_socket_with_itself_closes_once() {
    let agent = Agent::start();
    let address = free_address();
    let socket = new_socket(address);
    socket.bind(&address.into()).expect("an address");
    socket.connect(&address.into()).expect("its own SYN");
    let mut itself = Held::of(socket);
    itself.send(700);
    itself.receive(300);
    let row = itself.open(&agent);
    assert_eq!((row.recv_queue_bytes, &*row.direction), (400, "out"));
    itself.receive(400);
    itself.close().closed(&agent, "local_fin");
}

#[test]
fn connect_without_waiting_ends_well() {
    let agent = Agent::start();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("an address");
    let socket = new_socket(address);
    socket.set_nonblocking(true).expect("an option");
    // On loopback the answer may be there before the call returns.
    let _ = socket.connect(&address.into());
    assert_eq!(connected(&socket), None);
    let client = Held::of(socket);
    client.wait_for_state(&agent, "ESTABLISHED");
    drop(listener);
    client.close().closed(&agent, "peer_reset");
}

#[test]
fn connect_that_a_signal_interrupts_is_one_connection() {
    let test = "connect_that_a_signal_interrupts_is_one_connection";
    let Some(link) = Link::new("signal") else {
        return skip(test, NO_NAMESPACE);
    };
    let agent = Agent::start();
    let listener = link.listen();
    let address = listener.local_addr().expect("an address");
    let mut peer = link.near.namespace.peer("interrupted");
    link.cut();
    peer.tell(&Command::Connect {
        address,
        from: None,
        count: 1,
    });
    let query = format!("state=any&ip={}&port={}", address.ip(), address.port());
    let begun = eventually("the connect", || agent.rows(&query).pop());
    assert_eq!(begun.state, "SYN_SENT");
    // The call ends, and the kernel makes it again when the process goes on (signal(7)).
    interrupt(&peer);
    link.mend();
    let Reply::Ends(ends) = peer.reply() else {
        panic!("the connect failed");
    };
    let row = agent.open(&ends[0]);
    assert_eq!((row.cid, &*row.state), (begun.cid, "ESTABLISHED"));
    assert_eq!((row.pid, &*row.owner), (Some(peer.pid()), "exact"));
    peer.send(&ends[0], 77, 77);
    assert_eq!(agent.open(&ends[0]).counts(), peer.report(&ends[0]));
    peer.close(&ends);
    let (server, _) = listener.accept().expect("a connection");
    drop(server);
    let rows = agent.rows(&query);
    assert_eq!(rows.len(), 1, "{rows:#?}");
}

/// Stops the peer within a system call, and lets it go on.
fn interrupt(peer: &Peer) {
    let pid = Pid::from_raw(i32::try_from(peer.pid()).expect("a process id"));
    let status = format!("/proc/{pid}/stat");
    kill(pid, Signal::SIGSTOP).expect("the peer runs");
    eventually_equal("the peer is stopped", &true, || {
        std::fs::read_to_string(&status).is_ok_and(|text| text.contains(") T "))
    });
    kill(pid, Signal::SIGCONT).expect("the peer runs");
}

#[test]
fn connect_that_is_tried_again_is_one_connection() {
    let test = "connect_that_is_tried_again_is_one_connection";
    let Some(link) = Link::new("again") else {
        return skip(test, NO_NAMESPACE);
    };
    let agent = Agent::start();
    let listener = link.listen();
    let address = listener.local_addr().expect("an address");
    link.cut();
    let socket = link.near.namespace.inside(|| new_socket(address));
    let end = connecting(&socket, address);
    let begun = agent.open(&end);
    link.mend();
    // The program does not wait for the answer but asks once more.
    socket.set_nonblocking(false).expect("an option");
    socket.connect(&address.into()).expect("a connection");
    let client = Held::of(socket);
    let row = client.wait_for_state(&agent, "ESTABLISHED");
    assert_eq!(row.cid, begun.cid);
    assert!(row.start > begun.start, "from the handshake on");
    assert_eq!(agent.rows_of(&end, "any").len(), 1);
}
