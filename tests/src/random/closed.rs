//! Closed rows of a page, until each is explained.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use super::{
    ending::Side,
    fleet::Fleet,
    model::{Burst, Tuple},
    rest::is_our_row,
};
use crate::connz::Row;

/// Numbers of the closed rows that are accounted for: as many as may be shown again.
#[derive(Debug)]
pub(super) struct Explained {
    cids: HashSet<u64>,
    in_order: VecDeque<u64>,
    most: usize,
}

impl Explained {
    pub(super) fn up_to(most: usize) -> Self {
        Self {
            cids: HashSet::new(),
            in_order: VecDeque::new(),
            most,
        }
    }

    pub(super) fn insert(&mut self, cid: u64) {
        if self.cids.insert(cid) {
            self.in_order.push_back(cid);
        }
        if self.in_order.len() > self.most
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.cids.remove(&oldest);
        }
    }

    fn contains(&self, row: &Row) -> bool {
        self.cids.contains(&row.cid)
    }
}

/// Closed rows that wait for an explanation.
pub(super) struct Closed {
    by_tuple: HashMap<Tuple, BTreeMap<u64, Row>>,
}

impl Closed {
    pub(super) fn new(rows: Vec<Row>, fleet: &Fleet, explained: &Explained) -> Self {
        let mut all = HashSet::new();
        let mut by_tuple: HashMap<_, BTreeMap<_, _>> = HashMap::new();
        for row in rows {
            if !is_our_row(&row, fleet) {
                continue;
            }
            assert!(
                all.insert(row.cid),
                "two closed rows of one number: {row:#?}"
            );
            if !explained.contains(&row) {
                by_tuple
                    .entry(row.tuple())
                    .or_default()
                    .insert(row.cid, row);
            }
        }
        Self { by_tuple }
    }

    pub(super) fn take(&mut self, cid: u64, tuple: Tuple) -> Option<Row> {
        self.by_tuple.get_mut(&tuple)?.remove(&cid)
    }

    /// The oldest that fits; otherwise the oldest.
    pub(super) fn first(&mut self, tuple: Tuple, fits: impl Fn(&Row) -> bool) -> Option<Row> {
        let rows = self.by_tuple.get_mut(&tuple)?;
        let fitting = rows.values().find(|row| fits(row)).map(|row| row.cid);
        let cid = fitting.or_else(|| rows.keys().next().copied())?;
        rows.remove(&cid)
    }

    pub(super) fn take_burst(
        &mut self,
        burst: &Burst,
        explained: &mut Explained,
    ) -> Result<(), String> {
        for &(side, pid, counts, cause) in &burst.ends {
            let mut found = 0;
            for rows in self.by_tuple.values_mut() {
                rows.retain(|_, row| {
                    let port = match side {
                        Side::Client => row.port,
                        Side::Server => row.local_port,
                    };
                    let is_one = found < burst.count
                        && port == burst.port
                        && (row.pid, row.counts()) == (Some(pid), counts)
                        && row.close_cause.as_deref() == Some(cause);
                    if is_one {
                        found += 1;
                        explained.insert(row.cid);
                    }
                    !is_one
                });
            }
            if found != burst.count {
                return Err(format!("{found} rows of the {side:?} end of {burst:?}"));
            }
        }
        Ok(())
    }

    /// One that nothing explains. Ends that were `live` may have closed since; the next comparison
    /// tells.
    pub(super) fn rest(&self, live: &HashSet<Tuple>, explained: &Explained) -> Option<&Row> {
        let mut rows = self.by_tuple.values().flat_map(BTreeMap::values);
        rows.find(|row| !explained.contains(row) && !live.contains(&row.tuple()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_explained_rows_are_forgotten() {
        let mut explained = Explained::up_to(2);
        for cid in [7, 5, 7, 6] {
            explained.insert(cid);
        }
        assert_eq!(explained.cids, HashSet::from([5, 6]));
    }
}
