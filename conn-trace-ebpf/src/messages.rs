//! The message hooks: every send and receive call on a socket, after it returned.
//!
//! Two variants with the same bodies; the agent attaches one of them:
//!
//! * `tp_btf`, since 6.3: the tracepoints `sock_send_length` and `sock_recv_length`
//!   (include/trace/events/sock.h, commit 6e6eda44b939). The latter passes the raw flags.
//! * `fexit`, for kernels without them: the return of `tcp_sendmsg`, `tcp_recvmsg` and, before 6.5,
//!   of `tcp_sendpage` (net/ipv4/tcp.c).
//!
//! Each has several programs where the kernel may take the CPU from a task inside of one: then
//! another task finds that one busy, and the next acts in its place (`turns.rs`).
//!
//! A call that only peeked or read the error queue moved nothing.

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::{
    EbpfContext,
    helpers::generated::bpf_jiffies64,
    macros::{btf_tracepoint, fexit},
    programs::{BtfTracePointContext, FExitContext},
};
use conn_trace_common::{
    stats,
    table::{FLAG_BASED, FLAG_OUT_FINAL, ORIGIN_LATE, ORIGIN_OPENED, OWNER_UNKNOWN},
};

use crate::{
    bytes::{Both, Received, Sent},
    first_bytes, mptcp,
    open::{adopt, write_owner},
    sock::{Socket, Tcp},
    state::{CLOSE, ESTABLISHED, LISTEN, SYN_RECV, SYN_SENT, end_of_handshake, syn_of},
    table::{Claim, Slot, count, find},
    trace,
    turns::{Kind, Order, is_message_due},
};

const MSG_PEEK: u32 = 0x2;
const MSG_ERRQUEUE: u32 = 0x2000;

macro_rules! sock_send_length {
    ($($name:ident, $order:ident;)*) => {
        $(
            #[btf_tracepoint(function = "sock_send_length")]
            fn $name(ctx: BtfTracePointContext) -> i32 {
                on_sent(&ctx, Order::$order, ctx.arg(0), ctx.arg(1))
            }
        )*
    };
}

sock_send_length! {
    message_sent, First;
    message_sent_second, Second;
    message_sent_third, Third;
    message_sent_fourth, Fourth;
    message_sent_fifth, Fifth;
    message_sent_nested, Last;
}

macro_rules! sock_recv_length {
    ($($name:ident, $order:ident;)*) => {
        $(
            #[btf_tracepoint(function = "sock_recv_length")]
            fn $name(ctx: BtfTracePointContext) -> i32 {
                on_received(&ctx, Order::$order, ctx.arg(0), ctx.arg(1), ctx.arg(2))
            }
        )*
    };
}

sock_recv_length! {
    message_received, First;
    message_received_second, Second;
    message_received_third, Third;
    message_received_fourth, Fourth;
    message_received_fifth, Fifth;
    message_received_nested, Last;
}

/// `int tcp_sendmsg(sk, msg, size)`
#[fexit(function = "tcp_sendmsg")]
fn sendmsg_returned(ctx: FExitContext) -> i32 {
    on_sent(&ctx, Order::First, ctx.arg(0), ctx.arg(3))
}

#[fexit(function = "tcp_sendmsg")]
fn sendmsg_returned_nested(ctx: FExitContext) -> i32 {
    on_sent(&ctx, Order::Last, ctx.arg(0), ctx.arg(3))
}

/// `int tcp_sendpage(sk, page, offset, size, flags)`: one page or less of `sendfile` or `splice`.
#[fexit(function = "tcp_sendpage")]
fn sendpage_returned(ctx: FExitContext) -> i32 {
    on_sent(&ctx, Order::First, ctx.arg(0), ctx.arg(5))
}

#[fexit(function = "tcp_sendpage")]
fn sendpage_returned_nested(ctx: FExitContext) -> i32 {
    on_sent(&ctx, Order::Last, ctx.arg(0), ctx.arg(5))
}

/// `int mptcp_sendmsg(sk, msg, len)`
#[fexit(function = "mptcp_sendmsg")]
fn mptcp_sendmsg_returned(ctx: FExitContext) -> i32 {
    on_sent(&ctx, Order::First, ctx.arg(0), ctx.arg(3))
}

#[fexit(function = "mptcp_sendmsg")]
fn mptcp_sendmsg_returned_nested(ctx: FExitContext) -> i32 {
    on_sent(&ctx, Order::Last, ctx.arg(0), ctx.arg(3))
}

