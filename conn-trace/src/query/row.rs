//! One connection as `/connz` writes it.

use std::{
    fmt::{self, Display, Formatter, Write as _},
    net::IpAddr,
};

use arrayvec::ArrayString;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Serialize, Serializer, ser::Error as _};
use serde_json::{Value, json};

use super::{
    derived,
    duration::{GoDuration, Seconds},
    reason::{reason, reasons},
    schema::LARGEST_CID,
    tcp::Tcp,
};
use crate::protocol::{Peer, Protocol, Text};
use crate::registry::{
    connection::{CloseCause, Connection, Direction, Endpoint, Origin, Owner, TcpState, Transport},
    flags::{Flag, Flags},
    rates::PerSecond,
};

/// A connection. Nothing is ever null, integers end at 2^63-1, and what is not known is left out:
/// clients of NATS assert the types.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Row<'a> {
    /// Number of the connection, in order of first sight; below 2^53, and never used again while
    /// the agent runs.
    #[schemars(extend("maximum" = LARGEST_CID))]
    pub cid: Integer,
    /// Unix user that owns the socket: the name, else the number.
    pub uid: &'a str,
    /// Process id of the owner, in the initial pid namespace. Left out when it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Name of the owning process. Left out when it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comm: Option<&'a str>,
    /// How the owner is known.
    #[schemars(extend("enum" = OWNERS))]
    pub owner: &'static str,
    /// `Client` was accepted here, `Outbound` was connected from here.
    #[schemars(extend("enum" = Direction::ALL.map(kind)))]
    pub kind: &'static str,
    /// Family of the socket, or MPTCP.
    #[serde(rename = "type")]
    #[schemars(extend("enum" = Transport::ALL.map(transport)))]
    pub transport: &'static str,
    /// `in` was accepted here, `out` was connected from here.
    #[schemars(extend("enum" = Direction::ALL.map(derived::direction_name)))]
    pub direction: &'static str,
    /// Address of the peer. IPv4-mapped addresses are shown as IPv4.
    pub ip: Address<'a>,
    /// Port of the peer.
    pub port: u16,
    /// Address of this end.
    pub local_ip: Address<'a>,
    /// Port of this end.
    pub local_port: u16,
    /// State of TCP; `CLOSED` once it ended.
    #[schemars(extend("enum" = TcpState::ALL.map(TcpState::name)))]
    pub state: &'static str,
    /// End of the handshake; before it, the SYN.
    pub start: Timestamp,
    /// The connection is older than the agent, and not younger than `start`. Else left out.
    #[serde(skip_serializing_if = "is_false")]
    #[schemars(extend("const" = true))]
    pub start_estimated: bool,
    /// Last send or receive call that moved data; without one, the last data on the wire.
    pub last_activity: Timestamp,
    /// When it ended. Left out while it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<Timestamp>,
    /// Why it ended, in NATS's words where they fit. Left out while it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = reasons()))]
    pub reason: Option<&'static str>,
    /// Why it ended, as one word. Left out while it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = CloseCause::ALL.map(CloseCause::name)))]
    pub close_cause: Option<&'static str>,
    /// Age in whole seconds; of a closed connection, how long it lived.
    pub uptime: Seconds,
    /// Time since the last activity in whole seconds; of a closed connection, before its end.
    pub idle: Seconds,
    /// Smoothed round trip time. Left out before the first sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt: Option<GoDuration>,
    /// Bytes that the program has written and the peer has not acknowledged.
    pub pending_bytes: Integer,
    /// Bytes that arrived and that the program has not read. Left out when they are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recv_queue_bytes: Option<Integer>,
    /// Receive calls that moved data, since `counted_since` where that is given.
    pub in_msgs: Integer,
    /// Send calls that moved data, likewise.
    pub out_msgs: Integer,
    /// Bytes that the program has read over the connection's whole life.
    pub in_bytes: Integer,
    /// Bytes that the program has written over the connection's whole life.
    pub out_bytes: Integer,
    /// Bytes read per second. This and the next three: left out unless asked for and known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_bytes_rate: Option<PerSecond>,
    /// Bytes written per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out_bytes_rate: Option<PerSecond>,
    /// Receive calls that moved data, per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_msgs_rate: Option<PerSecond>,
    /// Send calls that moved data, per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out_msgs_rate: Option<PerSecond>,
    /// The connection is older than the agent. Else left out.
    #[serde(skip_serializing_if = "is_false")]
    #[schemars(extend("const" = true))]
    pub preexisting: bool,
    /// From when on messages count. Left out where that is the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counted_since: Option<Timestamp>,
    /// 0: not known to the kernel, as the next two.
    pub subscriptions: u32,
    /// 0.
    pub device_flag: u32,
    /// 0.
    pub device_level: u32,
    /// What it speaks, from the first bytes that were read. This and the next four are known only where
    /// the service wants to know (`identify`), and of connections that opened since. Else left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = Protocol::ALL.map(Protocol::name)))]
    pub protocol: Option<&'static str>,
    /// Version of that, as the peer says: with TLS the highest that a client offers, or the one that a
    /// server has chosen; with NATS that of the peer's program. Empty where it is not known.
    pub version: &'a str,
    /// What a peer that speaks NATS calls itself. Else left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    /// Language of a NATS client. Else left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lang: Option<&'a str>,
    /// What else the peer has said of itself and of what it wants. Left out where that is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<&'a Peer>,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Path of the owner's cgroup in the hierarchy of version 2. Left out when it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<&'a str>,
    /// Container that the cgroup's path names. Left out where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<&'a str>,
    /// The configured service that it belongs to. Left out where it belongs to none, or not yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<&'a str>,
    /// What policies of that service have found. Left out where there is nothing.
    #[serde(skip_serializing_if = "has_none", serialize_with = "flags")]
    #[schemars(with = "Vec<String>", extend("items" = flag_schema(), "minItems" = 1))]
    pub flags: Flags,
    /// TCP's own figures. Left out unless asked for by `tcp=1`, and where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<Tcp<'a>>,
}

