//! One connection as `/connz` writes it.

use std::{
    fmt::{self, Display, Formatter},
    net::IpAddr,
};

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::{
    derived,
    duration::{GoDuration, Seconds},
    reason::reason,
    tcp::Tcp,
};
use crate::registry::{
    connection::{Connection, Direction, Endpoint, Origin, Owner, Transport},
    rates::PerSecond,
};

/// A row. Clients of NATS assert the types: nothing is ever null, integers end at 2^63-1, and
/// what is not known is left out.
#[derive(Clone, Debug, Serialize)]
#[expect(
    missing_docs,
    reason = "the names are those of the contract, which describes them"
)]
pub struct Row<'a> {
    pub cid: Integer,
    pub uid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comm: Option<&'a str>,
    pub owner: &'static str,
    pub kind: &'static str,
    #[serde(rename = "type")]
    pub transport: &'static str,
    pub direction: &'static str,
    pub ip: Address<'a>,
    pub port: u16,
    pub local_ip: Address<'a>,
    pub local_port: u16,
    pub state: &'static str,
    pub start: Timestamp,
    #[serde(skip_serializing_if = "is_false")]
    pub start_estimated: bool,
    pub last_activity: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close_cause: Option<&'static str>,
    pub uptime: Seconds,
    pub idle: Seconds,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt: Option<GoDuration>,
    pub pending_bytes: Integer,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recv_queue_bytes: Option<Integer>,
    pub in_msgs: Integer,
    pub out_msgs: Integer,
    pub in_bytes: Integer,
    pub out_bytes: Integer,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_bytes_rate: Option<PerSecond>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out_bytes_rate: Option<PerSecond>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_msgs_rate: Option<PerSecond>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out_msgs_rate: Option<PerSecond>,
    #[serde(skip_serializing_if = "is_false")]
    pub preexisting: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counted_since: Option<Timestamp>,
    pub subscriptions: u32,
    pub device_flag: u32,
    pub device_level: u32,
    pub version: &'static str,
    pub netns: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<&'a str>,
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
            rates,
            ..
        } = connection;
        let process = derived::process(&facts.owner);
        let end = connection.end.as_ref();
        let info = connection.tcp.as_ref();
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
            rtt: info
                .and_then(|info| info.rtt_us)
                .map(GoDuration::from_micros),
            pending_bytes: Integer(*pending_bytes),
            recv_queue_bytes: recv_queue_bytes.map(Integer),
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
            version: "",
            netns: facts.netns,
            cgroup: facts.cgroup.as_deref(),
            container: facts.container.as_deref(),
            tcp: info.filter(|_| tcp).map(|info| Tcp::new(info, *state)),
        }
    }
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

impl Display for Address<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Endpoint { ip, scope, .. } = self.0;
        match (ip, scope) {
            (IpAddr::V6(ip), scope @ 1..) => write!(f, "{ip}%{scope}"),
            _ => write!(f, "{ip}"),
        }
    }
}

impl Serialize for Address<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

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
