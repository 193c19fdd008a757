//! MPTCP: one row for the socket that the application has, none for its subflows.
//!
//! The socket passes the same hooks as one of TCP (`inet_sock_set_state`, `sock_send_length`,
//! `sock_recv_length`; or the return of `mptcp_sendmsg` and `mptcp_recvmsg`), but not
//! `tcp_destroy_sock`: a closed entry stays until the agent sees that its socket is gone. There is
//! no count of the bytes in it on all kernels, so the messages' are added up.

use core::ptr::read_volatile;

use aya_ebpf::EbpfContext;
use conn_trace_common::{
    fields::MISSING,
    stats,
    table::{
        CAUSE_CANCELLED, CAUSE_KILLED, CAUSE_LOCAL_FIN, CAUSE_LOCAL_RESET, CAUSE_PEER_FIN,
        CAUSE_UNKNOWN, DIRECTION_IN, DIRECTION_OUT, DIRECTION_UNKNOWN, FLAG_ACTIVE_OPEN,
        FLAG_MPTCP, ORIGIN_LATE, ORIGIN_OPENED,
    },
};

use crate::{
    fields::SUBFLOW_CONNECTION,
    lifecycle,
    open::{boot_ns, claim_or_count, connecting, describe},
    sock::{Mptcp, Socket, Task, Tcp},
    state::{
        CLOSE, CLOSE_WAIT, ESTABLISHED, FIN_WAIT1, LISTEN, SYN_SENT, cause_of_error,
        next_generation,
    },
    table::{Slot, count, find},
};

#[inline(always)]
pub(crate) fn on_state(ctx: &impl EbpfContext, socket: Mptcp, old: u8, new: u8) {
    let cookie = socket.made_cookie();
    let is_new = cookie == 0;
    let found = if is_new { None } else { find(cookie) };
    match (found, new) {
        (found, SYN_SENT) => {
            let generation = found.map_or(0, next_generation);
            connecting(
                ctx,
                socket,
                FLAG_ACTIVE_OPEN | FLAG_MPTCP,
                is_new,
                generation,
            );
        }
        // Another child of the same listener has the same cookie: see `is_of`.
        (Some(slot), _) if !is_of(slot, socket) => {
            if new == ESTABLISHED {
                count(stats::UNTRACKED);
            }
        }
        (Some(slot), ESTABLISHED) => {
            slot.set_state(ESTABLISHED);
            let Some(cold) = slot.cold() else { return };
            // SAFETY: the slot's cold entry; the socket is locked.
            unsafe {
                socket.write_tuple(cold);
                (*cold).established_ns = boot_ns();
            }
            lifecycle::established(slot);
        }
        // A client that there was no room for, or that is older than the hooks.
        (None, ESTABLISHED) if old == SYN_SENT => {
            enter(socket, is_new, DIRECTION_OUT, ORIGIN_LATE);
        }
        // The child of a listener. Its peer's address comes with the subflow.
        (None, ESTABLISHED) => enter(socket, is_new, DIRECTION_IN, ORIGIN_OPENED),
        (Some(slot), CLOSE) => close(socket, slot, old),
        (Some(slot), _) => step(slot, new),
        (None, _) => {}
    }
}

/// Whether the entry is this socket's. The kernel copies a listener's cookie to each connection
/// that it accepts for MPTCP (`sk_clone_lock` by way of `mptcp_sk_clone_init` in
/// net/mptcp/protocol.c; seen in 6.18), if somebody has asked for it, as `ss -M` does. The first of
/// them has the row then, and the others count as untracked.
#[inline(always)]
fn is_of(slot: Slot, socket: Mptcp) -> bool {
    slot.socket()
        // SAFETY: an element of the array.
        .is_some_and(|address| unsafe { read_volatile(address) } == socket.address())
}

#[inline(always)]
fn enter(socket: Mptcp, is_new: bool, direction: u8, origin: u8) {
    let cookie = socket.cookie();
    let Some(slot) = claim_or_count(cookie, is_new) else {
        return;
    };
    let Some(cold) = slot.cold() else { return };
    slot.set_state(ESTABLISHED);
    slot.set_flags(FLAG_MPTCP);
    // SAFETY: the entries of a claimed slot are ours alone.
    unsafe {
        describe(socket, slot, cold, cookie, direction, origin);
        (*cold).established_ns = (*cold).opened_ns;
    }
    slot.publish(cookie);
    count(if origin == ORIGIN_OPENED {
        stats::OPENED
    } else {
        stats::ADOPTED
    });
    lifecycle::opened(slot);
}

