//! The lifecycle ring. Never wakes the reader: it looks every few milliseconds and before every
//! answer, and a wake-up would cost the traced program a microsecond.

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::{bindings::BPF_RB_NO_WAKEUP, macros::map, maps::RingBuf};
use conn_trace_common::{
    lifecycle::{CLOSED, Closed, ESTABLISHED, Header, OPENED},
    stats,
};

use crate::table::{Slot, count, slot_at};

// The loader sets the size.
#[map]
pub(crate) static LIFECYCLE: RingBuf = RingBuf::with_byte_size(4096, 0);

#[inline(always)]
pub(crate) fn header(kind: u32, slot: Slot) -> Header {
    // SAFETY: fields of an entry of the table.
    let (cookie, generation) = unsafe {
        (
            read_volatile(&raw const (*slot.hot).cookie),
            (*slot.hot).generation,
        )
    };
    Header {
        kind,
        slot: slot.index,
        cookie,
        generation,
        reserved: 0,
    }
}

#[inline(always)]
fn tell(kind: u32, lost: u32, slot: Slot) {
    let Some(mut record) = LIFECYCLE.reserve::<Header>(0) else {
        count(lost);
        return;
    };
    record.write(header(kind, slot));
    record.submit(u64::from(BPF_RB_NO_WAKEUP));
}

/// Tells that a published slot holds a new connection.
#[inline(always)]
pub(crate) fn opened(slot: Slot) {
    tell(OPENED, stats::RING_LOST_OPENED, slot);
}

/// Tells that the handshake of a connection in SYN_SENT has ended.
#[inline(always)]
pub(crate) fn established(slot: Slot) {
    tell(ESTABLISHED, stats::RING_LOST_ESTABLISHED, slot);
}

/// Reports the end of a connection and frees its slot. With no room in the ring, the entry stays
/// in the table under a cookie that no socket has, until the agent collects it.
#[inline(always)]
pub(crate) fn finish(slot: Slot) {
    finish_index(slot.index);
}

/// A global function, as `claim_index` is.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn finish_index(index: u32) -> i32 {
    let Some(slot) = slot_at(index) else { return 0 };
    let Some(cold) = slot.cold() else { return 0 };
    let Some(mut record) = LIFECYCLE.reserve::<Closed>(0) else {
        // The count comes last: it makes the agent look for what was detached before.
        // SAFETY: the key of an entry whose socket is locked by the caller or gone.
        slot.detach(unsafe { read_volatile(&raw const (*slot.hot).cookie) });
        count(stats::RING_LOST_CLOSED);
        return 0;
    };
    let target = record.as_mut_ptr();
    // SAFETY: the record is reserved for exactly this type; the entries are whole and plain.
    unsafe {
        write_volatile(&raw mut (*target).header, header(CLOSED, slot));
        (&raw mut (*target).hot).copy_from_nonoverlapping(slot.hot, 1);
        (&raw mut (*target).cold).copy_from_nonoverlapping(cold, 1);
    }
    record.submit(u64::from(BPF_RB_NO_WAKEUP));
    slot.release();
    0
}