impl<'a> Row<'a> {
    /// The row of a connection in the snapshot of that moment; TCP's own figures if `tcp`.
    #[must_use]
    pub fn new(connection: &'a Connection, now: Timestamp, now_ns: u64, tcp: bool) -> Self {
        let Connection {
            facts,
            state,
            counters,
            pending_bytes,
            recv_queue_bytes,
            rtt_us,
            rates,
            ..
        } = connection;
        let process = facts.owner.process();
        let end = connection.end.as_ref();
        let rates = rates.as_deref();
        let info = connection.tcp.as_deref();
        let identity = facts.identity.as_deref();
        Self {
            cid: Integer(facts.cid),
            uid: &facts.user,
            pid: process.map(|process| process.pid),
            comm: process.map(|process| &*process.comm),
            owner: owner(&facts.owner),
            kind: kind(facts.direction),
            transport: transport(facts.transport),
            direction: derived::direction_name(facts.direction),
            ip: Address(&facts.peer),
            port: facts.peer.port,
            local_ip: Address(&facts.local),
            local_port: facts.local.port,
            state: state.name(),
            start: facts.start,
            start_estimated: facts.origin != Origin::Opened,
            last_activity: derived::last_activity(connection, now, now_ns),
            stop: end.map(|end| end.stop),
            reason: end.map(|end| reason(end.cause, facts.direction)),
            close_cause: end.map(|end| end.cause.name()),
            uptime: Seconds::from_nanos(derived::uptime_ns(connection, now_ns)),
            idle: Seconds::from_nanos(derived::idle_ns(connection, now_ns)),
            rtt: rtt_us.map(GoDuration::from_micros),
            pending_bytes: Integer(*pending_bytes),
            recv_queue_bytes: recv_queue_bytes.map(|bytes| Integer(bytes.into())),
            in_msgs: Integer(counters.in_msgs),
            out_msgs: Integer(counters.out_msgs),
            in_bytes: Integer(counters.in_bytes),
            out_bytes: Integer(counters.out_bytes),
            in_bytes_rate: rates.map(|rates| rates.in_bytes),
            out_bytes_rate: rates.map(|rates| rates.out_bytes),
            in_msgs_rate: rates.map(|rates| rates.in_msgs),
            out_msgs_rate: rates.map(|rates| rates.out_msgs),
            preexisting: facts.origin == Origin::Preexisting,
            counted_since: facts.counted_since,
            subscriptions: 0,
            device_flag: 0,
            device_level: 0,
            protocol: identity.map(|identity| identity.protocol.name()),
            version: text(identity.and_then(|identity| identity.version.as_ref()))
                .unwrap_or_default(),
            name: text(identity.and_then(|identity| identity.name.as_ref())),
            lang: text(identity.and_then(|identity| identity.lang.as_ref())),
            peer: identity
                .map(|identity| &identity.peer)
                .filter(|peer| !peer.is_empty()),
            netns: facts.netns,
            cgroup: facts.cgroup.as_deref(),
            container: facts.container.as_deref(),
            service: facts.service.as_deref(),
            flags: facts.flags,
            tcp: info
                .filter(|_| tcp)
                .map(|info| Tcp::new(info, *state, *rtt_us)),
        }
    }
}

