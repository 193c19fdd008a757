//! A page in the making.

use std::{cmp::Ordering, mem};

use super::{
    page::Page,
    params::Query,
    sort::{Order, SortKey},
    state::StateFilter,
    top::{Ranked, Value, select, value, value_of_facts},
};
use crate::registry::{
    connection::{Connection, Facts},
    snapshot::{BATCH, Scope, Taken, Visitor},
};

/// Rows that a small page may hold before those that it does not show are dropped: sorting some
/// hundreds once costs less than sorting each in.
const SPARE_ROWS: usize = 256;

/// Is shown connections one by one and keeps those of the page alone, however many there are.
#[derive(Debug)]
pub struct Cut {
    query: Query,
    taken: Taken,
    /// Rows that pass the filters.
    total: u64,
    /// Those of them that a walk has not come to yet.
    ahead: u64,
    /// The highest number of a row that passes the filters.
    highest: u64,
    rows: Vec<Connection>,
    /// What orders them.
    ranked: Vec<Ranked>,
    /// Rows that come before the page and need be neither kept nor read: the first of a page by
    /// number, which is the order of visits.
    passed: u64,
    /// Rows up to the end of the page, without those.
    end: usize,
    /// Whether the first `end` rows are the best of all so far, in order.
    is_full: bool,
}

impl Cut {
    /// The page that `query` asks for, of this moment.
    #[must_use]
    pub fn new(query: Query, taken: Taken) -> Self {
        // Rows that come after later ones are among the first that are kept.
        let passed = match is_in_order_of_visits(&query) {
            true => query.offset.saturating_sub(BATCH as u64),
            false => 0,
        };
        let end = query.offset.saturating_add(query.limit) - passed;
        Self {
            query,
            taken,
            total: 0,
            ahead: 0,
            highest: 0,
            rows: Vec::new(),
            ranked: Vec::new(),
            passed,
            end: usize::try_from(end).unwrap_or(usize::MAX),
            is_full: false,
        }
    }

    /// The page of all that was shown.
    #[must_use]
    pub fn page(mut self) -> Page {
        let start = self.query.offset - self.passed;
        self.keep(usize::try_from(start).unwrap_or(usize::MAX));
        let Self {
            query,
            taken,
            total,
            ahead,
            highest,
            rows,
            ..
        } = self;
        let next_cursor = query.cursor.zip(rows.last());
        let next_cursor = next_cursor
            .filter(|_| ahead > rows.len() as u64)
            .map(|(cursor, last)| cursor.behind(last.facts.cid, highest));
        Page {
            now: taken.now,
            now_ns: taken.now_ns,
            total,
            num_connections: match query.counts_page {
                true => rows.len() as u64,
                false => total,
            },
            rows,
            offset: query.offset,
            limit: query.limit,
            untracked: taken.untracked,
            tcp: query.tcp,
            rates_window_ms: None,
            next_cursor,
        }
    }

    /// Counts a row that passes the filters. Whether it may be on the page.
    fn count(&mut self, facts: &Facts) -> bool {
        let order = self.query.effective_order();
        let cursor = self.query.cursor;
        let is_ahead = cursor.is_none_or(|cursor| cursor.is_ahead(facts.cid, order));
        self.total += 1;
        self.ahead += u64::from(is_ahead);
        self.highest = self.highest.max(facts.cid);
        is_ahead && self.total > self.passed
    }

    fn is_shown(&self, row: &Connection) -> bool {
        let is_in_scope = match self.query.scope() {
            Scope::Open => row.end.is_none(),
            Scope::Closed => row.end.is_some(),
            Scope::All => true,
        };
        is_in_scope && self.query.state.matches(row.state) && self.query.filter.matches(row)
    }

    /// Where a row would come, were it kept.
    fn rank(&self, value: Option<Value>, cid: u64) -> Ranked {
        let place = self.rows.len();
        Ranked { value, cid, place }
    }

