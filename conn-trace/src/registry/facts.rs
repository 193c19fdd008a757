//! From a table entry to the facts that people see.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use conn_trace_common::table::{
    CAUSE_ABORTED, CAUSE_CANCELLED, CAUSE_ERROR, CAUSE_KILLED, CAUSE_LOCAL_FIN, CAUSE_LOCAL_RESET,
    CAUSE_PEER_FIN, CAUSE_PEER_RESET, CAUSE_REFUSED, CAUSE_TIMEOUT, CAUSE_UNREACHABLE, ColdEntry,
    DIRECTION_IN, DIRECTION_OUT, FLAG_MPTCP, HotEntry, ORIGIN_LATE, ORIGIN_OPENED, OWNER_KERNEL,
    OWNER_PROCESS,
};

use super::{
    cgroups::{Place, Places},
    connection::{
        CloseCause, Counters, Direction, End, Endpoint, Facts, Origin, Owner, Process, TcpInfo,
        Transport,
    },
    flags::Flags,
    memberships::Memberships,
    names::Names,
};
use crate::kernel::{clock::Moment, offsets::CHRONO_TYPE, sampler::Sample};

const AF_INET6: u16 = 10;
/// `tcp_mss_cache` segments times this is bytes per second over an interval in µs.
const US_PER_SECOND: u64 = 1_000_000;

/// Which sockets are the agent's own.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Network namespace.
    pub netns: u32,
    /// Ports that the agent listens on.
    pub ports: Vec<u16>,
}

impl Own {
    /// An accepted connection has no owner before the agent reads from it; its port tells.
    fn owns(&self, cold: &ColdEntry, owner: &Owner) -> bool {
        match owner {
            Owner::Exact(process) | Owner::Scan(process) | Owner::Kernel(process) => {
                process.pid == self.pid
            }
            Owner::Unknown => {
                cold.direction == DIRECTION_IN
                    && cold.netns == self.netns
                    && self.ports.contains(&cold.local_port)
            }
        }
    }
}

impl Own {
    /// Whether the agent is at one of the ends: to tell of such messages would make more of them.
    pub(super) fn concerns(&self, facts: &Facts) -> bool {
        let is_client_of_it = facts.direction == Direction::Out
            && self.ports.contains(&facts.peer.port)
            && (facts.peer.ip == facts.local.ip || facts.peer.ip.is_loopback());
        facts.is_self || is_client_of_it
    }
}

/// Makes the facts of connections.
#[derive(Debug)]
pub(super) struct Describer {
    pub(super) names: Names,
    pub(super) places: Places,
    pub(super) memberships: Memberships,
    pub(super) own: Own,
    /// Since when messages are counted.
    pub(super) counting_since_ns: u64,
    /// When the connections that existed had been listed.
    pub(super) listed_ns: u64,
}

impl Describer {
    /// What was entered before all existing connections were is older than the agent, whether the
    /// listing met it first or a message.
    fn origin(&self, cold: &ColdEntry) -> Origin {
        match cold.origin {
            ORIGIN_OPENED if cold.opened_ns >= self.counting_since_ns => Origin::Opened,
            ORIGIN_LATE if cold.opened_ns >= self.listed_ns => Origin::Late,
            _ => Origin::Preexisting,
        }
    }

