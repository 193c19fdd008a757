//! The first bytes that an application reads from a connection, for those that the agent tells apart by
//! protocol.
//!
//! The message hooks run inside of the call that has just filled the application's buffer, so the bytes
//! are read from there: where it is, the registers of the system call say. Other connections pay
//! nothing for it, and one of which the agent knows enough is not asked any more. What no such call
//! has read (work for an io_uring, recvmmsg) is counted as unseen; splice and TCP_ZEROCOPY_RECEIVE are
//! no messages and pass the hooks by.
//!
//! x86-64, and kernels since 5.15 (`bpf_task_pt_regs`).

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_RB_AVAIL_DATA, BPF_RB_NO_WAKEUP, BPF_RB_RING_SIZE},
    helpers::generated::bpf_probe_read_user,
    macros::map,
    maps::Array,
};
use conn_trace_common::{
    lifecycle::{FIRST_BYTES, FIRST_BYTES_CHUNK, FIRST_BYTES_LIMIT, FirstBytes},
    ports::{LOCAL, PEER, WORDS, place},
    stats,
    table::ASKED_FIRST_BYTES,
};

use crate::{
    lifecycle::{LIFECYCLE, header},
    sock::Task,
    table::{Slot, count, slot_at},
};

const MSG_OOB: u32 = 0x1;
const MSG_TRUNC: u32 = 0x20;

// arch/x86/entry/syscalls/syscall_64.tbl. Calls of 32-bit programs have other numbers, and those that
// these stand for there read from no socket.
const READ: u64 = 0;
const READV: u64 = 19;
const RECVFROM: u64 = 45;
const RECVMSG: u64 = 47;
const PREADV2: u64 = 327;

/// Byte offset of `msg_iov` in `struct user_msghdr`.
const MESSAGE_VECTOR: u64 = 16;
/// A `struct iovec` is an address and a length.
const VECTOR_LENGTH: u64 = 8;
const VECTOR_SIZE: u64 = 16;
/// Of a message. Programs that read headers and bodies into buffers of their own have two or three.
const MOST_BUFFERS: u32 = 4;

#[map]
static WANTED_PORTS: Array<u64> = Array::with_max_entries(WORDS, BPF_F_MMAPABLE);

/// Asks for the first bytes of a connection that may be one that they are wanted of. The agent, which
/// knows more of it, may take it back.
#[inline(always)]
pub(crate) fn ask_if_wanted(slot: Slot, local_port: u16, peer_port: u16) {
    if is_wanted(local_port, LOCAL) || is_wanted(peer_port, PEER) {
        slot.ask_first_bytes();
    }
}

#[inline(always)]
fn is_wanted(port: u16, end: u32) -> bool {
    let (word, bit) = place(port, end);
    WANTED_PORTS
        .get_ptr(word)
        // SAFETY: an element of the array.
        .is_some_and(|word| unsafe { read_volatile(word) } >> (bit & 63) & 1 == 1)
}

/// Tells of the bytes of a message, if they are asked for. `number` is 0 if nothing is; `total` counts
/// the bytes of the connection by the end of the message, and is 0 if that is not known.
#[inline(always)]
pub(crate) fn received(slot: Slot, number: u64, total: u64, moved: i32, flags: u32) {
    if number != 0 && slot.asked() & ASKED_FIRST_BYTES != 0 {
        // Bytes out of line, or thrown away, are in no buffer.
        let moved = if flags & (MSG_OOB | MSG_TRUNC) == 0 {
            moved as u32
        } else {
            0
        };
        tell_first_bytes(slot.index, total, moved);
    }
}

