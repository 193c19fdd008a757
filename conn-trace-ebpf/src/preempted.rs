//! Preempted message hooks.
//!
//! The kernel skips a program on a CPU that is running it already. A message hook runs in its own
//! task, so that is the case where a task was preempted inside of the program and another one on
//! the same CPU gets there: at the return of a function, or at a tracepoint since these no longer
//! hold off preemption (seen in 7.2). Then each hook has further programs, each of which runs after
//! the others and acts where they did not: as many tasks as there are programs, less one, may be
//! held up in them on a CPU.
//!
//! A task tells what has been done by a mark: the hook, and the last of its programs that ran. A
//! program that finds the mark of an earlier one is in the same call; one that finds its own mark or
//! that of a later one is in another call. Only if all programs are skipped between two calls of a
//! hook, the later ones in the first and the earlier ones in the second, are the two taken for one.

use core::{
    intrinsics::{AtomicOrdering, atomic_cxchg},
    ptr::{read_volatile, write_volatile},
};

use aya_ebpf::{helpers::bpf_get_current_pid_tgid, macros::map, maps::Array};
use conn_trace_common::stats;

use crate::{fields::MARKS_MESSAGES, table::count};

/// Which of the programs of a hook this is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    First = 0,
    Second = 1,
    Third = 2,
    Fourth = 3,
    Fifth = 4,
    Last = 5,
}

#[derive(Clone, Copy)]
pub(crate) enum Call {
    Send = 0,
    Receive = 1,
}

/// The bits of a mark that neither a process nor a thread number uses, which are below 2^22
/// (`PID_MAX_LIMIT`, include/linux/threads.h).
const ORDER_SHIFT: u32 = 24;
const CALL_SHIFT: u32 = 27;
const CALL: u64 = 1 << CALL_SHIFT;
const ORDER: u64 = 7 << ORDER_SHIFT;

const BUCKETS: u32 = 4096;
/// One cache line.
const MARKS: usize = 8;
/// The golden ratio.
const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

#[map]
static MARKED: Array<[u64; MARKS]> = Array::with_max_entries(BUCKETS, 0);

/// Whether this program is the one to act. It leaves the call to the next if it finds no place for
/// its mark.
#[inline(always)]
pub(crate) fn is_due(call: Call, order: Order) -> bool {
    if MARKS_MESSAGES.load() == 0 {
        return true;
    }
    let task = bpf_get_current_pid_tgid();
    let bucket = (task.wrapping_mul(MULTIPLIER) >> (64 - BUCKETS.ilog2())) as u32;
    let Some(marks) = MARKED.get_ptr_mut(bucket) else {
        return false;
    };
    let marks = marks.cast::<u64>();
    let mark = task | (call as u64) << CALL_SHIFT | (order as u64) << ORDER_SHIFT;
    let is_due = if let Some(place) = find(marks, task) {
        // SAFETY: inside the element of the array; only the task itself writes its mark, whole.
        unsafe {
            let last = read_volatile(place);
            write_volatile(place, if order == Order::Last { 0 } else { mark });
            last & CALL != mark & CALL || last & ORDER >= mark & ORDER
        }
    } else {
        order == Order::Last || leave(marks, mark)
    };
    if is_due && order != Order::First {
        count(stats::NESTED_RUNS);
    }
    is_due
}

#[inline(always)]
fn find(marks: *mut u64, task: u64) -> Option<*mut u64> {
    for index in 0..MARKS {
        // SAFETY: inside the element of the array; a mark is only ever read and written whole.
        unsafe {
            let place = marks.add(index);
            if read_volatile(place) & !(CALL | ORDER) == task {
                return Some(place);
            }
        }
    }
    None
}

/// Puts the task's mark into a free place, if there is one.
#[inline(always)]
fn leave(marks: *mut u64, mark: u64) -> bool {
    for index in 0..MARKS {
        // SAFETY: as above.
        unsafe {
            let place = marks.add(index);
            if read_volatile(place) != 0 {
                continue;
            }
            let (_, is_marked) =
                atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(
                    place, 0, mark,
                );
            if is_marked {
                return true;
            }
        }
    }
    false
}
