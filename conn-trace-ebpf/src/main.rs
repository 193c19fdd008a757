//! The kernel side of conn-trace: one file per hook family.
//!
//! Minimum kernel 6.3 (tracepoints `sock_send_length`, `sock_recv_length`) with BTF.
#![no_std]
#![no_main]
#![expect(
    internal_features,
    reason = "the target has no AtomicU64::fetch_add, only the intrinsics"
)]
#![feature(core_intrinsics)]
#![expect(
    unsafe_code,
    reason = "every map entry and kernel field is reached through a raw pointer"
)]
#![expect(
    clippy::needless_pass_by_value,
    reason = "aya's macros hand the context over by value"
)]

mod adopt;
mod bytes;
mod deaf;
mod fields;
mod first_bytes;
mod lifecycle;
mod messages;
mod mptcp;
mod open;
mod sample;
mod sock;
mod state;
mod table;
mod trace;
mod turns;

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