/// A global function, as `claim_index` is.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tell_first_bytes(index: u32, total: u64, moved: u32) -> i32 {
    let moved = u64::from(moved);
    let mut offset = total.wrapping_sub(moved);
    if total >= moved && offset >= FIRST_BYTES_LIMIT {
        return 0;
    }
    let call = Task::current().call();
    let (Some(call), true) = (call, total >= moved && moved > 0) else {
        count(stats::UNSEEN_FIRST_BYTES);
        return 0;
    };
    // Ends of connections must find room.
    if LIFECYCLE.query(u64::from(BPF_RB_AVAIL_DATA)) * 2
        > LIFECYCLE.query(u64::from(BPF_RB_RING_SIZE))
    {
        count(stats::RING_LOST_FIRST_BYTES);
        return 0;
    }
    let mut vector = match call.number {
        READ | RECVFROM => return tell_buffer(index, offset, call.second, moved),
        READV | PREADV2 => call.second,
        RECVMSG => read_user(call.second.wrapping_add(MESSAGE_VECTOR)),
        _ => 0,
    };
    let mut left = moved;
    for _ in 0..MOST_BUFFERS {
        if vector == 0 {
            break;
        }
        let len = left.min(read_user(vector.wrapping_add(VECTOR_LENGTH)));
        tell_buffer(index, offset, read_user(vector), len);
        offset = offset.wrapping_add(len);
        left -= len;
        if left == 0 {
            break;
        }
        vector = vector.wrapping_add(VECTOR_SIZE);
    }
    if left != 0 && offset < FIRST_BYTES_LIMIT {
        count(stats::UNSEEN_FIRST_BYTES);
    }
    0
}

/// Tells of the bytes in one buffer. Global functions, each of which is verified by itself: the ways
/// through all of them together would be too many.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tell_buffer(index: u32, offset: u64, from: u64, len: u64) -> i32 {
    for part in 0..FIRST_BYTES_LIMIT / FIRST_BYTES_CHUNK as u64 {
        let done = part * FIRST_BYTES_CHUNK as u64;
        if done >= len {
            break;
        }
        let (offset, from) = (offset.wrapping_add(done), from.wrapping_add(done));
        if tell_part(index, offset, from, len - done) == 0 {
            break;
        }
    }
    0
}

/// Tells of some bytes, of a chunk at most; 0 if no more are to follow.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tell_part(index: u32, offset: u64, from: u64, len: u64) -> i32 {
    if offset >= FIRST_BYTES_LIMIT {
        return 0;
    }
    let Some(slot) = slot_at(index) else { return 0 };
    let Some(mut record) = LIFECYCLE.reserve::<FirstBytes>(0) else {
        count(stats::RING_LOST_FIRST_BYTES);
        return 0;
    };
    let len = len
        .min(FIRST_BYTES_LIMIT - offset)
        .min(FIRST_BYTES_CHUNK as u64) as u32;
    let target = record.as_mut_ptr();
    // SAFETY: fields of the record; the helper checks the address in the application, and writes no
    // more than a chunk.
    let failed = unsafe {
        write_volatile(&raw mut (*target).header, header(FIRST_BYTES, slot));
        write_volatile(&raw mut (*target).offset, offset as u32);
        write_volatile(&raw mut (*target).len, len);
        let bytes = &raw mut (*target).bytes;
        let from = core::ptr::with_exposed_provenance(from as usize);
        bpf_probe_read_user(bytes.cast(), len, from)
    };
    if failed != 0 {
        record.discard(u64::from(BPF_RB_NO_WAKEUP));
        count(stats::UNSEEN_FIRST_BYTES);
        return 0;
    }
    record.submit(u64::from(BPF_RB_NO_WAKEUP));
    1
}

/// A word of the application's memory; 0 if it cannot be read.
#[inline(always)]
fn read_user(address: u64) -> u64 {
    let mut word = 0_u64;
    // SAFETY: the helper checks the address, and writes no more than the word: zeros on a fault.
    unsafe {
        bpf_probe_read_user(
            (&raw mut word).cast(),
            size_of::<u64>() as u32,
            core::ptr::with_exposed_provenance(address as usize),
        );
        read_volatile(&raw const word)
    }
}
