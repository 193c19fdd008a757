//! Closed by the program with data still on its way, so that the kernel goes on alone.

use std::{
    thread,
    time::{Duration, Instant},
};

use conn_trace_tests::{
    agent::Agent,
    connz::Row,
    held::{Gone, Held},
    link::Link,
    skip::skip,
    wait::eventually,
};

use crate::NO_NAMESPACE;

/// Both ends, the client's with more to send than its peer takes unread.
fn filled() -> (Held, Held) {
    let (mut client, server) = Held::pair();
    client.fill();
    (client, server)
}

/// Waits until what the client wrote is either in the peer's queue or pending, and some is.
#[track_caller]
fn assert_stuck(agent: &Agent, client: &Gone, server: &Held) -> Row {
    eventually("written is queued or pending", || {
        let row = agent.open(&client.end);
        assert_eq!(row.counts(), client.counts, "{row:#?}");
        assert_eq!(row.state, "FIN_WAIT1", "{row:#?}");
        assert!(row.pending_bytes > 0, "{row:#?}");
        let queued = server.open(agent).recv_queue_bytes;
        (row.pending_bytes + queued == client.counts.out_bytes).then_some(row)
    })
}

#[test]
fn orphan_whose_peer_reads_on_sends_everything() {
    let agent = Agent::start();
    let (client, mut server) = filled();
    let before = client.open(&agent);
    let client = client.close();
    let orphan = assert_stuck(&agent, &client, &server);
    assert_eq!((orphan.cid, orphan.pid), (before.cid, before.pid));
    assert_eq!(server.receive_to_end(), client.counts.out_bytes);
    server.open(&agent);
    server.close().closed(&agent, "peer_fin");
    let row = client.closed(&agent, "local_fin");
    assert_eq!((row.cid, row.pending_bytes), (before.cid, 0));
}

#[test]
fn orphan_whose_peer_refuses_the_rest_is_reset() {
    let agent = Agent::start();
    let (client, mut server) = filled();
    let client = client.close();
    assert_stuck(&agent, &client, &server);
    server.receive(1000);
    // With unread data, so by a reset.
    server.close().closed(&agent, "local_reset");
    let row = client.closed(&agent, "peer_reset");
    assert!(row.pending_bytes > 0, "{row:#?}");
}

#[test]
fn orphan_that_is_sent_data_ends_itself() {
    let agent = Agent::start();
    let (client, mut server) = filled();
    let client = client.close();
    assert_stuck(&agent, &client, &server);
    // Nobody is there to read it, so the kernel answers with a reset.
    server.send(5);
    let row = client.closed(&agent, "local_fin");
    assert!(row.pending_bytes > 0, "{row:#?}");
    server.close_when_reset(&agent);
}

#[test]
fn orphan_whose_peer_never_reads_times_out() {
    let agent = Agent::start();
    let (client, mut server) = filled();
    let patience = Some(Duration::from_millis(500));
    client
        .socket
        .set_tcp_user_timeout(patience)
        .expect("an option");
    let client = client.close();
    let row = client.closed(&agent, "timeout");
    assert_eq!(row.reason.as_deref(), Some("Stale Connection"));
    // What did not arrive by then never does.
    let queued = server.open(&agent).recv_queue_bytes;
    assert!(row.pending_bytes > 0);
    assert_eq!(row.pending_bytes + queued, client.counts.out_bytes);
    // The kernel does not tell the peer, which finds out when it asks for more.
    server.receive(usize::try_from(queued).expect("a size"));
    server.close_when_reset(&agent);
}

/// Ends that learn of their peer's end by a reset.
trait CloseWhenReset {
    fn close_when_reset(self, agent: &Agent) -> Row;
}

impl CloseWhenReset for Held {
    #[track_caller]
    fn close_when_reset(self, agent: &Agent) -> Row {
        eventually("the reset", || {
            agent.rows_of(&self.end, "open").is_empty().then_some(())
        });
        self.close().closed(agent, "peer_reset")
    }
}

#[test]
fn orphan_whose_peer_is_silent_times_out() {
    let test = "orphan_whose_peer_is_silent_times_out";
    let Some(link) = Link::new("orphan") else {
        return skip(test, NO_NAMESPACE);
    };
    // Instead of 8, which takes a minute and a half.
    assert!(link.near.namespace.set("ipv4/tcp_orphan_retries", "2"));
    let agent = Agent::start();
    let (mut client, mut server) = link.pair();
    client.send(5000);
    server.receive(5000);
    link.cut();
    client.send(300);
    let client = client.close();
    let orphan = agent.open(&client.end);
    assert_eq!((&*orphan.state, orphan.pending_bytes), ("FIN_WAIT1", 300));
    let row = client.closed(&agent, "timeout");
    assert_eq!((row.out_bytes, row.pending_bytes), (5300, 300));
    // The other end knows nothing of all this.
    server.wait_for_state(&agent, "ESTABLISHED");
    link.mend();
    server.send(1);
    server.close_when_reset(&agent);
}

#[test]
fn linger_0_throws_away_what_was_not_sent() {
    let agent = Agent::start();
    let (client, mut server) = filled();
    let zero = Some(Duration::ZERO);
    client.socket.set_linger(zero).expect("an option");
    let row = client.close().closed(&agent, "local_reset");
    assert_eq!(row.reason.as_deref(), Some("Connection Aborted"));
    assert!(row.pending_bytes > 0);
    // What had arrived can still be read.
    let acknowledged = row.out_bytes - row.pending_bytes;
    while server.receive_once(usize::MAX).is_ok() {}
    let arrived = server.counts.in_bytes;
    assert!((acknowledged..row.out_bytes).contains(&arrived));
    server.close_when_reset(&agent);
}

#[test]
fn linger_waits_until_everything_arrived() {
    let agent = Agent::start();
    let (client, mut server) = filled();
    let minute = Some(Duration::from_secs(60));
    client.socket.set_linger(minute).expect("an option");
    let closing = thread::spawn(move || client.close());
    let taken = server.receive_to_end();
    let client = closing.join().expect("closed");
    assert_eq!(client.counts.out_bytes, taken);
    server.close().closed(&agent, "peer_fin");
    assert_eq!(client.closed(&agent, "local_fin").pending_bytes, 0);
}

#[test]
fn linger_that_runs_out_leaves_an_orphan() {
    let agent = Agent::start();
    let (client, mut server) = filled();
    let second = Duration::from_secs(1);
    client.socket.set_linger(Some(second)).expect("an option");
    let start = Instant::now();
    let client = client.close();
    assert!(start.elapsed() >= second, "{:?}", start.elapsed());
    assert_stuck(&agent, &client, &server);
    assert_eq!(server.receive_to_end(), client.counts.out_bytes);
    server.close().closed(&agent, "peer_fin");
    client.closed(&agent, "local_fin");
}

#[test]
fn both_are_reset_with_unread_data_at_both() {
    let agent = Agent::start();
    let (mut client, mut server) = Held::pair();
    client.send(700);
    server.send(900);
    for (end, unread) in [(&client, 900), (&server, 700)] {
        eventually("unread data", || {
            (end.open(&agent).recv_queue_bytes == unread).then_some(())
        });
    }
    server.receive(300);
    client.close().closed(&agent, "local_reset");
    // Its peer still has what had arrived.
    server.receive(400);
    server.close().closed(&agent, "peer_reset");
}
