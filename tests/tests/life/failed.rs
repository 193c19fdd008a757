//! Connects that fail: each ends once, with the reason, or never was a connection.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use conn_trace_tests::{
    agent::{Agent, free_address},
    connz::Row,
    held::{Gone, Held, connected, connecting, new_socket},
    link::Link,
    netns::Namespace,
    protocol::{Counts, End},
    skip::skip,
    wait::eventually,
};
use nix::errno::Errno;

use crate::NO_NAMESPACE;

/// An end that never was connected.
fn never(end: End) -> Gone {
    Gone {
        end,
        counts: Counts::default(),
    }
}

#[test]
fn connect_that_nobody_answers_times_out() {
    let test = "connect_that_nobody_answers_times_out";
    let Some(link) = Link::new("silent") else {
        return skip(test, NO_NAMESPACE);
    };
    let near = &link.near.namespace;
    assert!(near.set("ipv4/tcp_syn_retries", "1"));
    // Since Linux 6.5 some more come before these, without waiting longer each time.
    let _ = near.set("ipv4/tcp_syn_linear_timeouts", "0");
    let agent = Agent::start();
    link.cut();
    let address = SocketAddr::from((link.far.address, 7003));
    let socket = near.inside(|| new_socket(address));
    let end = connecting(&socket, address);
    assert_eq!(agent.open(&end).state, "SYN_SENT");
    assert_eq!(connected(&socket), Some(Errno::ETIMEDOUT as i32));
    let row = never(end).closed(&agent, "timeout");
    assert_eq!(row.reason.as_deref(), Some("Stale Connection"));
    assert_eq!(row.pending_bytes, 0);
    drop(socket);
    never(end).closed(&agent, "timeout");
}

/// Connects from the near host, and sees it fail with this.
#[track_caller]
fn fails(agent: &Agent, link: &Link, to: Ipv4Addr, errno: Errno) -> Row {
    let address = SocketAddr::from((to, 7004));
    let socket = link.near.namespace.inside(|| new_socket(address));
    let from = SocketAddr::from((link.near.address, 0));
    socket.bind(&from.into()).expect("an address");
    let local = socket.local_addr().expect("an address").as_socket();
    let end = End {
        id: 0,
        local: local.expect("IP"),
        peer: address,
    };
    // Waiting: the kernel only notes an error that comes within the call, and asks once more.
    let error = socket.connect(&address.into()).expect_err("a failure");
    assert_eq!(error.raw_os_error(), Some(errno as i32), "{error}");
    drop(socket);
    never(end).closed(agent, "unreachable")
}

#[test]
fn connect_to_a_host_that_is_not_there_is_unreachable() {
    let test = "connect_to_a_host_that_is_not_there_is_unreachable";
    let Some(link) = Link::new("absent") else {
        return skip(test, NO_NAMESPACE);
    };
    let agent = Agent::start();
    // Nobody answers the question who has this address.
    let absent = Ipv4Addr::new(198, 18, 7, 9);
    let row = fails(&agent, &link, absent, Errno::EHOSTUNREACH);
    assert_eq!(row.reason.as_deref(), Some("Peer Unreachable"));
}

#[test]
fn connect_that_a_router_turns_down_is_unreachable() {
    let test = "connect_that_a_router_turns_down_is_unreachable";
    let Some(link) = Link::new("router") else {
        return skip(test, NO_NAMESPACE);
    };
    assert!(link.far.namespace.set("ipv4/ip_forward", "1"));
    // Each SYN is answered, however soon it comes after another.
    assert!(link.far.namespace.set("ipv4/icmp_ratelimit", "0"));
    let router = link.far.address;
    assert!(
        link.near
            .ip(&format!("route add 198.19.0.0/16 via {router}"))
    );
    assert!(link.far.ip("route add unreachable 198.19.1.0/24"));
    assert!(link.far.ip("route add prohibit 198.19.2.0/24"));
    let agent = Agent::start();
    for (third, errno) in [
        (0, Errno::ENETUNREACH),
        (1, Errno::EHOSTUNREACH),
        (2, Errno::EHOSTUNREACH),
    ] {
        fails(&agent, &link, Ipv4Addr::new(198, 19, third, 1), errno);
    }
}

