//! Peers that vanish without a word.

use std::time::Duration;

use conn_trace_tests::{
    agent::Agent,
    held::Held,
    link::Link,
    skip::skip,
    sockets::{connection, connections},
    wait::{eventually, eventually_equal},
};
use nix::sys::socket::{setsockopt, sockopt::Ipv4RecvErr};
use socket2::TcpKeepalive;

use crate::NO_NAMESPACE;

const SECOND: Duration = Duration::from_secs(1);

/// A connection between two hosts, used in both directions.
fn used(link: &Link) -> (Held, Held) {
    let (mut client, mut server) = link.pair();
    client.send(100);
    server.receive(100);
    server.send(40);
    client.receive(40);
    (client, server)
}

/// An end whose peer is gone stays open for as long as it says nothing, and then is reset.
#[track_caller]
fn assert_lives_on(mut end: Held, agent: &Agent, link: &Link) {
    let row = end.wait_for_state(agent, "ESTABLISHED");
    eventually("idle time grows", || {
        let later = end.open(agent);
        assert!(later.was_idle_since(&row), "{later:#?}");
        (later.idle != "0s" && later.idle != row.idle).then_some(())
    });
    link.mend();
    end.send(1);
    eventually_equal("open rows", &0, || agent.rows_of(&end.end, "open").len());
    end.close().closed(agent, "peer_reset");
}

#[test]
fn data_that_nobody_acknowledges_times_out() {
    let test = "data_that_nobody_acknowledges_times_out";
    let Some(link) = Link::new("unacked") else {
        return skip(test, NO_NAMESPACE);
    };
    let agent = Agent::start();
    let (mut client, server) = used(&link);
    let half = Some(Duration::from_millis(500));
    client.socket.set_tcp_user_timeout(half).expect("an option");
    link.cut();
    client.send(1000);
    assert_eq!(client.open(&agent).pending_bytes, 1000);
    eventually_equal("open rows", &0, || agent.rows_of(&client.end, "open").len());
    // The program has not noticed yet.
    let row = agent.closed(&client.end);
    assert_eq!(row.close_cause.as_deref(), Some("timeout"));
    let row = client.close().closed(&agent, "timeout");
    assert_eq!(row.reason.as_deref(), Some("Stale Connection"));
    assert_eq!(row.pending_bytes, 1000);
    assert_lives_on(server, &agent, &link);
}

#[test]
fn data_sent_again_too_often_times_out() {
    let test = "data_sent_again_too_often_times_out";
    let Some(link) = Link::new("again") else {
        return skip(test, NO_NAMESPACE);
    };
    assert!(link.near.namespace.set("ipv4/tcp_retries2", "2"));
    let agent = Agent::start();
    let (mut client, _server) = used(&link);
    link.cut();
    client.send(1000);
    let sent_again = eventually("the data is sent again", || {
        let tcp = agent.rows(&format!("port={}&tcp=1", client.end.peer.port()));
        let retrans = tcp.first()?.tcp.as_ref()?.retrans;
        (retrans > 0).then_some(retrans)
    });
    assert!(sent_again <= 3, "{sent_again}");
    eventually_equal("open rows", &0, || agent.rows_of(&client.end, "open").len());
    let row = client.close().closed(&agent, "timeout");
    // However often it was sent.
    assert_eq!((row.out_bytes, row.pending_bytes), (1100, 1000));
}

#[test]
fn keepalive_without_an_answer_times_out() {
    let test = "keepalive_without_an_answer_times_out";
    let Some(link) = Link::new("keepalive") else {
        return skip(test, NO_NAMESPACE);
    };
    let agent = Agent::start();
    let (client, server) = used(&link);
    let often = TcpKeepalive::new()
        .with_time(SECOND)
        .with_interval(SECOND)
        .with_retries(1);
    client.socket.set_tcp_keepalive(&often).expect("an option");
    link.cut();
    let before = client.open(&agent);
    eventually_equal("open rows", &0, || agent.rows_of(&client.end, "open").len());
    let row = client.close().closed(&agent, "timeout");
    assert!(row.was_idle_since(&before), "{row:#?}");
    assert_eq!(row.pending_bytes, 0);
    assert_lives_on(server, &agent, &link);
}

#[test]
fn keepalive_packets_are_no_traffic() {
    let test = "keepalive_packets_are_no_traffic";
    let Some(link) = Link::new("alive") else {
        return skip(test, NO_NAMESPACE);
    };
    let agent = Agent::start();
    let (mut client, mut server) = used(&link);
    let often = TcpKeepalive::new()
        .with_time(SECOND)
        .with_interval(SECOND)
        .with_retries(5);
    client.socket.set_tcp_keepalive(&often).expect("an option");
    let before = [client.open(&agent), server.open(&agent)];
    let received = || {
        let near = &link.near.namespace;
        let (local, peer) = (client.end.local, client.end.peer);
        near.inside(|| connection(local, peer).info.segs_in)
    };
    let start = received();
    eventually("two answers to keepalive packets", || {
        (received() >= start + 2).then_some(())
    });
    for (end, before) in [(&client, &before[0]), (&server, &before[1])] {
        let row = end.open(&agent);
        assert!(row.was_idle_since(before), "{row:#?}");
        assert_ne!(row.idle, "0s");
        assert_eq!((row.pending_bytes, row.recv_queue_bytes), (0, 0));
    }
    client.send(6);
    server.receive(6);
    client.open(&agent);
    server.open(&agent);
}

