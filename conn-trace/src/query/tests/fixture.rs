//! Connections out of thin air.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use crate::kernel::{degradation::Degradation, hooks::Variant};
use crate::protocol::{Identity, Peer, Protocol, Text};
use crate::registry::{
    connection::{
        CloseCause, Connection, Counters, Direction, End, Endpoint, Facts, Origin, Owner, Process,
        TcpInfo, TcpState, Transport,
    },
    flags::Flag,
    rates::{PerSecond, Rates},
    snapshot::{FirstBytesStatus, Losses, Snapshot, Status, Tracing},
};

/// The moment of every snapshot here, `2026-11-20T12:00:00Z`.
pub(crate) const NOW: Timestamp = Timestamp::constant(1_795_176_000, 0);
/// The same on `CLOCK_BOOTTIME`.
pub(crate) const NOW_NS: u64 = 100_000 * SECOND;
pub(crate) const SECOND: u64 = 1_000_000_000;

/// Decides over everything about a connection; small numbers, so that many are equal.
pub(crate) type Seed = [u8; 24];

/// Any connections, some of them closed.
pub(crate) fn snapshots(most: usize) -> impl Strategy<Value = Snapshot> {
    let seeds = prop::collection::vec(prop::array::uniform24(0_u8..6), 0..=most);
    seeds.prop_map(|seeds| {
        let mut snapshot = snapshot(&seeds);
        for connection in snapshot.open.iter_mut().filter(|row| row.facts.cid % 3 > 0) {
            let Counters {
                in_bytes,
                out_bytes,
                in_msgs,
                out_msgs,
            } = connection.counters;
            connection.rates = Some(Box::new(Rates {
                in_bytes: PerSecond::of(out_bytes, SECOND),
                out_bytes: PerSecond::of(in_bytes, SECOND),
                in_msgs: PerSecond::of(out_msgs, SECOND),
                out_msgs: PerSecond::of(in_msgs, SECOND),
            }));
        }
        snapshot
    })
}

/// The same `count` seeds at every call, no two of them alike.
pub(crate) fn seeds(count: u64) -> Vec<Seed> {
    // Knuth's MMIX generator, of which the upper bits are the random ones.
    let mut state = 1_u64;
    let mut digit = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        u8::try_from((state >> 40) % 6).unwrap()
    };
    (0..count)
        .map(|_| std::array::from_fn(|_| digit()))
        .collect()
}

pub(crate) fn snapshot(seeds: &[Seed]) -> Snapshot {
    let all = (1..).zip(seeds).map(|(cid, seed)| connection(cid, *seed));
    let (mut closed, open): (Vec<_>, Vec<_>) = all.partition(|row| row.end.is_some());
    closed.sort_by_key(|row| row.end.as_ref().map(|end| end.stop_ns));
    Snapshot {
        now: NOW,
        now_ns: NOW_NS,
        open,
        closed,
        untracked: 3,
    }
}

/// An open connection with nothing remarkable.
pub(crate) fn plain(cid: u64) -> Connection {
    connection(cid, [0; 24])
}

pub(crate) fn connection(cid: u64, seed: Seed) -> Connection {
    let [
        ending,
        state,
        direction,
        peer,
        local,
        peer_port,
        start,
        activity,
        ..,
    ] = seed;
    let [
        ..,
        owner,
        user,
        netns,
        cgroup,
        myself,
        pending,
        msgs,
        bytes,
        tcp,
        rtt,
        retrans,
    ] = seed;
    let closed = ending > 3;
    let ago = |seconds: u8| SignedDuration::from_secs(seconds.into());
    let start_ns = NOW_NS - u64::from(10 + start) * SECOND;
    // Now and then newer than the snapshot, as counters that are read while they run can be.
    let last_activity_ns = NOW_NS + SECOND - u64::from(activity) * 2 * SECOND;
    let end = closed.then(|| End {
        stop: NOW - ago(user),
        stop_ns: NOW_NS - u64::from(user) * SECOND,
        cause: CAUSES[usize::from(state) % CAUSES.len()],
        retrans: (tcp > 0).then_some(retrans.into()),
    });
    let facts = Facts {
        cid,
        transport: if peer % 2 == 0 {
            Transport::Tcp
        } else {
            Transport::Tcp6
        },
        direction: [Direction::In, Direction::Out, Direction::Unknown][usize::from(direction) % 3],
        local: endpoint(local, 8000 + u16::from(local)),
        peer: endpoint(peer, 40_000 + u16::from(peer_port)),
        start: NOW - ago(10 + start),
        start_ns,
        origin: [Origin::Opened, Origin::Preexisting, Origin::Late][usize::from(netns) % 3],
        counted_since: (netns % 3 != 0).then_some(NOW),
        owner: self::owner(owner),
        user: ["root", "www-data", "1000"][usize::from(user) % 3].into(),
        uid: [0, 33, 1000][usize::from(user) % 3],
        netns: 4_026_531_840 + u32::from(netns % 2),
        cgroup: (cgroup > 0).then(|| format!("/system.slice/{cgroup}.service").into()),
        container: (cgroup > 4).then(|| "c0ffee".into()),
        service: (peer > 3).then(|| "fix".into()),
        flags: Flag::ALL
            .into_iter()
            .take(usize::from(retrans % 5))
            .collect(),
        identity: (peer > 4).then(|| identity(tcp).into()),
        is_self: myself == 5,
    };
    Connection {
        facts: facts.into(),
        state: if closed {
            TcpState::Close
        } else {
            TcpState::from_kernel(1 + state)
        },
        counters: Counters {
            in_bytes: u64::from(bytes) * 100,
            out_bytes: u64::from(bytes ^ 3) * 100,
            in_msgs: msgs.into(),
            out_msgs: (msgs ^ 3).into(),
        },
        last_activity_ns,
        pending_bytes: pending.into(),
        recv_queue_bytes: Some(pending.into()),
        rtt_us: (!closed && tcp > 0 && rtt > 0).then(|| u32::from(rtt) * 500),
        tcp: (!closed && tcp > 0).then(|| {
            Box::new(TcpInfo {
                retrans: Some(retrans.into()),
                segs_in: Some(tcp.into()),
                segs_out: Some((tcp ^ 3).into()),
                congestion: Some("cubic".to_owned()),
                ..TcpInfo::default()
            })
        }),
        rates: None,
        end,
    }
}

