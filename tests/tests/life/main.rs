//! The life of connections, from whichever end: each opens once and closes once, with the reason
//! that it was and with the last byte.

mod descriptors;
mod destroyed;
mod disconnect;
mod failed;
mod half;
mod listener;
mod open;
mod orphan;
mod silent;

/// Why a test that needs two hosts is skipped.
const NO_NAMESPACE: &str = "no network namespaces can be made and joined";