#[test]
fn host_that_is_gone_from_the_network_is_unreachable() {
    let test = "host_that_is_gone_from_the_network_is_unreachable";
    let Some(link) = Link::new("gone") else {
        return skip(test, NO_NAMESPACE);
    };
    let near = &link.near.namespace;
    assert!(near.set("ipv4/neigh/cable/mcast_solicit", "1"));
    assert!(near.set("ipv4/neigh/cable/retrans_time_ms", "50"));
    let agent = Agent::start();
    let (mut client, server) = used(&link);
    let patience = Some(2 * SECOND);
    client
        .socket
        .set_tcp_user_timeout(patience)
        .expect("an option");
    let (near, far) = (&link.near, &link.far);
    assert!(far.ip(&format!("addr del {}/24 dev cable", far.address)));
    assert!(near.ip(&format!("neigh del {} dev cable", far.address)));
    client.send(1000);
    eventually_equal("open rows", &0, || agent.rows_of(&client.end, "open").len());
    let row = client.close().closed(&agent, "unreachable");
    assert_eq!(row.reason.as_deref(), Some("Peer Unreachable"));
    assert_eq!(row.pending_bytes, 1000);
    server.wait_for_state(&agent, "ESTABLISHED");
}

/// A connection whose client was told that its peer is unreachable, which has passed.
#[track_caller]
fn told_in_vain(link: &Link, agent: &Agent) -> (Held, Held) {
    // The far host is a router that the server's address comes and goes behind.
    let server_address = "198.19.1.1";
    let far = &link.far;
    assert!(far.namespace.set("ipv4/ip_forward", "1"));
    assert!(far.ip("addr add 198.19.1.1/32 dev lo"));
    assert!(
        link.near
            .ip(&format!("route add {server_address} via {}", far.address))
    );
    let address = (server_address, 0);
    let listener = far
        .namespace
        .inside(|| std::net::TcpListener::bind(address).expect("a listener"));
    let (mut client, mut server) = link.pair_by(&listener);
    setsockopt(&client.socket, Ipv4RecvErr, &true).expect("an option");
    assert!(far.ip("addr del 198.19.1.1/32 dev lo"));
    assert!(far.ip("route add unreachable 198.19.1.1"));
    client.send(1000);
    // The program is told, and the kernel goes on trying.
    let told = eventually("the router's answer", || {
        let near = &link.near.namespace;
        let (local, peer) = (client.end.local, client.end.peer);
        let info = near.inside(|| connection(local, peer).info);
        (info.retransmits > 1).then_some(info)
    });
    assert!(told.unacked > 0);
    assert!(far.ip("route del unreachable 198.19.1.1"));
    assert!(far.ip("addr add 198.19.1.1/32 dev lo"));
    server.receive(1000);
    client.open(agent);
    (client, server)
}

#[test]
fn fin_that_nobody_waits_for_any_more_loses_nothing() {
    let test = "fin_that_nobody_waits_for_any_more_loses_nothing";
    let Some(link) = Link::new("late") else {
        return skip(test, NO_NAMESPACE);
    };
    // Instead of a minute.
    assert!(link.near.namespace.set("ipv4/tcp_fin_timeout", "1"));
    let agent = Agent::start();
    let (client, mut server) = used(&link);
    let client = client.close();
    assert_eq!(server.receive_to_end(), 0);
    client.closed(&agent, "local_fin");
    eventually_equal("sockets of the near host", &0, || {
        link.near.namespace.inside(connections).len()
    });
    server.wait_for_state(&agent, "CLOSE_WAIT");
    // Is answered by a reset.
    server.close().closed(&agent, "peer_fin");
}

#[test]
fn error_that_passed_is_not_the_end() {
    let test = "error_that_passed_is_not_the_end";
    let Some(link) = Link::new("passed") else {
        return skip(test, NO_NAMESPACE);
    };
    let agent = Agent::start();
    let (client, mut server) = told_in_vain(&link, &agent);
    let client = client.close();
    assert_eq!(server.receive_to_end(), 0);
    server.close().closed(&agent, "peer_fin");
    client.closed(&agent, "local_fin");
}

#[test]
fn error_that_passed_is_not_why_the_peer_ended() {
    let test = "error_that_passed_is_not_why_the_peer_ended";
    let Some(link) = Link::new("peers") else {
        return skip(test, NO_NAMESPACE);
    };
    let agent = Agent::start();
    let (client, server) = told_in_vain(&link, &agent);
    let server = server.close();
    client.wait_for_state(&agent, "CLOSE_WAIT");
    client.close().closed(&agent, "peer_fin");
    server.closed(&agent, "local_fin");
}

#[test]
fn error_that_passed_is_not_why_unread_data_was_lost() {
    let test = "error_that_passed_is_not_why_unread_data_was_lost";
    let Some(link) = Link::new("unread") else {
        return skip(test, NO_NAMESPACE);
    };
    let agent = Agent::start();
    let (client, mut server) = told_in_vain(&link, &agent);
    server.send(5);
    eventually_equal("unread bytes", &5, || client.open(&agent).recv_queue_bytes);
    client.close().closed(&agent, "local_reset");
    server.close().closed(&agent, "peer_reset");
}