fn text(text: Option<&Text>) -> Option<&str> {
    text.map(Text::as_str)
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes the field by reference"
)]
fn flags<S: Serializer>(flags: &Flags, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(flags.iter().map(Flag::name))
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes the field by reference"
)]
fn has_none(flags: &Flags) -> bool {
    flags.is_empty()
}

fn flag_schema() -> Value {
    json!({"type": "string", "enum": Flag::ALL.map(Flag::name)})
}

/// A count, cut off at 2^63-1: clients hold it in a signed integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Integer(pub u64);

impl Serialize for Integer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0.min(i64::MAX.unsigned_abs()))
    }
}

/// The address of an endpoint, with the interface index where it is part of it: `fe80::1%2`.
#[derive(Clone, Copy, Debug)]
pub struct Address<'a>(pub &'a Endpoint);

/// The longest: an IPv6 address of 39 bytes, `%`, and 10 digits.
type AddressText = ArrayString<50>;

impl Address<'_> {
    fn text(&self) -> Result<AddressText, fmt::Error> {
        let Endpoint { ip, scope, .. } = self.0;
        let mut text = AddressText::new();
        match (ip, scope) {
            (IpAddr::V6(ip), scope @ 1..) => write!(text, "{ip}%{scope}")?,
            (IpAddr::V6(ip), 0) => write!(text, "{ip}")?,
            // A page has two for each row: `write!` would take ten times as long.
            (IpAddr::V4(ip), _) => {
                for (place, octet) in ip.octets().into_iter().enumerate() {
                    if place > 0 {
                        text.push('.');
                    }
                    text.push_str(itoa::Buffer::new().format(octet));
                }
            }
        }
        Ok(text)
    }
}

impl Display for Address<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text()?)
    }
}

/// An endpoint as `192.0.2.1:80` or `[2001:db8::1]:80`.
#[derive(Clone, Copy, Debug)]
pub struct SocketName<'a>(pub &'a Endpoint);

impl Display for SocketName<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let address = Address(self.0);
        match self.0.ip {
            IpAddr::V4(_) => write!(f, "{address}:{}", self.0.port),
            IpAddr::V6(_) => write!(f, "[{address}]:{}", self.0.port),
        }
    }
}

impl Serialize for Address<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text().map_err(S::Error::custom)?)
    }
}

/// Those of [`owner`].
const OWNERS: [&str; 4] = ["unknown", "exact", "scan", "kernel"];

fn owner(owner: &Owner) -> &'static str {
    match owner {
        Owner::Unknown => "unknown",
        Owner::Exact(_) => "exact",
        Owner::Scan(_) => "scan",
        Owner::Kernel(_) => "kernel",
    }
}

/// NATS's word for a connection that was accepted, and ours for the others.
fn kind(direction: Direction) -> &'static str {
    match direction {
        Direction::In => "Client",
        Direction::Out => "Outbound",
        Direction::Unknown => "Unknown",
    }
}

fn transport(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "tcp",
        Transport::Tcp6 => "tcp6",
        Transport::Mptcp => "mptcp",
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes the field by reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}
