//! What the agent asks of the kernel's BTF at its start, of any bytes: every field of the list, and
//! the functions and tracepoints by which it chooses its hooks.
#![no_main]

use conn_trace_common::fields::MISSING;
use conn_trace_fuzz::kernel::{
    btf::{Btf, Kind},
    offsets::{CHRONO_TYPE, FIELDS, Need, Offsets, SOCK_DONE_BIT},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(btf) = Btf::parse(data) else { return };
    for function in ["tcp_sendmsg", "tcp_recvmsg", "tcp_sendpage"] {
        if btf.function_parameter_count(function).is_ok() {
            assert!(btf.has_type(function, Kind::Func), "{function}");
        }
    }
    for name in ["btf_trace_sock_send_length", "btf_trace_sock_recv_length"] {
        let _ = btf.has_type(name, Kind::Typedef);
    }
    match Offsets::resolve(&btf) {
        Ok(offsets) => accepted(&offsets),
        Err(error) => assert!(!error.problems.is_empty() && !error.to_string().is_empty()),
    }
});

/// What the programs rely on once they are given offsets.
fn accepted(offsets: &Offsets) {
    let is_missing = |global| {
        offsets
            .missing()
            .iter()
            .any(|error| error.global() == global)
    };
    for field in FIELDS {
        let value = offsets.get(field.global).expect("a value for each field");
        assert_eq!(
            value == MISSING,
            is_missing(field.global),
            "{}",
            field.global
        );
        assert!(
            value != MISSING || field.need == Need::Optional,
            "{}",
            field.global
        );
        assert!(
            value == MISSING || value.checked_add(field.size_bytes).is_some(),
            "{} at {value}",
            field.global
        );
    }
    assert!(offsets.get(SOCK_DONE_BIT).is_some_and(|bit| bit < 64));
    let [byte, shift, bits] = CHRONO_TYPE.map(|global| offsets.get(global));
    if byte != Some(MISSING) {
        assert!(
            matches!((shift, bits), (Some(0..8), Some(1..=8))),
            "{shift:?} {bits:?}"
        );
    }
}
