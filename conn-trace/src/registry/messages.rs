//! Messages of single connections, for the readers that asked for them.
//!
//! The kernel programs write a record of each message of a traced connection. Which connections these
//! are is decided here: those that some reader has chosen, from then on to the connection's end or the
//! reader's. While a reader may choose connections that open later, all of these are traced from the
//! beginning, until the registry has read of their opening. So a reader misses nothing of what it wants,
//! and what nobody wants is dropped.

use std::collections::{BTreeMap, HashMap};

use conn_trace_common::message::{Message as Record, RECEIVED};
use jiff::Timestamp;
use tokio::sync::mpsc::{self, error::TrySendError};

use super::{connection::Facts, live::Key, snapshot::Tracing};
use crate::kernel::clock::Moment;

/// Messages that wait for a reader: more than the ring holds, so that a reader loses none as long as it
/// takes them as fast as they come.
const WAITING: usize = 8192;

/// Of which connections a reader wants the messages.
pub struct Choice {
    /// Whether it wants those of a connection of these facts.
    pub selects: Box<dyn Fn(&Facts) -> bool + Send>,
    /// Whether connections that open later can be among them.
    pub takes_new: bool,
}

/// What a reader is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// The number of the last event of any connection before it.
    pub after: u64,
    /// What it is.
    pub item: Item,
}

/// A message, or what stands for those that are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// A message.
    Message(Message),
    /// So many messages are missing here, of any traced connection.
    Lost(u64),
}

/// A call that moved data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// The connection.
    pub cid: u64,
    /// Wall clock after the call.
    pub time: Timestamp,
    /// Whether this end received; else it sent.
    pub is_received: bool,
    /// Bytes that the call moved.
    pub bytes: u32,
    /// Which of the connection's messages in this direction, from 1.
    pub number: u64,
    /// `MSG_*` that a receive was called with.
    pub flags: u32,
}

struct Reader {
    choice: Choice,
    told: mpsc::Sender<Told>,
    /// What it had no room for, and does not know of.
    lost: u64,
}

/// A connection with the readers that want its messages.
#[derive(Debug)]
struct Chosen {
    cid: u64,
    slot: u32,
    readers: Vec<u64>,
}

/// Readers, and what they have chosen.
#[derive(Default)]
pub(super) struct Messages {
    readers: BTreeMap<u64, Reader>,
    last_reader: u64,
    chosen: HashMap<Key, Chosen>,
    /// Of connections that nothing is known of yet: their opening is read with this look into the
    /// ring or with the next.
    early: HashMap<Key, Vec<Record>>,
    early_before: HashMap<Key, Vec<Record>>,
    /// Messages that the kernel has told of.
    taken: u64,
    lost_in_ring: u64,
    lost_elsewhere: u64,
}

impl Messages {
    /// Another reader, which has chosen nothing yet.
    pub(super) fn add(&mut self, choice: Choice) -> mpsc::Receiver<Told> {
        let (told, receiver) = mpsc::channel(WAITING);
        self.last_reader += 1;
        let reader = Reader {
            choice,
            told,
            lost: 0,
        };
        self.readers.insert(self.last_reader, reader);
        receiver
    }

    /// Whether there is any reader.
    pub(super) fn has_readers(&self) -> bool {
        !self.readers.is_empty()
    }

    /// Whether connections that open from now on are to be traced.
    pub(super) fn takes_new(&self) -> bool {
        self.readers.values().any(|reader| reader.choice.takes_new)
    }

    /// Lets the readers choose a connection of these facts. Whether it is the first time that one does.
    pub(super) fn offer(&mut self, key: Key, slot: u32, facts: &Facts) -> bool {
        let before = self.chosen.get(&key);
        let has = |number| before.is_some_and(|chosen| chosen.readers.contains(number));
        let more: Vec<u64> = self
            .readers
            .iter()
            .filter(|(number, reader)| !has(number) && (reader.choice.selects)(facts))
            .map(|(number, _)| *number)
            .collect();
        let is_first = before.is_none() && !more.is_empty();
        if !more.is_empty() {
            let cid = facts.cid;
            let chosen = self.chosen.entry(key).or_insert_with(|| Chosen {
                cid,
                slot,
                readers: Vec::new(),
            });
            chosen.readers.extend(more);
        }
        is_first
    }

    /// Whether a reader has chosen the connection.
    pub(super) fn is_chosen(&self, key: Key) -> bool {
        self.chosen.contains_key(&key)
    }

