//! Walks through a table that changes.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::fixture::{self, plain};
use crate::{
    query::{Cursor, Dialect, Page, Query},
    registry::snapshot::Snapshot,
};

fn page(cids: &BTreeSet<u64>, query: &str) -> Page {
    let snapshot = Snapshot {
        open: cids.iter().map(|&cid| plain(cid)).collect(),
        ..fixture::snapshot(&[])
    };
    Query::parse(&Dialect::ROOT, query)
        .expect(query)
        .page(&snapshot)
}

fn cids(page: &Page) -> Vec<u64> {
    page.rows.iter().map(|row| row.facts.cid).collect()
}

proptest! {
    #[test]
    fn each_connection_shows_once_and_all_that_stay_do(
        first in prop::collection::btree_set(1_u64..100, 0..60),
        changes in prop::collection::vec((prop::collection::vec(1_u64..100, 0..8), 0_u64..8), 100),
        limit in 1_usize..10,
        order in prop::sample::select(&["asc", "desc"][..]),
    ) {
        let mut table = first.clone();
        let mut stayed = first.clone();
        let mut next = 100;
        let mut shown = Vec::new();
        let mut cursor = Some("start".to_owned());
        for (closed, opened) in changes {
            let Some(place) = cursor.take() else { break };
            let page = page(&table, &format!("cursor={place}&limit={limit}&order={order}"));
            prop_assert!(page.rows.len() <= limit);
            prop_assert_eq!(page.total, table.len() as u64);
            shown.extend(cids(&page));
            cursor = page.next_cursor.map(|cursor| cursor.to_string());
            for cid in closed {
                table.remove(&cid);
                stayed.remove(&cid);
            }
            table.extend(next..next + opened);
            next += opened;
        }
        prop_assert_eq!(cursor, None, "the walk ends");
        let once: BTreeSet<u64> = shown.iter().copied().collect();
        prop_assert_eq!(once.len(), shown.len());
        prop_assert!(once.is_subset(&first) && stayed.is_subset(&once));
        let is_in_order = match order {
            "asc" => shown.is_sorted(),
            _ => shown.iter().rev().is_sorted(),
        };
        prop_assert!(is_in_order);
    }
}

#[test]
fn the_last_page_says_so() {
    let table: BTreeSet<u64> = (1..=6).collect();
    let first = page(&table, "cursor=start&limit=3");
    assert_eq!(cids(&first), [1, 2, 3]);
    let next = first.next_cursor.expect("another page");
    assert_eq!(next, Cursor::Behind { last: 3, newest: 6 });
    let second = page(&table, &format!("cursor={next}&limit=3"));
    assert_eq!((cids(&second), second.next_cursor), (vec![4, 5, 6], None));
    assert_eq!(page(&table, "limit=3").next_cursor, None);
    let none = page(&BTreeSet::new(), "cursor=start");
    assert_eq!((none.rows.len(), none.next_cursor), (0, None));
}

#[test]
fn what_is_no_cursor() {
    for text in [
        "",
        "1",
        "-",
        "1-",
        "-1",
        "1-2-3",
        "+1-2",
        "a-b",
        "Start",
        "1-99999999999999999999",
    ] {
        let error = Query::parse(
            &Dialect::ROOT,
            &format!("cursor={}", text.replace('+', "%2b")),
        );
        let expected = format!(
            "cursor: expected start or the next_cursor of a page, got {}",
            json!(text)
        );
        assert_eq!(error.expect_err(text).to_string(), expected);
    }
    for (query, other) in [
        ("cursor=start&offset=1", "offset"),
        ("sort=idle&cursor=1-2", "sort"),
    ] {
        let error = Query::parse(&Dialect::ROOT, query).expect_err(query);
        let expected = format!(
            "cursor: cannot be combined with {other}: a walk goes by cid, from where it was"
        );
        assert_eq!(error.to_string(), expected);
    }
}
