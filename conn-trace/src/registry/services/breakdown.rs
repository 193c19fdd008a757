//! The connections of a service by client, port or process, in bounded memory whatever peers do.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

use crate::registry::connection::Counters;

/// Keys that are told apart; the connections of others are counted together. At about 150 bytes each,
/// not much for a service, and more than anybody looks through.
const MOST: usize = 4096;

/// What one key has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Connections open now.
    pub current: u64,
    /// Connections ever counted.
    pub total: u64,
    /// What those that ended have moved.
    pub ended: Counters,
}

impl Share {
    fn take_in(&mut self, other: Self) {
        self.current += other.current;
        self.total += other.total;
        self.ended = self.ended + other.ended;
    }
}

/// The largest shares, and all others together.
#[derive(Clone, Debug, PartialEq)]
pub struct Shares<K> {
    /// Those with most open connections first; of equal ones, those with most ever.
    pub top: Vec<(K, Share)>,
    /// The others, and those that no room was found for.
    pub other: Share,
    /// Connections whose key could not be told apart for want of room.
    pub overflow: u64,
}

/// Shares by key. Where there is no more room, the key that has been without connections for longest
/// makes it; if all have some, a new one counts among the others.
#[derive(Debug)]
pub(super) struct Breakdown<K> {
    shares: HashMap<K, (Share, u64)>,
    /// Keys without open connections, by the time that they lost the last.
    unused: BTreeMap<u64, K>,
    clock: u64,
    other: Share,
    overflow: u64,
    most: usize,
}

impl<K> Default for Breakdown<K> {
    fn default() -> Self {
        Self {
            shares: HashMap::new(),
            unused: BTreeMap::new(),
            clock: 0,
            other: Share::default(),
            overflow: 0,
            most: MOST,
        }
    }
}

impl<K: Clone + Eq + Hash + Ord> Breakdown<K> {
    /// A connection has come; whether it is counted under its key. Its end has to be told the same.
    pub(super) fn enter(&mut self, key: K) -> bool {
        if !self.shares.contains_key(&key) && !self.has_room() {
            self.other.current += 1;
            self.other.total += 1;
            self.overflow += 1;
            return false;
        }
        let (share, since) = self.shares.entry(key).or_default();
        if share.current == 0 {
            self.unused.remove(since);
        }
        share.current += 1;
        share.total += 1;
        true
    }

    /// A connection has gone, and had moved this.
    pub(super) fn leave(&mut self, key: &K, is_named: bool, moved: Counters) {
        let Some((share, since)) = self.shares.get_mut(key).filter(|_| is_named) else {
            self.other.current -= 1;
            self.other.ended = self.other.ended + moved;
            return;
        };
        share.current -= 1;
        share.ended = share.ended + moved;
        if share.current == 0 {
            self.clock += 1;
            *since = self.clock;
            self.unused.insert(self.clock, key.clone());
        }
    }

    /// A connection that has come is to be counted under another key instead.
    pub(super) fn forget(&mut self, key: &K, is_named: bool) {
        self.leave(key, is_named, Counters::default());
        match self.shares.get_mut(key).filter(|_| is_named) {
            Some((share, _)) => share.total -= 1,
            None => self.other.total -= 1,
        }
    }

    fn has_room(&mut self) -> bool {
        if self.shares.len() < self.most {
            return true;
        }
        let Some((_, oldest)) = self.unused.pop_first() else {
            return false;
        };
        if let Some((share, _)) = self.shares.remove(&oldest) {
            self.other.take_in(share);
        }
        true
    }

    /// The largest `most` shares.
    pub(super) fn top(&self, most: usize) -> Shares<K> {
        let mut all: Vec<_> = self
            .shares
            .iter()
            .map(|(key, (share, _))| (key, share))
            .collect();
        let size = |&(key, share): &(&K, &Share)| {
            (Reverse(share.current), Reverse(share.total), (*key).clone())
        };
        let mut other = self.other;
        if all.len() > most {
            all.select_nth_unstable_by_key(most, size);
            for (_, share) in all.drain(most..) {
                other.take_in(*share);
            }
        }
        all.sort_unstable_by_key(size);
        Shares {
            top: all
                .into_iter()
                .map(|(key, share)| (key.clone(), *share))
                .collect(),
            other,
            overflow: self.overflow,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::{Breakdown, Counters, Share};

    fn of_two() -> Breakdown<u8> {
        Breakdown {
            most: 2,
            ..Breakdown::default()
        }
    }

    const MOVED: Counters = Counters {
        in_bytes: 1,
        out_bytes: 2,
        in_msgs: 3,
        out_msgs: 4,
    };

    #[test]
    fn whoever_is_gone_for_longest_makes_room() {
        let mut breakdown = of_two();
        for key in [1, 2] {
            assert!(breakdown.enter(key));
        }
        for key in [2, 1] {
            breakdown.leave(&key, true, MOVED);
        }
        assert!(breakdown.enter(3));
        let shares = breakdown.top(5);
        let keys: Vec<_> = shares.top.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, [3, 1]);
        let gone = Share {
            current: 0,
            total: 1,
            ended: MOVED,
        };
        assert_eq!((shares.other, shares.overflow), (gone, 0));
    }

    #[test]
    fn without_room_a_new_one_is_among_the_others() {
        let mut breakdown = of_two();
        for key in [1, 2] {
            assert!(breakdown.enter(key));
        }
        assert!(!breakdown.enter(3));
        breakdown.leave(&1, true, MOVED);
        // Now it has a place; its first connection is still elsewhere.
        assert!(breakdown.enter(3));
        breakdown.leave(&3, false, MOVED);
        let shares = breakdown.top(1);
        assert_eq!(shares.top[0].0, 2);
        assert_eq!((shares.other.current, shares.other.total), (1, 3));
        assert_eq!(shares.overflow, 1);
    }

    proptest! {
        /// Whatever comes and goes: nothing is lost, and the top is that of a list of all.
        #[test]
        fn nothing_is_lost(steps in prop::collection::vec((0_u8..6, any::<bool>()), 0..200)) {
            let mut breakdown = Breakdown { most: 3, ..Breakdown::default() };
            let mut open: Vec<(u8, bool)> = Vec::new();
            let (mut entered, mut left) = (0, 0);
            for (key, comes) in steps {
                if comes {
                    open.push((key, breakdown.enter(key)));
                    entered += 1;
                } else if let Some(at) = open.iter().position(|(open, _)| *open == key) {
                    let (key, is_named) = open.swap_remove(at);
                    breakdown.leave(&key, is_named, MOVED);
                    left += 1;
                }
                prop_assert!(breakdown.shares.len() <= 3);
            }
            let shares = breakdown.top(2);
            let all = shares.top.iter().map(|(_, share)| *share).chain([shares.other]);
            let sum = all.reduce(|mut sum, share| { sum.take_in(share); sum }).unwrap();
            prop_assert_eq!((sum.current, sum.total, sum.ended.in_bytes), (entered - left, entered, left));
            let mut named: HashMap<u8, u64> = HashMap::new();
            for (key, _) in open.iter().filter(|(_, is_named)| *is_named) {
                *named.entry(*key).or_default() += 1;
            }
            let largest = named.values().max().copied().unwrap_or(0);
            prop_assert_eq!(shares.top.first().map_or(0, |(_, share)| share.current), largest);
        }
    }
}
