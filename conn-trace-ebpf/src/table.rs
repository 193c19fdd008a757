//! The connection table: lookup, claim, release. See `conn_trace_common::table`.

use core::{
    intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd},
    ptr::{read_volatile, write_volatile},
};

use aya_ebpf::{bindings::BPF_F_MMAPABLE, macros::map, maps::Array};
use conn_trace_common::{
    stats,
    table::{
        ASKED_FIRST_BYTES, ASKED_MESSAGES, CLAIMED, ColdEntry, DETACHED, HASH_MULTIPLIERS,
        HOT_OWNER_SHIFT, HOT_STATE_WORD_OFFSET, HotEntry, OWNER_CLAIMED, OWNER_UNKNOWN, WINDOW,
    },
};

use crate::fields::{TABLE_BITS, TABLE_CAPACITY};

// The loader sets the number of slots of the three arrays.
#[map]
static HOT: Array<HotEntry> = Array::with_max_entries(2, BPF_F_MMAPABLE);
#[map]
static COLD: Array<ColdEntry> = Array::with_max_entries(2, BPF_F_MMAPABLE);
#[map]
static SOCKETS: Array<u64> = Array::with_max_entries(2, 0);
#[map]
static STATS: Array<u64> = Array::with_max_entries(stats::COUNT, BPF_F_MMAPABLE);

/// One slot of the table.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    pub(crate) index: u32,
    pub(crate) hot: *mut HotEntry,
}

/// What asking for a place gave.
pub(crate) enum Claim {
    /// A zeroed entry that nobody finds until it is published.
    New(Slot),
    /// Somebody else has entered this socket.
    Present,
    /// No room.
    Full,
}

/// Adds to a counter of `conn_trace_common::stats`.
#[inline(always)]
pub(crate) fn count(index: u32) {
    add(index, 1);
}

#[inline(always)]
fn add(index: u32, value: u64) -> u64 {
    let Some(counter) = STATS.get_ptr_mut(index) else {
        return 0;
    };
    // SAFETY: an aligned element of the array. AcqRel because the result is used: with a weaker
    // order LLVM picks the instruction that returns nothing.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::AcqRel }>(counter, value) }
}

/// The first slot to look at for a cookie, in the first or the second of its windows.
#[inline(always)]
fn home(cookie: u64, window: usize) -> u32 {
    let multiplier = HASH_MULTIPLIERS[window];
    (cookie.wrapping_mul(multiplier) >> ((64 - TABLE_BITS.load()) & 63)) as u32
}

/// Finds the entry of a socket: most are at home, and every message asks.
#[inline(always)]
pub(crate) fn find(cookie: u64) -> Option<Slot> {
    let slot = slot_at(home(cookie, 0))?;
    // SAFETY: an element of the array; the cookie is only ever read and written whole.
    if unsafe { read_volatile(&raw const (*slot.hot).cookie) } == cookie {
        return Some(slot);
    }
    match find_index(cookie) {
        ABSENT => None,
        index => slot_at(index),
    }
}

/// A global function, as `find_in_window` is.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_index(cookie: u64) -> u32 {
    find_in_windows(cookie, cookie, u64::MAX)
}

/// The first slot of a cookie's windows whose key has these bits of `key`.
#[inline(always)]
fn find_in_windows(cookie: u64, key: u64, bits: u64) -> u32 {
    for window in 0..WINDOWS {
        let index = find_in_window(home(cookie, window), key, bits, FORWARD);
        if index != ABSENT {
            return index;
        }
    }
    ABSENT
}

/// The first slot of a window whose key has these bits of `key`, from its home on or
/// [back from there](BACKWARD).
///
/// A global function, which the verifier looks at once for each program and not once for each way
/// to it (`do_check_subprogs` in kernel/bpf/verifier.c; since 5.6). A loop with more than one way to go on
/// would take it several times as long.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_in_window(home: u32, key: u64, bits: u64, order: u32) -> u32 {
    for step in 0..WINDOW {
        let index = (home & !(WINDOW - 1)) | (home.wrapping_add(step ^ order) & (WINDOW - 1));
        let Some(hot) = HOT.get_ptr_mut(index) else {
            break;
        };
        // SAFETY: as in `find`.
        let found = unsafe { read_volatile(&raw const (*hot).cookie) };
        if (found ^ key) & bits == 0 {
            return index;
        }
    }
    ABSENT
}

/// The slot of the given number.
#[inline(always)]
pub(crate) fn slot_at(index: u32) -> Option<Slot> {
    HOT.get_ptr_mut(index).map(|hot| Slot { index, hot })
}