    /// Tells a message to those that have chosen its connection; false if nobody has.
    pub(super) fn tell(&mut self, record: &Record, after: u64, moment: &Moment) -> bool {
        let Some(chosen) = self.chosen.get(&key_of(record)) else {
            return false;
        };
        let item = Item::Message(Message {
            cid: chosen.cid,
            time: moment.wall_of(record.time_ns),
            is_received: record.direction == RECEIVED,
            bytes: record.bytes,
            number: record.number,
            flags: record.flags,
        });
        for number in &chosen.readers {
            if let Some(reader) = self.readers.get_mut(number)
                && !reader.send(Told { after, item })
            {
                self.lost_elsewhere += 1;
            }
        }
        true
    }

    /// Counts what the kernel has told of.
    pub(super) fn count(&mut self, records: &[Record]) {
        self.taken += records.len() as u64;
    }

    /// Keeps a message until its connection is known.
    pub(super) fn keep(&mut self, record: Record) {
        self.early.entry(key_of(&record)).or_default().push(record);
    }

    /// What was kept of a connection, in order.
    pub(super) fn kept(&mut self, key: Key) -> Vec<Record> {
        let mut kept = self.early_before.remove(&key).unwrap_or_default();
        kept.append(&mut self.early.remove(&key).unwrap_or_default());
        kept
    }

    /// After each look into the ring: what was kept for two of them is lost.
    pub(super) fn age(&mut self) {
        let old = std::mem::replace(&mut self.early_before, std::mem::take(&mut self.early));
        let lost = old.values().map(Vec::len).sum::<usize>() as u64;
        self.lose(lost);
    }

    /// A connection has ended.
    pub(super) fn end(&mut self, key: Key) {
        self.chosen.remove(&key);
    }

    /// Messages are missing that could have been anybody's.
    pub(super) fn lose(&mut self, count: u64) {
        self.lost_elsewhere += count;
        self.owe(count);
    }

    /// The same, from the number that the kernel has lost since its programs were loaded.
    pub(super) fn lost_in_ring(&mut self, all: u64) {
        let count = all - self.lost_in_ring;
        self.lost_in_ring = all;
        self.owe(count);
    }

    fn owe(&mut self, count: u64) {
        for reader in self.readers.values_mut() {
            reader.lost += count;
        }
    }

    /// Tells those that have room for it what they have lost.
    pub(super) fn tell_lost(&mut self, after: u64) {
        for reader in self.readers.values_mut() {
            reader.tell_lost(after);
        }
    }

    /// Forgets readers that have gone. Gives the connections that nobody wants any more, with their
    /// slots; `None` if none has gone.
    pub(super) fn forget_gone(&mut self) -> Option<Vec<(Key, u32)>> {
        let before = self.readers.len();
        self.readers.retain(|_, reader| !reader.told.is_closed());
        if self.readers.len() == before {
            return None;
        }
        let readers = &self.readers;
        let unwanted = self.chosen.extract_if(|_, chosen| {
            chosen.readers.retain(|number| readers.contains_key(number));
            chosen.readers.is_empty()
        });
        Some(unwanted.map(|(key, chosen)| (key, chosen.slot)).collect())
    }

    /// The figures.
    pub(super) fn figures(&self) -> Tracing {
        Tracing {
            readers: self.readers.len() as u64,
            connections: self.chosen.len() as u64,
            messages: self.taken,
            lost: self.lost_in_ring + self.lost_elsewhere,
        }
    }
}

impl Reader {
    /// Whether there was room for it. A reader that has gone has.
    fn send(&mut self, told: Told) -> bool {
        self.tell_lost(told.after);
        let has_room =
            self.lost == 0 && !matches!(self.told.try_send(told), Err(TrySendError::Full(_)));
        self.lost += u64::from(!has_room);
        has_room
    }

    fn tell_lost(&mut self, after: u64) {
        let item = Item::Lost(self.lost);
        if self.lost > 0 && self.told.try_send(Told { after, item }).is_ok() {
            self.lost = 0;
        }
    }
}

/// Whose message it is.
pub(super) fn key_of(record: &Record) -> Key {
    (record.cookie, record.generation)
}

#[cfg(test)]
mod tests {
    use conn_trace_common::{message::SENT, sample::Clock};

    use super::*;
    use crate::{kernel::clock::Clocks, query::tests::fixture};

    const KEY: Key = (70, 1);

    fn moment() -> Moment {
        let mut clocks = Clocks::measure::<crate::kernel::clock::RateError>({
            let mut jiffies = 0;
            move || {
                jiffies += 1;
                Ok(Clock {
                    jiffies,
                    boot_ns: jiffies * 4_000_000,
                })
            }
        })
        .expect("a rate");
        clocks.moment(Clock {
            jiffies: 10,
            boot_ns: 40_000_000,
        })
    }

    fn record(key: Key, number: u64) -> Record {
        Record {
            cookie: key.0,
            generation: key.1,
            number,
            bytes: 5,
            direction: SENT,
            ..Record::default()
        }
    }

