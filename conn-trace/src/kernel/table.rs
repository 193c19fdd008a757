//! The connection table, read in place. See `conn_trace_common::table`.

use std::sync::atomic::Ordering;

use aya::{Ebpf, maps::Map};
use conn_trace_common::{
    ports::{self, LOCAL, PEER},
    stats,
    table::{
        ASKED_FIRST_BYTES, ASKED_MESSAGES, ColdEntry, DETACHED, HASH_MULTIPLIERS, HOT_ASKED_OFFSET,
        HotEntry, PROBES, Tag, WINDOW,
    },
};

use super::{
    error::LoadError,
    map::{Plain, SharedArray},
};

/// TCP_CLOSE of include/net/tcp_states.h.
const CLOSE: u8 = 7;

/// Position of the cookie among a hot entry's 64-bit words.
const COOKIE_WORD: usize = 0;

/// The agent's view of the table and of the counters beside it.
#[derive(Debug)]
pub struct Table {
    hot: SharedArray<HotEntry>,
    cold: SharedArray<ColdEntry>,
    stats: SharedArray<u64>,
    wanted_ports: SharedArray<u64>,
    active: SharedArray<u64>,
    bits: u32,
}

/// An entry and where it lies.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Slot in the table.
    pub slot: u32,
    /// The line that messages write.
    pub hot: HotEntry,
    /// The facts.
    pub cold: ColdEntry,
}

/// The programs' counters, by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelStats {
    /// Connections seen opening.
    pub opened: u64,
    /// Connections taken up later.
    pub adopted: u64,
    /// Changes to CLOSE.
    pub closed: u64,
    /// Slots in use.
    pub used: u64,
    /// Connections without a slot.
    pub untracked: u64,
    /// Messages on such connections.
    pub untracked_messages: u64,
    /// Opened and established records lost.
    pub ring_lost: u64,
    /// Closed records lost.
    pub ring_lost_closed: u64,
    /// Messages on connections that had ended before they could be entered.
    pub messages_after_end: u64,
    /// Skipped runs of life hooks that were made up for.
    pub nested_runs: u64,
    /// Messages of traced connections lost.
    pub ring_lost_messages: u64,
    /// Records of first bytes lost.
    pub ring_lost_first_bytes: u64,
    /// Receive calls whose first bytes were not found.
    pub unseen_first_bytes: u64,
}

/// Slots for a number of connections: a power of two, at most half of them used.
#[must_use]
pub fn slots_for(max_connections: u32) -> u32 {
    (u64::from(max_connections) * 2)
        .next_power_of_two()
        .clamp(u64::from(PROBES), 1 << 31) as u32
}

impl Table {
    pub(super) fn new(ebpf: &Ebpf, slots: u32) -> Result<Self, LoadError> {
        Ok(Self {
            hot: shared(ebpf, "HOT", slots)?,
            cold: shared(ebpf, "COLD", slots)?,
            stats: shared(ebpf, "STATS", stats::COUNT)?,
            active: shared(ebpf, "ACTIVE", 1)?,
            wanted_ports: shared(ebpf, "WANTED_PORTS", ports::WORDS)?,
            bits: slots.ilog2(),
        })
    }

    /// Lets the programs act, now that all of them are attached.
    pub(super) fn activate(&self) {
        self.active.word(0, 0).store(1, Ordering::Release);
    }

