//! Bytes and messages: on every row what the process at that end counted itself. Every way that
//! bytes can take is in `paths`.

use std::net::SocketAddr;

use conn_trace_tests::{
    agent::{Agent, free_address},
    connz::Row,
    pair::{Pair, Two, matched},
    peer::Peer,
    protocol::{Command, Counts, Reply},
    wait::eventually_equal,
};
use jiff::{SignedDuration, Timestamp};
use nix::{errno::Errno, libc};

/// The wall clock and the kernel's monotonic one are not read at the same moment.
const CLOCKS: SignedDuration = SignedDuration::from_millis(5);

/// Both rows show exactly what their processes counted. Gives both: client, server.
#[track_caller]
fn assert_exact(agent: &Agent, two: &mut Two, pair: &Pair) -> (Row, Row) {
    let (client, server) = two.reports(pair);
    let rows = (agent.open(&pair.client), agent.open(&pair.server));
    assert_eq!(rows.0.counts(), client, "the client's row");
    assert_eq!(rows.1.counts(), server, "the server's row");
    rows
}

#[track_caller]
fn assert_owner(row: &Row, peer: &Peer) {
    assert_eq!(row.owner, "exact", "{row:#?}");
    assert_eq!(row.pid, Some(peer.pid()), "{row:#?}");
    assert_eq!(row.comm.as_deref(), Some(&*peer.name), "{row:#?}");
    assert_eq!(row.uid, "root", "{row:#?}");
}

/// A connection within this host is two rows that mirror each other.
#[track_caller]
fn assert_mirrored(client: &Row, server: &Row, pair: &Pair, transports: [&str; 2]) {
    assert_eq!(client.tuple(), (pair.client.local, pair.client.peer));
    assert_eq!(server.tuple(), (pair.server.local, pair.server.peer));
    assert_eq!(client.tuple(), (server.peer(), server.local()));
    assert_eq!([&*client.direction, &*server.direction], ["out", "in"]);
    assert_eq!([&*client.kind, &*server.kind], ["Outbound", "Client"]);
    assert_eq!([&*client.transport, &*server.transport], transports);
    assert_eq!([&*client.state, &*server.state], ["ESTABLISHED"; 2]);
    assert_ne!(client.cid, server.cid);
    for row in [client, server] {
        assert!(!row.preexisting && !row.start_estimated, "{row:#?}");
        assert_eq!(row.counted_since, None);
        assert_eq!((row.stop, row.reason.as_ref()), (None, None));
    }
}

fn exchange_over(listen: &str, connect_ip: &str, transports: [&str; 2]) {
    let agent = Agent::start();
    let mut two = Two::start_on(listen);
    let address = SocketAddr::new(connect_ip.parse().expect("an address"), two.address.port());
    let before = Timestamp::now();
    let pair = two.open_to(address, 1)[0];
    let after = Timestamp::now();
    two.forth(&pair, 1000, 100);
    two.back(&pair, 70, 70);
    let (client, server) = assert_exact(&agent, &mut two, &pair);
    assert_eq!((client.out_bytes, client.out_msgs), (1000, 10));
    assert_eq!((server.out_bytes, server.out_msgs), (70, 1));
    assert_mirrored(&client, &server, &pair, transports);
    for row in [&client, &server] {
        let (earliest, latest) = (before - CLOCKS, after + CLOCKS);
        assert!(
            (earliest..=latest).contains(&row.start),
            "{before} {after} {row:#?}"
        );
    }
    assert_owner(&client, &two.client);
    assert_owner(&server, &two.server);
    agent.stop();
}

#[test]
fn ipv4_connection_is_two_exact_mirrored_rows() {
    exchange_over("127.0.0.1:0", "127.0.0.1", ["tcp", "tcp"]);
}

#[test]
fn ipv6_connection_is_two_exact_mirrored_rows() {
    exchange_over("[::1]:0", "::1", ["tcp6", "tcp6"]);
}

#[test]
fn mapped_connection_is_shown_by_ipv4_addresses() {
    exchange_over("[::]:0", "::ffff:127.0.0.1", ["tcp6", "tcp6"]);
}

#[test]
fn ipv4_client_of_a_dual_stack_server() {
    exchange_over("[::]:0", "127.0.0.1", ["tcp", "tcp6"]);
}

#[test]
fn long_lived_connection_is_exact_after_every_step() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = two.open();
    let first = agent.open(&pair.client);
    assert_eq!(first.counts(), Counts::default());
    for step in 1..=20 {
        two.forth(&pair, step * 997, 1 + step * 13);
        assert_exact(&agent, &mut two, &pair);
        two.back(&pair, step * step * 31, 64);
        let (client, _) = assert_exact(&agent, &mut two, &pair);
        assert_eq!((client.cid, client.start), (first.cid, first.start));
    }
    // More than fits into all buffers: both sides work at the same time.
    two.server.tell(&Command::Receive {
        id: pair.server.id,
        bytes: 100_000_000,
        chunk: 65_536,
    });
    two.client.send(&pair.client, 100_000_000, 1_000_000);
    two.server.reply();
    assert_exact(&agent, &mut two, &pair);
}

