//! What is counted of a service, or of the whole host, when connections open and close.

use super::{
    histogram::{DURATIONS, Histogram, SIZES},
    level::{At, Level, Peak},
};
use crate::registry::connection::{CloseCause, Connection, Counters};

/// Counts by cause of the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Causes([u64; CloseCause::ALL.len()]);

impl Causes {
    pub(super) fn add(&mut self, cause: CloseCause) {
        let is_it = |other: &CloseCause| other.name() == cause.name();
        if let Some(at) = CloseCause::ALL.iter().position(is_it) {
            self.0[at] += 1;
        }
    }

    /// Every cause and its count.
    pub fn iter(&self) -> impl Iterator<Item = (CloseCause, u64)> {
        CloseCause::ALL.into_iter().zip(self.0)
    }

    /// All causes together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// Exact counts: they change with each opening and end, and with nothing else.
#[derive(Clone, Debug, PartialEq)]
pub struct Tally {
    /// Connections whose handshake has not ended.
    pub connecting: u64,
    /// Connections whose handshake has ended, as long as their sockets exist.
    pub current: u64,
    /// Connections whose handshake has ended since the start.
    pub opened: u64,
    /// Connections that were open already when they came to be counted here: older than the agent, or
    /// moved here by a new configuration.
    pub joined: u64,
    /// Connections that a new configuration has moved elsewhere.
    pub left: u64,
    /// Connections that ended, by cause.
    pub closed: Causes,
    /// Connections whose handshake never ended, by cause.
    pub failed: Causes,
    /// How many were open at which time.
    pub(super) level: Level,
    /// What those have moved that are no longer open here.
    pub ended: Counters,
    /// Segments that these have sent again, as far as the kernel tells.
    pub retransmitted: u64,
    /// Seconds from the end of the handshake to the end.
    pub durations: Histogram<{ DURATIONS.len() }>,
    /// Bytes that a connection has received in its life.
    pub received: Histogram<{ SIZES.len() }>,
    /// Bytes that a connection has sent in its life.
    pub sent: Histogram<{ SIZES.len() }>,
}

impl Tally {
    pub(super) fn new(now: At) -> Self {
        Self {
            connecting: 0,
            current: 0,
            opened: 0,
            joined: 0,
            left: 0,
            closed: Causes::default(),
            failed: Causes::default(),
            level: Level::new(now),
            ended: Counters::default(),
            retransmitted: 0,
            durations: Histogram::new(&DURATIONS),
            received: Histogram::new(&SIZES),
            sent: Histogram::new(&SIZES),
        }
    }

    /// A connection is open here, since `ns` of `CLOCK_BOOTTIME`.
    pub(super) fn open(&mut self, has_joined: bool, ns: u64) {
        match has_joined {
            true => self.joined += 1,
            false => self.opened += 1,
        }
        self.current += 1;
        self.level.rise(ns);
    }

    /// A connection that was open here has ended, and moved `counters` while it was here.
    pub(super) fn close(&mut self, connection: &Connection, counters: Counters) {
        if let Some(end) = &connection.end {
            self.closed.add(end.cause);
            let lived = end.stop_ns.saturating_sub(connection.facts.start_ns);
            self.durations.add(lived as f64 / 1e9);
            self.level.fall(end.stop_ns);
        }
        self.received.add(connection.counters.in_bytes as f64);
        self.sent.add(connection.counters.out_bytes as f64);
        self.current -= 1;
        self.ended = self.ended + counters;
    }

    /// A connection that was not open yet never will be.
    pub(super) fn fail(&mut self, connection: &Connection) {
        if let Some(end) = &connection.end {
            self.failed.add(end.cause);
        }
        // What a SYN took along (TCP Fast Open).
        self.ended = self.ended + connection.counters;
        self.connecting -= 1;
    }

    /// A connection that is still open belongs elsewhere.
    pub(super) fn leave(&mut self, counters: Counters, ns: u64) {
        self.left += 1;
        self.level.fall(ns);
        self.current -= 1;
        self.ended = self.ended + counters;
    }

    /// The most connections that were open at the same time.
    #[must_use]
    pub fn peak(&self) -> Peak {
        self.level.peak()
    }
}
