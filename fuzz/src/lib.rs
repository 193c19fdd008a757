//! What reads bytes of strangers, for the fuzz targets: the reader of the kernel's BTF, that of query
//! strings, and that of the first bytes of connections.
//!
//! The very sources of the agent, without the rest of it: neither its eBPF object nor most of its
//! dependencies have to be built, and only what is fuzzed is instrumented.
#![forbid(unsafe_code)]

/// `conn_trace::kernel`, as far as it does not talk to the kernel.
#[path = "../../conn-trace/src/kernel"]
pub mod kernel {
    pub mod btf;
    pub mod degradation;
    /// Only a name here: the registry's figures of itself have the type.
    pub mod hooks {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Variant {}
    }
    pub mod offsets;
}

#[path = "../../conn-trace/src/protocol/mod.rs"]
pub mod protocol;

#[path = "../../conn-trace/src/query/mod.rs"]
pub mod query;

/// `conn_trace::registry`, as far as queries name it.
#[path = "../../conn-trace/src/registry"]
pub mod registry {
    pub mod connection;
    pub mod flags;
    pub mod rates;
    pub mod snapshot;
}
