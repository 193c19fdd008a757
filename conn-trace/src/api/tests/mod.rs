//! The server on a real loopback listener, over a made-up source.

mod client;
mod clients;
mod endpoints;
mod events;
mod fake;
mod formats;
mod large;
mod limits;
mod metrics;
mod nats;
mod one;
mod openapi;
mod rates;
mod refusals;
mod services;
mod shutdown;