/// `int tcp_recvmsg(sk, msg, len, nonblock, flags, addr_len)`, up to 5.18.
#[fexit(function = "tcp_recvmsg")]
fn recvmsg_of_6_returned(ctx: FExitContext) -> i32 {
    on_received(&ctx, Order::First, ctx.arg(0), ctx.arg(6), ctx.arg(4))
}

#[fexit(function = "tcp_recvmsg")]
fn recvmsg_of_6_returned_nested(ctx: FExitContext) -> i32 {
    on_received(&ctx, Order::Last, ctx.arg(0), ctx.arg(6), ctx.arg(4))
}

/// The same of MPTCP.
#[fexit(function = "mptcp_recvmsg")]
fn mptcp_recvmsg_of_6_returned(ctx: FExitContext) -> i32 {
    on_received(&ctx, Order::First, ctx.arg(0), ctx.arg(6), ctx.arg(4))
}

#[fexit(function = "mptcp_recvmsg")]
fn mptcp_recvmsg_of_6_returned_nested(ctx: FExitContext) -> i32 {
    on_received(&ctx, Order::Last, ctx.arg(0), ctx.arg(6), ctx.arg(4))
}

/// `int tcp_recvmsg(sk, msg, len, flags, addr_len)`, since 5.19.
#[fexit(function = "tcp_recvmsg")]
fn recvmsg_of_5_returned(ctx: FExitContext) -> i32 {
    on_received(&ctx, Order::First, ctx.arg(0), ctx.arg(5), ctx.arg(3))
}

#[fexit(function = "tcp_recvmsg")]
fn recvmsg_of_5_returned_nested(ctx: FExitContext) -> i32 {
    on_received(&ctx, Order::Last, ctx.arg(0), ctx.arg(5), ctx.arg(3))
}

/// The same of MPTCP.
#[fexit(function = "mptcp_recvmsg")]
fn mptcp_recvmsg_of_5_returned(ctx: FExitContext) -> i32 {
    on_received(&ctx, Order::First, ctx.arg(0), ctx.arg(5), ctx.arg(3))
}

#[fexit(function = "mptcp_recvmsg")]
fn mptcp_recvmsg_of_5_returned_nested(ctx: FExitContext) -> i32 {
    on_received(&ctx, Order::Last, ctx.arg(0), ctx.arg(5), ctx.arg(3))
}

/// `int tcp_recvmsg(sk, msg, len, flags)`, seen in 6.18.
#[fexit(function = "tcp_recvmsg")]
fn recvmsg_of_4_returned(ctx: FExitContext) -> i32 {
    on_received(&ctx, Order::First, ctx.arg(0), ctx.arg(4), ctx.arg(3))
}

#[fexit(function = "tcp_recvmsg")]
fn recvmsg_of_4_returned_nested(ctx: FExitContext) -> i32 {
    on_received(&ctx, Order::Last, ctx.arg(0), ctx.arg(4), ctx.arg(3))
}

/// The same of MPTCP.
#[fexit(function = "mptcp_recvmsg")]
fn mptcp_recvmsg_of_4_returned(ctx: FExitContext) -> i32 {
    on_received(&ctx, Order::First, ctx.arg(0), ctx.arg(4), ctx.arg(3))
}

#[fexit(function = "mptcp_recvmsg")]
fn mptcp_recvmsg_of_4_returned_nested(ctx: FExitContext) -> i32 {
    on_received(&ctx, Order::Last, ctx.arg(0), ctx.arg(4), ctx.arg(3))
}

#[inline(always)]
fn on_sent(ctx: &impl EbpfContext, order: Order, sk: *const u8, moved: i32) -> i32 {
    if is_message_due(Kind::Send, order) && moved > 0 {
        if let Some((tcp, slot)) = connection(sk) {
            let number = sent(tcp, slot);
            used(ctx, slot);
            trace::sent(slot, number, moved);
        } else if let Some(slot) = mptcp::connection(sk) {
            let number = slot.add_sent(moved as u64);
            used(ctx, slot);
            trace::sent(slot, number, moved);
        }
    }
    0
}