    /// Whether the page has enough rows that come before this one.
    fn is_beyond(&self, row: &Ranked) -> bool {
        let order = self.query.effective_order();
        self.is_full && row.compare(&self.ranked[self.end - 1], order) == Ordering::Greater
    }

    /// Of all rows, keeps those from `start` to the end of the page, in order.
    fn keep(&mut self, start: usize) {
        let order = self.query.effective_order();
        select(&mut self.ranked, order, start, self.end);
        let places = self.ranked.iter_mut().enumerate();
        let places = places.map(|(place, row)| mem::replace(&mut row.place, place));
        arrange(&mut self.rows, places.collect());
    }
}

/// Whether a page shows rows as a visitor sees them: of the closed ones, which it sees last, some
/// may have lower numbers.
fn is_in_order_of_visits(query: &Query) -> bool {
    query.sort.key == SortKey::Cid
        && query.effective_order() == Order::Ascending
        && query.scope() == Scope::Open
}

/// Keeps the rows at `places` alone, in that order.
fn arrange<T: Clone>(rows: &mut Vec<T>, mut places: Vec<usize>) {
    // Few are taken out. Many are moved where they are: a page of all connections must not exist
    // twice.
    if places.len() < rows.len() / 2 {
        *rows = places.iter().map(|&place| rows[place].clone()).collect();
        return;
    }
    let kept = places.len();
    let mut is_kept = vec![false; rows.len()];
    for &place in &places {
        is_kept[place] = true;
    }
    // With the others behind, it is a permutation; one cycle of it after the other.
    places.extend((0..rows.len()).filter(|&place| !is_kept[place]));
    for start in 0..places.len() {
        let mut at = start;
        loop {
            let from = mem::replace(&mut places[at], at);
            if from == start {
                break;
            }
            rows.swap(at, from);
            at = from;
        }
    }
    rows.truncate(kept);
}

impl Visitor for Cut {
    fn only(&self) -> Option<u64> {
        self.query.filter.cid
    }

    fn wants(&self, facts: &Facts) -> bool {
        self.query.filter.matches_facts(facts)
    }

    fn wants_tcp(&self) -> bool {
        self.query.tcp || self.query.sort.key.is_of_tcp()
    }

    fn skip(&mut self, facts: &Facts) -> bool {
        let Query {
            sort,
            state,
            cursor,
            ..
        } = &self.query;
        if !matches!(state, StateFilter::Open | StateFilter::All) {
            return false;
        }
        let order = self.query.effective_order();
        let is_beyond = || {
            value_of_facts(facts, sort.key, self.taken.now_ns)
                .is_some_and(|value| self.is_beyond(&self.rank(value, facts.cid)))
        };
        let is_passed = cursor.is_some_and(|cursor| !cursor.is_ahead(facts.cid, order));
        let is_before = self.total < self.passed;
        let is_done = is_passed || is_before || (self.is_full && is_beyond());
        if is_done && self.query.filter.matches_facts(facts) {
            self.count(facts);
        }
        is_done
    }

    fn visit(&mut self, row: &Connection) {
        if !self.is_shown(row) || !self.count(&row.facts) {
            return;
        }
        let value = value(row, self.query.sort.key, self.taken.now_ns);
        let ranked = self.rank(value, row.facts.cid);
        if self.is_beyond(&ranked) {
            return;
        }
        self.ranked.push(ranked);
        self.rows.push(match self.query.tcp {
            true => row.clone(),
            false => row.without_tcp(),
        });
        let room = self.end.saturating_add(self.end.max(SPARE_ROWS));
        if self.rows.len() >= room {
            self.keep(0);
            self.is_full = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::arrange;

    #[test]
    fn any_choice_can_be_arranged() {
        for places in [
            vec![],
            vec![3],
            vec![4, 0, 1, 2, 3],
            vec![1, 2, 3, 4, 0],
            vec![0, 1, 2, 3, 4],
            vec![4, 3, 2, 1],
            vec![2, 0],
        ] {
            let mut rows: Vec<usize> = (0..5).collect();
            arrange(&mut rows, places.clone());
            assert_eq!(rows, places);
        }
    }
}
