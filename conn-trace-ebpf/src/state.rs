//! The life of a connection: `inet_sock_set_state` and `tcp_destroy_sock`.
//!
//! Kernel: include/trace/events/sock.h and tcp.h; `inet_sock_set_state` since 4.16,
//! `tcp_destroy_sock` since 4.16. The first fires before the new state is stored.

use core::ptr::read_volatile;

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use aya_log_ebpf::info;
use conn_trace_common::{
    stats,
    table::{
        CAUSE_ABORTED, CAUSE_CANCELLED, CAUSE_ERROR, CAUSE_KILLED, CAUSE_LOCAL_FIN,
        CAUSE_LOCAL_RESET, CAUSE_PEER_FIN, CAUSE_PEER_RESET, CAUSE_REFUSED, CAUSE_TIMEOUT,
        CAUSE_UNKNOWN, CAUSE_UNREACHABLE, ColdEntry, FLAG_ACTIVE_OPEN, FLAG_BASED, FLAG_OUT_FINAL,
        ORIGIN_OPENED,
    },
};

use crate::{
    bytes::{Both, Received, Sent, has_fin, sent_once},
    lifecycle, mptcp,
    open::{accepted, adopt, boot_ns, connecting, set_bases},
    sock::{Mptcp, Socket, Task, Tcp},
    table::{Claim, Slot, count, find},
    turns::{Kind, Order, is_socket_due},
};

// include/net/tcp_states.h
pub(crate) const ESTABLISHED: u8 = 1;
pub(crate) const SYN_SENT: u8 = 2;
pub(crate) const SYN_RECV: u8 = 3;
pub(crate) const FIN_WAIT1: u8 = 4;
const FIN_WAIT2: u8 = 5;
const TIME_WAIT: u8 = 6;
pub(crate) const CLOSE: u8 = 7;
pub(crate) const CLOSE_WAIT: u8 = 8;
const LAST_ACK: u8 = 9;
pub(crate) const LISTEN: u8 = 10;
const CLOSING: u8 = 11;

/// Whether this end has queued its FIN.
#[inline(always)]
pub(crate) fn is_after_fin(state: u8) -> bool {
    matches!(
        state,
        FIN_WAIT1 | FIN_WAIT2 | CLOSING | LAST_ACK | TIME_WAIT
    )
}

/// Who sent the first FIN, as far as a state tells.
#[inline(always)]
pub(crate) fn first_fin(state: u8) -> u8 {
    match state {
        // tcp_fin() (net/ipv4/tcp_input.c) comes to CLOSING only from FIN_WAIT1.
        FIN_WAIT1 | FIN_WAIT2 | CLOSING => CAUSE_LOCAL_FIN,
        CLOSE_WAIT | LAST_ACK => CAUSE_PEER_FIN,
        _ => CAUSE_UNKNOWN,
    }
}

/// Whether this end's FIN is not acknowledged yet.
#[inline(always)]
pub(crate) fn is_fin_unacked(state: u8) -> bool {
    matches!(state, FIN_WAIT1 | CLOSING | LAST_ACK)
}

macro_rules! inet_sock_set_state {
    ($($name:ident, $order:ident;)*) => {
        $(
            #[btf_tracepoint(function = "inet_sock_set_state")]
            fn $name(ctx: BtfTracePointContext) -> i32 {
                changed(&ctx, Order::$order)
            }
        )*
    };
}

inet_sock_set_state! {
    state_changed, First;
    state_changed_second, Second;
    state_changed_third, Third;
    state_changed_fourth, Fourth;
    state_changed_fifth, Fifth;
    state_changed_nested, Last;
}

#[inline(always)]
fn changed(ctx: &BtfTracePointContext, order: Order) -> i32 {
    let sk: *const u8 = ctx.arg(0);
    let old: u32 = ctx.arg(1);
    let new: u32 = ctx.arg(2);
    let (old, new) = (old as u8, new as u8);
    if !is_socket_due(ctx, Kind::State(new), order) || new == LISTEN || old == new {
        return 0;
    }
    // TCP's listeners come and go, and their children begin in SYN_RECV with no addresses yet.
    if old != LISTEN
        && let Some(tcp) = Tcp::from_argument(sk)
    {
        on_state(ctx, tcp, old, new);
    } else if let Some(socket) = Mptcp::from_argument(sk) {
        mptcp::on_state(ctx, socket, old, new);
    }
    0
}

