//! The present state of given connections, read on demand: a raw tracepoint program that is never
//! attached. The agent runs it (`BPF_PROG_TEST_RUN`, raw tracepoints since 5.10) when somebody
//! asks for the table.

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    helpers::generated::{bpf_jiffies64, bpf_ktime_get_boot_ns},
    macros::{map, raw_tracepoint},
    maps::Array,
    programs::RawTracePointContext,
};
use conn_trace_common::{
    sample::{BATCH, Clock, Request, Sample},
    table::{FLAG_BASED, FLAG_MPTCP, FLAG_OUT_FINAL},
};

use crate::{
    bytes::{Received, Sent, is_dead},
    fields::{
        CONGESTION_NAME, MPTCP_SND_UNA, MPTCP_WRITE_SEQ, SOCK_BOUND_PORT, SOCK_COOKIE, SOCK_SOCKET,
        SOCK_STATE, SOCKET_ALLOC_INODE, TCP_BYTES_ACKED, TCP_BYTES_RECEIVED, TCP_BYTES_RETRANS,
        TCP_CHRONO_START, TCP_CHRONO_STAT, TCP_CHRONO_TYPE_BITS, TCP_CHRONO_TYPE_OFFSET,
        TCP_CHRONO_TYPE_SHIFT, TCP_CONGESTION_OPS, TCP_DATA_SEGS_IN, TCP_LAST_RECEIVED,
        TCP_LAST_SENT, TCP_LOST, TCP_MDEV_US, TCP_MSS_CACHE, TCP_RATE_DELIVERED,
        TCP_RATE_INTERVAL_US, TCP_RTT_MIN, TCP_SEGS_IN, TCP_SEGS_OUT, TCP_SND_CWND,
        TCP_SND_SSTHRESH, TCP_SRTT_US, TCP_TOTAL_RETRANS,
    },
    sock::{Fields, Probed},
    state::{is_after_fin, is_fin_unacked},
    table::{Slot, slot_at},
};

#[map]
static REQUESTS: Array<Request> = Array::with_max_entries(BATCH, BPF_F_MMAPABLE);
#[map]
static SAMPLES: Array<Sample> = Array::with_max_entries(BATCH, BPF_F_MMAPABLE);
#[map]
static CLOCK: Array<Clock> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Reads the sockets of the first `n` requests, `n` being the first argument, and the clocks. TCP's own
/// figures are read if the second argument is not 0: they lie in many places of a socket, which nobody
/// else has used lately.
#[raw_tracepoint(tracepoint = "sys_enter")]
fn sample(ctx: RawTracePointContext) -> i32 {
    if let Some(clock) = CLOCK.get_ptr_mut(0) {
        // SAFETY: the element of the array; helpers without arguments.
        unsafe {
            write_volatile(&raw mut (*clock).jiffies, bpf_jiffies64());
            write_volatile(&raw mut (*clock).boot_ns, bpf_ktime_get_boot_ns());
        }
    }
    let wanted: u64 = ctx.arg(0);
    let wants_tcp: u64 = ctx.arg(1);
    for index in 0..BATCH {
        if u64::from(index) >= wanted {
            break;
        }
        answer(index, u32::from(wants_tcp != 0));
    }
    0
}

/// Reads the socket of one request. A global function, as `claim_index` is: the loop made the
/// verifier look at it 64 times.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn answer(index: u32, wants_tcp: u32) -> i32 {
    let (Some(request), Some(into)) = (REQUESTS.get_ptr(index), SAMPLES.get_ptr_mut(index)) else {
        return 0;
    };
    // SAFETY: elements of the arrays; the agent waits for the run to end.
    unsafe {
        clear(into);
        let cookie = read_volatile(&raw const (*request).cookie);
        if let Some(slot) = slot_at(read_volatile(&raw const (*request).slot)) {
            let generation = read_volatile(&raw const (*request).generation);
            take(slot, (cookie, generation), wants_tcp != 0, into);
        }
    }
    0
}

/// # Safety
/// `into` must be valid for writes.
#[inline(always)]
unsafe fn clear(into: *mut Sample) {
    for word in 0..size_of::<Sample>() / 8 {
        // SAFETY: inside the sample, whose type takes any bytes.
        unsafe { write_volatile(into.cast::<u64>().add(word), 0) };
    }
}

/// # Safety
/// `into` must be valid for writes.
#[inline(always)]
unsafe fn take(slot: Slot, (cookie, generation): (u64, u32), wants_tcp: bool, into: *mut Sample) {
    let Some(socket) = slot.socket() else { return };
    // SAFETY: elements of the table, and the caller's promise for `into`.
    unsafe {
        let address = read_volatile(socket.cast::<u64>());
        if address == 0
            || read_volatile(&raw const (*slot.hot).cookie) != cookie
            || read_volatile(&raw const (*slot.hot).generation) != generation
        {
            return;
        }
        let fields = Probed(core::ptr::with_exposed_provenance(address as usize));
        // Socket memory is only ever reused for other TCP sockets (SLAB_TYPESAFE_BY_RCU), whose
        // cookie differs: it must match before and after.
        if fields.get::<u64>(&SOCK_COOKIE) != cookie {
            return;
        }
        if slot.flags() & FLAG_MPTCP != 0 {
            mptcp(slot, &fields, into);
        } else {
            bytes(slot, &fields, into);
            common(&fields, into);
            if wants_tcp {
                transport(&fields, into);
            }
        }
        (*into).inode = inode(&fields);
        (*into).is_dead = is_dead(&fields).into();
        if fields.get::<u64>(&SOCK_COOKIE) == cookie {
            (*into).cookie = cookie;
        }
    }
}

