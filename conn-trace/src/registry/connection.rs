//! A connection as the agent knows it: what every page, filter and metric is made from.

use std::{net::IpAddr, ops::Add, sync::Arc};

use jiff::Timestamp;

use super::{flags::Flags, rates::Rates};
use crate::protocol::Identity;

/// One connection at the time of a snapshot. Cheap to clone: the facts are shared.
#[derive(Clone, Debug)]
pub struct Connection {
    /// What does not change from poll to poll.
    pub facts: Arc<Facts>,
    /// State of the socket.
    pub state: TcpState,
    /// What the application has moved.
    pub counters: Counters,
    /// Last data or message, as `CLOCK_BOOTTIME` in nanoseconds; the start where there was none.
    pub last_activity_ns: u64,
    /// Written by the application and not acknowledged. On a closed connection: at the close.
    pub pending_bytes: u64,
    /// Arrived and not read by the application; `None` where that is not known.
    pub recv_queue_bytes: Option<u32>,
    /// Smoothed round trip time in µs; `None` without a sample.
    pub rtt_us: Option<u32>,
    /// TCP's other figures; `None` unless asked for, on closed connections and on sockets that went
    /// away meanwhile.
    pub tcp: Option<Box<TcpInfo>>,
    /// What it moves in a second; `None` unless asked for and known.
    pub rates: Option<Box<Rates>>,
    /// How it ended; `None` while it is open.
    pub end: Option<End>,
}

impl Connection {
    /// The same without TCP's other figures.
    #[must_use]
    pub fn without_tcp(&self) -> Self {
        Self {
            facts: Arc::clone(&self.facts),
            tcp: None,
            rates: self.rates.clone(),
            end: self.end.clone(),
            ..*self
        }
    }
}

/// What is known about a connection from its opening on.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Number shown to people: from 1, in order of first sight, never used again.
    pub cid: u64,
    /// Kind of socket.
    pub transport: Transport,
    /// Who opened it, seen from this end.
    pub direction: Direction,
    /// This end. IPv4-mapped addresses are IPv4 here.
    pub local: Endpoint,
    /// The other end, likewise.
    pub peer: Endpoint,
    /// Wall clock at the start: end of the handshake, or the SYN before that.
    pub start: Timestamp,
    /// The same moment on `CLOCK_BOOTTIME`, in nanoseconds.
    pub start_ns: u64,
    /// How the agent came to know it.
    pub origin: Origin,
    /// Since when messages are counted; `None` if since the start.
    pub counted_since: Option<Timestamp>,
    /// Whose socket it is.
    pub owner: Owner,
    /// Unix user of the socket: name, else number.
    pub user: Arc<str>,
    /// Numeric id of that user.
    pub uid: u32,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Path of the owner's cgroup (v2), where known.
    pub cgroup: Option<Arc<str>>,
    /// Container id found in that path.
    pub container: Option<Arc<str>>,
    /// Name of the configured service that it belongs to, if that is known.
    pub service: Option<Arc<str>>,
    /// What the policies of that service have found in it.
    pub flags: Flags,
    /// What it speaks, if that service wants to know and its first bytes have said so.
    pub identity: Option<Arc<Identity>>,
    /// Whether the agent itself owns the socket.
    pub is_self: bool,
}

/// An address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Address; IPv4-mapped IPv6 is turned into IPv4.
    pub ip: IpAddr,
    /// Interface index of a link-local address, or 0.
    pub scope: u32,
    /// Port, host byte order.
    pub port: u16,
}

/// Kind of socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP on an `AF_INET` socket.
    Tcp,
    /// TCP on an `AF_INET6` socket, IPv4-mapped peers included.
    Tcp6,
    /// MPTCP over either; its subflows are no connections of their own.
    Mptcp,
}

impl Transport {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Tcp6, Self::Mptcp];
}

/// Who opened the connection, seen from this end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Accepted here.
    In,
    /// Connected from here.
    Out,
    /// Not known.
    Unknown,
}

impl Direction {
    /// Every direction.
    pub const ALL: [Self; 3] = [Self::In, Self::Out, Self::Unknown];
}

/// How the agent came to know a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It saw it open.
    Opened,
    /// It is older than the agent: `start` is an estimate.
    Preexisting,
    /// The table had no room when it opened, or its namespace could not be listed: `start` is an
    /// estimate.
    Late,
}

/// Who uses the socket, and how that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Nobody has used it yet, or nobody could be found.
    Unknown,
    /// The kernel programs saw the process use it.
    Exact(Process),
    /// Found by looking through the file tables of all processes.
    Scan(Process),
    /// A kernel thread.
    Kernel(Process),
}

impl Owner {
    /// The process, where it is known.
    #[must_use]
    pub fn process(&self) -> Option<&Process> {
        match self {
            Self::Unknown => None,
            Self::Exact(process) | Self::Scan(process) | Self::Kernel(process) => Some(process),
        }
    }
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Name of its first thread; bytes that are not UTF-8 are replaced.
    pub comm: Arc<str>,
}

/// What the application has moved over a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes read by the application.
    pub in_bytes: u64,
    /// Bytes written by the application.
    pub out_bytes: u64,
    /// Receive calls that moved data.
    pub in_msgs: u64,
    /// Send calls that moved data.
    pub out_msgs: u64,
}

impl Add for Counters {
    type Output = Self;

    /// Sums wrap after 2^64, as counters do.
    fn add(self, other: Self) -> Self {
        Self {
            in_bytes: self.in_bytes.wrapping_add(other.in_bytes),
            out_bytes: self.out_bytes.wrapping_add(other.out_bytes),
            in_msgs: self.in_msgs.wrapping_add(other.in_msgs),
            out_msgs: self.out_msgs.wrapping_add(other.out_msgs),
        }
    }
}

