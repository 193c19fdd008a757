//! Everything that talks to `bpf(2)`: the only room that knows aya, and the only one with `unsafe`.

pub mod btf;
pub mod cgroups;
pub mod clock;
pub mod degradation;
pub mod destroy;
pub mod error;
pub mod existing;
pub mod floor;
pub mod hooks;
pub mod loader;
mod map;
mod misses;
mod mountinfo;
pub mod namespaces;
pub mod offsets;
mod preemption;
pub mod preflight;
mod removed_cgroups;
pub mod ring;
mod runs;
pub mod sampler;
pub mod self_check;
pub mod table;

pub use error::LoadError;
pub use loader::{Options, Tracer};
pub use runs::ProgramRuns;
