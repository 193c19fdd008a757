//! What happened to connections, in order, as far back as the memory for it goes.

use std::{collections::VecDeque, sync::Arc};

use jiff::Timestamp;
use tokio::sync::watch;

use super::{
    connection::{Connection, Origin},
    policies::Record,
};

/// Events remembered: what a reader may be behind.
const KEPT: usize = 16_384;
/// Events in an answer: the registry has others to serve.
const BATCH: usize = 512;

/// What happened to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Its SYN was sent, or its handshake has ended on the accepting side.
    Opened,
    /// Its handshake has ended.
    Established,
    /// It has ended.
    Closed,
    /// A policy has acted on it.
    Policy,
}

impl What {
    /// Everything that can happen; but for the last, in order.
    pub const ALL: [Self; 4] = [Self::Opened, Self::Established, Self::Closed, Self::Policy];

    /// What is to be told of an opening. That of a connection older than the agent was no event
    /// that it has seen.
    pub(super) fn of_opening(origin: Origin, is_established: bool) -> &'static [Self] {
        match (origin, is_established) {
            (Origin::Preexisting, _) => &[],
            (_, false) => &[Self::Opened],
            (_, true) => &[Self::Opened, Self::Established],
        }
    }

    /// The name that readers see.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Established => "established",
            Self::Closed => "closed",
            Self::Policy => "policy",
        }
    }
}

/// An event.
#[derive(Clone, Debug)]
pub struct Event {
    /// From 1, one more for each event.
    pub number: u64,
    /// What happened.
    pub what: What,
    /// The connection as it was then.
    pub connection: Connection,
    /// What a policy has done, if it was one.
    pub action: Option<Arc<Record>>,
    /// Wall clock when the agent took note.
    pub now: Timestamp,
    /// The same on `CLOCK_BOOTTIME`, in nanoseconds.
    pub now_ns: u64,
}

/// Events that follow one another.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Those that are remembered, in order.
    pub events: Vec<Arc<Event>>,
    /// Those between the reader's last and the first of these, which are forgotten.
    pub lost: u64,
    /// The number of the last one, or the reader's own if nothing happened since.
    pub last: u64,
}

/// The events of this run of the agent.
#[derive(Debug)]
pub(crate) struct Events {
    recent: VecDeque<Arc<Event>>,
    /// The number of the last one. Whoever waits for the next listens to it.
    last: watch::Sender<u64>,
}

impl Events {
    pub(crate) fn new() -> Self {
        Self {
            recent: VecDeque::new(),
            last: watch::Sender::new(0),
        }
    }

    /// The number of the last event, and a way to wait for the next.
    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    /// The number of the last event.
    pub(super) fn last(&self) -> u64 {
        *self.last.borrow()
    }

    pub(crate) fn push(&mut self, what: What, connection: Connection, now: Timestamp, now_ns: u64) {
        self.add(Event {
            number: self.last() + 1,
            what,
            connection,
            action: None,
            now,
            now_ns,
        });
    }

    pub(crate) fn push_policy(&mut self, record: Arc<Record>) {
        self.add(Event {
            number: self.last() + 1,
            what: What::Policy,
            connection: record.connection.clone(),
            now: record.seen,
            now_ns: record.seen_ns,
            action: Some(record),
        });
    }

    fn add(&mut self, event: Event) {
        let number = event.number;
        if self.recent.len() == KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back(Arc::new(event));
        self.last.send_replace(number);
    }

    /// What came after the event of this number.
    pub(crate) fn after(&self, number: u64) -> Batch {
        let last = self.last();
        let first = last + 1 - self.recent.len() as u64;
        let lost = first.saturating_sub(number + 1);
        let skipped = usize::try_from((number + 1).saturating_sub(first)).unwrap_or(usize::MAX);
        let events: Vec<_> = self
            .recent
            .iter()
            .skip(skipped)
            .take(BATCH)
            .cloned()
            .collect();
        Batch {
            lost,
            last: events.last().map_or(number, |event| event.number),
            events,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BATCH, Events, KEPT, Origin, What};
    use crate::query::tests::fixture::{self, NOW, NOW_NS};

    fn events(count: usize) -> Events {
        let mut events = Events::new();
        let connection = fixture::plain(1);
        for _ in 0..count {
            events.push(What::Opened, connection.clone(), NOW, NOW_NS);
        }
        events
    }

    /// The numbers of a batch, how many are lost before them, and where the next goes on.
    fn after(events: &Events, number: u64) -> (Vec<u64>, u64, u64) {
        let batch = events.after(number);
        let numbers = batch.events.iter().map(|event| event.number).collect();
        (numbers, batch.lost, batch.last)
    }

    #[test]
    fn only_openings_that_were_seen_are_told() {
        for is_established in [false, true] {
            assert!(What::of_opening(Origin::Preexisting, is_established).is_empty());
        }
        for origin in [Origin::Opened, Origin::Late] {
            assert_eq!(What::of_opening(origin, false), [What::Opened]);
            assert_eq!(
                What::of_opening(origin, true),
                [What::Opened, What::Established]
            );
        }
    }

    #[test]
    fn each_event_comes_once_and_in_order() {
        assert_eq!(after(&events(0), 0), (vec![], 0, 0));
        let events = events(3);
        assert_eq!(after(&events, 0), (vec![1, 2, 3], 0, 3));
        assert_eq!(after(&events, 2), (vec![3], 0, 3));
        assert_eq!(after(&events, 3), (vec![], 0, 3));
    }

    #[test]
    fn a_batch_is_bounded_and_the_next_follows() {
        let events = events(BATCH + 5);
        let (first, lost, last) = after(&events, 0);
        assert_eq!((first.len(), lost, last), (BATCH, 0, BATCH as u64));
        let (second, lost, last) = after(&events, last);
        assert_eq!((second[0], lost), (BATCH as u64 + 1, 0));
        assert_eq!((second.len(), last), (5, BATCH as u64 + 5));
    }

    #[test]
    fn what_is_forgotten_is_said() {
        let events = events(KEPT + 100);
        let (numbers, lost, _) = after(&events, 0);
        assert_eq!((numbers[0], lost), (101, 100));
        let (numbers, lost, _) = after(&events, 60);
        assert_eq!((numbers[0], lost), (101, 40));
        let (numbers, lost, _) = after(&events, 100);
        assert_eq!((numbers[0], lost), (101, 0));
    }

    #[test]
    fn whoever_waits_hears_of_the_next() {
        let mut events = events(1);
        let mut news = events.news();
        assert_eq!(*news.borrow_and_update(), 1);
        events.push(What::Closed, fixture::plain(1), NOW, NOW_NS);
        assert!(news.has_changed().unwrap());
        assert_eq!(*news.borrow(), 2);
    }
}
