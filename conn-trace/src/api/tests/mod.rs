//! The server on a real loopback listener, over a made-up source.

mod client;
mod clients;
mod endpoints;
mod fake;
mod large;
mod limits;
mod nats;
mod one;
mod openapi;
mod refusals;
mod shutdown;
