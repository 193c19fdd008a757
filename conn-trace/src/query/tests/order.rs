//! Sort and paging against a full stable sort.

use proptest::prelude::*;

use super::fixture::{self, NOW_NS};
use crate::{
    query::{Dialect, Page, Query, reason},
    registry::{
        connection::{Connection, Owner, Process},
        snapshot::Snapshot,
    },
};

/// Every sort key with whether it is ascending, and what its value is here.
pub(super) const KEYS: [(&str, bool, &str); 47] = [
    ("cid", true, "cid"),
    ("start", true, "start"),
    ("subs", false, "none"),
    ("pending", false, "pending"),
    ("msgs_to", false, "out_msgs"),
    ("msgs_from", false, "in_msgs"),
    ("bytes_to", false, "out_bytes"),
    ("bytes_from", false, "in_bytes"),
    ("last", false, "last"),
    ("idle", false, "idle"),
    ("uptime", true, "uptime"),
    ("rtt", false, "rtt"),
    ("stop", false, "stop"),
    ("reason", true, "reason"),
    ("id", true, "cid"),
    ("idDesc", false, "cid"),
    ("inMsg", true, "in_msgs"),
    ("inMsgDesc", false, "in_msgs"),
    ("outMsg", true, "out_msgs"),
    ("outMsgDesc", false, "out_msgs"),
    ("inMsgBytes", true, "in_bytes"),
    ("inMsgBytesDesc", false, "in_bytes"),
    ("outMsgBytes", true, "out_bytes"),
    ("outMsgBytesDesc", false, "out_bytes"),
    ("inPacket", true, "segs_in"),
    ("inPacketDesc", false, "segs_in"),
    ("outPacket", true, "segs_out"),
    ("outPacketDesc", false, "segs_out"),
    ("inPacketBytes", true, "in_bytes"),
    ("inPacketBytesDesc", false, "in_bytes"),
    ("outPacketBytes", true, "out_bytes"),
    ("outPacketBytesDesc", false, "out_bytes"),
    ("uptimeDesc", false, "uptime"),
    ("idleDesc", true, "idle"),
    ("protoVersion", true, "none"),
    ("protoVersionDesc", false, "none"),
    ("pendingBytes", true, "pending"),
    ("pendingBytesDesc", false, "pending"),
    ("pid", true, "pid"),
    ("comm", true, "comm"),
    ("ip", true, "ip"),
    ("port", true, "port"),
    ("retrans", false, "retrans"),
    ("in_bytes_rate", false, "in_bytes_rate"),
    ("out_bytes_rate", false, "out_bytes_rate"),
    ("in_msgs_rate", false, "in_msgs_rate"),
    ("out_msgs_rate", false, "out_msgs_rate"),
];

/// The value as something that compares like it.
fn value(what: &str, row: &Connection) -> Option<(u64, String)> {
    let facts = &row.facts;
    let until = row.end.as_ref().map_or(NOW_NS, |end| end.stop_ns);
    let process: Option<Process> = match facts.owner.clone() {
        Owner::Unknown => None,
        Owner::Exact(process) | Owner::Scan(process) | Owner::Kernel(process) => Some(process),
    };
    let tcp = row.tcp.clone();
    let text = |text: String| Some((0, text));
    let number = match what {
        "reason" => {
            return text(reason(row.end.clone()?.cause, facts.direction).to_owned());
        }
        "comm" => return text(process?.comm.to_string()),
        "ip" => {
            let ip = facts.peer.ip;
            let family = if ip.is_ipv4() { '4' } else { '6' };
            return text(format!(
                "{family}{:032x}",
                match ip {
                    std::net::IpAddr::V4(ip) => u128::from(u32::from(ip)),
                    std::net::IpAddr::V6(ip) => u128::from(ip),
                }
            ));
        }
        "none" => 0,
        "cid" => facts.cid,
        "start" => u64::try_from(facts.start.as_second()).unwrap(),
        "pending" => row.pending_bytes,
        "in_msgs" => row.counters.in_msgs,
        "out_msgs" => row.counters.out_msgs,
        "in_bytes" => row.counters.in_bytes,
        "out_bytes" => row.counters.out_bytes,
        "last" => row.last_activity_ns,
        "idle" => until.saturating_sub(row.last_activity_ns),
        "uptime" => until - facts.start_ns,
        "rtt" => row.rtt_us?.into(),
        "retrans" => match &row.end {
            Some(end) => end.retrans?.into(),
            None => tcp?.retrans?.into(),
        },
        "segs_in" => tcp?.segs_in?.into(),
        "segs_out" => tcp?.segs_out?.into(),
        "stop" => row.end.clone()?.stop_ns,
        "pid" => process?.pid.into(),
        // As the fixture makes them.
        "in_bytes_rate" => row.rates.as_ref().map(|_| row.counters.out_bytes)?,
        "out_bytes_rate" => row.rates.as_ref().map(|_| row.counters.in_bytes)?,
        "in_msgs_rate" => row.rates.as_ref().map(|_| row.counters.out_msgs)?,
        "out_msgs_rate" => row.rates.as_ref().map(|_| row.counters.in_msgs)?,
        "port" => facts.peer.port.into(),
        other => panic!("{other}"),
    };
    Some((number, String::new()))
}

