//! The reader of the kernel's BTF, for the fuzz targets.
//!
//! The very sources of the agent, without the rest of it: neither its eBPF object nor its
//! dependencies have to be built, and only what is fuzzed is instrumented.
#![forbid(unsafe_code)]

/// `conn_trace::kernel`, as far as it does not talk to the kernel.
#[path = "../../conn-trace/src/kernel"]
pub mod kernel {
    pub mod btf;
    pub mod offsets;
}
