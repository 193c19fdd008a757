//! What a page of open and closed connections says of what was not told.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
};

use jiff::Timestamp;

use super::{Change, Ended, Page, Row, State};

impl State {
    /// Brings everything to where a page of all connections is, and gives what that changes. The
    /// page is as complete as the agent's history of closed connections.
    pub(in crate::watch) fn catch_up(&mut self, page: Page) -> Vec<Change> {
        let is_same_run = self.is_of(&page);
        if !is_same_run {
            self.take_over(page.run, &page.connections);
        }
        self.counted_at = page.now;
        let newest = self.newest;
        let highest = page.connections.iter().map(|row| row.cid).max();
        let mut active = mem::take(&mut self.active);
        let mut attempts = mem::take(&mut self.attempts);
        let (closed, open): (Vec<_>, Vec<_>) = page
            .connections
            .into_iter()
            .partition(|row| row.stop.is_some());
        let mut changes = Vec::new();
        for row in closed {
            let was_active = active.remove(&row.cid).is_some();
            let was_attempt = attempts.remove(&row.cid).is_some();
            // What is older than the agent and was never seen open may have been told as ended.
            let is_missed = row.cid > newest && !(is_same_run && row.preexisting);
            if was_active {
                changes.push(self.end(Ended::new(row)));
            } else if (was_attempt || is_missed) && row.has_failed() {
                changes.push(self.attempt_failed(row));
            } else if was_attempt || is_missed {
                self.counts.opened += 1;
                self.timeline.opened(row.start);
                changes.push(Change::New(row.clone()));
                changes.push(self.end(Ended::new(row)));
            }
        }
        for row in open {
            attempts.remove(&row.cid);
            if row.is_attempt() {
                self.attempts.insert(row.cid, row);
            } else if active.remove(&row.cid).is_some() {
                self.active.insert(row.cid, row);
            } else if row.preexisting && row.start < self.since {
                changes.push(self.found(row, page.now));
            } else {
                changes.push(self.established(row));
            }
        }
        changes.extend(self.end_unseen(active, page.now));
        // The agent has forgotten the end already.
        changes.extend(attempts.into_values().map(|row| self.attempt_failed(row)));
        self.newest = self.newest.max(highest.unwrap_or_default());
        self.settled = self.newest;
        changes
    }

    /// Another run of the agent gives other numbers. A connection with the same ends that is older
    /// than that run is the same.
    fn take_over(&mut self, run: Timestamp, rows: &[Row]) {
        self.run = run;
        (self.newest, self.settled) = (0, 0);
        self.attempts.clear();
        let older: HashMap<_, _> = rows
            .iter()
            .filter(|row| row.preexisting)
            .map(|row| ((row.netns, row.id()), row.cid))
            .collect();
        // What is not found gets a number that no connection has.
        let mut unused = (0..=u64::MAX).rev();
        for row in mem::take(&mut self.active).into_values() {
            let same = older.get(&(row.netns, row.id())).copied();
            let cid = same.or_else(|| unused.next()).unwrap_or_default();
            self.active.insert(cid, row);
        }
    }

    fn end_unseen(&mut self, gone: BTreeMap<u64, Row>, now: Timestamp) -> Vec<Change> {
        let unseen = |row| Ended {
            row,
            stop: now,
            is_unseen: true,
        };
        gone.into_values()
            .map(|row| self.end(unseen(row)))
            .collect()
    }
}
