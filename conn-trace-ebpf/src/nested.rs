//! Interrupted hooks.
//!
//! Since 6.1 the kernel skips a tracing program on a CPU that it is running on already
//! (`__bpf_trace_run` in kernel/trace/bpf_trace.c). A process changes its socket's state with
//! softirqs on, so a segment that arrives meanwhile changes the state of another socket and finds
//! the program busy. Therefore each hook of connection life has two programs with the same body:
//! the second, which is attached after the first and so runs after it, does what the first could
//! not. It cannot be running itself when the first is skipped: softirqs do not nest, so at most one
//! run is interrupted.

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::{macros::map, maps::PerCpuArray};

/// A pair of programs.
#[derive(Clone, Copy)]
pub(crate) enum Hook {
    State = 0,
    Destroy = 1,
}

/// The number of an event that neither program does anything about.
pub(crate) const OF_NO_INTEREST: u64 = u64::MAX;

/// The event that the first program has done last on this CPU and the second has not looked at,
/// and the one before it. 0 is no event.
#[repr(C)]
#[derive(Clone, Copy)]
struct Passed {
    last: u64,
    before: u64,
}

#[map]
static PASSED: PerCpuArray<Passed> = PerCpuArray::with_max_entries(2, 0);

/// Notes that the first program has done this event.
#[inline(always)]
pub(crate) fn passed(hook: Hook, event: u64) {
    if let Some(mark) = PASSED.get_ptr_mut(hook as u32) {
        // SAFETY: an element of the array, on this CPU only.
        unsafe {
            let last = read_volatile(&raw const (*mark).last);
            write_volatile(&raw mut (*mark).before, last);
            write_volatile(&raw mut (*mark).last, event);
        }
    }
}

/// Whether the first program has done this event. Puts back the mark of a run that this one has
/// interrupted.
#[inline(always)]
pub(crate) fn has_passed(hook: Hook, event: u64) -> bool {
    let Some(mark) = PASSED.get_ptr_mut(hook as u32) else {
        return false;
    };
    // SAFETY: as above.
    unsafe {
        if read_volatile(&raw const (*mark).last) != event {
            return false;
        }
        let before = read_volatile(&raw const (*mark).before);
        write_volatile(&raw mut (*mark).last, before);
        // Or it would be found again after the next.
        write_volatile(&raw mut (*mark).before, 0);
    }
    true
}
