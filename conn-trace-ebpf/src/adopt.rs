//! Connections that existed before the programs were attached: an `iter/tcp` program that the
//! agent runs once in every network namespace, after attaching.
//!
//! Kernel: `bpf_iter_tcp`, since 5.9; it locks each socket that it shows.

use core::ffi::c_void;

use conn_trace_common::{stats, table::ORIGIN_PREEXISTING};

use crate::{
    bytes::Both,
    open::adopt,
    sock::{Socket, Tcp, iterated_socket},
    state::{CLOSE, LISTEN},
    table::{Claim, count, find},
};

// aya-ebpf 0.2 has no macro for iterators; the section name is all that the loader needs.
#[unsafe(link_section = "iter/tcp")]
#[unsafe(no_mangle)]
extern "C" fn existing_socket(ctx: *mut c_void) -> i32 {
    let socket = iterated_socket(ctx);
    if socket.is_null() {
        return 0;
    }
    // TIME_WAIT and request sockets are no full sockets and give nothing.
    let Some(tcp) = Tcp::from_sock(socket) else {
        return 0;
    };
    // No way leads from a subflow to its socket by a pointer that has a cookie made.
    if tcp.is_subflow() {
        return 0;
    }
    let state = tcp.state();
    if state == LISTEN || state == CLOSE {
        return 0;
    }
    let cookie = tcp.cookie();
    if find(cookie).is_none()
        && let Claim::Full = adopt(tcp, cookie, &Both::of(&tcp.fields), ORIGIN_PREEXISTING)
    {
        count(stats::UNTRACKED);
    }
    0
}