    /// The facts of a connection that the table knows as `hot` and `cold`.
    pub(super) fn facts(
        &mut self,
        cid: u64,
        hot: &HotEntry,
        cold: &ColdEntry,
        moment: &Moment,
    ) -> Facts {
        let owner = owner(hot, cold);
        let start_ns = if cold.established_ns != 0 {
            cold.established_ns
        } else {
            cold.opened_ns
        };
        let origin = self.origin(cold);
        let counted_since_ns =
            (origin != Origin::Opened).then(|| cold.opened_ns.max(self.counting_since_ns));
        let Place { cgroup, container } = self.places.of(cold.cgroup);
        let container = container.or_else(|| {
            let used_ns = match hot.last_activity_jiffies {
                0 => cold.opened_ns,
                jiffies => moment.boot_of_jiffies(jiffies),
            };
            match &owner {
                Owner::Exact(process) => self.memberships.container(process, used_ns),
                _ => None,
            }
        });
        Facts {
            cid,
            transport: if hot.flags & FLAG_MPTCP != 0 {
                Transport::Mptcp
            } else if cold.family == AF_INET6 {
                Transport::Tcp6
            } else {
                Transport::Tcp
            },
            direction: match cold.direction {
                DIRECTION_IN => Direction::In,
                DIRECTION_OUT => Direction::Out,
                _ => Direction::Unknown,
            },
            local: endpoint(cold, &cold.local_address, cold.local_port),
            peer: endpoint(cold, &cold.peer_address, cold.peer_port),
            start: moment.wall_of(start_ns),
            start_ns,
            origin,
            counted_since: counted_since_ns.map(|since_ns| moment.wall_of(since_ns)),
            is_self: self.own.owns(cold, &owner),
            owner,
            user: self.names.user(cold.uid),
            uid: cold.uid,
            netns: cold.netns,
            cgroup,
            container,
            service: None,
            flags: Flags::default(),
            identity: None,
        }
    }
}

fn owner(hot: &HotEntry, cold: &ColdEntry) -> Owner {
    let process = || {
        let end = cold
            .comm
            .iter()
            .position(|&byte| byte == 0)
            .unwrap_or(cold.comm.len());
        Process {
            pid: cold.pid,
            comm: String::from_utf8_lossy(&cold.comm[..end]).into(),
        }
    };
    match hot.owner {
        OWNER_PROCESS => Owner::Exact(process()),
        OWNER_KERNEL => Owner::Kernel(process()),
        _ => Owner::Unknown,
    }
}

fn endpoint(cold: &ColdEntry, bytes: &[u8; 16], port: u16) -> Endpoint {
    if cold.family == AF_INET6 {
        let ip = Ipv6Addr::from(*bytes);
        let scope = if ip.is_unicast_link_local() {
            cold.bound_interface
        } else {
            0
        };
        return Endpoint {
            ip: IpAddr::V6(ip).to_canonical(),
            scope,
            port,
        };
    }
    let [a, b, c, d, ..] = *bytes;
    Endpoint {
        ip: Ipv4Addr::new(a, b, c, d).into(),
        scope: 0,
        port,
    }
}

/// How an ended connection ended.
pub(super) fn end(
    hot: &HotEntry,
    cold: &ColdEntry,
    moment: &Moment,
    has_field: impl Fn(&str) -> bool,
) -> End {
    let has_retrans = hot.flags & FLAG_MPTCP == 0 && has_field("TCP_TOTAL_RETRANS");
    End {
        retrans: has_retrans.then_some(cold.closed_retrans),
        stop: moment.wall_of(cold.closed_ns),
        stop_ns: cold.closed_ns,
        cause: match cold.cause {
            CAUSE_LOCAL_FIN => CloseCause::LocalFin,
            CAUSE_PEER_FIN => CloseCause::PeerFin,
            CAUSE_LOCAL_RESET => CloseCause::LocalReset,
            CAUSE_PEER_RESET => CloseCause::PeerReset,
            CAUSE_TIMEOUT => CloseCause::Timeout,
            CAUSE_REFUSED => CloseCause::Refused,
            CAUSE_UNREACHABLE => CloseCause::Unreachable,
            CAUSE_KILLED => CloseCause::Killed,
            CAUSE_CANCELLED => CloseCause::Cancelled,
            CAUSE_ABORTED => CloseCause::Aborted,
            CAUSE_ERROR => CloseCause::Error(cold.error),
            _ => CloseCause::Unknown,
        },
    }
}

pub(super) fn counters(hot: &HotEntry) -> Counters {
    Counters {
        in_bytes: hot.in_bytes,
        out_bytes: hot.out_bytes,
        in_msgs: hot.in_msgs,
        out_msgs: hot.out_msgs,
    }
}