#[inline(always)]
fn step(slot: Slot, new: u8) {
    let Some(cold) = slot.cold() else { return };
    // SAFETY: the slot's cold entry; the socket is locked.
    unsafe {
        if (*cold).cause == CAUSE_UNKNOWN {
            (*cold).cause = match new {
                FIN_WAIT1 if Task::current().is_being_killed() => CAUSE_KILLED,
                FIN_WAIT1 => CAUSE_LOCAL_FIN,
                CLOSE_WAIT => CAUSE_PEER_FIN,
                _ => CAUSE_UNKNOWN,
            };
        }
    }
    slot.set_state(new);
}

#[inline(always)]
fn close(socket: Mptcp, slot: Slot, old: u8) {
    if slot.state() == CLOSE {
        return;
    }
    let Some(cold) = slot.cold() else { return };
    let error = socket.error();
    // SAFETY: the slot's cold entry; the socket is locked.
    unsafe {
        (*cold).closed_ns = boot_ns();
        let (_, is_closing) = socket.is_shut();
        if error != 0 {
            (*cold).error = error;
            (*cold).cause = cause_of_error(error);
        } else if old == SYN_SENT && (*cold).cause == CAUSE_UNKNOWN {
            (*cold).cause = CAUSE_CANCELLED;
        } else if matches!(old, ESTABLISHED | CLOSE_WAIT) {
            // Without FINs: close() with unread data or a linger time of 0 (mptcp_do_fastclose),
            // or the end of the subflow, which the socket itself is told of later.
            (*cold).cause = if is_closing {
                if Task::current().is_being_killed() {
                    CAUSE_KILLED
                } else {
                    CAUSE_LOCAL_RESET
                }
            } else if (*cold).error != 0 {
                cause_of_error((*cold).error)
            } else {
                (*cold).cause
            };
        }
    }
    slot.set_state(CLOSE);
    count(stats::CLOSED);
}

/// The first subflow of a connection has the addresses before the socket itself, and alone knows
/// why it could not be connected.
#[inline(always)]
pub(crate) fn on_subflow(tcp: Tcp, old: u8, new: u8) {
    if new != SYN_SENT && new != ESTABLISHED && new != CLOSE {
        return;
    }
    let cookie = tcp.cookie_above();
    if cookie != 0
        && let Some(slot) = find(cookie)
        && let Some(cold) = slot.cold()
    {
        // SAFETY: the slot's cold entry. The connection is not in use before the addresses are
        // known; its end looks at the error later.
        unsafe {
            if (*cold).peer_port == 0 {
                tcp.write_tuple(cold);
                lifecycle::established(slot);
            }
            let error = tcp.error();
            if new == CLOSE && error != 0 && slot.state() != CLOSE {
                (*cold).error = error;
                if old == SYN_SENT && slot.state() == SYN_SENT {
                    (*cold).cause = cause_of_error(error);
                }
            }
        }
    }
}

/// The entry of the hook's socket, for a message of so many bytes.
#[inline(always)]
pub(crate) fn connection(sk: *const u8) -> Option<Slot> {
    let socket = Mptcp::from_argument(sk)?;
    let cookie = socket.cookie();
    if let Some(slot) = find(cookie) {
        if !is_of(slot, socket) {
            count(stats::UNTRACKED_MESSAGES);
            return None;
        }
        if SUBFLOW_CONNECTION.load() == MISSING
            && let Some(cold) = slot.cold()
        {
            // SAFETY: the slot's cold entry; the addresses do not change any more.
            unsafe {
                if (*cold).peer_port == 0 {
                    socket.write_tuple(cold);
                    lifecycle::established(slot);
                }
            }
        }
        return Some(slot);
    }
    let state = socket.state();
    if state == CLOSE || state == LISTEN {
        count(stats::MESSAGES_AFTER_END);
        return None;
    }
    enter(socket, false, DIRECTION_UNKNOWN, ORIGIN_LATE);
    let found = find(cookie);
    if found.is_none() {
        count(stats::UNTRACKED_MESSAGES);
    }
    found
}
