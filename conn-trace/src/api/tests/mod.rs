//! The server on a real loopback listener, over a made-up source.

mod client;
mod endpoints;
mod fake;
mod large;
mod limits;
mod refusals;
mod shutdown;
