//! Finds out what connections speak, from the first bytes that the programs tell of.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use conn_trace_common::lifecycle::{FIRST_BYTES_LIMIT, FirstBytes};

use super::{
    connection::{Direction, Facts},
    live::Key,
    services::{Classify, at},
    state::State,
};
use crate::{
    kernel::{clock::Moment, table::Table},
    protocol::{Finding, Identity, Sender, identify},
};

/// The bytes of connections that are not known yet, without a gap from the first byte on.
#[derive(Debug, Default)]
pub(super) struct Readings {
    by_key: HashMap<Key, Vec<u8>>,
    /// Those that were no live connection's when they came in this look into the ring, or in the one before.
    early: [HashSet<Key>; 2],
}

impl Readings {
    /// Adds some bytes; false if some before them are missing, and then nothing is to be found out.
    fn add(&mut self, key: Key, some: &FirstBytes) -> bool {
        let reading = self.by_key.entry(key).or_default();
        let bytes = some.bytes.get(..some.len as usize);
        match bytes {
            Some(bytes) if some.offset as usize == reading.len() => {
                reading.extend_from_slice(bytes);
                true
            }
            _ => {
                self.by_key.remove(&key);
                false
            }
        }
    }

    /// The same for a connection that is not live: it has ended, and its end is read with this look into
    /// the ring or with the next.
    fn add_early(&mut self, key: Key, some: &FirstBytes) {
        if self.add(key, some) {
            self.early[0].insert(key);
        }
    }

    /// What the bytes say by now, and whether there will be no more.
    fn look(&self, key: Key, sender: Sender) -> Option<(Finding, bool)> {
        let reading = self.by_key.get(&key)?;
        let is_full = reading.len() as u64 >= FIRST_BYTES_LIMIT;
        Some((identify(reading, sender), is_full))
    }

    fn remove(&mut self, key: Key) {
        self.by_key.remove(&key);
    }

