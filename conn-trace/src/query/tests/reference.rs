//! Whole pages against a reference: filter everything, sort everything, take a slice.

use std::{collections::HashSet, sync::LazyLock};

use proptest::prelude::*;

use super::{
    filter::{CONDITIONS, STATES, shown},
    fixture::{self, Seed},
    order::{KEYS, naive},
};
use crate::{
    query::{Cut, Dialect, Query, QueryError},
    registry::{
        connection::Facts,
        snapshot::{BATCH, Snapshot, Visitor as _},
    },
};

/// More than a page in the making holds before it drops those that it does not show.
const MOST_ROWS: usize = 900;

/// Tables are windows of these.
static SEEDS: LazyLock<Vec<Seed>> = LazyLock::new(|| fixture::seeds(4 * MOST_ROWS as u64));

fn tables() -> impl Strategy<Value = Snapshot> {
    let rows = prop_oneof![0..30_usize, 0..=MOST_ROWS];
    (0..3 * MOST_ROWS, rows)
        .prop_map(|(start, rows)| fixture::snapshot(&SEEDS[start..start + rows]))
}

/// For offsets and limits, up to where their sum no longer fits.
fn numbers() -> impl Strategy<Value = i64> {
    prop_oneof![
        4 => 0..50_i64,
        2 => 0..1000_i64,
        1 => prop::sample::select(vec![i64::MAX, i64::MAX - 1, i64::MAX / 2 + 1]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn pages_are_slices_of_everything_filtered_and_sorted(
        snapshot in tables(),
        dialect in prop::sample::select(&Dialect::ALL[..]),
        (key, ascending, what) in prop::sample::select(&KEYS[..]),
        order in prop::sample::select(vec![None, Some(true), Some(false)]),
        (state, is_in_state) in prop::sample::select(&STATES[..]),
        (condition, is_shown) in prop::sample::select(&CONDITIONS[..]),
        with_self: bool,
        every in prop::option::of(1_u64..9),
        offset in numbers(),
        limit in numbers(),
    ) {
        let mut text = format!(
            "sort={key}&{state}&{condition}&self={with_self}&offset={offset}&limit={limit}"
        );
        if let Some(ascending) = order {
            text += if ascending { "&order=asc" } else { "&order=desc" };
        }
        let query = match Query::parse(dialect, &text) {
            Ok(query) => query,
            Err(error) => {
                let is_open = !["state=closed", "state=any", "state=all"].contains(&state);
                prop_assert!(is_open && matches!(error, QueryError::SortOfClosed { .. }), "{}", error);
                return Ok(());
            }
        };

        let only_in = dialect.default_direction.is_some() && !condition.starts_with("direction");
        let passing: HashSet<u64> = shown(&snapshot, with_self)
            .iter()
            .filter(|row| is_in_state(row) && is_shown(row))
            .filter(|row| !only_in || row["direction"] == "in")
            .filter_map(|row| row["cid"].as_u64())
            .collect();
        let limit = match u64::try_from(limit).unwrap() {
            _ if dialect.cid_is_page && condition.starts_with("cid") => 1,
            0 => dialect.default_limit,
            limit => limit,
        };
        let expected: Vec<u64> = naive(&snapshot, what, order.unwrap_or(ascending))
            .into_iter()
            .filter(|cid| passing.contains(cid))
            .skip(usize::try_from(offset).unwrap())
            .take(usize::try_from(limit).unwrap())
            .collect();

        // Of what it does not want it need not be shown anything; what cannot be skipped is shown
        // some time after what could be.
        let mut cut = Cut::new(query.clone(), snapshot.taken());
        let is_wanted = |cut: &Cut, facts: &Facts| {
            cut.only().is_none_or(|cid| cid == facts.cid) && cut.wants(facts)
        };
        let mut waiting = Vec::new();
        for row in &snapshot.open {
            let can_be_skipped = every.is_none_or(|every| row.facts.cid % every != 0);
            if is_wanted(&cut, &row.facts) && !(can_be_skipped && cut.skip(&row.facts)) {
                waiting.push(row);
            }
            if waiting.len() == BATCH {
                waiting.drain(..).for_each(|row| cut.visit(row));
            }
        }
        let closed = snapshot.closed.iter();
        waiting.extend(closed.filter(|row| is_wanted(&cut, &row.facts)));
        waiting.into_iter().for_each(|row| cut.visit(row));
        for page in [query.page(&snapshot), cut.page()] {
            let cids: Vec<u64> = page.rows.iter().map(|row| row.facts.cid).collect();
            prop_assert_eq!(&cids, &expected, "{}", &text);
            prop_assert_eq!(page.total, passing.len() as u64);
            let counted = if dialect.counts_page { expected.len() } else { passing.len() };
            prop_assert_eq!(page.num_connections, counted as u64);
            prop_assert_eq!((page.offset, page.limit), (offset.unsigned_abs(), limit));
        }
    }
}
