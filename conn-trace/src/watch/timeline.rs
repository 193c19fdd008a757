//! How many connections were open at a time.
//!
//! The agent tells of connections that came and went between two of its looks one after the other,
//! though they were open together: what counts are their times.

use jiff::Timestamp;

/// Changes that are kept until it is certain what came between them. Of 10,000 connections a
/// second, those of some 200 ms are among the older half; the agent looks every 100 ms at least.
const KEPT: usize = 8192;

/// The most that were open at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peak {
    pub(super) connections: u64,
    /// When it was reached first.
    pub(super) time: Timestamp,
}

/// Openings and ends by their time.
#[derive(Debug)]
pub(super) struct Timeline {
    /// Open before the changes that are kept, and the peak until then.
    before: Sum,
    changes: Vec<(Timestamp, Change)>,
}

/// At the same time, the end is first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    End,
    Opening,
}

#[derive(Clone, Copy, Debug)]
struct Sum {
    open: i64,
    peak: Peak,
}

impl Sum {
    fn after(mut self, changes: &[(Timestamp, Change)]) -> Self {
        for &(time, change) in changes {
            self.open += match change {
                Change::End => -1,
                Change::Opening => 1,
            };
            let connections = u64::try_from(self.open).unwrap_or_default();
            if connections > self.peak.connections {
                self.peak = Peak { connections, time };
            }
        }
        self
    }
}

impl Timeline {
    /// Begins with none.
    pub(super) fn new(time: Timestamp) -> Self {
        let peak = Peak {
            connections: 0,
            time,
        };
        Self {
            before: Sum { open: 0, peak },
            changes: Vec::new(),
        }
    }

    pub(super) fn opened(&mut self, time: Timestamp) {
        self.add(time, Change::Opening);
    }

    pub(super) fn ended(&mut self, time: Timestamp) {
        self.add(time, Change::End);
    }

    /// The peak so far.
    pub(super) fn peak(&self) -> Peak {
        let mut changes = self.changes.clone();
        changes.sort_unstable();
        self.before.after(&changes).peak
    }

    fn add(&mut self, time: Timestamp, change: Change) {
        self.changes.push((time, change));
        if self.changes.len() > KEPT {
            self.changes.sort_unstable();
            let older: Vec<_> = self.changes.drain(..KEPT / 2).collect();
            self.before = self.before.after(&older);
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::{KEPT, Timeline};

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_millis(milliseconds)
    }

    #[test]
    fn times_count_and_not_the_order_of_telling() {
        let mut timeline = Timeline::new(at(0));
        assert_eq!(
            (timeline.peak().connections, timeline.peak().time),
            (0, at(0))
        );
        for (start, end) in [(10, 20), (12, 18), (30, 40), (20, 25)] {
            timeline.opened(at(start));
            timeline.ended(at(end));
        }
        assert_eq!(
            (timeline.peak().connections, timeline.peak().time),
            (2, at(12))
        );
    }

    #[test]
    fn memory_is_bounded() {
        let mut timeline = Timeline::new(at(0));
        // Three at a time.
        for number in 0..50_000 {
            timeline.opened(at(10 * number));
            timeline.ended(at(10 * number + 25));
            assert!(timeline.changes.len() <= KEPT);
        }
        assert_eq!(
            (timeline.peak().connections, timeline.peak().time),
            (3, at(20))
        );
    }
}