impl Counters {
    /// What was counted since an earlier look.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            in_bytes: self.in_bytes.saturating_sub(earlier.in_bytes),
            out_bytes: self.out_bytes.saturating_sub(earlier.out_bytes),
            in_msgs: self.in_msgs.saturating_sub(earlier.in_msgs),
            out_msgs: self.out_msgs.saturating_sub(earlier.out_msgs),
        }
    }
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Wall clock of the change to CLOSE.
    pub stop: Timestamp,
    /// The same moment on `CLOCK_BOOTTIME`, in nanoseconds.
    pub stop_ns: u64,
    /// Why.
    pub cause: CloseCause,
    /// Segments retransmitted until then; `None` for MPTCP and where this kernel lacks the field.
    pub retrans: Option<u32>,
}

/// TCP's figures for a live connection besides the round trip time, as `TCP_INFO` has them; `None` also where this kernel
/// lacks a field.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TcpInfo {
    /// Deviation of the round trip time in µs.
    pub rttvar_us: Option<u32>,
    /// Least round trip time in µs; `None` without a sample.
    pub min_rtt_us: Option<u32>,
    /// Segments retransmitted over the connection's life.
    pub retrans: Option<u32>,
    /// Segments marked lost over the connection's life.
    pub lost: Option<u32>,
    /// Congestion window in segments.
    pub cwnd: Option<u32>,
    /// Slow start threshold in segments.
    pub ssthresh: Option<u32>,
    /// Maximum segment size in bytes.
    pub mss: Option<u32>,
    /// Delivery rate in bytes per second; `None` without a sample.
    pub delivery_rate: Option<u64>,
    /// Time limited by the peer's receive window, in ms.
    pub rwnd_limited_ms: Option<u64>,
    /// Time limited by the send buffer, in ms.
    pub sndbuf_limited_ms: Option<u64>,
    /// Segments received, modulo 2^32.
    pub segs_in: Option<u32>,
    /// Segments sent, modulo 2^32.
    pub segs_out: Option<u32>,
    /// Sequence numbers acknowledged (the SYN of an active open and a FIN count one each).
    pub bytes_acked: u64,
    /// Sequence numbers received (a FIN counts one).
    pub bytes_received: u64,
    /// Bytes retransmitted.
    pub bytes_retrans: u64,
    /// Congestion control algorithm.
    pub congestion: Option<String>,
}

/// `include/net/tcp_states.h`, with the names that `ss` and RFC 9293 use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TcpState {
    /// Open.
    Established,
    /// SYN sent.
    SynSent,
    /// SYN received.
    SynRecv,
    /// FIN sent, not acknowledged.
    FinWait1,
    /// FIN acknowledged, the peer's not received.
    FinWait2,
    /// Both FINs exchanged.
    TimeWait,
    /// Closed.
    Close,
    /// The peer's FIN received, the application has not closed.
    CloseWait,
    /// Both FINs sent, ours not acknowledged.
    LastAck,
    /// Both FINs sent at the same time.
    Closing,
}

impl TcpState {
    /// Every state.
    pub const ALL: [Self; 10] = [
        Self::Established,
        Self::SynSent,
        Self::SynRecv,
        Self::FinWait1,
        Self::FinWait2,
        Self::TimeWait,
        Self::Close,
        Self::CloseWait,
        Self::LastAck,
        Self::Closing,
    ];

    /// From the kernel's number; anything else counts as closed.
    #[must_use]
    pub fn from_kernel(state: u8) -> Self {
        match state {
            1 => Self::Established,
            2 => Self::SynSent,
            3 | 12 => Self::SynRecv,
            4 => Self::FinWait1,
            5 => Self::FinWait2,
            6 => Self::TimeWait,
            8 => Self::CloseWait,
            9 => Self::LastAck,
            11 => Self::Closing,
            _ => Self::Close,
        }
    }

    /// The name shown to people; a closed connection is `CLOSED`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Established => "ESTABLISHED",
            Self::SynSent => "SYN_SENT",
            Self::SynRecv => "SYN_RECV",
            Self::FinWait1 => "FIN_WAIT1",
            Self::FinWait2 => "FIN_WAIT2",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSED",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::Closing => "CLOSING",
        }
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CloseCause {
    /// No trace of a cause.
    Unknown,
    /// This end closed first.
    LocalFin,
    /// The peer closed first.
    PeerFin,
    /// This end sent a reset (unread data at close, SO_LINGER 0, never accepted).
    LocalReset,
    /// The peer sent a reset.
    PeerReset,
    /// Retransmissions or keepalives were not answered.
    Timeout,
    /// The SYN was answered with a reset.
    Refused,
    /// No route to the peer.
    Unreachable,
    /// A signal ended the owning process.
    Killed,
    /// Closed before the handshake ended.
    Cancelled,
    /// Destroyed from outside, as by `ss -K`.
    Aborted,
    /// Another socket error, by `errno`.
    Error(u16),
}

impl CloseCause {
    /// Every cause, with one error for all.
    pub const ALL: [Self; 12] = [
        Self::Unknown,
        Self::LocalFin,
        Self::PeerFin,
        Self::LocalReset,
        Self::PeerReset,
        Self::Timeout,
        Self::Refused,
        Self::Unreachable,
        Self::Killed,
        Self::Cancelled,
        Self::Aborted,
        Self::Error(0),
    ];

    /// The word in `close_cause`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::LocalFin => "local_fin",
            Self::PeerFin => "peer_fin",
            Self::LocalReset => "local_reset",
            Self::PeerReset => "peer_reset",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Killed => "killed",
            Self::Cancelled => "cancelled",
            Self::Aborted => "aborted",
            Self::Error(_) => "error",
        }
    }
}
