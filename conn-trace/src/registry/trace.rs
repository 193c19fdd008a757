//! Takes messages out of their ring, and lets readers choose connections.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use conn_trace_common::message::Message as Record;
use tokio::sync::mpsc;

use super::{
    connection::{Facts, Owner},
    live::Key,
    messages::{Choice, Told, key_of},
    state::State,
};
use crate::kernel::{LoadError, clock::Moment};

/// How often readers are offered all connections anew: the owner of one may have become known.
const REVIEW_INTERVAL: Duration = Duration::from_secs(1);

impl State {
    /// From now on, tells a reader of the messages of the connections that it chooses.
    pub(super) fn trace(&mut self, choice: Choice) -> Result<mpsc::Receiver<Told>, LoadError> {
        // What is lost by now is none of its loss.
        self.catch_up()?;
        let told = self.messages.add(choice);
        // What opens behind this is traced from the beginning, and the rest is in the live set below.
        self.tracer.table().trace_new(self.messages.takes_new());
        self.catch_up()?;
        self.review()?;
        Ok(told)
    }

    /// Everything in the ring of messages, which is looked at after the other ring.
    pub(super) fn take_messages(&mut self) -> Vec<Record> {
        let mut records = Vec::new();
        let unreadable = self.tracer.drain_messages(|record| records.push(record));
        self.messages.lose(unreadable);
        self.messages.count(&records);
        records
    }

    /// Tells messages to those that want them.
    pub(super) fn tell_messages(&mut self, records: Vec<Record>, moment: &Moment) {
        let after = self.events.last();
        for record in records {
            let key = key_of(&record);
            if self.messages.tell(&record, after, moment) {
                continue;
            }
            match self.offer_anew(key, record.slot, moment) {
                Some(true) => _ = self.messages.tell(&record, after, moment),
                Some(false) => self.set_traced(key, record.slot, false),
                None => self.messages.keep(record),
            }
        }
    }

    /// Offers a connection whose first message may have made its owner known. Whether anybody wants
    /// it; `None` where its opening or its end is yet to be read.
    fn offer_anew(&mut self, key: Key, slot: u32, moment: &Moment) -> Option<bool> {
        if !self.live.contains(key) {
            return None;
        }
        let entry = self.tracer.table().entry(slot, key.0, key.1)?;
        self.describe(key, &entry, moment);
        let (_, live) = self.live.get_mut(key)?;
        let facts = Arc::clone(&live.facts);
        Some(self.offer(key, slot, &facts))
    }

    fn offer(&mut self, key: Key, slot: u32, facts: &Facts) -> bool {
        if !self.describer.own.concerns(facts) {
            self.messages.offer(key, slot, facts);
        }
        self.messages.is_chosen(key)
    }

    /// Offers a connection that has opened, and tells what it has moved since. `is_traced` says whether
    /// its messages are asked for.
    pub(super) fn offer_opened(
        &mut self,
        key: Key,
        slot: u32,
        is_traced: bool,
        facts: &Facts,
        moment: &Moment,
    ) {
        let is_chosen = self.offer(key, slot, facts);
        self.tell_kept(key, moment);
        // What has no owner yet is offered again with its first message.
        let is_to_be_traced = is_chosen || (is_traced && facts.owner == Owner::Unknown);
        if is_traced != is_to_be_traced {
            self.set_traced(key, slot, is_to_be_traced);
        }
    }

    /// Offers a connection whose handshake has ended: its addresses are known by now.
    pub(super) fn offer_established(&mut self, key: Key, moment: &Moment) {
        if !self.messages.has_readers() || self.messages.is_chosen(key) {
            return;
        }
        if let Some((_, live)) = self.live.get_mut(key) {
            let slot = live.slot;
            if self.offer_anew(key, slot, moment) == Some(true) {
                self.set_traced(key, slot, true);
            }
        }
    }

    /// Offers a connection that has ended, as it is known in the end, and tells what was kept of it.
    pub(super) fn offer_ended(&mut self, key: Key, facts: &Facts, moment: &Moment) {
        // It has no slot any more.
        self.offer(key, 0, facts);
        self.tell_kept(key, moment);
        self.messages.end(key);
    }

    fn tell_kept(&mut self, key: Key, moment: &Moment) {
        let after = self.events.last();
        for record in self.messages.kept(key) {
            // Nobody may want it.
            self.messages.tell(&record, after, moment);
        }
    }

    fn set_traced(&self, (cookie, generation): Key, slot: u32, is_traced: bool) {
        let table = self.tracer.table();
        table.set_traced(slot, cookie, generation, is_traced);
    }

    /// After each look into the rings.
    pub(super) fn attend_to_readers(&mut self) -> Result<(), LoadError> {
        self.messages.age();
        if !self.messages.has_readers() {
            return Ok(());
        }
        let lost = self.tracer.table().stats().ring_lost_messages;
        self.messages.lost_in_ring(lost);
        self.messages.tell_lost(self.events.last());
        if let Some(unwanted) = self.messages.forget_gone() {
            self.tracer.table().trace_new(self.messages.takes_new());
            for (key, slot) in unwanted {
                self.set_traced(key, slot, false);
            }
        }
        if self.reviewed.elapsed() >= REVIEW_INTERVAL {
            self.review()?;
        }
        Ok(())
    }

    /// Offers all live connections, as far as they are known now.
    fn review(&mut self) -> Result<(), LoadError> {
        self.reviewed = Instant::now();
        let moment = self.tracer.now()?;
        self.complete_facts(None, &moment);
        let table = self.tracer.table();
        for (_, live) in self.live.iter() {
            if !self.describer.own.concerns(&live.facts)
                && self.messages.offer(live.key, live.slot, &live.facts)
            {
                table.set_traced(live.slot, live.key.0, live.key.1, true);
            }
        }
        Ok(())
    }
}