#[inline(always)]
fn on_state(ctx: &BtfTracePointContext, tcp: Tcp, old: u8, new: u8) {
    info!(ctx, "socket {} state {} -> {}", tcp.made_cookie(), old, new);
    if tcp.is_subflow() {
        mptcp::on_subflow(tcp, old, new);
        return;
    }
    let cookie = tcp.made_cookie();
    let is_new = cookie == 0;
    let found = if is_new { None } else { find(cookie) };
    match (found, new) {
        (found, SYN_SENT) => {
            // After an AF_UNSPEC disconnect one socket carries the next connection.
            let generation = found.map_or(0, next_generation);
            connecting(ctx, tcp, FLAG_ACTIVE_OPEN, is_new, generation);
        }
        (Some(slot), ESTABLISHED) => {
            slot.set_state(ESTABLISHED);
            end_of_handshake(tcp, slot, &Both::of(&tcp.fields));
        }
        (None, ESTABLISHED) if old == SYN_RECV => accepted(tcp, is_new, ESTABLISHED),
        // A child that was accepted before the end of its handshake (TCP Fast Open).
        (None, FIN_WAIT1) if old == SYN_RECV => {
            if let Claim::New(slot) =
                adopt(tcp, tcp.cookie(), &Both::of(&tcp.fields), ORIGIN_OPENED)
            {
                step(tcp, slot, new);
            }
        }
        (Some(slot), CLOSE) => close(tcp, slot, old),
        (Some(slot), _) => step(tcp, slot, new),
        (None, _) => {}
    }
}

/// Reports the connection that the socket carried before and gives the next one's number.
#[inline(always)]
pub(crate) fn next_generation(slot: Slot) -> u32 {
    // SAFETY: a field of the entry.
    let generation = unsafe { read_volatile(&raw const (*slot.hot).generation) };
    lifecycle::finish(slot);
    generation.wrapping_add(1)
}

/// Completes the entry of a connection whose handshake has ended.
#[inline(always)]
pub(crate) fn end_of_handshake(tcp: Tcp, slot: Slot, counts: &Both) {
    let Some(cold) = slot.cold() else { return };
    // SAFETY: the slot's cold entry; the socket is locked.
    unsafe {
        // The local port was not known when the SYN was about to be sent.
        tcp.write_tuple(cold);
        (*cold).established_ns = boot_ns();
    }
    if slot.flags() & FLAG_BASED == 0 {
        set_bases(counts, slot, 0);
    }
    lifecycle::established(slot);
}

/// A change between the handshake and CLOSE: the FINs.
#[inline(always)]
fn step(tcp: Tcp, slot: Slot, new: u8) {
    let Some(cold) = slot.cold() else { return };
    if new == FIN_WAIT1 || new == LAST_ACK {
        // The FIN takes a sequence number right after this hook; count before it.
        latch_written(tcp, slot, 0);
    } else if is_after_fin(new) {
        latch_written(tcp, slot, 1);
    }
    // SAFETY: the slot's cold entry; the socket is locked.
    unsafe {
        if new == FIN_WAIT1 {
            (*cold).data_segs_at_fin = tcp.data_segs_in();
        }
        if (*cold).cause == CAUSE_UNKNOWN {
            (*cold).cause = match new {
                // This end's FIN is queued in a call of its own process.
                FIN_WAIT1 if Task::current().is_being_killed() => CAUSE_KILLED,
                _ => first_fin(new),
            };
        }
    }
    slot.set_state(new);
}

/// Fixes the bytes written: after this nothing more can be. `fin` is 1 if this end's FIN is queued:
/// the kernel may have skipped this hook before it was.
#[inline(always)]
fn latch_written(tcp: Tcp, slot: Slot, fin: u32) {
    let flags = slot.flags();
    if flags & FLAG_OUT_FINAL == 0 {
        // SAFETY: fields of the slot's entry.
        unsafe {
            (*slot.hot).out_bytes = if flags & FLAG_BASED != 0 {
                let base = read_volatile(&raw const (*slot.hot).out_base);
                Sent::of(&tcp.fields).written(base.wrapping_add(fin))
            } else {
                // The handshake never ended: what went out with the SYN (TCP Fast Open).
                sent_once(&tcp.fields)
            };
        }
    }
    slot.set_flags(flags | FLAG_OUT_FINAL);
}

#[inline(always)]
fn close(tcp: Tcp, slot: Slot, old: u8) {
    if slot.state() == CLOSE {
        return;
    }
    let Some(cold) = slot.cold() else { return };
    latch_written(tcp, slot, u32::from(is_after_fin(old)));
    latch_read(tcp, slot);
    let error = tcp.error();
    // SAFETY: the slot's cold entry; the socket is locked.
    unsafe {
        if slot.flags() & FLAG_BASED == 0 {
            tcp.write_tuple(cold);
        } else {
            let fin = u32::from(is_fin_unacked(old));
            let unacked = Sent::of(&tcp.fields).unacked();
            (*cold).closed_pending_bytes = unacked.saturating_sub(fin);
        }
        (*cold).closed_retrans = tcp.total_retrans();
        (*cold).closed_ns = boot_ns();
        (*cold).error = error;
        if (*cold).cause == CAUSE_UNKNOWN {
            (*cold).cause = first_fin(old);
        }
        (*cold).cause = cause(tcp, old, error, cold);
    }
    slot.set_state(CLOSE);
    count(stats::CLOSED);
}

