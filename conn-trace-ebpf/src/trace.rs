//! The messages ring: a record for each message of a connection that somebody asked for. Never wakes
//! the reader, as the lifecycle ring does not.

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::{bindings::BPF_RB_NO_WAKEUP, macros::map, maps::RingBuf};
use conn_trace_common::{
    message::{Message, RECEIVED, SENT},
    stats,
    table::ASKED_MESSAGES,
};

use crate::{
    open::boot_ns,
    table::{Slot, count, slot_at},
};

// The loader sets the size.
#[map]
static MESSAGES: RingBuf = RingBuf::with_byte_size(4096, 0);

/// Tells of a message that was sent, unless nobody has asked: then its number may be 0.
#[inline(always)]
pub(crate) fn sent(slot: Slot, number: u64, moved: i32) {
    if number != 0 && slot.asked() & ASKED_MESSAGES != 0 {
        tell_message(slot.index, number, moved as u32, 0, SENT.into());
    }
}

/// Tells of a message that was received with these flags, likewise.
#[inline(always)]
pub(crate) fn received(slot: Slot, number: u64, moved: i32, flags: u32) {
    if number != 0 && slot.asked() & ASKED_MESSAGES != 0 {
        tell_message(slot.index, number, moved as u32, flags, RECEIVED.into());
    }
}

/// A global function, as `claim_index` is.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tell_message(index: u32, number: u64, bytes: u32, flags: u32, direction: u32) -> i32 {
    let Some(slot) = slot_at(index) else { return 0 };
    let Some(mut record) = MESSAGES.reserve::<Message>(0) else {
        count(stats::RING_LOST_MESSAGES);
        return 0;
    };
    // SAFETY: fields of an entry of the table; the record is reserved for exactly this type.
    unsafe {
        let message = Message {
            cookie: read_volatile(&raw const (*slot.hot).cookie),
            time_ns: boot_ns(),
            number,
            slot: index,
            generation: read_volatile(&raw const (*slot.hot).generation),
            bytes,
            flags,
            direction: direction as u8,
            reserved: [0; 7],
        };
        write_volatile(record.as_mut_ptr(), message);
    }
    record.submit(u64::from(BPF_RB_NO_WAKEUP));
    0
}
