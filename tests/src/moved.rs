//! Connections that differ in what was moved on them, to page and sort.

use crate::{
    connz::Row,
    pair::{Pair, Two},
    protocol::Counts,
};

/// How many.
const COUNT: u32 = 50;

/// Connections with what was moved on each, all different, in an order that is not theirs.
#[derive(Debug)]
pub struct Moved {
    /// The two processes.
    pub two: Two,
    /// With what the client counted.
    pub pairs: Vec<(Pair, Counts)>,
}

impl Moved {
    /// Opens them and moves the data.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it starts processes")]
    pub fn new() -> Self {
        let mut two = Two::start();
        let pairs = two.open_many(COUNT);
        let pairs = (0_u64..)
            .zip(pairs)
            .map(|(number, pair)| {
                // 17 and 23 have no factor in common with 50: each value once.
                let (forth, back) = (1 + number * 17 % 50, 1 + number * 23 % 50);
                two.forth(&pair, 100 * forth, 100);
                two.back(&pair, 11 * back, 11);
                (pair, two.client.report(&pair.client))
            })
            .collect();
        Self { two, pairs }
    }

    /// The query that finds the client ends and nothing else.
    #[must_use]
    pub fn query(&self) -> String {
        format!("port={}", self.two.address.port())
    }

    /// Local ports of the client ends, by what was counted on each.
    pub fn sorted_by<K: Ord>(&self, key: impl Fn(&Counts) -> K) -> Vec<u16> {
        let mut pairs: Vec<_> = self.pairs.iter().collect();
        pairs.sort_by_key(|(_, counts)| key(counts));
        pairs
            .iter()
            .map(|(pair, _)| pair.client.local.port())
            .collect()
    }
}

/// The local ports of rows, in their order.
#[must_use]
pub fn ports(rows: &[Row]) -> Vec<u16> {
    rows.iter().map(|row| row.local_port).collect()
}

/// The list from its end.
#[must_use]
pub fn reversed<T: Clone>(list: &[T]) -> Vec<T> {
    list.iter().rev().cloned().collect()
}
