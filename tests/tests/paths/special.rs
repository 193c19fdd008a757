//! Paths with a rule of their own.

use conn_trace_tests::{
    agent::Agent,
    connz::Row,
    pair::{Pair, Two},
    peer::Peer,
    protocol::{
        Command, Counts, ReceiveWay, Reply, Special, UringMode, UringReceive, UringSend, Way,
    },
    skip::skip,
    sockets,
    wait::eventually_equal,
};

use crate::{compare::Differences, rules};

/// Does it and gives what the peer counted.
#[track_caller]
fn special(peer: &mut Peer, id: u32, special: Special) -> Counts {
    peer.moved(&Command::Special { id, special })
}

/// Compares the rows with everything that the two processes counted.
#[track_caller]
fn assert_exact(test: &str, agent: &Agent, two: &mut Two, pair: &Pair) {
    let mut differences = Differences::new(test);
    let expected = two.reports(pair);
    differences.compare(agent, two, pair, expected, test);
    differences.assert_none();
}

fn uring_is_missing(test: &str, peer: &mut Peer) -> bool {
    let missing = !matches!(peer.ask(&Command::ProbeUring), Reply::Done);
    if missing {
        skip(test, "the kernel gives no io_uring");
    }
    missing
}

#[test]
fn sends_of_nothing() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = two.open();
    two.forth(&pair, 10, 10);
    let moved = special(&mut two.client, pair.client.id, Special::SendNothing);
    assert_eq!(moved, Counts::default());
    assert_exact("sends_of_nothing", &agent, &mut two, &pair);
}

#[test]
fn partial_sends_until_the_buffers_are_full() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = two.open();
    let (id, bytes) = (pair.client.id, 1 << 30);
    let filled = two.client.moved(&Command::Fill { id, bytes });
    assert!(filled.out_bytes < bytes, "the buffers took everything");
    two.server.receive(&pair.server, filled.out_bytes, 100_000);
    assert_exact("partial_sends", &agent, &mut two, &pair);
}

#[test]
fn waiting_for_all_of_several_segments() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = two.open();
    let id = pair.server.id;
    let all = Special::ReceiveAll { bytes: 3000 };
    two.server.tell(&Command::Special { id, special: all });
    for _ in 0..3 {
        two.server.wait_until_blocked();
        two.client.send(&pair.client, 1000, 1000);
    }
    let Reply::Moved(received) = two.server.reply() else {
        panic!("the server failed");
    };
    assert_eq!((received.in_bytes, received.in_calls), (3000, 1));
    assert_exact("waiting_for_all", &agent, &mut two, &pair);
}

#[test]
fn waiting_for_all_cut_short_by_the_end() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = two.open();
    let id = pair.server.id;
    let all = Special::ReceiveAll { bytes: 3000 };
    two.server.tell(&Command::Special { id, special: all });
    two.server.wait_until_blocked();
    two.client.send(&pair.client, 1234, 1234);
    let id = pair.client.id;
    two.client.done(&Command::ShutdownWrite { id });
    let Reply::Moved(received) = two.server.reply() else {
        panic!("the server failed");
    };
    assert_eq!((received.in_bytes, received.in_calls), (1234, 1));
    assert_exact("waiting_for_all_cut_short", &agent, &mut two, &pair);
}

/// The kernel makes a call for each part: the request is one, its messages are several.
#[test]
fn uring_request_for_all_is_a_message_for_each_part() {
    const TEST: &str = "uring_request_for_all_is_a_message_for_each_part";
    const PARTS: u64 = 3;
    let agent = Agent::start();
    let mut two = Two::start();
    if uring_is_missing(TEST, &mut two.server) {
        return;
    }
    let pair = two.open();
    let id = pair.server.id;
    let bytes = PARTS * 1000;
    let all = Special::ReceiveAllByUring { bytes };
    two.server.tell(&Command::Special { id, special: all });
    for part in 1..=PARTS {
        two.client.send(&pair.client, 1000, 1000);
        eventually_equal("the request has taken this part", &(0, part * 1000), || {
            let socket = sockets::connection(pair.server.local, pair.server.peer);
            (socket.recv_queue, socket.info.bytes_received)
        });
    }
    let Reply::Moved(mut received) = two.server.reply() else {
        panic!("the server failed");
    };
    assert_eq!((received.in_bytes, received.in_calls), (bytes, 1));
    received.in_calls = PARTS;
    let mut differences = Differences::new(TEST);
    let expected = (two.client.report(&pair.client), received);
    differences.compare(&agent, &mut two, &pair, expected, TEST);
    differences.assert_none();
}