#[test]
fn what_was_only_looked_at_is_not_counted() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = two.open();
    two.client.send(&pair.client, 100, 100);
    for _ in 0..2 {
        let seen = two.server.ask(&Command::Peek {
            id: pair.server.id,
            bytes: 100,
        });
        assert!(matches!(seen, Reply::Count(100)), "{seen:?}");
    }
    let row = agent.open(&pair.server);
    assert_eq!(
        (row.in_bytes, row.in_msgs, row.recv_queue_bytes),
        (0, 0, 100)
    );
    two.server.receive(&pair.server, 100, 100);
    let (_, row) = assert_exact(&agent, &mut two, &pair);
    assert_eq!(
        (row.in_bytes, row.in_msgs, row.recv_queue_bytes),
        (100, 1, 0)
    );
}

#[test]
fn calls_that_moved_nothing_are_not_counted() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = two.open();
    two.forth(&pair, 10, 10);
    let errno = two
        .server
        .failure(&Command::ReceiveNothing { id: pair.server.id });
    assert_eq!(errno, libc::EAGAIN);
    assert_exact(&agent, &mut two, &pair);
    two.client
        .done(&Command::ShutdownWrite { id: pair.client.id });
    // The end of the stream, again and again.
    for _ in 0..3 {
        assert_eq!(two.server.receive_to_end(&pair.server), Counts::default());
    }
    let row = agent.open(&pair.server);
    assert_eq!((row.in_bytes, row.in_msgs), (10, 1));
}

#[test]
fn send_after_a_reset_counts_only_what_was_taken() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = two.open();
    two.forth(&pair, 500, 500);
    two.client.reset(&pair.client);
    let errno = two
        .server
        .failure(&Command::SendUntilError { id: pair.server.id });
    let errno = Errno::from_raw(errno);
    assert!(matches!(errno, Errno::ECONNRESET | Errno::EPIPE), "{errno}");
    let errno = two
        .server
        .failure(&Command::SendUntilError { id: pair.server.id });
    assert_eq!(Errno::from_raw(errno), Errno::EPIPE);
    let counted = two.server.report(&pair.server);
    let row = agent.closed(&pair.server);
    assert_eq!(row.counts(), counted, "{row:#?}");
    assert_eq!(row.close_cause.as_deref(), Some("peer_reset"), "{row:#?}");
}

#[test]
fn connection_used_by_two_processes_is_one_row_of_its_creator() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = two.open();
    two.client.moved(&Command::SendFromChild {
        id: pair.client.id,
        bytes: 50,
    });
    two.client.send(&pair.client, 60, 60);
    two.server.receive(&pair.server, 110, 110);
    let (client, _) = assert_exact(&agent, &mut two, &pair);
    assert_eq!((client.out_bytes, client.out_msgs), (110, 2));
    assert_owner(&client, &two.client);
}

#[test]
fn socket_used_for_two_connections_is_two_rows() {
    let agent = Agent::start();
    let mut two = Two::start();
    let first = two.open();
    two.forth(&first, 111, 111);
    let again = two.client.ends(&Command::Reconnect {
        id: first.client.id,
        address: two.address,
    });
    let second = matched(again, two.server.accept(1))[0];
    assert_eq!(agent.closed(&first.client).out_bytes, 111);
    two.forth(&second, 222, 222);
    let (client, _) = assert_exact(&agent, &mut two, &second);
    assert_eq!(client.out_bytes, 222);
    assert_ne!(client.cid, agent.closed(&first.client).cid);
    assert_eq!(agent.closed(&first.server).in_bytes, 111);
}

#[test]
fn connection_of_a_socket_with_itself_is_one_exact_row() {
    let agent = Agent::start();
    let mut peer = Peer::start("itself");
    let address = free_address();
    // A simultaneous open: the socket's own SYN answers it.
    let end = peer.connect_from(address, address);
    assert_eq!((end.local, end.peer), (address, address));
    peer.send(&end, 100, 10);
    peer.receive(&end, 100, 1000);
    let counts = peer.report(&end);
    let row = agent.open(&end);
    assert_eq!((row.counts(), &*row.state), (counts, "ESTABLISHED"));
    assert_owner(&row, &peer);
    peer.close(&[end]);
    assert_eq!(agent.closed(&end).counts(), counts);
}

#[test]
fn pending_and_unread_bytes_are_shown_and_go_away() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = two.open();
    two.client.send(&pair.client, 5000, 1000);
    assert_eq!(agent.open(&pair.server).recv_queue_bytes, 5000);
    two.server.receive(&pair.server, 2000, 2000);
    assert_eq!(agent.open(&pair.server).recv_queue_bytes, 3000);
    // More than the buffers of both ends take: what is left waits to be acknowledged.
    let filled = two.client.moved(&Command::Fill {
        id: pair.client.id,
        bytes: 1 << 30,
    });
    let written = 5000 + filled.out_bytes;
    eventually_equal("written is read, queued or pending", &written, || {
        let (client, server) = (agent.open(&pair.client), agent.open(&pair.server));
        assert_eq!((client.out_bytes, server.in_bytes), (written, 2000));
        assert!(client.pending_bytes > 0, "{client:#?}");
        server.in_bytes + server.recv_queue_bytes + client.pending_bytes
    });
    two.server.receive(&pair.server, written - 2000, 1 << 20);
    eventually_equal("nothing is pending", &(0, 0), || {
        (
            agent.open(&pair.client).pending_bytes,
            agent.open(&pair.server).recv_queue_bytes,
        )
    });
    assert_exact(&agent, &mut two, &pair);
}