/// Why a connection ended, from the state it left, `sk_err` and the first FIN.
///
/// # Safety
/// `cold` must be the entry of the socket, which is locked.
#[inline(always)]
unsafe fn cause(tcp: Tcp, old: u8, error: u16, cold: *const ColdEntry) -> u8 {
    // SAFETY: the caller's promise.
    let (first_fin, data_segs_at_fin) = unsafe { ((*cold).cause, (*cold).data_segs_at_fin) };
    if is_finished(tcp, old) {
        return first_fin;
    }
    let (takes_no_more, sends_no_more) = tcp.is_shut();
    // Without a FIN of this end, only close() sets SEND_SHUTDOWN before the change to CLOSE.
    let is_closed = sends_no_more && matches!(old, ESTABLISHED | CLOSE_WAIT);
    match if is_closed { 0 } else { error } {
        // No SYN was sent: connect() itself failed, for want of a local port for instance.
        0 if old == SYN_SENT && Sent::of(&tcp.fields).unacked() == 0 => CAUSE_UNKNOWN,
        // A call of this end's process that sent no FIN, or nothing more after a FIN.
        0 => match old {
            SYN_SENT | SYN_RECV => CAUSE_CANCELLED,
            ESTABLISHED | CLOSE_WAIT if Task::current().is_being_killed() => CAUSE_KILLED,
            ESTABLISHED | CLOSE_WAIT => CAUSE_LOCAL_RESET,
            _ => first_fin,
        },
        // Both directions are shut, and nothing but the FIN is lost: no reason to end.
        104 if takes_no_more && is_after_fin(old) && Sent::of(&tcp.fields).unacked() <= 1 => {
            first_fin
        }
        // Nor is a reset by its own kernel: tcp_rcv_state_process() resets a closed socket that
        // data arrives for. tcp_segs_in() has counted the segment, unless it waited for the lock
        // already; one that had arrived before is counted too.
        104 if takes_no_more && old == FIN_WAIT1 && tcp.data_segs_in() != data_segs_at_fin => {
            first_fin
        }
        _ => cause_of_error(error),
    }
}

/// Whether both FINs have arrived. An error that the
/// program was told of (`IP_RECVERR`) and did not ask for may then still be in `sk_err`.
#[inline(always)]
fn is_finished(tcp: Tcp, old: u8) -> bool {
    match old {
        FIN_WAIT2 => has_fin(&tcp.fields),
        CLOSING | LAST_ACK => Sent::of(&tcp.fields).unacked() == 0,
        _ => false,
    }
}

/// What `sk_err` says about an end.
#[inline(always)]
pub(crate) fn cause_of_error(error: u16) -> u8 {
    match error {
        // EPIPE, ECONNRESET: set by tcp_reset().
        32 | 104 => CAUSE_PEER_RESET,
        // ENETDOWN, ENETUNREACH, EHOSTDOWN, EHOSTUNREACH
        100 | 101 | 112 | 113 => CAUSE_UNREACHABLE,
        // ECONNABORTED: set by tcp_abort().
        103 => CAUSE_ABORTED,
        // ETIMEDOUT
        110 => CAUSE_TIMEOUT,
        // ECONNREFUSED
        111 => CAUSE_REFUSED,
        _ => CAUSE_ERROR,
    }
}

#[inline(always)]
fn latch_read(tcp: Tcp, slot: Slot) {
    if slot.flags() & FLAG_BASED == 0 {
        return;
    }
    let received = Received::of(&tcp.fields);
    // tcp_disconnect() zeroes the totals and drops what was not read; keep what is known.
    if received.total == 0 {
        return;
    }
    // SAFETY: fields of the slot's entry.
    unsafe {
        let base = read_volatile(&raw const (*slot.hot).in_base);
        (*slot.hot).in_bytes = received.read(base);
    }
}

macro_rules! tcp_destroy_sock {
    ($($name:ident, $order:ident;)*) => {
        $(
            #[btf_tracepoint(function = "tcp_destroy_sock")]
            fn $name(ctx: BtfTracePointContext) -> i32 {
                destroyed(&ctx, Order::$order)
            }
        )*
    };
}

tcp_destroy_sock! {
    socket_destroyed, First;
    socket_destroyed_second, Second;
    socket_destroyed_third, Third;
    socket_destroyed_fourth, Fourth;
    socket_destroyed_fifth, Fifth;
    socket_destroyed_nested, Last;
}

/// The end of the socket. Data may have been read after CLOSE (a reset leaves the receive queue).
#[inline(always)]
fn destroyed(ctx: &BtfTracePointContext, order: Order) -> i32 {
    if is_socket_due(ctx, Kind::Destroy, order)
        && let Some(tcp) = Tcp::from_argument(ctx.arg(0))
    {
        on_destroy(tcp);
    }
    0
}

/// A socket without a cookie never carried a connection.
#[inline(always)]
fn on_destroy(tcp: Tcp) {
    let cookie = tcp.made_cookie();
    if cookie != 0
        && let Some(slot) = find(cookie)
    {
        if slot.state() == CLOSE {
            latch_read(tcp, slot);
        } else {
            // Taken up by a message while the state hook ran elsewhere.
            close(tcp, slot, slot.state());
        }
        lifecycle::finish(slot);
    }
}

/// Whether one sequence number before the data was a SYN of this end.
#[inline(always)]
pub(crate) fn syn_of(flags: u8) -> u32 {
    u32::from(flags & FLAG_ACTIVE_OPEN != 0)
}