#[test]
fn urgent_byte_in_line() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = two.open();
    special(&mut two.server, pair.server.id, Special::UrgentInline);
    let urgent = Special::SendUrgent { bytes: 100 };
    special(&mut two.client, pair.client.id, urgent);
    two.client.send(&pair.client, 50, 50);
    two.server.receive(&pair.server, 150, 1000);
    assert_exact("urgent_byte_in_line", &agent, &mut two, &pair);
}

#[test]
fn urgent_byte_asked_for_inside_the_stream() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = two.open();
    let urgent = Special::SendUrgent { bytes: 100 };
    special(&mut two.client, pair.client.id, urgent);
    two.client.send(&pair.client, 50, 50);
    let received = special(&mut two.server, pair.server.id, Special::ReceiveUrgent);
    assert_eq!((received.in_bytes, received.in_calls), (1, 1));
    two.server.receive(&pair.server, 149, 1000);
    assert_exact("urgent_byte_asked_for", &agent, &mut two, &pair);
}

/// The stream passes it, and the program never sees it.
#[test]
fn urgent_byte_never_asked_for_counts_as_read() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = two.open();
    let urgent = Special::SendUrgent { bytes: 100 };
    special(&mut two.client, pair.client.id, urgent);
    two.client.send(&pair.client, 50, 50);
    two.server.receive(&pair.server, 149, 1000);
    let (client, mut server) = two.reports(&pair);
    server.in_bytes += 1;
    let mut differences = Differences::new("urgent_byte_never_asked_for");
    let path = "urgent byte never asked for";
    differences.compare(&agent, &mut two, &pair, (client, server), path);
    differences.assert_none();
}

/// TCP leaves it before the next byte to read until more of the stream, or its end, is read.
#[test]
fn urgent_byte_at_the_end_counts_when_the_stream_passes_it() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = two.open();
    let urgent = Special::SendUrgent { bytes: 100 };
    special(&mut two.client, pair.client.id, urgent);
    two.server.receive(&pair.server, 99, 1000);
    special(&mut two.server, pair.server.id, Special::ReceiveUrgent);
    let (client, server) = two.reports(&pair);
    assert_eq!((server.in_bytes, server.in_calls), (100, 2));
    let row = agent.open(&pair.server);
    assert_eq!((row.in_bytes, row.in_msgs), (99, 2), "{row:#?}");
    two.client.close(&[pair.client]);
    two.server.receive_to_end(&pair.server);
    assert_eq!(agent.open(&pair.server).counts(), server);
    two.server.close(&[pair.server]);
    assert_eq!(agent.closed(&pair.server).counts(), server);
    assert_eq!(agent.closed(&pair.client).counts(), client);
}

/// A read of the error queue that gives data: the copy of a packet that this end sent itself.
#[test]
fn reads_of_the_error_queue_are_no_messages() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = two.open();
    special(&mut two.client, pair.client.id, Special::TimestampSends);
    for _ in 0..3 {
        two.client.send(&pair.client, 500, 500);
        special(&mut two.client, pair.client.id, Special::ReadErrorQueue);
        two.server.receive(&pair.server, 500, 500);
    }
    assert_exact("error_queue", &agent, &mut two, &pair);
}

#[test]
fn zero_copy_receive_that_maps_everything() {
    /// Whole pages, as a pipe has them. A segment takes at most half of the first receive window
    /// of 64 KiB (tcp_bound_to_half_wnd), and a page that lies in two segments can't be mapped.
    const BYTES: u64 = 7 * 4096;
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = two.open();
    let sent = two.client.send_by(&pair.client, BYTES, Way::Splice);
    let mapped = two
        .server
        .receive_by(&pair.server, BYTES, ReceiveWay::ZeroCopy);
    assert_eq!((mapped.in_bytes, mapped.in_calls), (BYTES, 0));
    let expected = Counts {
        out_calls: rules::sent(Way::Splice, BYTES, sent.out_calls),
        ..sent
    };
    let mut differences = Differences::new("zero_copy_receive");
    let path = "TCP_ZEROCOPY_RECEIVE of whole pages";
    differences.compare(&agent, &mut two, &pair, (expected, mapped), path);
    differences.assert_none();
}

