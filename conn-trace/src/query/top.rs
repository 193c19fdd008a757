//! The rows of one page in order, without sorting all the others.

use std::cmp::Ordering;

use super::{
    derived,
    reason::reason,
    sort::{Order, SortKey},
};
use crate::registry::{
    connection::{Connection, TcpInfo},
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
    let select = Select { rows, order, page };
    match key {
        SortKey::Cid => select.by(|row| Some(row.facts.cid)),
        SortKey::Start => select.by(|row| Some(row.facts.start)),
        SortKey::Uptime => select.by(|row| Some(derived::uptime_ns(row, now_ns))),
        SortKey::Idle => select.by(|row| Some(derived::idle_ns(row, now_ns))),
        SortKey::LastActivity => select.by(|row| Some(row.last_activity_ns)),
        SortKey::PendingBytes => select.by(|row| Some(row.pending_bytes)),
        SortKey::InMsgs => select.by(|row| Some(row.counters.in_msgs)),
        SortKey::OutMsgs => select.by(|row| Some(row.counters.out_msgs)),
        SortKey::InBytes => select.by(|row| Some(row.counters.in_bytes)),
        SortKey::OutBytes => select.by(|row| Some(row.counters.out_bytes)),
        SortKey::SegsIn => select.by_tcp(|tcp| tcp.segs_in),
        SortKey::SegsOut => select.by_tcp(|tcp| tcp.segs_out),
        SortKey::Rtt => select.by_tcp(|tcp| tcp.rtt_us),
        SortKey::Retrans => select.by_tcp(|tcp| tcp.retrans),
        SortKey::Stop => select.by(|row| row.end.as_ref().map(|end| end.stop_ns)),
        SortKey::Reason => select.by(|row| {
            row.end
                .as_ref()
                .map(|end| reason(end.cause, row.facts.direction))
        }),
        SortKey::Pid => select.by(|row| derived::process(&row.facts.owner).map(|owner| owner.pid)),
        SortKey::Comm => {
            select.by(|row| derived::process(&row.facts.owner).map(|owner| &*owner.comm))
        }
        SortKey::Ip => select.by(|row| Some(row.facts.peer.ip)),
        SortKey::Port => select.by(|row| Some(row.facts.peer.port)),
        SortKey::InBytesRate => select.by_rate(|rates| rates.in_bytes),
        SortKey::OutBytesRate => select.by_rate(|rates| rates.out_bytes),
        SortKey::InMsgsRate => select.by_rate(|rates| rates.in_msgs),
        SortKey::OutMsgsRate => select.by_rate(|rates| rates.out_msgs),
        SortKey::Constant => select.by(|_| Some(())),
    }
}

/// What is asked for, whatever the rows are compared by.
#[derive(Clone, Copy)]
struct Select<'a> {
    rows: &'a [Connection],
    order: Order,
    page: (u64, u64),
}

impl<'a> Select<'a> {
    fn by_tcp<K: Ord>(self, key: impl Fn(&TcpInfo) -> Option<K>) -> Vec<usize> {
        self.by(|row| row.tcp.as_ref().and_then(&key))
    }

    fn by_rate(self, key: impl Fn(&Rates) -> PerSecond) -> Vec<usize> {
        self.by(|row| row.rates.as_ref().map(&key))
    }

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
        let compare = |a: &Ranked<K>, b: &Ranked<K>| compare(order, a, b);
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
fn compare<K: Ord>(order: Order, a: &Ranked<K>, b: &Ranked<K>) -> Ordering {
    let by_value = match (&a.0, &b.0) {
        (Some(a), Some(b)) => order.apply(a.cmp(b)),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    };
    by_value.then_with(|| (a.1, a.2).cmp(&(b.1, b.2)))
}