    /// Wants the connection of this number, or any.
    fn choice(cid: Option<u64>) -> Choice {
        Choice {
            selects: Box::new(move |facts| cid.is_none_or(|cid| cid == facts.cid)),
            takes_new: cid.is_none(),
        }
    }

    /// What waits for a reader: numbers of messages, and below 0 how many are lost.
    fn read(reader: &mut mpsc::Receiver<Told>) -> Vec<i64> {
        let mut read = Vec::new();
        while let Ok(told) = reader.try_recv() {
            read.push(match told.item {
                Item::Message(message) => message.number.cast_signed(),
                Item::Lost(count) => -count.cast_signed(),
            });
        }
        read
    }

    #[test]
    fn each_reader_gets_what_it_has_chosen() {
        let mut messages = Messages::default();
        let (mut all, mut one) = (messages.add(choice(None)), messages.add(choice(Some(2))));
        let moment = moment();
        assert!(messages.takes_new());
        for (key, cid) in [(KEY, 1), ((71, 0), 2)] {
            assert!(messages.offer(key, 9, &fixture::plain(cid).facts));
            // Nothing is new about it.
            assert!(!messages.offer(key, 9, &fixture::plain(cid).facts));
        }
        for (key, number) in [(KEY, 1), ((71, 0), 2), ((71, 0), 3)] {
            assert!(messages.tell(&record(key, number), 0, &moment));
        }
        // Another connection of the same socket.
        assert!(!messages.tell(&record((KEY.0, 2), 4), 0, &moment));
        assert_eq!(read(&mut all), [1, 2, 3]);
        assert_eq!(read(&mut one), [2, 3]);
        messages.end((71, 0));
        assert!(!messages.tell(&record((71, 0), 5), 0, &moment));
        assert_eq!(messages.figures().connections, 1);
    }

    #[test]
    fn a_connection_is_traced_as_long_as_somebody_wants_it() {
        let mut messages = Messages::default();
        let first = messages.add(choice(None));
        let second = messages.add(choice(Some(1)));
        messages.offer(KEY, 9, &fixture::plain(1).facts);
        messages.offer((71, 0), 10, &fixture::plain(2).facts);
        assert_eq!(messages.forget_gone(), None);
        drop(first);
        assert_eq!(messages.forget_gone(), Some(vec![((71, 0), 10)]));
        assert!(messages.is_chosen(KEY) && !messages.takes_new());
        drop(second);
        assert_eq!(messages.forget_gone(), Some(vec![(KEY, 9)]));
        assert!(!messages.has_readers());
    }

    #[test]
    fn what_a_slow_reader_has_no_room_for_is_counted_and_told_before_the_next() {
        let mut messages = Messages::default();
        let (mut slow, mut quick) = (messages.add(choice(None)), messages.add(choice(None)));
        messages.offer(KEY, 9, &fixture::plain(1).facts);
        let moment = moment();
        let mut sent = 0;
        let mut send = |messages: &mut Messages, count: i64| {
            for _ in 0..count {
                sent += 1;
                messages.tell(&record(KEY, sent), 0, &moment);
            }
        };
        let room = i64::try_from(WAITING).expect("a small number");
        send(&mut messages, room);
        assert_eq!(read(&mut quick).len(), WAITING);
        send(&mut messages, 7);
        assert_eq!(read(&mut quick), Vec::from_iter(room + 1..=room + 7));
        assert_eq!(messages.figures().lost, 7);
        assert_eq!(read(&mut slow), Vec::from_iter(1..=room));
        send(&mut messages, 1);
        assert_eq!(read(&mut slow), [-7, room + 8]);
        // Without a next one it is told all the same.
        messages.lost_in_ring(3);
        messages.lost_in_ring(5);
        messages.tell_lost(0);
        messages.tell_lost(0);
        assert_eq!(read(&mut slow), [-5]);
        assert_eq!(read(&mut quick), [room + 8, -5]);
        assert_eq!(messages.figures().lost, 12);
    }

    #[test]
    fn early_messages_wait_for_two_looks() {
        let mut messages = Messages::default();
        let mut reader = messages.add(choice(None));
        messages.keep(record(KEY, 1));
        messages.age();
        messages.keep(record(KEY, 2));
        let numbers = |kept: Vec<Record>| kept.iter().map(|it| it.number).collect::<Vec<_>>();
        assert_eq!(numbers(messages.kept(KEY)), [1, 2]);
        messages.keep(record(KEY, 3));
        messages.age();
        messages.age();
        assert!(messages.kept(KEY).is_empty());
        messages.tell_lost(0);
        assert_eq!(read(&mut reader), [-1]);
    }
}