/// Claims a slot for a socket that [`find`] did not find. `is_new` says that nobody else can know
/// the socket yet.
///
/// Otherwise two CPUs may claim for one socket at the same time. Each then looks through the
/// windows again, and gives way if it sees the other; at most one can miss the other's claim, so
/// at most one entry is published. If both give way, the socket's next event tries again.
#[inline(always)]
pub(crate) fn claim(cookie: u64, is_new: bool) -> Claim {
    match claim_index(cookie, is_new.into()) {
        FULL => Claim::Full,
        PRESENT => Claim::Present,
        index => slot_at(index).map_or(Claim::Full, Claim::New),
    }
}

/// Instead of an index, which is always less.
const FULL: u32 = u32::MAX;
const PRESENT: u32 = u32::MAX - 1;
const ABSENT: u32 = u32::MAX;

const WINDOWS: usize = HASH_MULTIPLIERS.len();
/// Ways through a window.
const FORWARD: u32 = 0;
const BACKWARD: u32 = WINDOW - 1;
/// A free slot may be lost to another CPU so often, one after the other.
const TRIES: u32 = 16;

/// A global function, as `find_in_window` is.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn claim_index(cookie: u64, is_new: u32) -> u32 {
    if add(stats::USED, 1) >= u64::from(TABLE_CAPACITY.load()) {
        add(stats::USED, u64::MAX);
        return FULL;
    }
    let Some(slot) = claim_free(cookie) else {
        add(stats::USED, u64::MAX);
        return FULL;
    };
    if is_new == 0 && is_claimed_elsewhere(cookie, slot) {
        slot.release();
        return PRESENT;
    }
    slot.index
}

/// Another slot in the same window comes before the own one in one of the two orders.
#[inline(always)]
fn is_claimed_elsewhere(cookie: u64, slot: Slot) -> bool {
    for window in 0..WINDOWS {
        let home = home(cookie, window);
        for order in [FORWARD, BACKWARD] {
            let index = find_in_window(home, cookie, !CLAIMED, order);
            if index != ABSENT && index != slot.index {
                return true;
            }
        }
    }
    false
}

#[inline(always)]
fn claim_free(cookie: u64) -> Option<Slot> {
    for _ in 0..TRIES {
        let slot = slot_at(find_in_windows(cookie, 0, u64::MAX))?;
        // SAFETY: the exchange makes the slot ours before anything else is written.
        unsafe {
            let (_, is_claimed) = atomic_cxchg::<
                u64,
                { AtomicOrdering::SeqCst },
                { AtomicOrdering::SeqCst },
            >(&raw mut (*slot.hot).cookie, 0, cookie ^ CLAIMED);
            if is_claimed {
                slot.clear();
                return Some(slot);
            }
        }
    }
    None
}

/// Changes a slot's cookie with a full barrier: plain stores are not ordered on every machine.
#[inline(always)]
fn exchange(slot: Slot, from: u64, to: u64) {
    // SAFETY: the key of an entry that the caller owns.
    unsafe {
        let key = &raw mut (*slot.hot).cookie;
        atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(key, from, to);
    }
}

impl Slot {
    /// The slot's cold entry.
    #[inline(always)]
    pub(crate) fn cold(self) -> Option<*mut ColdEntry> {
        COLD.get_ptr_mut(self.index)
    }

    /// The place for the socket's address.
    #[inline(always)]
    pub(crate) fn socket(self) -> Option<*mut u64> {
        SOCKETS.get_ptr_mut(self.index)
    }

    /// Zeroes everything but the cookie, and asks for messages if those of new connections are.
    #[inline(always)]
    unsafe fn clear(self) {
        let words = self.hot.cast::<u64>();
        for word in 1..size_of::<HotEntry>() / 8 {
            // SAFETY: inside the entry, which the caller has claimed.
            unsafe { write_volatile(words.add(word), 0) };
        }
        if let Some(cold) = self.cold() {
            let words = cold.cast::<u64>();
            for word in 0..size_of::<ColdEntry>() / 8 {
                // SAFETY: inside the cold entry of the same slot.
                unsafe { write_volatile(words.add(word), 0) };
            }
        }
        if let Some(traces) = STATS.get_ptr_mut(stats::TRACE_NEW) {
            // SAFETY: an element of the array, and a field of the entry.
            unsafe {
                if read_volatile(traces) != 0 {
                    write_volatile(&raw mut (*self.hot).asked, ASKED_MESSAGES);
                }
            }
        }
    }

    /// Makes a claimed slot findable, after everything that was written into it.
    #[inline(always)]
    pub(crate) fn publish(self, cookie: u64) {
        exchange(self, cookie ^ CLAIMED, cookie);
    }

