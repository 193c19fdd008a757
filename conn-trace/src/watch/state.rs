//! What is known of the watched connections: functions of what the agent has told, without I/O.

mod catch_up;

use std::collections::{BTreeMap, VecDeque};

use jiff::{SignedDuration, Timestamp};

use super::{
    row::Row,
    timeline::{Peak, Timeline},
    told::{Page, What},
};

/// Ended connections that the report lists, and as many failed attempts.
pub(super) const REMEMBERED: usize = 10;

/// Ended connections in a block of statistics.
const SHOWN: usize = 5;

/// The watched connections, since the watch began.
#[derive(Debug)]
pub(super) struct State {
    /// When the agent was first asked what is open.
    pub(super) since: Timestamp,
    /// When the figures of the active ones were right.
    pub(super) counted_at: Timestamp,
    /// Open, with their handshake ended, by number.
    pub(super) active: BTreeMap<u64, Row>,
    /// A SYN was sent, or received, and nothing more is known.
    attempts: BTreeMap<u64, Row>,
    /// The last that have ended, the newest at the end.
    pub(super) ended: VecDeque<Ended>,
    /// The last attempts that came to nothing, likewise.
    pub(super) failed: VecDeque<Ended>,
    pub(super) counts: Counts,
    timeline: Timeline,
    pub(super) gaps: Gaps,
    /// The run of the agent that the numbers are of.
    run: Timestamp,
    /// What is told of other connections up to this number was known when a page was read.
    settled: u64,
    /// The highest number of any whose opening is known.
    newest: u64,
}

/// How many there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Open when the watch began.
    pub(super) at_start: u64,
    /// Established since.
    pub(super) opened: u64,
    /// Of both, those that have ended.
    pub(super) ended: u64,
    /// Attempts whose handshake never ended. They are no connections.
    pub(super) failed: u64,
}

impl Counts {
    /// Every connection there was.
    pub(super) fn total(self) -> u64 {
        self.at_start + self.opened
    }
}

/// What the agent could not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gaps {
    /// How often events were missing.
    pub(super) times: u64,
    /// How many, of any connection of the host, as far as that is known.
    pub(super) events: u64,
    /// How often nobody knows how many: those of an earlier run of the agent.
    pub(super) unknown: u64,
}

/// A connection, or an attempt, that has ended.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) row: Row,
    /// When.
    pub(super) stop: Timestamp,
    /// The end was not seen: it is not later than `stop`, and the figures are the last ones known.
    pub(super) is_unseen: bool,
}

impl Ended {
    fn new(row: Row) -> Self {
        Self {
            stop: row.stop.unwrap_or(row.start),
            row,
            is_unseen: false,
        }
    }

    /// How long it lived.
    pub(super) fn duration(&self) -> SignedDuration {
        self.stop.duration_since(self.row.start)
    }
}

/// What is new to whoever watches.
#[derive(Debug)]
pub(super) enum Change {
    /// It was open when the watch began.
    Open(Row),
    /// Its handshake has ended since.
    New(Row),
    Ended(Ended),
    /// An attempt came to nothing.
    Failed(Ended),
}

impl State {
    /// Begins with what is open, and gives it as changes.
    pub(super) fn begin(page: Page) -> (Self, Vec<Change>) {
        let now = page.now;
        let mut this = Self {
            since: now,
            counted_at: now,
            active: BTreeMap::new(),
            attempts: BTreeMap::new(),
            ended: VecDeque::new(),
            failed: VecDeque::new(),
            counts: Counts::default(),
            timeline: Timeline::new(now),
            gaps: Gaps::default(),
            run: page.run,
            settled: 0,
            newest: 0,
        };
        let mut changes = Vec::new();
        for row in page.connections {
            this.newest = this.newest.max(row.cid);
            if row.stop.is_some() {
                continue;
            }
            if row.is_attempt() {
                this.attempts.insert(row.cid, row);
            } else {
                changes.push(this.found(row, now));
            }
        }
        this.settled = this.newest;
        (this, changes)
    }

