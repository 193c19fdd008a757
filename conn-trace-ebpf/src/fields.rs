//! Globals that the agent sets before loading. The verifier sees them as constants.

use aya_ebpf::Global;
use conn_trace_common::fields::MISSING;

macro_rules! offsets {
    ($($name:ident: $structure:literal, $member:literal, $size:literal, $need:ident;)*) => {
        $(
            #[unsafe(no_mangle)]
            pub(crate) static $name: Global<u32> = Global::new(MISSING);
        )*
    };
}

conn_trace_common::kernel_fields!(offsets);

macro_rules! globals {
    ($($(#[$doc:meta])* $name:ident = $initial:expr;)*) => {
        $(
            $(#[$doc])*
            #[unsafe(no_mangle)]
            pub(crate) static $name: Global<u32> = Global::new($initial);
        )*
    };
}

globals! {
    /// Bit number of `SOCK_DONE` in `sk_flags`: the peer's FIN has arrived.
    SOCK_DONE_BIT = MISSING;
    /// The two bits of `tcp_sock.chrono_type`: byte offset, shift, width.
    TCP_CHRONO_TYPE_OFFSET = MISSING;
    TCP_CHRONO_TYPE_SHIFT = 0;
    TCP_CHRONO_TYPE_BITS = 0;
    /// 1 if the message hooks have programs for preempted tasks.
    MARKS_MESSAGES = 0;
    /// log2 of the number of slots in the table.
    TABLE_BITS = 1;
    /// Connections that the table takes; at most half of its slots.
    TABLE_CAPACITY = 1;
}
