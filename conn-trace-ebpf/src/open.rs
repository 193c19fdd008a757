//! Making an entry: when a connection opens, or is met for the first time.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::{bpf_get_current_cgroup_id, generated::bpf_ktime_get_boot_ns};
use conn_trace_common::{
    stats,
    table::{
        ColdEntry, DIRECTION_IN, DIRECTION_OUT, DIRECTION_UNKNOWN, FLAG_ACTIVE_OPEN, FLAG_BASED,
        FLAG_OUT_FINAL, ORIGIN_OPENED, OWNER_KERNEL, OWNER_PROCESS,
    },
};

use crate::{
    bytes::{Both, sent_syn},
    first_bytes, lifecycle,
    sock::{Socket, Task, Tcp},
    state::{CLOSE, SYN_SENT, first_fin, is_after_fin},
    table::{Claim, Slot, claim, count},
};

#[inline(always)]
pub(crate) fn boot_ns() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_ktime_get_boot_ns() }
}

#[inline(always)]
pub(crate) fn claim_or_count(cookie: u64, is_new: bool) -> Option<Slot> {
    match claim(cookie, is_new) {
        Claim::New(slot) => Some(slot),
        Claim::Present => None,
        Claim::Full => {
            count(stats::UNTRACKED);
            None
        }
    }
}

/// Enters a socket that is about to send its SYN, on behalf of the connecting process.
#[inline(always)]
pub(crate) fn connecting(
    ctx: &impl EbpfContext,
    socket: impl Socket,
    flags: u8,
    is_new: bool,
    generation: u32,
) {
    let cookie = socket.cookie();
    let Some(slot) = claim_or_count(cookie, is_new) else {
        return;
    };
    let Some(cold) = slot.cold() else { return };
    slot.set_state(SYN_SENT);
    slot.set_flags(flags);
    // SAFETY: the entries of a claimed slot are ours alone.
    unsafe {
        (*slot.hot).generation = generation;
        describe(socket, slot, cold, cookie, DIRECTION_OUT, ORIGIN_OPENED);
        write_owner(ctx, slot, cold);
    }
    slot.publish(cookie);
    count(stats::OPENED);
    lifecycle::opened(slot);
}

/// Enters the accepting side's socket at the end of the handshake. The hook runs in the context
/// of whoever was interrupted, so the owner stays unknown until somebody uses the socket.
#[inline(always)]
pub(crate) fn accepted(tcp: Tcp, is_new: bool, state: u8) {
    let cookie = tcp.cookie();
    let Some(slot) = claim_or_count(cookie, is_new) else {
        return;
    };
    let Some(cold) = slot.cold() else { return };
    slot.set_state(state);
    // SAFETY: the entries of a claimed slot are ours alone.
    unsafe {
        describe(tcp, slot, cold, cookie, DIRECTION_IN, ORIGIN_OPENED);
        (*cold).established_ns = (*cold).opened_ns;
    }
    set_bases(&Both::of(&tcp.fields), slot, 0);
    slot.publish(cookie);
    count(stats::OPENED);
    lifecycle::opened(slot);
}

/// Enters a socket that is already under way, as `counts` has it. `origin` says why it is met only
/// now.
#[inline(always)]
pub(crate) fn adopt(tcp: Tcp, cookie: u64, counts: &Both, origin: u8) -> Claim {
    let claimed = claim(cookie, false);
    let Claim::New(slot) = claimed else {
        return claimed;
    };
    let Some(cold) = slot.cold() else {
        return Claim::Full;
    };
    let state = tcp.state();
    let fin = u32::from(is_after_fin(state));
    let syn = sent_syn(&tcp.fields, &counts.sent, fin);
    slot.set_state(state);
    let (direction, flags) = match (state, syn) {
        (SYN_SENT, _) => (DIRECTION_OUT, FLAG_ACTIVE_OPEN),
        (_, Some(0)) => (DIRECTION_IN, 0),
        (_, Some(_)) => (DIRECTION_OUT, FLAG_ACTIVE_OPEN),
        (_, None) => (DIRECTION_UNKNOWN, 0),
    };
    slot.set_flags(flags);
    // SAFETY: the entries of a claimed slot are ours alone.
    unsafe {
        describe(tcp, slot, cold, cookie, direction, origin);
        (*cold).cause = first_fin(state);
    }
    if state != SYN_SENT {
        set_bases(counts, slot, fin);
    }
    slot.publish(cookie);
    count(stats::ADOPTED);
    // Without the socket's lock, the state hook may have looked for the entry just before it was
    // published. A change to CLOSE is then made up for when the socket is destroyed.
    let state = tcp.state();
    if state != CLOSE {
        slot.set_state(state);
    }
    lifecycle::opened(slot);
    Claim::New(slot)
}

/// # Safety
/// `cold` must belong to `slot`, and the caller must have claimed it.
#[inline(always)]
pub(crate) unsafe fn describe(
    socket: impl Socket,
    slot: Slot,
    cold: *mut ColdEntry,
    cookie: u64,
    direction: u8,
    origin: u8,
) {
    // SAFETY: the caller's promise.
    unsafe {
        (*cold).cookie = cookie;
        (*cold).generation = (*slot.hot).generation;
        (*cold).netns = socket.netns();
        (*cold).direction = direction;
        (*cold).origin = origin;
        (*cold).opened_ns = boot_ns();
        socket.write_tuple(cold);
        if origin == ORIGIN_OPENED {
            first_bytes::ask_if_wanted(slot, (*cold).local_port, (*cold).peer_port);
        }
    }
    if let Some(place) = slot.socket() {
        socket.store_address(place);
    }
}

/// Fixes the sequence numbers at which nothing was read or written. `fin` is 1 if this end's FIN
/// is queued.
#[inline(always)]
pub(crate) fn set_bases(counts: &Both, slot: Slot, fin: u32) {
    let flags = slot.flags();
    let syn = u32::from(flags & FLAG_ACTIVE_OPEN != 0);
    let Both { received, sent } = counts;
    let written = sent.written_when_locked(syn + fin);
    let read = received.read_when_locked();
    // SAFETY: fields of the slot's entry.
    unsafe {
        (*slot.hot).out_bytes = written;
        (*slot.hot).in_bytes = read;
        (*slot.hot).out_base = sent
            .write_seq
            .wrapping_sub(fin)
            .wrapping_sub(written as u32);
        (*slot.hot).in_base = received.copied.wrapping_sub(read as u32);
    }
    let last = if fin == 1 { FLAG_OUT_FINAL } else { 0 };
    slot.set_flags(flags | FLAG_BASED | last);
}

/// Names the current process as the socket's owner.
///
/// # Safety
/// `cold` must belong to `slot`; the caller must have claimed the slot or its owner.
#[inline(always)]
pub(crate) unsafe fn write_owner(ctx: &impl EbpfContext, slot: Slot, cold: *mut ColdEntry) {
    let task = Task::current();
    // SAFETY: the caller's promise.
    unsafe {
        (*cold).pid = ctx.tgid();
        (*cold).comm = task.process_name();
        (*cold).cgroup = bpf_get_current_cgroup_id();
    }
    slot.set_owner(if task.is_kernel_thread() {
        OWNER_KERNEL
    } else {
        OWNER_PROCESS
    });
}
