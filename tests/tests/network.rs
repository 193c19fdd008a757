//! Connections between hosts: two network namespaces and what a network does to packets.

use std::{net::Ipv6Addr, net::SocketAddr, net::SocketAddrV6, net::TcpListener, thread};

use conn_trace_tests::{
    agent::Agent,
    connz::Row,
    held::Held,
    link::{Host, Link},
    skip::skip,
    sockets::{KernelSocket, connection},
    wait::eventually,
};
use nix::net::if_::if_nametoindex;
use serde_json::Value;

const NO_NAMESPACE: &str = "no network namespaces can be made and joined";
/// More than a window, so that losses happen to it.
const BYTES: usize = 600_000;

/// Moves data in both directions at the same time.
fn exchange(client: &mut Held, server: &mut Held) {
    thread::scope(|scope| {
        for end in [client, server] {
            scope.spawn(move || end.exchange(BYTES));
        }
    });
}

fn row_with_tcp(agent: &Agent, end: &Held) -> Row {
    let (local, peer) = (end.end.local.port(), end.end.peer.port());
    let mut rows = agent.rows(&format!("local_port={local}&port={peer}&tcp=1"));
    assert_eq!(rows.len(), 1, "{rows:#?}");
    rows.remove(0)
}

/// The row of an end at rest, compared with its program's counts and with the kernel.
#[track_caller]
fn at_rest(agent: &Agent, host: &Host, end: &Held) -> (Row, KernelSocket) {
    let ask = || {
        host.namespace
            .inside(|| connection(end.end.local, end.end.peer))
    };
    eventually("an end at rest", || {
        let before = ask();
        let row = row_with_tcp(agent, end);
        let after = ask();
        let is_at_rest = before.send_queue == 0
            && before.info.segs_in == after.info.segs_in
            && before.info.segs_out == after.info.segs_out;
        if !is_at_rest {
            return None;
        }
        assert_eq!(row.counts(), end.counts, "{row:#?}");
        assert_eq!(row.netns, host.namespace.inode(), "{row:#?}");
        let tcp = row.tcp.as_ref().expect("asked for");
        assert_eq!(tcp.retrans, u64::from(after.info.total_retrans), "{row:#?}");
        assert_eq!(tcp.bytes_retrans, after.info.bytes_retrans, "{row:#?}");
        assert_eq!(tcp.bytes_acked, after.info.bytes_acked, "{row:#?}");
        assert_eq!(tcp.bytes_received, after.info.bytes_received, "{row:#?}");
        Some((row, after))
    })
}

/// Moves data over such a cable; gives how many segments were sent again.
#[track_caller]
fn exact_over(agent: &Agent, link: &Link) -> u32 {
    let (mut client, mut server) = link.pair();
    exchange(&mut client, &mut server);
    let (_, near) = at_rest(agent, &link.near, &client);
    let (_, far) = at_rest(agent, &link.far, &server);
    let client = client.close();
    assert_eq!(server.receive_to_end(), 0);
    server.close().closed(agent, "peer_fin");
    client.closed(agent, "local_fin");
    near.info.total_retrans + far.info.total_retrans
}

#[test]
fn each_end_is_in_its_own_network_namespace() {
    let test = "each_end_is_in_its_own_network_namespace";
    let Some(link) = Link::new("veth") else {
        return skip(test, NO_NAMESPACE);
    };
    let (mut older_client, mut older_server) = link.pair();
    let agent = Agent::start();
    let (mut client, mut server) = link.pair();
    exchange(&mut client, &mut server);
    at_rest(&agent, &link.near, &client);
    at_rest(&agent, &link.far, &server);
    exchange(&mut older_client, &mut older_server);
    at_rest(&agent, &link.near, &older_client);
    at_rest(&agent, &link.far, &older_server);
    for (host, old, new) in [
        (&link.near, &older_client, &client),
        (&link.far, &older_server, &server),
    ] {
        let rows = agent.rows(&format!("netns={}", host.namespace.inode()));
        let mut seen: Vec<_> = rows
            .iter()
            .map(|row| (row.tuple(), row.preexisting))
            .collect();
        let mut expected = vec![
            ((old.end.local, old.end.peer), true),
            ((new.end.local, new.end.peer), false),
        ];
        seen.sort_unstable();
        expected.sort_unstable();
        assert_eq!(seen, expected);
    }
}