    /// Takes the slot's entry away from its socket and leaves it to the agent.
    #[inline(always)]
    pub(crate) fn detach(self, cookie: u64) {
        exchange(self, cookie, cookie ^ DETACHED);
    }

    /// Frees the slot.
    #[inline(always)]
    pub(crate) fn release(self) {
        if let Some(socket) = self.socket() {
            // SAFETY: an element of the array.
            unsafe { write_volatile(socket, 0) };
        }
        // SAFETY: as above.
        unsafe { write_volatile(&raw mut (*self.hot).cookie, 0) };
        add(stats::USED, u64::MAX);
    }

    /// Adds to a counter; many threads may use one socket.
    #[inline(always)]
    pub(crate) fn add(counter: *mut u64, value: u64) {
        // SAFETY: a field of an entry. The result is not used.
        unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, value) };
    }

    /// What the agent wants to be told of: `ASKED_*`.
    #[inline(always)]
    pub(crate) fn asked(self) -> u8 {
        // SAFETY: a field of the slot's entry.
        unsafe { read_volatile(&raw const (*self.hot).asked) }
    }

    /// Asks for the first bytes. Before the slot is published: later the agent writes this field.
    #[inline(always)]
    pub(crate) fn ask_first_bytes(self) {
        // SAFETY: as above.
        unsafe { write_volatile(&raw mut (*self.hot).asked, self.asked() | ASKED_FIRST_BYTES) };
    }

    /// Counts a message. Gives its number if the agent asks for anything of the connection, else 0.
    #[inline(always)]
    pub(crate) fn count_message(self, counter: *mut u64) -> u64 {
        if self.asked() == 0 {
            Self::add(counter, 1);
            return 0;
        }
        // SAFETY: as in `add`, and AcqRel because the result is used.
        unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::AcqRel }>(counter, 1) + 1 }
    }

    /// Counts a message sent, and its bytes. Gives what [`count_message`](Self::count_message) does.
    #[inline(always)]
    pub(crate) fn add_sent(self, bytes: u64) -> u64 {
        // SAFETY: takes the addresses only.
        let (total, count) = unsafe {
            (
                &raw mut (*self.hot).out_bytes,
                &raw mut (*self.hot).out_msgs,
            )
        };
        Self::add(total, bytes);
        self.count_message(count)
    }

    /// Counts a message received, and its bytes, likewise; and gives all bytes received by then.
    #[inline(always)]
    pub(crate) fn add_received(self, bytes: u64) -> (u64, u64) {
        // SAFETY: takes the addresses only, and reads a field of the entry.
        unsafe {
            let (total, count) = (&raw mut (*self.hot).in_bytes, &raw mut (*self.hot).in_msgs);
            Self::add(total, bytes);
            (self.count_message(count), read_volatile(total))
        }
    }

    /// Takes the right to write the owner, once.
    #[inline(always)]
    pub(crate) fn claim_owner(self) -> bool {
        // SAFETY: the aligned last word of the entry.
        unsafe {
            let word = self
                .hot
                .cast::<u8>()
                .add(HOT_STATE_WORD_OFFSET)
                .cast::<u32>();
            let before = read_volatile(word);
            if (before >> HOT_OWNER_SHIFT) as u8 != OWNER_UNKNOWN {
                return false;
            }
            let after = before | u32::from(OWNER_CLAIMED) << HOT_OWNER_SHIFT;
            let (_, claimed) =
                atomic_cxchg::<u32, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(
                    word, before, after,
                );
            claimed
        }
    }

    #[inline(always)]
    pub(crate) fn state(self) -> u8 {
        // SAFETY: a field of an entry, here and below.
        unsafe { read_volatile(&raw const (*self.hot).state) }
    }

    #[inline(always)]
    pub(crate) fn set_state(self, state: u8) {
        // SAFETY: as above.
        unsafe { write_volatile(&raw mut (*self.hot).state, state) };
    }

    #[inline(always)]
    pub(crate) fn flags(self) -> u8 {
        // SAFETY: as above.
        unsafe { read_volatile(&raw const (*self.hot).flags) }
    }

    /// Only under the socket's lock, or before the slot is published.
    #[inline(always)]
    pub(crate) fn set_flags(self, flags: u8) {
        // SAFETY: as above.
        unsafe { write_volatile(&raw mut (*self.hot).flags, flags) };
    }

    #[inline(always)]
    pub(crate) fn set_owner(self, owner: u8) {
        // SAFETY: as above.
        unsafe { write_volatile(&raw mut (*self.hot).owner, owner) };
    }
}