#[inline(always)]
unsafe fn bytes(slot: Slot, fields: &Probed, into: *mut Sample) {
    // SAFETY: as in `take`.
    unsafe {
        let state: u8 = fields.get(&SOCK_STATE);
        let received = Received::of(fields);
        let sent = Sent::of(fields);
        let hot = slot.hot;
        let based = slot.flags() & FLAG_BASED != 0;
        let written = sent.written(read_volatile(&raw const (*hot).out_base));
        // Flags last: a FIN that was queued meanwhile shows as final, and the latched count is it.
        let open = based && slot.flags() & FLAG_OUT_FINAL == 0 && !is_after_fin(state);
        (*into).out_bytes = if open {
            written
        } else {
            read_volatile(&raw const (*hot).out_bytes)
        };
        (*into).in_bytes = if based {
            received.read(read_volatile(&raw const (*hot).in_base))
        } else {
            0
        };
        let fin = u32::from(is_fin_unacked(state));
        (*into).pending_bytes = if based {
            sent.unacked().saturating_sub(fin)
        } else {
            0
        };
        (*into).recv_queue_bytes = if based { received.unread() } else { 0 };
        (*into).state = state;
    }
}

/// An MPTCP socket has no transport of its own.
#[inline(always)]
unsafe fn mptcp(slot: Slot, fields: &Probed, into: *mut Sample) {
    // SAFETY: as in `take`.
    unsafe {
        let state: u8 = fields.get(&SOCK_STATE);
        let written: u64 = fields.get(&MPTCP_WRITE_SEQ);
        let acked: u64 = fields.get(&MPTCP_SND_UNA);
        let fin = u64::from(is_fin_unacked(state));
        (*into).out_bytes = read_volatile(&raw const (*slot.hot).out_bytes);
        (*into).in_bytes = read_volatile(&raw const (*slot.hot).in_bytes);
        (*into).pending_bytes = written.wrapping_sub(acked).saturating_sub(fin) as u32;
        (*into).local_port = fields.get(&SOCK_BOUND_PORT);
        (*into).state = state;
    }
}

/// What every reader shows.
#[inline(always)]
unsafe fn common(fields: &Probed, into: *mut Sample) {
    // SAFETY: as in `take`.
    unsafe {
        (*into).local_port = fields.get(&SOCK_BOUND_PORT);
        (*into).srtt_us = fields.get(&TCP_SRTT_US);
        (*into).retrans = fields.get(&TCP_TOTAL_RETRANS);
        (*into).last_sent = fields.get(&TCP_LAST_SENT);
        (*into).last_received = fields.get(&TCP_LAST_RECEIVED);
    }
}

#[inline(always)]
unsafe fn transport(fields: &Probed, into: *mut Sample) {
    // SAFETY: as in `take`.
    unsafe {
        (*into).bytes_acked = fields.get(&TCP_BYTES_ACKED);
        (*into).bytes_received = fields.get(&TCP_BYTES_RECEIVED);
        (*into).bytes_retrans = fields.get(&TCP_BYTES_RETRANS);
        (*into).mdev_us = fields.get(&TCP_MDEV_US);
        // struct minmax: the least of three samples comes first, as { time, value }.
        let rtt_min: [u32; 2] = fields.get(&TCP_RTT_MIN);
        (*into).min_rtt_us = rtt_min[1];
        (*into).cwnd = fields.get(&TCP_SND_CWND);
        (*into).ssthresh = fields.get(&TCP_SND_SSTHRESH);
        (*into).mss = fields.get(&TCP_MSS_CACHE);
        (*into).lost = fields.get(&TCP_LOST);
        (*into).rate_delivered = fields.get(&TCP_RATE_DELIVERED);
        (*into).rate_interval_us = fields.get(&TCP_RATE_INTERVAL_US);
        (*into).chrono_stat = fields.get(&TCP_CHRONO_STAT);
        (*into).chrono_start = fields.get(&TCP_CHRONO_START);
        let chrono: u8 = fields.get(&TCP_CHRONO_TYPE_OFFSET);
        let mask = (1 << (TCP_CHRONO_TYPE_BITS.load() & 31)) - 1;
        let chrono = u32::from(chrono) >> (TCP_CHRONO_TYPE_SHIFT.load() & 7) & mask;
        (*into).chrono_type = chrono as u8;
        (*into).segs_in = fields.get(&TCP_SEGS_IN);
        let data_segs_in: u32 = fields.get(&TCP_DATA_SEGS_IN);
        (*into).data_segs_in = data_segs_in as u8;
        (*into).segs_out = fields.get(&TCP_SEGS_OUT);
        let congestion: u64 = fields.get(&TCP_CONGESTION_OPS);
        let congestion = Probed(core::ptr::with_exposed_provenance(congestion as usize));
        (*into).congestion = congestion.get(&CONGESTION_NAME);
    }
}

/// The inode of the socket's file: `container_of(sk_socket, struct socket_alloc, socket)`, and
/// `socket` is its first member.
#[inline(always)]
fn inode(fields: &Probed) -> u64 {
    let socket: u64 = fields.get(&SOCK_SOCKET);
    if socket == 0 {
        return 0;
    }
    Probed(core::ptr::with_exposed_provenance(socket as usize)).get(&SOCKET_ALLOC_INODE)
}