#[test]
fn what_a_bad_network_does_to_packets_changes_no_counts() {
    let test = "what_a_bad_network_does_to_packets_changes_no_counts";
    let Some(link) = Link::new("netem") else {
        return skip(test, NO_NAMESPACE);
    };
    for host in [&link.near, &link.far] {
        // A packet is one segment, so that there are enough of them to lose some.
        assert!(host.ip("link set cable gso_max_segs 1"));
    }
    let agent = Agent::start();
    for (condition, must_repeat) in [
        ("loss 5%", true),
        ("delay 20ms 5ms", false),
        ("delay 10ms reorder 25% 50%", false),
        ("duplicate 10%", false),
        ("delay 5ms loss 3% duplicate 3%", true),
    ] {
        for host in [&link.near, &link.far] {
            if !host.tc(&format!("qdisc replace dev cable root netem {condition}")) {
                return skip(test, "the kernel has no netem, or tc is not installed");
            }
        }
        let repeated = exact_over(&agent, &link);
        assert!(!must_repeat || repeated > 0, "{condition}: {repeated}");
    }
}

#[test]
fn narrow_link_that_drops_packets_changes_no_counts() {
    let test = "narrow_link_that_drops_packets_changes_no_counts";
    let Some(link) = Link::new("narrow") else {
        return skip(test, NO_NAMESPACE);
    };
    // Behind the far host's interface, where the near host does not see its packets being dropped.
    let far = &link.far;
    let filter = "filter add dev cable parent ffff: protocol ip u32 match u32 0 0";
    let is_narrow = far.ip("link add narrow type ifb")
        && far.ip("link set narrow up")
        && far.tc("qdisc add dev narrow root tbf rate 40mbit burst 20k limit 40k")
        && far.tc("qdisc add dev cable ingress")
        && far.tc(&format!(
            "{filter} action mirred egress redirect dev narrow"
        ));
    if !is_narrow {
        return skip(
            test,
            "the kernel has no ifb, mirred, u32 or tbf, or tc is not installed",
        );
    }
    let agent = Agent::start();
    assert!(exact_over(&agent, &link) > 0, "nothing was thrown away");
}

#[test]
fn link_that_breaks_and_is_mended_changes_no_counts() {
    let test = "link_that_breaks_and_is_mended_changes_no_counts";
    let Some(link) = Link::new("breaks") else {
        return skip(test, NO_NAMESPACE);
    };
    let agent = Agent::start();
    let quiet = link.pair();
    let (mut client, mut server) = link.pair();
    exchange(&mut client, &mut server);
    // With the last acknowledgement, which may be delayed.
    at_rest(&agent, &link.near, &client);
    at_rest(&agent, &link.far, &server);
    link.cut();
    client.send(3000);
    server.send(2000);
    eventually("both send again", || {
        let again = |end| row_with_tcp(&agent, end).tcp.expect("asked for").retrans > 0;
        (again(&client) && again(&server)).then_some(())
    });
    let (near, far) = (client.open(&agent), server.open(&agent));
    assert_eq!((near.pending_bytes, far.pending_bytes), (3000, 2000));
    assert_eq!((near.recv_queue_bytes, far.recv_queue_bytes), (0, 0));
    link.mend();
    server.receive(3000);
    client.receive(2000);
    at_rest(&agent, &link.near, &client);
    at_rest(&agent, &link.far, &server);

    // What was sent again is known of closed connections too.
    let again = client.end.local.port();
    for (client, mut server) in [quiet, (client, server)] {
        let client = client.close();
        assert_eq!(server.receive_to_end(), 0);
        server.close().closed(&agent, "peer_fin");
        client.closed(&agent, "local_fin");
    }
    let rows = agent.connz("state=closed&sort=retrans&limit=2").connections;
    assert_eq!(rows.len(), 2, "{rows:#?}");
    for row in &rows {
        assert!([row.port, row.local_port].contains(&again), "{rows:#?}");
    }
}

#[test]
fn peer_that_does_not_read_leaves_exactly_what_is_pending() {
    let test = "peer_that_does_not_read_leaves_exactly_what_is_pending";
    let Some(link) = Link::new("window") else {
        return skip(test, NO_NAMESPACE);
    };
    let agent = Agent::start();
    let (mut client, mut server) = link.pair();
    client.fill();
    let (row, socket) = eventually("a window of zero", || {
        let row = client.open(&agent);
        let near = &link.near.namespace;
        let socket = near.inside(|| connection(client.end.local, client.end.peer));
        let queued = server.open(&agent).recv_queue_bytes;
        let is_whole = row.pending_bytes + queued == client.counts.out_bytes;
        (is_whole && socket.info.notsent_bytes > 0).then_some((row, socket))
    });
    assert_eq!(row.pending_bytes, socket.send_queue);
    // As long as it takes: asking for room is no activity.
    eventually("the kernel asks for room", || {
        let near = &link.near.namespace;
        let now = near.inside(|| connection(client.end.local, client.end.peer));
        (now.info.segs_out > socket.info.segs_out + 2).then_some(())
    });
    assert!(client.open(&agent).was_idle_since(&row));
    server.receive(usize::try_from(client.counts.out_bytes).expect("a size"));
    at_rest(&agent, &link.near, &client);
    at_rest(&agent, &link.far, &server);
}

