//! The rows of one page in order, without sorting all the others.

use std::cmp::Ordering;

use super::{
    derived,
    reason::reason,
    sort::{Order, SortKey},
};
use crate::registry::{
    connection::{Connection, Facts, TcpInfo},
    rates::{PerSecond, Rates},
};

/// One row: its value, its number, its place among the rows.
type Ranked<K> = (Option<K>, u64, usize);

/// The places, within `rows`, of the rows that a page shows, in order. The cost is linear in
/// `rows` plus a sort of the page itself.
pub(super) fn top(
    rows: &[Connection],
    key: SortKey,
    order: Order,
    now_ns: u64,
    page: (u64, u64),
) -> Vec<usize> {
    by_key(key, now_ns, Select { rows, order, page })
}

/// Which of two rows comes first.
pub(super) fn compare(
    a: &Connection,
    b: &Connection,
    key: SortKey,
    order: Order,
    now_ns: u64,
) -> Ordering {
    by_key(key, now_ns, Compare { a, b, order })
}

/// The same of two open connections, where facts alone decide.
pub(super) fn compare_facts(
    a: &Facts,
    b: &Facts,
    key: SortKey,
    order: Order,
    now_ns: u64,
) -> Option<Ordering> {
    let uptime_ns = |facts: &Facts| now_ns.saturating_sub(facts.start_ns);
    let value = match key {
        SortKey::Cid => order.apply(a.cid.cmp(&b.cid)),
        SortKey::Start => order.apply(a.start.cmp(&b.start)),
        SortKey::Uptime => order.apply(uptime_ns(a).cmp(&uptime_ns(b))),
        SortKey::Ip => order.apply(a.peer.ip.cmp(&b.peer.ip)),
        SortKey::Port => order.apply(a.peer.port.cmp(&b.peer.port)),
        SortKey::Pid => {
            let pid = |facts: &Facts| derived::process(&facts.owner).map(|owner| owner.pid);
            by_value(order, &pid(a), &pid(b))
        }
        SortKey::Comm => {
            let [a, b] =
                [a, b].map(|facts| derived::process(&facts.owner).map(|owner| &owner.comm));
            by_value(order, &a, &b)
        }
        SortKey::Constant => Ordering::Equal,
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
    };
    Some(value.then_with(|| a.cid.cmp(&b.cid)))
}

/// Something to be done with the value that rows are sorted by, of whatever type it is.
trait ByValue<'a>: Sized {
    type Result;

    fn by<K: Ord>(self, value: impl Fn(&'a Connection) -> Option<K>) -> Self::Result;

    fn by_tcp<K: Ord>(self, value: impl Fn(&TcpInfo) -> Option<K>) -> Self::Result {
        self.by(|row| row.tcp.as_ref().and_then(&value))
    }

    fn by_rate(self, value: impl Fn(&Rates) -> PerSecond) -> Self::Result {
        self.by(|row| row.rates.as_ref().map(&value))
    }
}

fn by_key<'a, B: ByValue<'a>>(key: SortKey, now_ns: u64, rows: B) -> B::Result {
    match key {
        SortKey::Cid => rows.by(|row| Some(row.facts.cid)),
        SortKey::Start => rows.by(|row| Some(row.facts.start)),
        SortKey::Uptime => rows.by(|row| Some(derived::uptime_ns(row, now_ns))),
        SortKey::Idle => rows.by(|row| Some(derived::idle_ns(row, now_ns))),
        SortKey::LastActivity => rows.by(|row| Some(row.last_activity_ns)),
        SortKey::PendingBytes => rows.by(|row| Some(row.pending_bytes)),
        SortKey::InMsgs => rows.by(|row| Some(row.counters.in_msgs)),
        SortKey::OutMsgs => rows.by(|row| Some(row.counters.out_msgs)),
        SortKey::InBytes => rows.by(|row| Some(row.counters.in_bytes)),
        SortKey::OutBytes => rows.by(|row| Some(row.counters.out_bytes)),
        SortKey::SegsIn => rows.by_tcp(|tcp| tcp.segs_in),
        SortKey::SegsOut => rows.by_tcp(|tcp| tcp.segs_out),
        SortKey::Rtt => rows.by_tcp(|tcp| tcp.rtt_us),
        SortKey::Retrans => rows.by(derived::retrans),
        SortKey::Stop => rows.by(|row| row.end.as_ref().map(|end| end.stop_ns)),
        SortKey::Reason => rows.by(|row| {
            row.end
                .as_ref()
                .map(|end| reason(end.cause, row.facts.direction))
        }),
        SortKey::Pid => rows.by(|row| derived::process(&row.facts.owner).map(|owner| owner.pid)),
        SortKey::Comm => {
            rows.by(|row| derived::process(&row.facts.owner).map(|owner| &*owner.comm))
        }
        SortKey::Ip => rows.by(|row| Some(row.facts.peer.ip)),
        SortKey::Port => rows.by(|row| Some(row.facts.peer.port)),
        SortKey::InBytesRate => rows.by_rate(|rates| rates.in_bytes),
        SortKey::OutBytesRate => rows.by_rate(|rates| rates.out_bytes),
        SortKey::InMsgsRate => rows.by_rate(|rates| rates.in_msgs),
        SortKey::OutMsgsRate => rows.by_rate(|rates| rates.out_msgs),
        SortKey::Constant => rows.by(|_| Some(())),
    }
}

/// Two rows, whatever they are compared by.
struct Compare<'a> {
    a: &'a Connection,
    b: &'a Connection,
    order: Order,
}

impl<'a> ByValue<'a> for Compare<'a> {
    type Result = Ordering;

    fn by<K: Ord>(self, value: impl Fn(&'a Connection) -> Option<K>) -> Ordering {
        let Self { a, b, order } = self;
        by_value(order, &value(a), &value(b)).then_with(|| a.facts.cid.cmp(&b.facts.cid))
    }
}

/// What is asked for, whatever the rows are compared by.
struct Select<'a> {
    rows: &'a [Connection],
    order: Order,
    page: (u64, u64),
}

impl<'a> ByValue<'a> for Select<'a> {
    type Result = Vec<usize>;

    fn by<K: Ord>(self, key: impl Fn(&'a Connection) -> Option<K>) -> Vec<usize> {
        let Self {
            rows,
            order,
            page: (offset, limit),
        } = self;
        let len = rows.len();
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(len);
        let end = usize::try_from(limit).map_or(len, |limit| start.saturating_add(limit).min(len));
        if start == end {
            return Vec::new();
        }
        let mut ranked: Vec<Ranked<K>> = rows
            .iter()
            .enumerate()
            .map(|(place, row)| (key(row), row.facts.cid, place))
            .collect();
        let compare = |a: &Ranked<K>, b: &Ranked<K>| ranking(order, a, b);
        if end < len {
            ranked.select_nth_unstable_by(end, compare);
            ranked.truncate(end);
        }
        if start > 0 {
            ranked.select_nth_unstable_by(start, compare);
            ranked.drain(..start);
        }
        ranked.sort_unstable_by(compare);
        ranked.into_iter().map(|(_, _, place)| place).collect()
    }
}

/// By value in the direction asked for, those without one last; then by number.
fn ranking<K: Ord>(order: Order, a: &Ranked<K>, b: &Ranked<K>) -> Ordering {
    by_value(order, &a.0, &b.0).then_with(|| (a.1, a.2).cmp(&(b.1, b.2)))
}

fn by_value<K: Ord>(order: Order, a: &Option<K>, b: &Option<K>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => order.apply(a.cmp(b)),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}
