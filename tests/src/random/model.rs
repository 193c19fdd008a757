//! All connections that were made, until every agent has shown their ends.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
};

use super::{
    connection::Connection,
    ending::{By, Side},
};
use crate::protocol::Counts;

/// Both addresses of an end: its own first.
pub type Tuple = (SocketAddr, SocketAddr);
/// Names one end for ever.
pub type Key = (u64, Side);

/// Connections of which only the number and the kind are known.
#[derive(Clone, Debug)]
pub struct Burst {
    /// In the order of beginning.
    pub number: u64,
    /// Where they went to.
    pub port: u16,
    /// What each end has: process, counts, cause.
    pub ends: Vec<(Side, u32, Counts, &'static str)>,
    /// How many.
    pub count: u64,
}

/// What happened.
#[derive(Debug, Default)]
pub struct Model {
    /// By number.
    pub connections: BTreeMap<u64, Connection>,
    /// Since the last comparison.
    pub bursts: Vec<Burst>,
    last: u64,
}

impl Model {
    /// The next number.
    pub fn next_number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Ends that their processes hold.
    #[must_use]
    pub fn held(&self) -> Vec<Key> {
        self.ends()
            .filter(|&(number, side)| self.connections[&number].end(side).is_held)
            .collect()
    }

    /// All ends.
    pub fn ends(&self) -> impl Iterator<Item = Key> + '_ {
        let numbers = self.connections.keys();
        numbers.flat_map(|&number| Side::BOTH.map(|side| (number, side)))
    }

    /// The ends by their addresses, in the order of opening.
    #[must_use]
    pub fn by_tuple(&self) -> HashMap<Tuple, Vec<Key>> {
        let mut found: HashMap<_, Vec<_>> = HashMap::new();
        for (number, side) in self.ends() {
            let end = self.connections[&number].end(side).end;
            found
                .entry((end.local, end.peer))
                .or_default()
                .push((number, side));
        }
        found
    }

    /// A process has ended: all its ends are closed.
    pub fn close_all(&mut self, slot: usize, by: By) {
        for connection in self.connections.values_mut() {
            for side in Side::BOTH {
                if connection.end(side).slot == slot && connection.end(side).is_held {
                    connection.note(side, &format!("its process ended: {by:?}"));
                    connection.close(side, by, false);
                }
            }
        }
    }

    /// Everything has arrived.
    pub fn settle(&mut self) {
        for connection in self.connections.values_mut() {
            connection.settle();
        }
    }
}
