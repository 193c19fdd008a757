//! The measuring floor: the message hooks with nothing in them.
//!
//! What these two cost is what any program on these tracepoints costs, whatever it does. They are
//! loaded by the benchmark only (`conn_trace::kernel::floor`).
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "the licence has to lie in a section of its own")]

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};

#[btf_tracepoint(function = "sock_send_length")]
fn nothing_sent(_ctx: BtfTracePointContext) -> i32 {
    0
}

#[btf_tracepoint(function = "sock_recv_length")]
fn nothing_received(_ctx: BtfTracePointContext) -> i32 {
    0
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
