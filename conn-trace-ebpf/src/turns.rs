//! Which program of a hook acts.
//!
//! The kernel skips a tracing program on a CPU that it is running on already (since 6.1, fentry and
//! fexit since 5.12: `__bpf_trace_run` in kernel/trace/bpf_trace.c). There are two cases:
//!
//! * A process changes the state of its socket with softirqs on, so a segment that arrives meanwhile
//!   changes the state of another socket and finds the program busy. Softirqs do not nest.
//! * A task is preempted inside of the program, and others on the same CPU get there: at the return
//!   of a function, or at a tracepoint since these no longer hold off preemption (6.19).
//!
//! Therefore a hook has further programs, each of which runs after the others and acts where they did
//! not: as many tasks and softirqs as there are programs, less one, may be held up in them on a CPU.
//!
//! What has been done is told by a mark: whose call it is, what kind of call, and the last of the
//! hook's programs that ran for it. A program that finds the mark of an earlier one is in the same
//! call; one that finds its own mark, that of a later one, or another kind is in another call. Only
//! if all programs are skipped between two calls of one kind, the later ones in the first and the
//! earlier ones in the second, are the two taken for one.

use core::{
    intrinsics::{AtomicOrdering, atomic_cxchg},
    ptr::{read_volatile, write_volatile},
};

use aya_ebpf::{
    EbpfContext,
    bindings::BPF_F_MMAPABLE,
    helpers::{bpf_get_current_pid_tgid, bpf_probe_read_kernel},
    macros::map,
    maps::Array,
    programs::BtfTracePointContext,
};
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

const FIRST: u32 = Order::First as u32;
const LAST: u32 = Order::Last as u32;

/// The kind of a call.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// A change to this state of include/net/tcp_states.h.
    State(u8),
    Destroy,
    Send,
    Receive,
}

/// A number by itself in these bits of a mark: neither process nor thread numbers use them, which
/// are below 2^22 (`PID_MAX_LIMIT`, include/linux/threads.h).
const ORDER_SHIFT: u32 = 24;
const KIND_SHIFT: u32 = 27;
const TAG: u64 = 0xFF << ORDER_SHIFT;
const ORDER: u64 = 7 << ORDER_SHIFT;
const LAST_STATE: u8 = 15;

const BUCKETS: u32 = 4096;
/// One cache line.
const MARKS: usize = 8;
/// The golden ratio.
const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

/// Not 0 once every program is attached: written by the agent. Before that some of a hook's programs are
/// missing, and what these alone would have seen is lost without anybody's noticing. Whatever happens
/// meanwhile is older than the agent, and is listed.
#[map]
static ACTIVE: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
static MARKED: Array<[u64; MARKS]> = Array::with_max_entries(BUCKETS, 0);

impl Kind {
    #[inline(always)]
    fn bits(self) -> u64 {
        let number = match self {
            Self::State(state) => state & LAST_STATE,
            Self::Destroy => LAST_STATE + 1,
            Self::Send => LAST_STATE + 2,
            Self::Receive => LAST_STATE + 3,
        };
        u64::from(number) << KIND_SHIFT
    }
}

#[inline(always)]
fn is_active() -> bool {
    // SAFETY: an element of the array.
    ACTIVE
        .get_ptr(0)
        .is_some_and(|active| unsafe { read_volatile(active) } != 0)
}

/// Whether this program is the one to act, of a hook whose first argument is a socket. A socket is
/// locked while its state changes: it has one call at a time.
#[inline(always)]
pub(crate) fn is_socket_due(ctx: &BtfTracePointContext, kind: Kind, order: Order) -> bool {
    if !is_active() {
        return false;
    }
    // The verifier lets nobody calculate with a pointer; these are the same bytes as a number.
    // SAFETY: the context begins with the first argument.
    let Ok(socket) = (unsafe { bpf_probe_read_kernel(ctx.as_ptr().cast::<u64>()) }) else {
        return order == Order::First;
    };
    // The highest byte of a kernel address is 0xFF.
    let low = socket & ((1 << ORDER_SHIFT) - 1);
    is_due(
        low | socket >> ORDER_SHIFT << u32::BITS,
        kind.bits(),
        order as u32,
    ) != 0
}

/// Whether this program of a message hook is the one to act. A message hook runs in its own task.
#[inline(always)]
pub(crate) fn is_message_due(kind: Kind, order: Order) -> bool {
    is_active()
        && (MARKS_MESSAGES.load() == 0
            || is_due(bpf_get_current_pid_tgid(), kind.bits(), order as u32) != 0)
}

/// Leaves the call to the next program if there is no place for a mark. `kind` as [`Kind::bits`]; `order`
/// as the number of an [`Order`].
///
/// A global function, as `claim_index` is: each way through it would be one more through its caller.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn is_due(caller: u64, kind: u64, order: u32) -> i32 {
    let bucket = (caller.wrapping_mul(MULTIPLIER) >> (64 - BUCKETS.ilog2())) as u32;
    let Some(marks) = MARKED.get_ptr_mut(bucket) else {
        return 0;
    };
    let marks = marks.cast::<u64>();
    let mark = caller | kind | u64::from(order) << ORDER_SHIFT;
    let is_due = if let Some(place) = find(marks, caller) {
        // SAFETY: inside the element of the array; only the caller itself writes its mark, whole.
        unsafe {
            let last = read_volatile(place);
            write_volatile(place, if order == LAST { 0 } else { mark });
            let is_same_kind = last & (TAG & !ORDER) == kind;
            !is_same_kind || last & ORDER >= mark & ORDER
        }
    } else {
        order == LAST || leave(marks, mark)
    };
    if is_due && order != FIRST {
        count(stats::NESTED_RUNS);
    }
    is_due.into()
}

#[inline(always)]
fn find(marks: *mut u64, caller: u64) -> Option<*mut u64> {
    for index in 0..MARKS {
        // SAFETY: inside the element of the array; a mark is only ever read and written whole.
        unsafe {
            let place = marks.add(index);
            if read_volatile(place) & !TAG == caller {
                return Some(place);
            }
        }
    }
    None
}

/// Puts the mark into a free place, if there is one.
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
