//! One socket, several connections: `connect` to `AF_UNSPEC` ends one and allows the next.

use std::net::TcpListener;

use conn_trace_tests::{
    agent::{Agent, free_address},
    connz::Row,
    held::{Gone, Held, connecting, new_socket},
    link::Link,
    protocol::{Counts, End},
    skip::skip,
    wait::{eventually, eventually_equal},
};

use crate::NO_NAMESPACE;

/// Ends the connection and keeps the socket.
fn disconnect(held: &Held) -> Gone {
    rustix::net::connect_unspec(&held.socket).expect("a disconnect");
    Gone {
        end: held.end,
        counts: held.counts,
    }
}

/// Connects the socket again, to this listener: both ends.
fn again(held: Held, listener: &TcpListener) -> (Held, Held) {
    let address = listener.local_addr().expect("an address");
    held.socket
        .connect(&address.into())
        .expect("another connection");
    let (server, _) = listener.accept().expect("a connection");
    (Held::of(held.socket), Held::of(server.into()))
}

#[test]
fn disconnect_with_unread_and_unsent_data_ends_one_connection() {
    let agent = Agent::start();
    let (mut client, mut server) = Held::pair();
    server.send(1000);
    client.receive(40);
    client.fill();
    eventually_equal("unread bytes", &960, || {
        client.open(&agent).recv_queue_bytes
    });
    assert!(client.open(&agent).pending_bytes > 0);
    let first = client.open(&agent);
    let gone = disconnect(&client);
    let row = gone.closed(&agent, "local_reset");
    assert_eq!(row.cid, first.cid);
    assert!(row.pending_bytes > 0);
    eventually_equal("open rows", &0, || agent.rows_of(&server.end, "open").len());
    server.close().closed(&agent, "peer_reset");

    // Nothing of the first is in the second.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let (mut client, mut server) = again(client, &listener);
    let second = client.open(&agent);
    assert!(second.cid > first.cid && second.start > first.start);
    assert_eq!((second.pending_bytes, second.recv_queue_bytes), (0, 0));
    client.send(7);
    server.receive(7);
    server.send(3);
    client.receive(3);
    client.open(&agent);
    let client = client.close();
    assert_eq!(server.receive_to_end(), 0);
    client.closed(&agent, "local_fin");
    server.close().closed(&agent, "peer_fin");
    // The history does not move, but for how well the length of a tick is known by now.
    let later = gone.closed(&agent, "local_reset");
    assert!(later.was_idle_since(&row), "{later:#?}");
    let last_activity = row.last_activity;
    let later = Row {
        last_activity,
        ..later
    };
    assert_eq!(later, row);
}

#[test]
fn socket_used_four_times_for_the_same_addresses_is_four_connections() {
    let agent = Agent::start();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("an address");
    let from = free_address();
    let socket = new_socket(from);
    socket.bind(&from.into()).expect("an address");
    let mut client = Held {
        socket,
        end: End {
            id: 0,
            local: from,
            peer: address,
        },
        counts: Counts::default(),
    };
    let mut servers = Vec::new();
    for bytes in [1, 20, 300, 4000] {
        let (connected, mut server) = again(client, &listener);
        client = connected;
        client.send(bytes);
        server.receive(bytes);
        client.wait_for_state(&agent, "ESTABLISHED");
        server.open(&agent);
        disconnect(&client);
        eventually_equal("open rows", &0, || agent.rows_of(&server.end, "open").len());
        servers.push(server.close());
    }
    let rows = eventually("four closed rows", || {
        Some(agent.rows_of(&client.end, "closed")).filter(|rows| rows.len() == 4)
    });
    let sent: Vec<_> = rows.iter().map(|row| row.out_bytes).collect();
    assert_eq!(sent, [1, 20, 300, 4000]);
    for row in &rows {
        assert_eq!(row.close_cause.as_deref(), Some("local_reset"), "{row:#?}");
        assert_eq!((row.out_msgs, row.in_bytes), (1, 0), "{row:#?}");
    }
    let received: Vec<_> = agent.rows_of(&servers[0].end, "closed");
    let received: Vec<_> = received.iter().map(|row| row.in_bytes).collect();
    assert_eq!(received, [1, 20, 300, 4000]);
    // The socket itself carries none by now, and its end adds none.
    drop(client.socket);
    assert_eq!(agent.rows_of(&client.end, "any").len(), 4);
}

#[test]
fn disconnect_before_the_answer_cancels() {
    let test = "disconnect_before_the_answer_cancels";
    let Some(link) = Link::new("unspec") else {
        return skip(test, NO_NAMESPACE);
    };
    let agent = Agent::start();
    let listener = link.listen();
    let address = listener.local_addr().expect("an address");
    link.cut();
    let socket = link.near.namespace.inside(|| new_socket(address));
    let end = connecting(&socket, address);
    assert_eq!(agent.open(&end).state, "SYN_SENT");
    let client = Held {
        socket,
        end,
        counts: Counts::default(),
    };
    let row = disconnect(&client).closed(&agent, "cancelled");
    assert_eq!(row.reason.as_deref(), Some("Connection Cancelled"));
    link.mend();
    client.socket.set_nonblocking(false).expect("an option");
    let (mut client, mut server) = again(client, &listener);
    client.send(9);
    server.receive(9);
    assert!(client.open(&agent).cid > row.cid);
    let client = client.close();
    assert_eq!(server.receive_to_end(), 0);
    client.closed(&agent, "local_fin");
}

#[test]
fn disconnect_after_the_peer_closed_is_once() {
    let agent = Agent::start();
    let (mut client, mut server) = Held::pair();
    server.send(5);
    client.receive(5);
    let server = server.close();
    assert_eq!(client.receive_to_end(), 0);
    client.wait_for_state(&agent, "CLOSE_WAIT");
    // It sends a reset, as the documentation of `local_reset` has it for whoever does not close.
    disconnect(&client).closed(&agent, "local_reset");
    server.closed(&agent, "local_fin");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let (mut client, mut server) = again(client, &listener);
    client.send(8);
    server.receive(8);
    client.open(&agent);
    server.open(&agent);
}

#[test]
fn connection_older_than_the_agent_and_the_next_one_of_its_socket() {
    let (mut client, mut server) = Held::pair();
    client.send(500);
    server.receive(500);
    let agent = Agent::start();
    let old = agent.open(&client.end);
    assert!(old.preexisting);
    assert_eq!((old.out_bytes, old.out_msgs), (500, 0));
    rustix::net::connect_unspec(&client.socket).expect("a disconnect");
    let closed = agent.closed(&client.end);
    assert_eq!((closed.cid, closed.out_bytes), (old.cid, 500));
    assert_eq!(closed.close_cause.as_deref(), Some("local_reset"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let (mut client, mut server) = again(client, &listener);
    client.send(6);
    server.receive(6);
    let row = client.open(&agent);
    assert!(!row.preexisting && !row.start_estimated, "{row:#?}");
    assert_eq!(row.direction, "out");
}
