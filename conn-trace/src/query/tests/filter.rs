//! Filters against what the rows themselves show.

use proptest::prelude::*;
use serde_json::Value;

use super::fixture;
use crate::{
    query::{Dialect, Query},
    registry::{connection::Connection, snapshot::Snapshot},
};

/// A condition on a row as it is shown.
pub(super) type Shown = fn(&Value) -> bool;

/// Conditions as parameters, and what they mean.
pub(super) const CONDITIONS: [(&str, Shown); 27] = [
    ("cid=3", |row| row["cid"] == 3),
    ("ip=10.1.0.1", |row| row["ip"] == "10.1.0.1"),
    ("ip=10.0.0.0/8", |row| text(row, "ip").starts_with("10.")),
    ("ip=::/0", |row| text(row, "ip").contains(':')),
    ("ip=fe80::1%252", |row| row["ip"] == "fe80::1%2"),
    ("local_ip=::ffff:127.0.0.0/104", |row| {
        row["local_ip"] == "127.0.0.1"
    }),
    ("local_ip=10.0.0.0/15", |row| {
        ["10.0.0.1", "10.1.0.1"].contains(&text(row, "local_ip"))
    }),
    ("port=40001-40003,40005", |row| {
        [40001, 40002, 40003, 40005]
            .map(Value::from)
            .contains(&row["port"])
    }),
    ("local_port=8000,8004", |row| {
        row["local_port"] == 8000 || row["local_port"] == 8004
    }),
    ("direction=in", |row| row["kind"] == "Client"),
    ("direction=out", |row| row["direction"] == "out"),
    ("direction=unknown", |row| row["kind"] == "Unknown"),
    ("pid=103", |row| row["pid"] == 103),
    ("comm=nginx", |row| row["comm"] == "nginx"),
    ("comm=ng*", |row| text(row, "comm").starts_with("ng")),
    ("comm=*", |row| row.get("comm").is_some()),
    ("comm=a+b", |row| row["comm"] == "a b"),
    ("uid=root", |row| row["uid"] == "root"),
    ("uid=33", |row| row["uid"] == "www-data"),
    ("uid=1000", |row| row["uid"] == "1000"),
    ("uid=nobody", |_| false),
    ("cgroup=/system.slice/2.service", |row| {
        row["cgroup"] == "/system.slice/2.service"
    }),
    ("cgroup=/system.slice/*", |row| row.get("cgroup").is_some()),
    ("netns=4026531841", |row| row["netns"] == 4_026_531_841_u32),
    ("netns=4026531842", |_| false),
    ("service=fix", |row| row["service"] == "fix"),
    ("", |_| true),
];

/// What `state` shows.
pub(super) const STATES: [(&str, Shown); 7] = [
    ("", |row| row["state"] != "CLOSED"),
    ("state=open", |row| row["state"] != "CLOSED"),
    ("state=closed", |row| row["state"] == "CLOSED"),
    ("state=any", |_| true),
    ("state=all", |_| true),
    ("state=established", |row| row["state"] == "ESTABLISHED"),
    ("state=FIN-WAIT-2", |row| row["state"] == "FIN_WAIT2"),
];

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_default()
}

/// All rows as they are shown, the agent's own left out unless `with_self`.
pub(super) fn shown(snapshot: &Snapshot, with_self: bool) -> Vec<Value> {
    let rows: Vec<Connection> = snapshot
        .open
        .iter()
        .chain(&snapshot.closed)
        .filter(|row| with_self || !row.facts.is_self)
        .cloned()
        .collect();
    let page = Query::default().page(&Snapshot {
        open: Vec::new(),
        closed: Vec::new(),
        ..*snapshot
    });
    rows.iter()
        .map(|row| serde_json::to_value(page.row(row)).unwrap())
        .collect()
}

proptest! {
    #[test]
    fn rows_pass_that_show_what_is_asked_for(
        snapshot in fixture::snapshots(60),
        (state, in_state) in prop::sample::select(&STATES[..]),
        (one, shows_one) in prop::sample::select(&CONDITIONS[..]),
        (other, shows_other) in prop::sample::select(&CONDITIONS[..]),
        with_self: bool,
    ) {
        let query = format!("limit=1000&{state}&{one}&{other}&self={with_self}");
        let Ok(query) = Query::parse(&Dialect::ROOT, &query) else {
            // The same parameter twice.
            prop_assert_eq!(one.split('=').next(), other.split('=').next());
            return Ok(());
        };
        let page = query.page(&snapshot);
        let mut expected: Vec<u64> = shown(&snapshot, with_self)
            .into_iter()
            .filter(|row| in_state(row) && shows_one(row) && shows_other(row))
            .map(|row| row["cid"].as_u64().unwrap())
            .collect();
        expected.sort_unstable();
        let found: Vec<u64> = page.rows.iter().map(|row| row.facts.cid).collect();
        prop_assert_eq!(page.total, found.len() as u64);
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn what_was_not_asked_for_is_not_shown_even_if_the_snapshot_has_it() {
    let mut closed = [0; 24];
    closed[0] = 5;
    let snapshot = fixture::snapshot(&[[0; 24], closed]);
    for (query, cids) in [
        ("", vec![1]),
        ("state=closed", vec![2]),
        ("state=all", vec![1, 2]),
    ] {
        let page = Query::parse(&Dialect::ROOT, query).unwrap().page(&snapshot);
        assert_eq!(
            page.rows
                .iter()
                .map(|row| row.facts.cid)
                .collect::<Vec<_>>(),
            cids
        );
    }
}