#[test]
fn splice_from_one_connection_to_another() {
    const BYTES: u64 = 200_000;
    const TEST: &str = "splice_from_one_connection_to_another";
    let agent = Agent::start();
    let mut two = Two::start();
    // The server passes on what it gets on one connection to the client's other one.
    let (first, second) = (two.open(), two.open());
    let to = second.server.id;
    two.server.tell(&Command::Special {
        id: first.server.id,
        special: Special::Forward { to, bytes: BYTES },
    });
    // Less than the buffers on the way hold.
    two.client.send(&first.client, BYTES, 5000);
    two.client.receive(&second.client, BYTES, 65_536);
    two.server.reply();
    assert_exact(TEST, &agent, &mut two, &first);
    let (client, mut server) = two.reports(&second);
    if rules::splices_by_pages() {
        // How many pages the received segments lie in is known to the kernel alone.
        let row = agent.open(&second.server);
        assert!(row.out_msgs >= server.out_calls, "{row:#?}");
        server.out_calls = row.out_msgs;
    }
    let mut differences = Differences::new(TEST);
    differences.compare(&agent, &mut two, &second, (client, server), TEST);
    differences.assert_none();
}

/// Nothing but the TCP connection gives a row, whatever else the process sends.
#[test]
fn other_sockets_are_not_counted() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = two.open();
    let before = agent.varz().conn_trace.losses;
    for _ in 0..10 {
        two.client.done(&Command::MoveElsewhere { bytes: 700 });
    }
    two.forth(&pair, 300, 100);
    let rows = agent.rows(&format!("state=any&pid={}", two.client.pid()));
    assert_eq!(rows.len(), 1, "{rows:#?}");
    assert_eq!(rows[0].local(), pair.client.local);
    assert_eq!(agent.rows("state=any&port=0&local_ip=127.0.0.1").len(), 0);
    assert_eq!(agent.varz().conn_trace.losses, before);
    assert_exact("other_sockets", &agent, &mut two, &pair);
}

/// Threads of the kernel act for the process that owns the ring, under names of their own.
#[test]
fn ring_belongs_to_its_process() {
    let agent = Agent::start();
    let mut two = Two::start();
    if uring_is_missing("ring_belongs_to_its_process", &mut two.server) {
        return;
    }
    for mode in [UringMode::KernelThread, UringMode::Worker] {
        let request = UringReceive::Recv;
        let pair = two.open();
        two.client.send(&pair.client, 100, 100);
        let way = ReceiveWay::Uring { request, mode };
        two.server.receive_by(&pair.server, 100, way);
        assert_owner(&agent.open(&pair.server), &two.server);

        let request = UringSend::Send;
        let pair = two.open();
        let way = Way::Uring { request, mode };
        two.server.send_by(&pair.server, 100, way);
        assert_owner(&agent.open(&pair.server), &two.server);
    }
}

#[track_caller]
fn assert_owner(row: &Row, peer: &Peer) {
    assert_eq!(row.owner, "exact", "{row:#?}");
    assert_eq!(row.pid, Some(peer.pid()), "{row:#?}");
    assert_eq!(row.comm.as_deref(), Some(&*peer.name), "{row:#?}");
}

/// The connection is gone, and only what had arrived before is left to read.
#[test]
fn reads_after_an_end_before_the_agent_are_no_loss() {
    let mut two = Two::start();
    let pair = two.open();
    two.client.send(&pair.client, 100, 100);
    two.client.reset(&pair.client);
    eventually_equal("the reset has arrived", &false, || {
        let tuple = (pair.server.local, pair.server.peer);
        sockets::connections()
            .iter()
            .any(|socket| socket.tuple() == tuple)
    });
    let agent = Agent::start();
    two.server.receive(&pair.server, 100, 10);
    assert_eq!(agent.rows_of(&pair.server, "any").len(), 0);
    assert_eq!(agent.varz().conn_trace.losses.untracked_messages, 0);
}