/// TCP's figures in the units of `TCP_INFO`, as far as the kernel has their fields.
pub(super) fn tcp_info(
    sample: &Sample,
    moment: &Moment,
    has_field: impl Fn(&str) -> bool,
) -> TcpInfo {
    let has = |global: &str, figure: u32| has_field(global).then_some(figure);
    let has_all = |globals: [&str; 3]| globals.into_iter().all(&has_field);
    let has_rate = has_all([
        "TCP_RATE_DELIVERED",
        "TCP_RATE_INTERVAL_US",
        "TCP_MSS_CACHE",
    ]);
    let has_chronograph = has_all(["TCP_CHRONO_START", "TCP_CHRONO_STAT", CHRONO_TYPE[0]]);
    let has_congestion = has_field("TCP_CONGESTION_OPS") && has_field("CONGESTION_NAME");
    let limited = |which| has_chronograph.then(|| chronograph(sample, moment, which));
    TcpInfo {
        rttvar_us: has("TCP_MDEV_US", sample.mdev_us >> 2),
        min_rtt_us: has("TCP_RTT_MIN", sample.min_rtt_us).filter(|&rtt| rtt != u32::MAX),
        retrans: has("TCP_TOTAL_RETRANS", sample.retrans),
        lost: has("TCP_LOST", sample.lost),
        cwnd: has("TCP_SND_CWND", sample.cwnd),
        ssthresh: has("TCP_SND_SSTHRESH", sample.ssthresh),
        mss: has("TCP_MSS_CACHE", sample.mss),
        delivery_rate: has_rate.then(|| delivery_rate(sample)).flatten(),
        rwnd_limited_ms: limited(RWND_LIMITED),
        sndbuf_limited_ms: limited(SNDBUF_LIMITED),
        segs_in: has("TCP_SEGS_IN", sample.segs_in),
        segs_out: has("TCP_SEGS_OUT", sample.segs_out),
        bytes_acked: sample.bytes_acked,
        bytes_received: sample.bytes_received,
        bytes_retrans: sample.bytes_retrans,
        congestion: has_congestion.then(|| {
            let name = &sample.congestion;
            let end = name.iter().position(|&byte| byte == 0);
            String::from_utf8_lossy(&name[..end.unwrap_or(name.len())]).into_owned()
        }),
    }
}

/// As `tcp_compute_delivery_rate` (net/ipv4/tcp.c).
fn delivery_rate(sample: &Sample) -> Option<u64> {
    let (delivered, interval) = (sample.rate_delivered, sample.rate_interval_us);
    (delivered != 0 && interval != 0)
        .then(|| u64::from(delivered) * u64::from(sample.mss) * US_PER_SECOND / u64::from(interval))
}

/// `enum tcp_chrono` (include/net/tcp.h).
const RWND_LIMITED: u8 = 2;
const SNDBUF_LIMITED: u8 = 3;

/// As `tcp_get_info_chrono_stats`: the stopped time, and what runs at the moment.
fn chronograph(sample: &Sample, moment: &Moment, which: u8) -> u64 {
    let mut ticks = u64::from(sample.chrono_stat[usize::from(which) - 1]);
    if sample.chrono_type == which {
        ticks += u64::from((moment.jiffies as u32).wrapping_sub(sample.chrono_start));
    }
    moment.jiffies_to_ms(ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_addresses_are_ipv4() {
        let cold = ColdEntry {
            family: AF_INET6,
            ..ColdEntry::default()
        };
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7];
        assert_eq!(endpoint(&cold, &mapped, 9).ip, IpAddr::from([192, 0, 2, 7]));
    }

    #[test]
    fn only_link_local_addresses_have_a_scope() {
        let cold = ColdEntry {
            family: AF_INET6,
            bound_interface: 3,
            ..ColdEntry::default()
        };
        let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1).octets();
        assert_eq!(endpoint(&cold, &link_local, 9).scope, 3);
        assert_eq!(endpoint(&cold, &Ipv6Addr::LOCALHOST.octets(), 9).scope, 0);
    }

    #[test]
    fn hostile_names_become_text() {
        let mut cold = ColdEntry {
            pid: 7,
            ..ColdEntry::default()
        };
        cold.comm = *b"a\"\n\xff\x00bcdefghijkl";
        let hot = HotEntry {
            owner: OWNER_PROCESS,
            ..HotEntry::default()
        };
        let Owner::Exact(process) = owner(&hot, &cold) else {
            panic!("no owner")
        };
        assert_eq!(&*process.comm, "a\"\n\u{fffd}");
    }
}
