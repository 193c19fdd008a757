//! A filter that lets no packet through. The agent's self-check attaches it to a socket of its own
//! (`SO_ATTACH_BPF`) to have segments lost. A classic filter would need a capability more on some
//! kernels.

use aya_ebpf::{macros::socket_filter, programs::SkBuffContext};

#[socket_filter]
fn deaf(_ctx: SkBuffContext) -> i64 {
    0
}
