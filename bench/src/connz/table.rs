//! Connections out of thin air, as varied as those of a busy host.

use std::{net::Ipv4Addr, sync::Arc};

use conn_trace::registry::{
    connection::{
        Connection, Counters, Direction, Endpoint, Facts, Origin, Owner, Process, TcpInfo,
        TcpState, Transport,
    },
    flags::Flags,
    snapshot::Snapshot,
};
use jiff::{SignedDuration, Timestamp};

use crate::random::Random;

/// The same table at every run.
const SEED: u64 = 8322;

/// Moment of the snapshot on `CLOCK_BOOTTIME`: some days after the boot.
const NOW_NS: u64 = 500_000 * SECOND;
const SECOND: u64 = 1_000_000_000;

/// Connections are up to so old.
const OLDEST_SECONDS: u64 = 100_000;

/// Programs that own connections.
const PROGRAMS: [&str; 5] = ["nats-server", "nginx", "postgres", "node", "java"];

/// So many open connections in a snapshot.
pub(super) fn snapshot(connections: u32) -> Snapshot {
    let mut random = Random::new(SEED);
    let now = Timestamp::now();
    let programs = PROGRAMS.map(Arc::from);
    let open = (1..=connections)
        .map(|cid| connection(cid, now, &programs, &mut random))
        .collect();
    Snapshot {
        now,
        now_ns: NOW_NS,
        open,
        closed: Vec::new(),
        untracked: 0,
    }
}

fn connection(cid: u32, now: Timestamp, programs: &[Arc<str>], random: &mut Random) -> Connection {
    let mut below = |bound: u64| random.next() % bound;
    let age_ns = below(OLDEST_SECONDS * SECOND);
    let program = below(programs.len() as u64) as usize;
    let facts = Facts {
        cid: cid.into(),
        transport: Transport::Tcp,
        direction: [Direction::In, Direction::Out][below(2) as usize],
        local: Endpoint {
            ip: Ipv4Addr::new(10, 0, 0, below(4) as u8).into(),
            scope: 0,
            port: 4222 + program as u16,
        },
        peer: Endpoint {
            ip: Ipv4Addr::from_bits(0x0A00_0000 | below(1 << 24) as u32).into(),
            scope: 0,
            port: 1024 + below(60_000) as u16,
        },
        start: now - SignedDuration::from_nanos(age_ns.cast_signed()),
        start_ns: NOW_NS - age_ns,
        origin: Origin::Opened,
        counted_since: None,
        owner: Owner::Exact(Process {
            pid: 1000 + program as u32,
            comm: Arc::clone(&programs[program]),
        }),
        user: "root".into(),
        uid: 0,
        netns: 4_026_531_840,
        cgroup: Some("/system.slice/some.service".into()),
        container: None,
        service: None,
        flags: Flags::default(),
        identity: None,
        is_self: false,
    };
    let (in_bytes, out_bytes) = (below(1 << 32), below(1 << 40));
    Connection {
        state: TcpState::Established,
        counters: Counters {
            in_bytes,
            out_bytes,
            in_msgs: in_bytes >> 7,
            out_msgs: out_bytes >> 9,
        },
        last_activity_ns: NOW_NS - below(age_ns + 1),
        pending_bytes: below(4) * below(1 << 20),
        recv_queue_bytes: Some((below(2) * below(1 << 16)) as u32),
        rtt_us: Some(20 + below(200_000) as u32),
        tcp: Some(Box::new(tcp(&mut below))),
        rates: None,
        end: None,
        facts: facts.into(),
    }
}

fn tcp(below: &mut impl FnMut(u64) -> u64) -> TcpInfo {
    let mut small = |bound| below(bound) as u32;
    TcpInfo {
        rttvar_us: Some(small(50_000)),
        min_rtt_us: Some(20 + small(1000)),
        retrans: Some(small(100)),
        lost: Some(0),
        cwnd: Some(10 + small(100)),
        ssthresh: Some(u32::MAX),
        mss: Some(1448),
        delivery_rate: Some(small(1 << 30).into()),
        rwnd_limited_ms: Some(0),
        sndbuf_limited_ms: Some(0),
        segs_in: Some(small(1 << 24)),
        segs_out: Some(small(1 << 24)),
        bytes_acked: 0,
        bytes_received: 0,
        bytes_retrans: 0,
        congestion: Some("cubic".into()),
    }
}