/// The one row of a connection from this port, as it is written.
fn written_row(agent: &Agent, query: &str) -> Value {
    let answer = agent.get(&format!("/connz?{query}"));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let page: Value = serde_json::from_str(&answer.body).expect("JSON");
    let rows = page["connections"].as_array().expect("an array");
    assert_eq!(rows.len(), 1, "{query}: {page:#}");
    rows[0].clone()
}

#[test]
fn link_local_addresses_have_their_interface() {
    let test = "link_local_addresses_have_their_interface";
    let Some(link) = Link::new("local") else {
        return skip(test, NO_NAMESPACE);
    };
    let interface = |host: &Host| {
        host.namespace
            .inside(|| if_nametoindex("cable").expect("an interface"))
    };
    let (near, far) = (interface(&link.near), interface(&link.far));
    let at = |address, port, scope| SocketAddr::from(SocketAddrV6::new(address, port, 0, scope));
    let listener = link
        .far
        .namespace
        .inside(|| TcpListener::bind(at(link.far.link_local, 0, far)).expect("a listener"));
    let port = listener.local_addr().expect("an address").port();
    let connect = || {
        let there = at(link.far.link_local, port, near);
        let mut client = link.near.namespace.inside(|| Held::connect(there));
        let (server, _) = listener.accept().expect("a connection");
        client.send(64);
        let mut server = Held::of(server.into());
        server.receive(64);
        (client, server)
    };
    let older = connect();
    let agent = Agent::start();
    let younger = connect();
    let there = link.far.link_local;
    for (client, _server) in [&older, &younger] {
        // The kernel may have given the interface another such address, and prefer that.
        let (here, client_port) = (client.end.local.ip(), client.end.local.port());
        let row = written_row(&agent, &format!("local_port={client_port}&port={port}"));
        assert_eq!(row["local_ip"], format!("{here}%{near}"), "{row:#}");
        assert_eq!(row["ip"], format!("{there}%{near}"), "{row:#}");
        assert_eq!(
            (&row["type"], &row["out_bytes"]),
            (&"tcp6".into(), &64.into())
        );
        let row = written_row(&agent, &format!("local_port={port}&port={client_port}"));
        assert_eq!(row["local_ip"], format!("{there}%{far}"), "{row:#}");
        assert_eq!(row["ip"], format!("{here}%{far}"), "{row:#}");
        // With and without the interface.
        for ip in [
            format!("{there}"),
            format!("{there}%25{near}"),
            "fe80::/10".into(),
        ] {
            let row = written_row(&agent, &format!("local_port={client_port}&ip={ip}"));
            assert_eq!(row["port"], port, "{row:#}");
        }
        let query = format!("/connz?local_port={client_port}&ip={there}%25{}", near + 1);
        let answer = agent.get(&query);
        assert!(answer.body.contains("\"total\":0"), "{}", answer.body);
    }
    let (client, mut server) = younger;
    let (here, client_port) = (client.end.local.ip(), client.end.local.port());
    drop(client);
    assert_eq!(server.receive_to_end(), 0);
    drop(server);
    for query in [
        format!("state=closed&local_port={client_port}&ip={there}%25{near}"),
        format!("state=closed&port={client_port}&ip={here}%25{far}"),
    ] {
        eventually("its one closed row", || {
            let answer = agent.get(&format!("/connz?{query}"));
            answer.body.contains("\"total\":1").then_some(())
        });
        let row = written_row(&agent, &query);
        assert_eq!(row["state"], "CLOSED", "{row:#}");
    }
}

#[test]
fn both_families_across_the_link() {
    let test = "both_families_across_the_link";
    let Some(link) = Link::new("families") else {
        return skip(test, NO_NAMESPACE);
    };
    let agent = Agent::start();
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    let listener = link
        .far
        .namespace
        .inside(|| TcpListener::bind(any).expect("a listener"));
    let port = listener.local_addr().expect("an address").port();
    let mapped = SocketAddr::from((link.far.address.to_ipv6_mapped(), port));
    for (to, types) in [
        (SocketAddr::from((link.far.address, port)), ["tcp", "tcp6"]),
        (mapped, ["tcp6", "tcp6"]),
        (
            SocketAddr::from((link.far.address_v6, port)),
            ["tcp6", "tcp6"],
        ),
    ] {
        let mut client = link.near.namespace.inside(|| Held::connect(to));
        let (server, _) = listener.accept().expect("a connection");
        let mut server = Held::of(server.into());
        exchange(&mut client, &mut server);
        let rows = [client.open(&agent), server.open(&agent)];
        assert_eq!(
            [&*rows[0].transport, &*rows[1].transport],
            types,
            "{rows:#?}"
        );
        assert_eq!(rows[0].ip, to.ip().to_canonical());
        assert_eq!(rows[1].local_ip, to.ip().to_canonical());
    }
}