    /// Takes note of an event, unless a page has said as much.
    pub(super) fn apply(&mut self, what: What) -> Option<Change> {
        match what {
            What::Opened { connection: row } => {
                if self.is_news(row.cid) {
                    self.newest = self.newest.max(row.cid);
                    self.attempts.insert(row.cid, row);
                }
                None
            }
            What::Established { connection: row } => {
                let is_known = self.attempts.remove(&row.cid).is_some();
                if !is_known && !self.is_news(row.cid) {
                    return None;
                }
                Some(self.established(row))
            }
            What::Closed { connection: row } => self.closed(row),
            What::Lost { lost } => {
                self.note_gap(lost);
                None
            }
            What::Policy {} => None,
        }
    }

    /// Takes the figures of the open connections. One that is older than the agent and shows only
    /// now was open when the watch began, unless the agent began later.
    pub(super) fn refresh(&mut self, page: Page) -> Vec<Change> {
        if !self.is_of(&page) {
            // The stream will break off, or has.
            return Vec::new();
        }
        self.counted_at = page.now;
        let mut changes = Vec::new();
        for row in page.connections {
            if let Some(known) = self.active.get_mut(&row.cid) {
                *known = row;
            } else if row.preexisting && !row.is_attempt() && self.is_news(row.cid) {
                changes.push(self.found(row, page.now));
            }
        }
        changes
    }

    /// Notes that some events, or nobody knows how many, are missing.
    pub(super) fn note_gap(&mut self, lost: Option<u64>) {
        self.gaps.times += 1;
        match lost {
            Some(lost) => self.gaps.events += lost,
            None => self.gaps.unknown += 1,
        }
    }

    /// The last ended ones, as many as a block of statistics shows.
    pub(super) fn last_ended(&self) -> impl Iterator<Item = &Ended> {
        let skipped = self.ended.len().saturating_sub(SHOWN);
        self.ended.iter().skip(skipped)
    }

    /// The most that were active at a time.
    pub(super) fn peak(&self) -> Peak {
        self.timeline.peak()
    }

    /// Whether a page is of the run of the agent that is followed.
    pub(super) fn is_of(&self, page: &Page) -> bool {
        page.run == self.run
    }

    /// How many are active.
    pub(super) fn current(&self) -> u64 {
        self.active.len() as u64
    }

    /// Whether nothing is known of it, though it would have been on the last page.
    fn is_news(&self, cid: u64) -> bool {
        cid > self.settled && !self.active.contains_key(&cid) && !self.attempts.contains_key(&cid)
    }

    fn found(&mut self, row: Row, now: Timestamp) -> Change {
        self.counts.at_start += 1;
        self.activate(row.clone(), now);
        Change::Open(row)
    }

    fn established(&mut self, row: Row) -> Change {
        self.counts.opened += 1;
        self.newest = self.newest.max(row.cid);
        self.activate(row.clone(), row.start);
        Change::New(row)
    }

    fn activate(&mut self, row: Row, time: Timestamp) {
        self.active.insert(row.cid, row);
        self.timeline.opened(time);
    }

    fn closed(&mut self, row: Row) -> Option<Change> {
        if self.attempts.remove(&row.cid).is_some() {
            return Some(self.attempt_failed(row));
        }
        if self.active.remove(&row.cid).is_none() {
            if !self.is_news(row.cid) {
                return None;
            }
            // Its opening was not told: it is older than the agent, and has not shown before.
            self.counts.at_start += 1;
            self.timeline.opened(self.since);
        }
        Some(self.end(Ended::new(row)))
    }

    fn end(&mut self, ended: Ended) -> Change {
        self.counts.ended += 1;
        self.timeline.ended(ended.stop);
        remember(&mut self.ended, ended.clone());
        Change::Ended(ended)
    }

    fn attempt_failed(&mut self, row: Row) -> Change {
        self.counts.failed += 1;
        let failed = Ended::new(row);
        remember(&mut self.failed, failed.clone());
        Change::Failed(failed)
    }
}

fn remember(list: &mut VecDeque<Ended>, ended: Ended) {
    if list.len() == REMEMBERED {
        list.pop_front();
    }
    list.push_back(ended);
}

#[cfg(test)]
pub(super) mod tests;
