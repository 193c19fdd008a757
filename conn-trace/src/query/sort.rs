//! `sort` and `order`.

use std::cmp::Ordering;

use self::Order::{Ascending, Descending};

/// What rows are sorted by. Rows of equal value follow by `cid`; rows without a value come last
/// in either direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortKey {
    /// The connection's number.
    Cid,
    /// Wall clock of the start.
    Start,
    /// Age, or length of life.
    Uptime,
    /// Time since the last activity.
    Idle,
    /// Moment of the last activity.
    LastActivity,
    /// Written and not acknowledged.
    PendingBytes,
    /// Receive calls.
    InMsgs,
    /// Send calls.
    OutMsgs,
    /// Bytes read.
    InBytes,
    /// Bytes written.
    OutBytes,
    /// Segments received.
    SegsIn,
    /// Segments sent.
    SegsOut,
    /// Round trip time.
    Rtt,
    /// Segments retransmitted.
    Retrans,
    /// Moment of the end.
    Stop,
    /// Why it ended.
    Reason,
    /// Process id of the owner.
    Pid,
    /// Name of the owner.
    Comm,
    /// Address of the peer.
    Ip,
    /// Port of the peer.
    Port,
    /// Bytes read per second.
    InBytesRate,
    /// Bytes written per second.
    OutBytesRate,
    /// Receive calls per second.
    InMsgsRate,
    /// Send calls per second.
    OutMsgsRate,
    /// What the kernel does not know and every row has as 0: subscriptions, protocol versions.
    Constant,
}

impl SortKey {
    /// Whether only rows with rates have a value.
    pub(super) fn is_rate(self) -> bool {
        matches!(
            self,
            Self::InBytesRate | Self::OutBytesRate | Self::InMsgsRate | Self::OutMsgsRate
        )
    }

    /// Whether it is one of TCP's figures that rows do not have by themselves.
    pub(super) fn is_of_tcp(self) -> bool {
        matches!(self, Self::SegsIn | Self::SegsOut | Self::Retrans)
    }

    /// The key's name if only closed connections have it.
    pub(super) fn needs_closed(self) -> Option<&'static str> {
        match self {
            Self::Stop => Some("stop"),
            Self::Reason => Some("reason"),
            _ => None,
        }
    }
}

/// Direction of a sort by value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Small values first.
    Ascending,
    /// Large values first.
    Descending,
}

impl Order {
    /// Both directions.
    pub(super) const ALL: [Self; 2] = [Self::Ascending, Self::Descending];

    /// Its name as `order` has it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ascending => "asc",
            Self::Descending => "desc",
        }
    }

    /// From `asc` or `desc`, in either case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|order| text.eq_ignore_ascii_case(order.name()))
    }

    /// Turns an ascending comparison into this direction.
    #[must_use]
    pub fn apply(self, ascending: Ordering) -> Ordering {
        match self {
            Self::Ascending => ascending,
            Self::Descending => ascending.reverse(),
        }
    }
}

/// A sort key with the direction that the vocabulary it comes from gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    /// What is compared.
    pub key: SortKey,
    /// The direction, unless `order` says otherwise.
    pub order: Order,
}

impl Default for Sort {
    fn default() -> Self {
        Self {
            key: SortKey::Cid,
            order: Ascending,
        }
    }
}

impl Sort {
    /// From a name of NATS's, WuKongIM's or the agent's vocabulary, exactly as written there.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        NAMES
            .iter()
            .find(|(name, ..)| *name == text)
            .map(|&(_, key, order)| Self { key, order })
    }

    /// Every name that [`parse`](Self::parse) takes.
    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(name, ..)| *name)
    }
}

/// Every name of `sort`. In NATS's names `to` and `from` are meant from the server: `msgs_to` is
/// `out_msgs`. NATS shows the youngest first for `uptime`, WuKongIM the oldest; NATS's
/// meaning is kept, and `uptimeDesc` is WuKongIM's plain one. For `idle` both show the idlest
/// first, so `idleDesc`, its opposite in WuKongIM, is the least idle first.
const NAMES: [(&str, SortKey, Order); 47] = [
    // NATS
    ("cid", SortKey::Cid, Ascending),
    ("start", SortKey::Start, Ascending),
    ("subs", SortKey::Constant, Descending),
    ("pending", SortKey::PendingBytes, Descending),
    ("msgs_to", SortKey::OutMsgs, Descending),
    ("msgs_from", SortKey::InMsgs, Descending),
    ("bytes_to", SortKey::OutBytes, Descending),
    ("bytes_from", SortKey::InBytes, Descending),
    ("last", SortKey::LastActivity, Descending),
    ("idle", SortKey::Idle, Descending),
    ("uptime", SortKey::Uptime, Ascending),
    ("rtt", SortKey::Rtt, Descending),
    ("stop", SortKey::Stop, Descending),
    ("reason", SortKey::Reason, Ascending),
    // WuKongIM
    ("id", SortKey::Cid, Ascending),
    ("idDesc", SortKey::Cid, Descending),
    ("inMsg", SortKey::InMsgs, Ascending),
    ("inMsgDesc", SortKey::InMsgs, Descending),
    ("outMsg", SortKey::OutMsgs, Ascending),
    ("outMsgDesc", SortKey::OutMsgs, Descending),
    ("inMsgBytes", SortKey::InBytes, Ascending),
    ("inMsgBytesDesc", SortKey::InBytes, Descending),
    ("outMsgBytes", SortKey::OutBytes, Ascending),
    ("outMsgBytesDesc", SortKey::OutBytes, Descending),
    ("inPacket", SortKey::SegsIn, Ascending),
    ("inPacketDesc", SortKey::SegsIn, Descending),
    ("outPacket", SortKey::SegsOut, Ascending),
    ("outPacketDesc", SortKey::SegsOut, Descending),
    ("inPacketBytes", SortKey::InBytes, Ascending),
    ("inPacketBytesDesc", SortKey::InBytes, Descending),
    ("outPacketBytes", SortKey::OutBytes, Ascending),
    ("outPacketBytesDesc", SortKey::OutBytes, Descending),
    ("uptimeDesc", SortKey::Uptime, Descending),
    ("idleDesc", SortKey::Idle, Ascending),
    ("protoVersion", SortKey::Constant, Ascending),
    ("protoVersionDesc", SortKey::Constant, Descending),
    ("pendingBytes", SortKey::PendingBytes, Ascending),
    ("pendingBytesDesc", SortKey::PendingBytes, Descending),
    // conn-trace
    ("pid", SortKey::Pid, Ascending),
    ("comm", SortKey::Comm, Ascending),
    ("ip", SortKey::Ip, Ascending),
    ("port", SortKey::Port, Ascending),
    ("retrans", SortKey::Retrans, Descending),
    ("in_bytes_rate", SortKey::InBytesRate, Descending),
    ("out_bytes_rate", SortKey::OutBytesRate, Descending),
    ("in_msgs_rate", SortKey::InMsgsRate, Descending),
    ("out_msgs_rate", SortKey::OutMsgsRate, Descending),
];