#[test]
fn connect_without_a_route_is_no_connection() {
    let test = "connect_without_a_route_is_no_connection";
    let Some(link) = Link::new("routeless") else {
        return skip(test, NO_NAMESPACE);
    };
    assert!(link.near.ip("route add unreachable 198.19.1.0/24"));
    assert!(link.near.ip("route add prohibit 198.19.2.0/24"));
    assert!(link.near.ip("route add blackhole 198.19.3.0/24"));
    let agent = Agent::start();
    for (third, errno) in [
        (0, Errno::ENETUNREACH),
        (1, Errno::EHOSTUNREACH),
        (2, Errno::EACCES),
        (3, Errno::EINVAL),
    ] {
        let address = SocketAddr::from((Ipv4Addr::new(198, 19, third, 1), 7005));
        let socket = link.near.namespace.inside(|| new_socket(address));
        let error = socket.connect(&address.into()).expect_err("no route");
        assert_eq!(error.raw_os_error(), Some(errno as i32));
        // The same socket can be used for a connection that has one.
        let listener = link.listen();
        let there = listener.local_addr().expect("an address");
        socket.connect(&there.into()).expect("a connection");
        Held::of(socket).wait_for_state(&agent, "ESTABLISHED");
        // No SYN was sent, and nothing had begun.
        let rows = agent.rows(&format!("state=any&ip={}", address.ip()));
        assert_eq!(rows, []);
    }
}

#[test]
fn connect_for_which_no_port_is_left_ends_once() {
    let test = "connect_for_which_no_port_is_left_ends_once";
    let Some(namespace) = Namespace::new("ports") else {
        return skip(test, NO_NAMESPACE);
    };
    assert!(namespace.set("ipv4/ip_local_port_range", "40000 40000"));
    let agent = Agent::start();
    let from = (Ipv4Addr::LOCALHOST, 7006);
    let listener = namespace.inside(|| TcpListener::bind(from).expect("a listener"));
    let address = listener.local_addr().expect("an address");
    let (only, _server) = namespace.inside(|| Held::pair_by(&listener));
    let other = namespace.inside(|| new_socket(address));
    let error = other.connect(&address.into()).expect_err("no port");
    assert_eq!(error.raw_os_error(), Some(Errno::EADDRNOTAVAIL as i32));
    drop(other);
    let query = format!("netns={}&direction=out&state=", namespace.inode());
    let row = eventually("the end of a connect", || {
        agent.rows(&format!("{query}closed")).pop()
    });
    assert_eq!(row.peer(), address);
    assert_eq!(row.counts(), Counts::default());
    assert_eq!(row.close_cause.as_deref(), Some("unknown"), "{row:#?}");
    only.open(&agent);
    assert_eq!(agent.rows(&format!("{query}any")).len(), 2);
}

#[test]
fn connect_without_waiting_is_refused_once() {
    let agent = Agent::start();
    let address = free_address();
    let refused = new_socket(address);
    refused.set_nonblocking(true).expect("an option");
    let from = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    refused.bind(&from.into()).expect("an address");
    let local = refused.local_addr().expect("an address").as_socket();
    let end = End {
        id: 0,
        local: local.expect("IP"),
        peer: address,
    };
    let at_once = refused.connect(&address.into()).expect_err("refused");
    if at_once.raw_os_error() != Some(Errno::ECONNREFUSED as i32) {
        assert_eq!(connected(&refused), Some(Errno::ECONNREFUSED as i32));
    }
    never(end).closed(&agent, "refused");
    drop(refused);
    never(end).closed(&agent, "refused");
}
