//! Closed connections, the most recent ones.

use std::collections::VecDeque;

use super::connection::Connection;

/// A bounded list in order of the end. The oldest makes room for the newest.
#[derive(Debug)]
pub(super) struct History {
    closed: VecDeque<Connection>,
    capacity: usize,
}

impl History {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            closed: VecDeque::new(),
            capacity,
        }
    }

    pub(super) fn push(&mut self, connection: Connection) {
        if self.capacity == 0 {
            return;
        }
        if self.closed.len() == self.capacity {
            self.closed.pop_front();
        }
        self.closed.push_back(connection);
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &Connection> {
        self.closed.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.closed.len()
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }
}
