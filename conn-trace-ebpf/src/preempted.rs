//! Preempted message hooks.
//!
//! The kernel skips a program on a CPU that is running it already. A message hook runs in its own
//! task, so that is the case where a task was preempted inside of the program and another one on
//! the same CPU gets there: at the return of a function, or at a tracepoint since these no longer
//! hold off preemption (seen in 7.2). Then each hook has a second program, which runs after the
//! first and acts where that did not. A task tells one from the other by a mark that the first
//! leaves and the second takes away.

use core::{
    intrinsics::{AtomicOrdering, atomic_cxchg},
    ptr::{read_volatile, write_volatile},
};

use aya_ebpf::{helpers::bpf_get_current_pid_tgid, macros::map, maps::Array};
use conn_trace_common::stats;

use crate::{fields::MARKS_MESSAGES, table::count};

/// Which of the two programs of a hook this is.
#[derive(Clone, Copy)]
pub(crate) enum Order {
    First,
    Second,
}

const BUCKETS: u32 = 4096;
/// One cache line.
const MARKS: usize = 8;
/// The golden ratio.
const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

#[map]
static MARKED: Array<[u64; MARKS]> = Array::with_max_entries(BUCKETS, 0);

/// Whether this program is the one to act. The first leaves the call to the second if it finds no
/// place for its mark.
#[inline(always)]
pub(crate) fn is_due(order: Order) -> bool {
    if MARKS_MESSAGES.load() == 0 {
        return true;
    }
    let task = bpf_get_current_pid_tgid();
    let bucket = (task.wrapping_mul(MULTIPLIER) >> (64 - BUCKETS.ilog2())) as u32;
    let Some(marks) = MARKED.get_ptr_mut(bucket) else {
        return false;
    };
    let marks = marks.cast::<u64>();
    for index in 0..MARKS {
        // SAFETY: inside the element of the array; a mark is only ever read and written whole.
        unsafe {
            let place = marks.add(index);
            let found = read_volatile(place);
            match order {
                // Left by a call whose second program was skipped.
                Order::First if found == task => return true,
                Order::First if found == 0 => {
                    let (_, marked) = atomic_cxchg::<
                        u64,
                        { AtomicOrdering::SeqCst },
                        { AtomicOrdering::SeqCst },
                    >(place, 0, task);
                    if marked {
                        return true;
                    }
                }
                Order::Second if found == task => {
                    write_volatile(place, 0);
                    return false;
                }
                _ => {}
            }
        }
    }
    match order {
        Order::First => false,
        Order::Second => {
            count(stats::NESTED_RUNS);
            true
        }
    }
}