    /// After each look into the ring: forgets what was early and nobody's still.
    pub(super) fn age(&mut self, is_live: impl Fn(Key) -> bool) {
        self.early.swap(0, 1);
        let [due, recent] = &mut self.early;
        for key in due.drain() {
            if !recent.contains(&key) && !is_live(key) {
                self.by_key.remove(&key);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }
}

impl State {
    /// Asks for the first bytes of connections that may belong to a service that wants to know.
    pub(super) fn want_first_bytes(table: &Table, classify: &dyn Classify) {
        table.want_first_bytes(
            |port| classify.identifies_local_port(port),
            |port| classify.identifies_peer_port(port),
        );
    }

    /// Takes some of the first bytes of a connection.
    pub(super) fn take_first_bytes(&mut self, some: &FirstBytes, moment: &Moment) {
        let (slot, key) = (
            some.header.slot,
            (some.header.cookie, some.header.generation),
        );
        // The message that they are of may have made the owner known, who may decide.
        if self.live.contains(key)
            && let Some(entry) = self.tracer.table().entry(slot, key.0, key.1)
        {
            self.describe(key, &entry, moment);
        }
        let Some((cid, live)) = self.live.get_mut(key) else {
            self.readings.add_early(key, some);
            return;
        };
        let is_wanted = self.members.identifies(&live.membership) != Some(false);
        let has_all = is_wanted && self.readings.add(key, some);
        let sender = sender(&live.facts);
        let looked = has_all.then(|| self.readings.look(key, sender)).flatten();
        let (found, is_over) = match looked {
            None => (None, true),
            Some((Finding::Whole(identity), _)) => (Some(identity), true),
            Some((Finding::SoFar(identity), is_full)) => (Some(identity), is_full),
            Some((Finding::TooFew, is_full)) => (None, is_full),
            Some((Finding::Nothing, _)) => (None, true),
        };
        if let Some(identity) = found {
            let mut facts = Facts::clone(&live.facts);
            live.membership.identity = Some(Arc::new(identity));
            self.members
                .review(key, &mut live.membership, &mut facts, at(moment));
            self.live.renew(cid, facts);
        }
        if is_over {
            self.readings.remove(key);
            self.tracer.table().spare_first_bytes(slot, key.0, key.1);
        }
    }

    /// What a connection that has ended spoke, if that was not known before.
    pub(super) fn last_finding(&mut self, key: Key, facts: &Facts) -> Option<Arc<Identity>> {
        let looked = self.readings.look(key, sender(facts));
        self.readings.remove(key);
        match looked?.0 {
            Finding::SoFar(identity) | Finding::Whole(identity) => Some(Arc::new(identity)),
            Finding::Nothing | Finding::TooFew => None,
        }
    }
}

/// Who has sent what this end reads.
fn sender(facts: &Facts) -> Sender {
    match facts.direction {
        Direction::In => Sender::Client,
        Direction::Out => Sender::Server,
        Direction::Unknown => Sender::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use conn_trace_common::lifecycle::FIRST_BYTES_CHUNK;

    use super::*;

    fn some(offset: u32, text: &str) -> FirstBytes {
        let mut some = FirstBytes {
            offset,
            len: text.len() as u32,
            ..FirstBytes::default()
        };
        some.bytes[..text.len()].copy_from_slice(text.as_bytes());
        some
    }

    const KEY: Key = (7, 0);

    #[test]
    fn parts_are_put_together() {
        let mut readings = Readings::default();
        assert!(readings.add(KEY, &some(0, "SS")));
        let (finding, is_full) = readings.look(KEY, Sender::Client).expect("a reading");
        assert_eq!((finding, is_full), (Finding::TooFew, false));
        assert!(readings.add(KEY, &some(2, "H-2.0-x\r\n")));
        let (finding, _) = readings.look(KEY, Sender::Client).expect("a reading");
        assert!(matches!(finding, Finding::Whole(_)), "{finding:?}");
    }

    #[test]
    fn bytes_that_are_missing_end_it() {
        let mut readings = Readings::default();
        assert!(readings.add(KEY, &some(0, "SS")));
        assert!(!readings.add(KEY, &some(3, "-2.0-x\r\n")));
        assert!(readings.look(KEY, Sender::Client).is_none());
        // A first part that comes later is one that was read later by somebody else.
        assert!(!readings.add(KEY, &some(2, "H-2.0-x\r\n")));
        assert_eq!(readings.len(), 0);
    }

    #[test]
    fn a_record_that_says_too_much_is_refused() {
        let mut readings = Readings::default();
        let mut too_long = some(0, "");
        too_long.len = FIRST_BYTES_CHUNK as u32 + 1;
        assert!(!readings.add(KEY, &too_long));
    }

    #[test]
    fn it_is_full_at_the_limit() {
        let mut readings = Readings::default();
        let text = "X".repeat(FIRST_BYTES_CHUNK);
        let chunks = FIRST_BYTES_LIMIT as usize / FIRST_BYTES_CHUNK;
        for chunk in 0..chunks {
            assert!(readings.add(KEY, &some((chunk * text.len()) as u32, &text)));
            let (_, is_full) = readings.look(KEY, Sender::Client).expect("a reading");
            assert_eq!(is_full, chunk + 1 == chunks);
        }
    }

    #[test]
    fn bytes_of_nobody_are_forgotten_after_two_looks() {
        let mut readings = Readings::default();
        for cookie in 7..10 {
            readings.add_early((cookie, 0), &some(0, "SS"));
        }
        readings.add((10, 0), &some(0, "SS"));
        readings.age(|key| key == KEY);
        assert_eq!(readings.len(), 4);
        readings.add_early((8, 0), &some(2, "H-"));
        readings.age(|key| key == KEY);
        // One has become live, one was added to, one has not been early.
        assert_eq!(readings.len(), 3);
        assert!(!readings.by_key.contains_key(&(9, 0)));
        readings.age(|_| false);
        assert_eq!(readings.len(), 2);
        readings.age(|_| panic!("nothing is due"));
        assert!(readings.look(KEY, Sender::Client).is_some());
    }
}
