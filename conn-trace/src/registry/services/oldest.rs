//! The oldest of many connections.

use std::collections::BinaryHeap;

/// Keeps the oldest, however many it is shown.
#[derive(Clone, Debug)]
pub(super) struct Oldest {
    most: usize,
    /// Start and number; the youngest of those kept on top.
    kept: BinaryHeap<(u64, u64)>,
}

impl Oldest {
    /// So many at most.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            kept: BinaryHeap::new(),
        }
    }

    pub(super) fn add(&mut self, start_ns: u64, cid: u64) {
        let one = (start_ns, cid);
        if self.kept.len() < self.most {
            self.kept.push(one);
        } else if let Some(mut youngest) = self.kept.peek_mut()
            && one < *youngest
        {
            *youngest = one;
        }
    }

    /// Their numbers, the oldest first.
    pub(super) fn cids(self) -> impl Iterator<Item = u64> {
        self.kept.into_sorted_vec().into_iter().map(|(_, cid)| cid)
    }
}

#[cfg(test)]
mod tests {
    use super::Oldest;

    #[test]
    fn the_oldest_come_first_and_the_others_not() {
        let mut oldest = Oldest::new(3);
        for (cid, start) in [5, 9, 1, 7, 1, 8].into_iter().enumerate() {
            oldest.add(start, cid as u64);
        }
        assert_eq!(oldest.cids().collect::<Vec<_>>(), [2, 4, 0]);
        let mut none = Oldest::new(0);
        none.add(1, 1);
        assert_eq!(none.cids().count(), 0);
    }
}