#[inline(always)]
fn on_received(ctx: &impl EbpfContext, order: Order, sk: *const u8, moved: i32, flags: u32) -> i32 {
    if is_message_due(Kind::Receive, order) && moved > 0 && flags & (MSG_PEEK | MSG_ERRQUEUE) == 0 {
        if let Some((tcp, slot)) = connection(sk) {
            let (number, total) = received(tcp, slot);
            used(ctx, slot);
            trace::received(slot, number, moved, flags);
            first_bytes::received(slot, number, total, moved, flags);
        } else if let Some(slot) = mptcp::connection(sk) {
            let (number, total) = slot.add_received(moved as u64);
            used(ctx, slot);
            trace::received(slot, number, moved, flags);
            first_bytes::received(slot, number, total, moved, flags);
        }
    }
    0
}

/// The entry of the hook's socket; one that is not in the table yet is taken up if there is room.
#[inline(always)]
fn connection(sk: *const u8) -> Option<(Tcp, Slot)> {
    let tcp = Tcp::from_argument(sk)?;
    let cookie = tcp.cookie();
    if let Some(slot) = find(cookie) {
        // The kernel skipped the state hook if that was running on the CPU already.
        if slot.flags() & FLAG_BASED == 0
            && slot.state() == SYN_SENT
            && tcp.state() == ESTABLISHED
            && let Some(counts) = Both::at_rest(&tcp.fields)
        {
            slot.set_state(ESTABLISHED);
            end_of_handshake(tcp, slot, &counts);
        }
        return Some((tcp, slot));
    }
    let origin = match tcp.state() {
        // What had arrived before a reset may still be read. The connection had ended before the
        // agent was there, or is counted as untracked.
        CLOSE | LISTEN => {
            count(stats::MESSAGES_AFTER_END);
            return None;
        }
        // A child of a listener that is used before the end of the handshake: TCP Fast Open.
        SYN_RECV => ORIGIN_OPENED,
        _ => ORIGIN_LATE,
    };
    if let Some(counts) = Both::at_rest(&tcp.fields)
        && let Claim::New(slot) = adopt(tcp, cookie, &counts, origin)
    {
        return Some((tcp, slot));
    }
    count(stats::UNTRACKED_MESSAGES);
    None
}

/// Counts a message; gives its number if anything is asked of the connection, as does `received`.
#[inline(always)]
fn sent(tcp: Tcp, slot: Slot) -> u64 {
    // Before the flags: what is written after the last look at them cannot count a FIN.
    let sent = Sent::of(&tcp.fields);
    let flags = slot.flags();
    if flags & FLAG_OUT_FINAL == 0 {
        // SAFETY: fields of the slot's entry.
        unsafe {
            let written = if flags & FLAG_BASED == 0 {
                // TCP Fast Open: data before the handshake ended.
                sent.written_when_locked(syn_of(flags))
            } else {
                sent.written(read_volatile(&raw const (*slot.hot).out_base))
            };
            raise(&raw mut (*slot.hot).out_bytes, written);
        }
    }
    // SAFETY: takes the address only.
    slot.count_message(unsafe { &raw mut (*slot.hot).out_msgs })
}

/// Gives all bytes received by then as well, 0 if they are not known.
#[inline(always)]
fn received(tcp: Tcp, slot: Slot) -> (u64, u64) {
    let mut total = 0;
    if slot.flags() & FLAG_BASED != 0 {
        let received = Received::of(&tcp.fields);
        // SAFETY: fields of the slot's entry.
        unsafe {
            total = received.read(read_volatile(&raw const (*slot.hot).in_base));
            raise(&raw mut (*slot.hot).in_bytes, total);
        }
    }
    // SAFETY: takes the address only.
    let number = slot.count_message(unsafe { &raw mut (*slot.hot).in_msgs });
    (number, total)
}

/// Stores a count, unless another thread has come by with a later one.
///
/// # Safety
/// `counter` must be a field of an entry.
#[inline(always)]
unsafe fn raise(counter: *mut u64, count: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        if read_volatile(counter) < count {
            write_volatile(counter, count);
        }
    }
}

/// Notes the time, and at first use the user.
#[inline(always)]
fn used(ctx: &impl EbpfContext, slot: Slot) {
    // SAFETY: fields of the slot's entry; the owner is written by whoever claims it.
    unsafe {
        write_volatile(&raw mut (*slot.hot).last_activity_jiffies, bpf_jiffies64());
        if read_volatile(&raw const (*slot.hot).owner) == OWNER_UNKNOWN
            && slot.claim_owner()
            && let Some(cold) = slot.cold()
        {
            write_owner(ctx, slot, cold);
        }
    }
}
