//! End-to-end tests: the agent as users run it, real programs with real connections, and what
//! these programs and the kernel say about them. Nothing here knows the agent's code.
#![forbid(unsafe_code)]

pub mod agent;
pub mod btf;
pub mod cgroup;
pub mod config;
pub mod connz;
pub mod events;
pub mod everybody;
pub mod held;
pub mod http;
pub mod link;
pub mod mounts;
pub mod moved;
pub mod nats;
pub mod netns;
pub mod opens;
pub mod pair;
pub mod peer;
pub mod program;
pub mod prometheus;
pub mod protocol;
pub mod random;
pub mod skip;
pub mod slowness;
pub mod sockets;
pub mod special;
pub mod wait;
pub mod watch;
pub mod way;
