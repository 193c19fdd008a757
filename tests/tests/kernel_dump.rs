//! The table against the kernel's own list of sockets.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    net::SocketAddr,
    os::unix::fs::MetadataExt,
};

use conn_trace_tests::{
    agent::Agent,
    connz::Row,
    pair::{Pair, Two},
    protocol::{Command, Counts},
    sockets::{self, KernelSocket},
    wait::{eventually, eventually_equal},
};

type Tuple = (SocketAddr, SocketAddr);

/// Numbers that look random and are the same every time (Knuth's MMIX generator).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Opens connections over both address families, moves random amounts on them, leaves some data
/// unread and some connections half closed.
fn traffic(v4: &mut Two, v6: &mut Two, numbers: &mut Numbers) -> (Vec<Pair>, Vec<Pair>) {
    let mut opened = Vec::new();
    for two in [v4, v6] {
        let pairs = two.open_many(100);
        for _ in 0..400 {
            let pair = pairs[numbers.below(100) as usize];
            let bytes = 1 + numbers.below(20_000);
            let chunk = 1 + numbers.below(3000);
            match numbers.below(2) {
                0 => two.forth(&pair, bytes, chunk),
                _ => two.back(&pair, bytes, chunk),
            }
        }
        for pair in &pairs[..20] {
            two.client.send(&pair.client, 1 + numbers.below(9000), 1000);
        }
        for pair in &pairs[10..40] {
            two.client
                .done(&Command::ShutdownWrite { id: pair.client.id });
        }
        for pair in &pairs[20..30] {
            assert_eq!(two.server.receive_to_end(&pair.server), Counts::default());
        }
        for pair in &pairs[90..] {
            two.server.send(&pair.server, 1 + numbers.below(9000), 1000);
            two.server
                .done(&Command::ShutdownWrite { id: pair.server.id });
        }
        opened.push(pairs);
    }
    let v6 = opened.pop().unwrap_or_default();
    (opened.pop().unwrap_or_default(), v6)
}

/// `None` if the kernel's socket changed between two looks: then it was not at rest.
fn at_rest(before: &KernelSocket, after: &KernelSocket) -> bool {
    before.state == after.state
        && before.info.bytes_acked == after.info.bytes_acked
        && before.info.bytes_received == after.info.bytes_received
        && (before.recv_queue, before.send_queue) == (after.recv_queue, after.send_queue)
        && (before.info.segs_in, before.info.segs_out) == (after.info.segs_in, after.info.segs_out)
}

fn by_tuple(sockets: Vec<KernelSocket>) -> HashMap<Tuple, KernelSocket> {
    sockets
        .into_iter()
        .map(|socket| (socket.tuple(), socket))
        .collect()
}

#[track_caller]
fn assert_same(row: &Row, socket: &KernelSocket, counted: Counts) {
    let tcp = row.tcp.as_ref().expect("tcp=1");
    let info = &socket.info;
    assert_eq!((&*row.state, &*tcp.state), (socket.state, socket.state));
    assert_eq!(row.transport, if socket.is_ipv6 { "tcp6" } else { "tcp" });
    assert_eq!(row.counts(), counted, "{row:#?}");
    assert_eq!(tcp.bytes_acked, info.bytes_acked, "{row:#?}");
    assert_eq!(tcp.bytes_received, info.bytes_received, "{row:#?}");
    assert_eq!(tcp.bytes_retrans, info.bytes_retrans, "{row:#?}");
    assert_eq!(tcp.retrans, u64::from(info.total_retrans), "{row:#?}");
    assert_eq!(tcp.segs_in, u64::from(info.segs_in), "{row:#?}");
    assert_eq!(tcp.segs_out, u64::from(info.segs_out), "{row:#?}");
    assert_eq!(tcp.cwnd, u64::from(info.snd_cwnd), "{row:#?}");
    assert_eq!(tcp.ssthresh, u64::from(info.snd_ssthresh), "{row:#?}");
    assert_eq!(tcp.mss, u64::from(info.snd_mss), "{row:#?}");
    assert_eq!(
        tcp.rtt_us,
        Some(u64::from(info.rtt)).filter(|&rtt| rtt != 0),
        "{row:#?}"
    );
    // At rest everything is acknowledged, FINs too.
    assert_eq!(row.pending_bytes, socket.send_queue, "{row:#?}");
}