fn identity(seed: u8) -> Identity {
    let text = |text: &str| Text::new(text.as_bytes());
    Identity {
        protocol: Protocol::ALL[usize::from(seed) % 2],
        version: (seed > 1).then(|| text("1.1")).flatten(),
        name: text("a name").filter(|_| seed > 2),
        lang: text("go").filter(|_| seed > 2),
        peer: match seed {
            0..=3 => Peer::default(),
            _ => Peer {
                software: text("curl/8"),
                server_name: text("a.example"),
                alpn: text("h2,http/1.1"),
                sender_comp_id: text("DESK"),
                target_comp_id: text("VENUE"),
                client_id: text("sensor-7"),
                user: text("alice"),
                database: text("books"),
                application: text("psql"),
            },
        },
    }
}

/// Every figure of TCP, no two alike.
pub(crate) fn fullest_tcp() -> Box<TcpInfo> {
    Box::new(TcpInfo {
        rttvar_us: Some(7),
        min_rtt_us: Some(900),
        retrans: Some(1),
        lost: Some(2),
        cwnd: Some(10),
        ssthresh: Some(3),
        mss: Some(1448),
        delivery_rate: Some(u64::MAX),
        rwnd_limited_ms: Some(4),
        sndbuf_limited_ms: Some(5),
        segs_in: Some(6),
        segs_out: Some(8),
        bytes_acked: 9,
        bytes_received: 11,
        bytes_retrans: 12,
        congestion: Some("bbr".to_owned()),
    })
}

const CAUSES: [CloseCause; 6] = [
    CloseCause::LocalFin,
    CloseCause::PeerFin,
    CloseCause::Timeout,
    CloseCause::Killed,
    CloseCause::Error(32),
    CloseCause::Unknown,
];

fn endpoint(seed: u8, port: u16) -> Endpoint {
    let (ip, scope): (IpAddr, u32) = match seed {
        0..=2 => (Ipv4Addr::new(10, seed, 0, 1).into(), 0),
        3 => (Ipv4Addr::LOCALHOST.into(), 0),
        4 => (Ipv6Addr::LOCALHOST.into(), 0),
        _ => (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1).into(), 2),
    };
    Endpoint { ip, scope, port }
}

fn owner(seed: u8) -> Owner {
    let process = |comm: &str| Process {
        pid: 100 + u32::from(seed),
        comm: comm.into(),
    };
    match seed {
        0 => Owner::Unknown,
        1 | 2 => Owner::Exact(process("nginx")),
        3 => Owner::Scan(process("ngircd")),
        4 => Owner::Exact(process("a b")),
        _ => Owner::Kernel(process("kworker/0:1")),
    }
}

/// The figures of an agent with so many open connections.
pub(crate) fn healthy(open: u64) -> Status {
    Status {
        now: NOW,
        started: NOW,
        open,
        total: open + 5,
        closed: 5,
        totals: Counters {
            in_bytes: 1,
            out_bytes: 2,
            in_msgs: 3,
            out_msgs: u64::MAX,
        },
        losses: Losses::default(),
        messages_after_end: 0,
        capacity: 65_536,
        used: open,
        kernel_memory_bytes: 1 << 20,
        history: 5,
        history_capacity: 10_000,
        variant: Some(Variant::TpBtf),
        degradations: vec![Degradation::SendfileUncounted("refused".into())],
        attached: true,
        ring_records: 7,
        last_loss: None,
        tracing: Tracing {
            readers: 1,
            connections: 2,
            messages: 3,
            lost: 4,
        },
        first_bytes: FirstBytesStatus {
            waiting: 5,
            lost: 6,
            unseen: 7,
        },
    }
}
