//! One direction is closed before the other.

use std::{net::Shutdown, time::Duration};

use conn_trace_tests::{agent::Agent, connz::Losses, held::Held, wait::eventually_equal};

/// Moves 100 bytes forth and 40 back.
fn exchanged() -> (Held, Held) {
    let (mut client, mut server) = Held::pair();
    client.send(100);
    server.receive(100);
    server.send(40);
    client.receive(40);
    (client, server)
}

#[test]
fn server_that_has_closed_its_direction_goes_on_receiving() {
    let agent = Agent::start();
    let (mut client, mut server) = exchanged();
    server.socket.shutdown(Shutdown::Write).expect("a FIN");
    assert_eq!(client.receive_to_end(), 0);
    server.wait_for_state(&agent, "FIN_WAIT2");
    client.wait_for_state(&agent, "CLOSE_WAIT");
    for _ in 0..3 {
        client.send(111);
        server.receive(111);
        server.open(&agent);
        client.open(&agent);
    }
    // Neither FIN nor the end of the stream is a byte.
    assert_eq!(client.open(&agent).pending_bytes, 0);
    let client = client.close();
    assert_eq!(server.receive_to_end(), 0);
    let row = client.closed(&agent, "peer_fin");
    assert_eq!(row.reason.as_deref(), Some("Server Closed"));
    let server = server.close().closed(&agent, "local_fin");
    assert_eq!(server.reason.as_deref(), Some("Server Closed"));
}

#[test]
fn data_that_arrived_before_both_directions_closed_is_read_later() {
    let agent = Agent::start();
    let (mut client, mut server) = exchanged();
    client.socket.shutdown(Shutdown::Write).expect("a FIN");
    assert_eq!(server.receive_to_end(), 0);
    server.send(333);
    server.close().closed(&agent, "peer_fin");
    // TCP is through with it: only the program still has something to read.
    eventually_equal("open rows", &0, || agent.rows_of(&client.end, "open").len());
    client.receive(200);
    assert_eq!(agent.rows_of(&client.end, "open"), []);
    client.receive(133);
    assert_eq!(client.receive_to_end(), 0);
    let client = client.close();
    eventually_equal("everything that was read", &client.counts, || {
        agent.closed(&client.end).counts()
    });
    client.closed(&agent, "local_fin");
}

#[test]
fn connection_that_was_over_before_the_start_is_no_loss() {
    let (mut client, mut server) = exchanged();
    client.socket.shutdown(Shutdown::Write).expect("a FIN");
    assert_eq!(server.receive_to_end(), 0);
    server.send(333);
    drop(server);
    // Its last bytes are still to be read, but nothing else happens to it any more.
    let agent = Agent::start();
    client.receive(333);
    assert_eq!(client.receive_to_end(), 0);
    assert_eq!(agent.rows_of(&client.end, "any"), []);
    assert_eq!(agent.varz().conn_trace.losses, Losses::default());
    assert_eq!(agent.get("/healthz").status, 200);
}

#[test]
fn both_close_their_direction_and_then_the_socket() {
    let agent = Agent::start();
    let (mut client, mut server) = exchanged();
    client.socket.shutdown(Shutdown::Write).expect("a FIN");
    assert_eq!(server.receive_to_end(), 0);
    server.send(7);
    server.socket.shutdown(Shutdown::Write).expect("a FIN");
    client.receive(7);
    assert_eq!(client.receive_to_end(), 0);
    for end in [&client, &server] {
        eventually_equal("open rows", &0, || agent.rows_of(&end.end, "open").len());
    }
    client.close().closed(&agent, "local_fin");
    server.close().closed(&agent, "peer_fin");
}

#[test]
fn end_that_will_not_read_is_still_open_and_counts_what_it_reads() {
    let agent = Agent::start();
    let (mut client, mut server) = exchanged();
    // Nothing is sent for it (tcp(7)); what arrives can still be read.
    client.socket.shutdown(Shutdown::Read).expect("a shutdown");
    client.wait_for_state(&agent, "ESTABLISHED");
    server.send(90);
    eventually_equal("unread bytes", &90, || client.open(&agent).recv_queue_bytes);
    client.receive(90);
    client.send(5);
    server.receive(5);
    client.open(&agent);
    server.open(&agent);
    let client = client.close();
    assert_eq!(server.receive_to_end(), 0);
    client.closed(&agent, "local_fin");
    server.close().closed(&agent, "peer_fin");
}

#[test]
fn data_for_an_end_that_closed_both_directions_is_refused() {
    let agent = Agent::start();
    let (client, mut server) = exchanged();
    client.socket.shutdown(Shutdown::Both).expect("a shutdown");
    assert_eq!(server.receive_to_end(), 0);
    server.wait_for_state(&agent, "CLOSE_WAIT");
    client.wait_for_state(&agent, "FIN_WAIT2");
    server.send(5);
    // The end that did so ended by its own FIN; the other one lost what it sent.
    client.close().closed(&agent, "local_fin");
    server.close().closed(&agent, "peer_reset");
}

#[test]
fn reset_that_loses_nothing_of_an_end_that_closed_is_not_its_end() {
    let agent = Agent::start();
    let (client, mut server) = exchanged();
    client.socket.shutdown(Shutdown::Both).expect("a shutdown");
    assert_eq!(server.receive_to_end(), 0);
    client.wait_for_state(&agent, "FIN_WAIT2");
    let zero = Some(Duration::ZERO);
    server.socket.set_linger(zero).expect("an option");
    server.close().closed(&agent, "local_reset");
    client.close().closed(&agent, "local_fin");
}

#[test]
fn fins_that_cross_end_both() {
    let agent = Agent::start();
    for _ in 0..20 {
        let (client, server) = exchanged();
        let threads = [client, server].map(|end| std::thread::spawn(move || end.close()));
        let [client, server] = threads.map(|thread| thread.join().expect("closed"));
        let causes = [client, server].map(|gone| {
            let row = agent.closed(&gone.end);
            assert_eq!(row.counts(), gone.counts, "{row:#?}");
            row.close_cause.expect("a cause")
        });
        let one_was_first = causes.iter().any(|cause| cause == "local_fin");
        let is_fin = causes.iter().all(|cause| cause.ends_with("_fin"));
        assert!(one_was_first && is_fin, "{causes:?}");
    }
}
