//! How many connections are open at the same time, and how many were at most.

use jiff::{SignedDuration, Timestamp};

/// A moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// `CLOCK_BOOTTIME` in nanoseconds.
    pub ns: u64,
    /// Wall clock.
    pub wall: Timestamp,
}

/// The most connections that were open at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peak {
    /// How many.
    pub connections: u64,
    /// When there were so many for the first time.
    pub at: Timestamp,
}

/// A number that rises and falls, and its peak. The agent learns of openings and ends some time after
/// they happened, and of those that were short in one: so they are put in order of their times first.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Level {
    /// Up to where all is in order.
    now: At,
    level: u64,
    peak: Peak,
    /// What comes after that: when, and whether it rises.
    steps: Vec<(u64, bool)>,
}

impl Level {
    pub(super) fn new(now: At) -> Self {
        Self {
            now,
            level: 0,
            peak: Peak {
                connections: 0,
                at: now.wall,
            },
            steps: Vec::new(),
        }
    }

    pub(super) fn rise(&mut self, ns: u64) {
        self.steps.push((ns, true));
    }

    pub(super) fn fall(&mut self, ns: u64) {
        self.steps.push((ns, false));
    }

    /// Nothing from before `until` will be told any more.
    pub(super) fn settle(&mut self, until: At) {
        if self.steps.is_empty() {
            self.now = until;
            return;
        }
        // Whoever ends at the time at which another opens makes room for it.
        self.steps.sort_unstable();
        let settled = self.steps.partition_point(|(ns, _)| *ns <= until.ns);
        for (ns, rises) in self.steps.drain(..settled) {
            // What is told late is not told at a time that is settled.
            let at = wall(self.now, until, ns);
            (self.level, self.peak) = step(self.level, self.peak, rises, at);
        }
        self.now = until;
    }

    /// The peak, with what is not settled.
    pub(super) fn peak(&self) -> Peak {
        let mut steps = self.steps.clone();
        steps.sort_unstable();
        let end = (self.level, self.peak);
        let end = steps.iter().fold(end, |(level, peak), &(ns, rises)| {
            step(level, peak, rises, wall(self.now, self.now, ns))
        });
        end.1
    }

    /// Begins a new peak with what is open.
    pub(super) fn reset(&mut self, now: At) {
        self.settle(At {
            ns: u64::MAX,
            ..now
        });
        self.now = now;
        self.peak = Peak {
            connections: self.level,
            at: now.wall,
        };
    }
}

fn step(level: u64, peak: Peak, rises: bool, at: Timestamp) -> (u64, Peak) {
    if !rises {
        return (level.saturating_sub(1), peak);
    }
    let level = level + 1;
    if level <= peak.connections {
        return (level, peak);
    }
    let peak = Peak {
        connections: level,
        at,
    };
    (level, peak)
}

/// The wall clock at `ns`, counted from a moment at which both clocks are known.
fn wall(earliest: At, known: At, ns: u64) -> Timestamp {
    let ns = ns.max(earliest.ns);
    let ahead = i128::from(ns) - i128::from(known.ns);
    let ahead = SignedDuration::from_nanos(i64::try_from(ahead).unwrap_or(0));
    known.wall.checked_add(ahead).unwrap_or(known.wall)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::{At, Level};

    fn at(ns: u64) -> At {
        At {
            ns,
            wall: Timestamp::constant(1_000_000, ns as i32),
        }
    }

    #[test]
    fn short_ones_that_are_told_at_once_were_open_together() {
        let mut level = Level::new(at(0));
        for start in 1..=3 {
            level.rise(start);
            level.fall(start + 10);
        }
        level.settle(at(20));
        let peak = level.peak();
        assert_eq!((peak.connections, peak.at), (3, at(3).wall));
    }

    #[test]
    fn one_that_ends_makes_room() {
        let mut level = Level::new(at(0));
        level.rise(1);
        level.rise(5);
        level.fall(5);
        assert_eq!(level.peak().connections, 1);
    }

    #[test]
    fn a_new_peak_begins_with_what_is_open() {
        let mut level = Level::new(at(0));
        for start in 1..=3 {
            level.rise(start);
        }
        level.fall(4);
        level.reset(at(5));
        let peak = level.peak();
        assert_eq!((peak.connections, peak.at), (2, at(5).wall));
        level.rise(6);
        assert_eq!(level.peak().connections, 3);
    }

    proptest! {
        /// However the telling is cut: the peak is that of all of it in order.
        #[test]
        fn peaks_are_those_of_the_whole(lives in prop::collection::vec((1_u64..50, 1_u64..20), 0..40), cuts in prop::collection::vec(1_u64..60, 0..5)) {
            let mut told: Vec<(u64, bool, u64)> = Vec::new();
            for (start, length) in &lives {
                // Both are known by the end.
                told.push((*start, true, start + length));
                told.push((start + length, false, start + length));
            }
            told.sort_by_key(|(_, _, known)| *known);
            let most = (0..80).map(|now| lives.iter().filter(|(start, length)| *start <= now && now < start + length).count()).max();
            let mut level = Level::new(at(0));
            let mut cuts = cuts;
            cuts.sort_unstable();
            let mut told = told.into_iter().peekable();
            for cut in cuts {
                while let Some((ns, rises, _)) = told.next_if(|(_, _, known)| *known <= cut) {
                    if rises { level.rise(ns) } else { level.fall(ns) }
                }
                // What is told later began at most 20 before.
                level.settle(at(cut.saturating_sub(20)));
            }
            for (ns, rises, _) in told {
                if rises { level.rise(ns) } else { level.fall(ns) }
            }
            prop_assert_eq!(Some(level.peak().connections as usize), most);
        }
    }
}