#[test]
fn every_row_agrees_with_the_kernel_at_rest() {
    let agent = Agent::start();
    let (mut v4, mut v6) = (Two::start(), Two::start_on("[::1]:0"));
    let mut numbers = Numbers(7);
    let (v4_pairs, v6_pairs) = traffic(&mut v4, &mut v6, &mut numbers);
    let ports = format!("{},{}", v4.address.port(), v6.address.port());
    let ends: Vec<_> = [(&v4_pairs, &mut v4), (&v6_pairs, &mut v6)]
        .into_iter()
        .flat_map(|(pairs, two)| {
            let counted: Vec<_> = pairs
                .iter()
                .flat_map(|pair| {
                    let (client, server) = two.reports(pair);
                    [(pair.client, client), (pair.server, server)]
                })
                .collect();
            counted
        })
        .collect();

    let (rows, kernel) = eventually("all sockets are at rest", || {
        let before = by_tuple(sockets::connections());
        let mut rows = agent.rows(&format!("tcp=1&port={ports}"));
        rows.extend(agent.rows(&format!("tcp=1&local_port={ports}")));
        let after = by_tuple(sockets::connections());
        let is_at_rest = ends.iter().all(|(end, _)| {
            let tuple = (end.local, end.peer);
            before
                .get(&tuple)
                .zip(after.get(&tuple))
                .is_some_and(|(a, b)| at_rest(a, b) && b.send_queue == 0)
        });
        is_at_rest.then_some((rows, after))
    });
    let rows: HashMap<Tuple, Row> = rows.into_iter().map(|row| (row.tuple(), row)).collect();
    assert_eq!(rows.len(), ends.len());
    let mut states = BTreeSet::new();
    for (end, counted) in &ends {
        let tuple = (end.local, end.peer);
        let (row, socket) = (&rows[&tuple], &kernel[&tuple]);
        assert_same(row, socket, *counted);
        // A FIN is not data, though the kernel's queue counts one that was not read.
        let other = ends
            .iter()
            .find(|(other, _)| (other.peer, other.local) == tuple);
        let sent = other.expect("the other end").1.out_bytes;
        assert_eq!(row.recv_queue_bytes, sent - counted.in_bytes, "{row:#?}");
        assert!(socket.recv_queue - row.recv_queue_bytes <= 1);
        states.insert(row.state.clone());
    }
    assert_eq!(
        states.iter().map(String::as_str).collect::<Vec<_>>(),
        ["CLOSE_WAIT", "ESTABLISHED", "FIN_WAIT2"],
        "the traffic was meant to have all of them"
    );
    agent.stop();
}

#[test]
fn the_open_rows_are_the_sockets_that_the_kernel_lists() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pairs = two.open_many(50);
    two.client.close(
        &pairs[..10]
            .iter()
            .map(|pair| pair.client)
            .collect::<Vec<_>>(),
    );
    let own = fs::metadata("/proc/self/ns/net")
        .expect("a namespace")
        .ino();
    // Other programs of the host open and close connections at any time: what is in both of two
    // looks at the kernel was there in between, and what is in neither was not.
    let tuples = || {
        sockets::connections()
            .iter()
            .map(KernelSocket::tuple)
            .collect::<BTreeSet<_>>()
    };
    let port = two.address.port();
    let ends = |pair: &Pair| [pair.client, pair.server].map(|end| (end.local, end.peer));
    let closed = pairs[..10].iter().map(|pair| ends(pair)[0]).collect();
    let open: BTreeSet<Tuple> = pairs.iter().flat_map(ends).collect();
    let left = open.difference(&closed).copied().collect();
    eventually_equal("closed ends are gone, and no others", &left, || {
        let mut listed = tuples();
        listed.retain(|(local, peer)| local.port() == port || peer.port() == port);
        listed
    });
    let mut were_equal = false;
    for _ in 0..20 {
        let before = tuples();
        let rows = agent.rows(&format!("state=open&self=1&netns={own}"));
        let after = tuples();
        let shown: BTreeSet<_> = rows.iter().map(Row::tuple).collect();
        assert_eq!(shown.len(), rows.len(), "no connection is shown twice");
        let missing: Vec<_> = before
            .intersection(&after)
            .filter(|tuple| !shown.contains(tuple))
            .collect();
        assert!(
            missing.is_empty(),
            "the kernel has, and the agent has not: {missing:?}"
        );
        let extra: Vec<_> = shown
            .iter()
            .filter(|tuple| !before.contains(tuple) && !after.contains(tuple))
            .collect();
        // One that opened and closed in between is in neither look.
        were_equal |= extra.is_empty() && before == after;
    }
    assert!(were_equal, "never the same in 20 looks");
}

#[test]
fn opened_less_closed_is_live_is_what_the_kernel_lists() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pairs = two.open_many(70);
    two.server.close(
        &pairs[..30]
            .iter()
            .map(|pair| pair.server)
            .collect::<Vec<_>>(),
    );
    two.client.close(
        &pairs[..30]
            .iter()
            .map(|pair| pair.client)
            .collect::<Vec<_>>(),
    );
    eventually("the sums agree with the kernel's list", || {
        let before = sockets::connections().len() as u64;
        let varz = agent.varz();
        let after = sockets::connections().len() as u64;
        let live = varz.total_connections - varz.conn_trace.closed_connections;
        assert_eq!(varz.connections, live);
        let in_other_namespaces = agent.connz("state=open&self=1&limit=1").total
            - agent
                .connz(&format!(
                    "state=open&self=1&limit=1&netns={}",
                    fs::metadata("/proc/self/ns/net")
                        .expect("a namespace")
                        .ino()
                ))
                .total;
        (before == after && live == before + in_other_namespaces).then_some(())
    });
}
