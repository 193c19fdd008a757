//! The rows of one page in order, without sorting all the others.

use std::{cmp::Ordering, net::IpAddr, sync::Arc};

use jiff::Timestamp;

use super::{
    derived,
    reason::reason,
    sort::{Order, SortKey},
};
use crate::registry::{
    connection::{Connection, Facts, TcpInfo},
    rates::{PerSecond, Rates},
};

/// What a row is sorted by. All rows of a page have the same kind of value, or none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value {
    Number(u64),
    Time(Timestamp),
    Address(IpAddr),
    Name(Arc<str>),
    Word(&'static str),
    Rate(PerSecond),
}

/// A row without the row: a page of 20 far from the start compares many that it does not show.
#[derive(Clone, Debug)]
pub(super) struct Ranked {
    pub(super) value: Option<Value>,
    pub(super) cid: u64,
    /// Where the row is kept.
    pub(super) place: usize,
}

impl Ranked {
    /// By value in the direction asked for, those without one last; then by number.
    pub(super) fn compare(&self, other: &Self, order: Order) -> Ordering {
        let by_value = match (&self.value, &other.value) {
            (Some(a), Some(b)) => order.apply(a.cmp(b)),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        };
        by_value.then_with(|| (self.cid, self.place).cmp(&(other.cid, other.place)))
    }
}

/// Of all rows, leaves those from `start` to before `end`, in order. The cost is linear in the
/// number of rows, plus a sort of those that are left.
pub(super) fn select(ranked: &mut Vec<Ranked>, order: Order, start: usize, end: usize) {
    let compare = |a: &Ranked, b: &Ranked| a.compare(b, order);
    let start = start.min(end);
    if end < ranked.len() {
        ranked.select_nth_unstable_by(end, compare);
        ranked.truncate(end);
    }
    if start >= ranked.len() {
        ranked.clear();
    } else if start > 0 {
        ranked.select_nth_unstable_by(start, compare);
        ranked.drain(..start);
    }
    ranked.sort_unstable_by(compare);
}

/// The value of a row.
pub(super) fn value(row: &Connection, key: SortKey, now_ns: u64) -> Option<Value> {
    let number = |number| Some(Value::Number(number));
    let tcp = |figure: fn(&TcpInfo) -> Option<u32>| {
        let figure = row.tcp.as_deref().and_then(figure);
        figure.map(|figure| Value::Number(figure.into()))
    };
    let rate = |rate: fn(&Rates) -> PerSecond| row.rates.as_deref().map(rate).map(Value::Rate);
    match key {
        SortKey::Uptime => number(derived::uptime_ns(row, now_ns)),
        SortKey::Idle => number(derived::idle_ns(row, now_ns)),
        SortKey::LastActivity => number(row.last_activity_ns),
        SortKey::PendingBytes => number(row.pending_bytes),
        SortKey::InMsgs => number(row.counters.in_msgs),
        SortKey::OutMsgs => number(row.counters.out_msgs),
        SortKey::InBytes => number(row.counters.in_bytes),
        SortKey::OutBytes => number(row.counters.out_bytes),
        SortKey::SegsIn => tcp(|tcp| tcp.segs_in),
        SortKey::SegsOut => tcp(|tcp| tcp.segs_out),
        SortKey::Rtt => row.rtt_us.map(|rtt| Value::Number(rtt.into())),
        SortKey::Retrans => derived::retrans(row).map(|retrans| Value::Number(retrans.into())),
        SortKey::Stop => row.end.as_ref().map(|end| Value::Number(end.stop_ns)),
        SortKey::Reason => {
            let end = row.end.as_ref();
            end.map(|end| Value::Word(reason(end.cause, row.facts.direction)))
        }
        SortKey::InBytesRate => rate(|rates| rates.in_bytes),
        SortKey::OutBytesRate => rate(|rates| rates.out_bytes),
        SortKey::InMsgsRate => rate(|rates| rates.in_msgs),
        SortKey::OutMsgsRate => rate(|rates| rates.out_msgs),
        SortKey::Cid
        | SortKey::Start
        | SortKey::Pid
        | SortKey::Comm
        | SortKey::Ip
        | SortKey::Port
        | SortKey::Constant => value_of_facts(&row.facts, key, now_ns)?,
    }
}

/// The value of an open connection, which may be none; `None` where facts alone do not decide.
pub(super) fn value_of_facts(facts: &Facts, key: SortKey, now_ns: u64) -> Option<Option<Value>> {
    let process = || facts.owner.process();
    Some(match key {
        SortKey::Cid => Some(Value::Number(facts.cid)),
        SortKey::Start => Some(Value::Time(facts.start)),
        SortKey::Uptime => Some(Value::Number(now_ns.saturating_sub(facts.start_ns))),
        SortKey::Ip => Some(Value::Address(facts.peer.ip)),
        SortKey::Port => Some(Value::Number(facts.peer.port.into())),
        SortKey::Pid => process().map(|owner| Value::Number(owner.pid.into())),
        SortKey::Comm => process().map(|owner| Value::Name(Arc::clone(&owner.comm))),
        SortKey::Constant => None,
        SortKey::Idle
        | SortKey::LastActivity
        | SortKey::PendingBytes
        | SortKey::InMsgs
        | SortKey::OutMsgs
        | SortKey::InBytes
        | SortKey::OutBytes
        | SortKey::SegsIn
        | SortKey::SegsOut
        | SortKey::Rtt
        | SortKey::Retrans
        | SortKey::InBytesRate
        | SortKey::OutBytesRate
        | SortKey::InMsgsRate
        | SortKey::OutMsgsRate
        | SortKey::Stop
        | SortKey::Reason => return None,
    })
}