/// All rows in order, the naive way.
pub(super) fn naive(snapshot: &Snapshot, what: &str, ascending: bool) -> Vec<u64> {
    let mut rows: Vec<&Connection> = snapshot.open.iter().chain(&snapshot.closed).collect();
    rows.sort_by_key(|row| row.facts.cid);
    let (mut some, none): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|row| value(what, row).is_some());
    if ascending {
        some.sort_by_key(|row| value(what, row));
    } else {
        some.sort_by_key(|row| std::cmp::Reverse(value(what, row)));
    }
    some.into_iter()
        .chain(none)
        .map(|row| row.facts.cid)
        .collect()
}

fn page(snapshot: &Snapshot, query: &str) -> Page {
    let query = format!("state=all&self=1&{query}");
    Query::parse(&Dialect::ROOT, &query)
        .expect(&query)
        .page(snapshot)
}

fn cids(page: &Page) -> Vec<u64> {
    page.rows.iter().map(|row| row.facts.cid).collect()
}

proptest! {
    #[test]
    fn every_key_sorts_as_a_naive_sort_does(snapshot in fixture::snapshots(40)) {
        for (key, ascending, what) in KEYS {
            let all = cids(&page(&snapshot, &format!("sort={key}&limit=1000")));
            prop_assert_eq!(&all, &naive(&snapshot, what, ascending), "{}", key);
            for (order, ascending) in [("asc", true), ("desc", false)] {
                let query = format!("sort={key}&order={order}&limit=1000");
                let all = cids(&page(&snapshot, &query));
                prop_assert_eq!(&all, &naive(&snapshot, what, ascending), "{} {}", key, order);
            }
        }
    }

    #[test]
    fn pages_are_cut_out_of_the_full_order(
        snapshot in fixture::snapshots(40),
        (key, ascending, what) in prop::sample::select(&KEYS[..]),
        offset in 0_usize..50,
        limit in 1_usize..50,
    ) {
        let all = naive(&snapshot, what, ascending);
        let page = page(&snapshot, &format!("sort={key}&offset={offset}&limit={limit}"));
        let expected: Vec<u64> = all.iter().skip(offset).take(limit).copied().collect();
        prop_assert_eq!(cids(&page), expected);
        prop_assert_eq!(page.total, all.len() as u64);
        prop_assert_eq!((page.offset, page.limit), (offset as u64, limit as u64));
    }

    #[test]
    fn pages_one_after_the_other_are_all_rows(
        snapshot in fixture::snapshots(40),
        (key, ascending, what) in prop::sample::select(&KEYS[..]),
        limit in 1_usize..20,
    ) {
        let mut all = Vec::new();
        loop {
            let query = format!("sort={key}&offset={}&limit={limit}", all.len());
            let rows = cids(&page(&snapshot, &query));
            if rows.is_empty() {
                break;
            }
            all.extend(rows);
        }
        prop_assert_eq!(all, naive(&snapshot, what, ascending));
    }
}

#[test]
fn the_ends_of_the_range_are_empty_pages() {
    let snapshot = fixture::snapshot(&[[0; 24]; 5]);
    let most = i64::MAX;
    for query in [
        "offset=5".to_owned(),
        format!("offset={most}"),
        format!("offset={most}&limit={most}"),
    ] {
        let page = page(&snapshot, &query);
        assert_eq!((page.rows.len(), page.total), (0, 5), "{query}");
    }
    let page = page(&snapshot, &format!("offset=1&limit={most}"));
    assert_eq!(cids(&page), [2, 3, 4, 5]);
    assert_eq!(page.untracked, 3);
}

#[test]
fn nothing_at_all() {
    let page = page(&fixture::snapshot(&[]), "sort=idle");
    assert_eq!((page.rows.len(), page.total), (0, 0));
}