    /// Number of slots.
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.hot.len()
    }

    /// The hot entry in a slot, if it still belongs to this socket and connection.
    #[must_use]
    pub fn hot(&self, slot: u32, cookie: u64, generation: u32) -> Option<HotEntry> {
        let hot = self.hot.get(slot);
        let still = self.hot.word(slot, COOKIE_WORD).load(Ordering::Acquire);
        (hot.cookie == cookie && still == cookie && hot.generation == generation).then_some(hot)
    }

    /// The whole entry in a slot, likewise.
    #[must_use]
    pub fn entry(&self, slot: u32, cookie: u64, generation: u32) -> Option<Entry> {
        // The hot entry first: what it announces (owner, state) was written to the cold one before.
        let hot = self.hot(slot, cookie, generation)?;
        let cold = self.cold.get(slot);
        let still = self.hot.word(slot, COOKIE_WORD).load(Ordering::Acquire);
        (still == cookie && cold.cookie == cookie && cold.generation == generation)
            .then_some(Entry { slot, hot, cold })
    }

    /// The entry of a socket.
    #[must_use]
    pub fn find(&self, cookie: u64) -> Option<Entry> {
        (0..PROBES).find_map(|probe| {
            let slot = self.probe(cookie, probe);
            let generation = self.hot.get(slot).generation;
            self.entry(slot, cookie, generation)
        })
    }

    /// The same arithmetic as `find_in_window` in the programs.
    fn probe(&self, cookie: u64, probe: u32) -> u32 {
        let multiplier = HASH_MULTIPLIERS[usize::from(probe >= WINDOW)];
        let home = (cookie.wrapping_mul(multiplier) >> (64 - self.bits)) as u32;
        (home & !(WINDOW - 1)) | (home.wrapping_add(probe) & (WINDOW - 1))
    }

    /// All entries in the table, the ended ones whose record was lost apart.
    pub fn scan(&self, mut live: impl FnMut(Entry), mut detached: impl FnMut(Entry)) {
        for slot in 0..self.slots() {
            let cookie = self.hot.word(slot, COOKIE_WORD).load(Ordering::Acquire);
            match Tag::of(cookie) {
                Tag::Free | Tag::Claimed => {}
                Tag::Detached => {
                    // Nobody but the agent touches it any more.
                    let mut hot = self.hot.get(slot);
                    hot.cookie = cookie ^ DETACHED;
                    let cold = self.cold.get(slot);
                    self.free(slot);
                    detached(Entry { slot, hot, cold });
                }
                Tag::Live => {
                    let generation = self.hot.get(slot).generation;
                    if let Some(entry) = self.entry(slot, cookie, generation) {
                        live(entry);
                    }
                }
            }
        }
    }

    /// Takes an entry out of the table whose socket is gone without any program having seen it go,
    /// and counts the end. `None` if it is there no more.
    #[must_use]
    pub fn end(&self, slot: u32, cookie: u64, generation: u32) -> Option<Entry> {
        let entry = self.entry(slot, cookie, generation)?;
        self.hot
            .word(slot, COOKIE_WORD)
            .compare_exchange(
                cookie,
                cookie ^ DETACHED,
                Ordering::AcqRel,
                Ordering::Relaxed,
            )
            .ok()?;
        if entry.hot.state != CLOSE {
            self.stats
                .word(stats::CLOSED, 0)
                .fetch_add(1, Ordering::AcqRel);
        }
        self.free(slot);
        Some(entry)
    }

    /// Asks for a record of each message of a connection, or for none any more, if the slot is still
    /// its own. If that becomes another's at this very moment, records of that one come.
    pub fn set_traced(&self, slot: u32, cookie: u64, generation: u32, is_traced: bool) {
        self.ask(slot, (cookie, generation), ASKED_MESSAGES, is_traced);
    }

    /// Asks for no more of the first bytes of a connection, likewise.
    pub fn spare_first_bytes(&self, slot: u32, cookie: u64, generation: u32) {
        self.ask(slot, (cookie, generation), ASKED_FIRST_BYTES, false);
    }

    /// Of a published entry only the agent writes this field.
    fn ask(&self, slot: u32, (cookie, generation): (u64, u32), what: u8, is_asked: bool) {
        if let Some(hot) = self.hot(slot, cookie, generation) {
            let asked = match is_asked {
                true => hot.asked | what,
                false => hot.asked & !what,
            };
            self.hot
                .byte(slot, HOT_ASKED_OFFSET)
                .store(asked, Ordering::Release);
        }
    }

    /// Asks for the first bytes of connections that open from now on, by their ports at this end and at
    /// the peer's.
    pub fn want_first_bytes(&self, at_local: impl Fn(u16) -> bool, at_peer: impl Fn(u16) -> bool) {
        let mut words = vec![0_u64; ports::WORDS as usize];
        for port in 0..=u16::MAX {
            for (end, is_wanted) in [(LOCAL, at_local(port)), (PEER, at_peer(port))] {
                let (word, bit) = ports::place(port, end);
                words[word as usize] |= u64::from(is_wanted) << bit;
            }
        }
        for (index, word) in (0..).zip(words) {
            self.wanted_ports
                .word(index, 0)
                .store(word, Ordering::Release);
        }
    }

    /// Asks for the messages of all connections that open from now on, or for none of them.
    pub fn trace_new(&self, is_traced: bool) {
        self.stats
            .word(stats::TRACE_NEW, 0)
            .store(is_traced.into(), Ordering::Release);
    }

    fn free(&self, slot: u32) {
        self.hot.word(slot, COOKIE_WORD).store(0, Ordering::Release);
        self.stats
            .word(stats::USED, 0)
            .fetch_sub(1, Ordering::AcqRel);
    }

    /// The programs' counters.
    #[must_use]
    pub fn stats(&self) -> KernelStats {
        let read = |index| self.stats.word(index, 0).load(Ordering::Acquire);
        // Closed before opened: a connection counted as closed is then counted as opened too.
        let closed = read(stats::CLOSED);
        KernelStats {
            closed,
            opened: read(stats::OPENED),
            adopted: read(stats::ADOPTED),
            used: read(stats::USED),
            untracked: read(stats::UNTRACKED),
            untracked_messages: read(stats::UNTRACKED_MESSAGES),
            ring_lost: read(stats::RING_LOST_OPENED) + read(stats::RING_LOST_ESTABLISHED),
            ring_lost_closed: read(stats::RING_LOST_CLOSED),
            messages_after_end: read(stats::MESSAGES_AFTER_END),
            nested_runs: read(stats::NESTED_RUNS),
            ring_lost_messages: read(stats::RING_LOST_MESSAGES),
            ring_lost_first_bytes: read(stats::RING_LOST_FIRST_BYTES),
            unseen_first_bytes: read(stats::UNSEEN_FIRST_BYTES),
        }
    }
}

/// Maps an array of the object.
pub(super) fn shared<T: Plain>(
    ebpf: &Ebpf,
    name: &'static str,
    len: u32,
) -> Result<SharedArray<T>, LoadError> {
    let Some(Map::Array(map)) = ebpf.map(name) else {
        return Err(LoadError::Object(name));
    };
    SharedArray::new(map, len).map_err(|source| LoadError::Map { name, source })
}
