//! The HTTP interface: `/connz`, `/varz`, `/healthz` and the like, in each
//! [`Dialect`](crate::query::Dialect), and the server that answers them.
//!
//! [`Server::bind`] takes the address, [`Server::serve`] answers until it is told to stop. What the
//! answers are made from comes through the [`Source`] trait, so that all of this runs in tests
//! without a kernel.

mod absent;
mod accept;
mod action;
mod admin;
mod asked;
mod baselines;
mod body;
mod connection;
mod connections;
mod connz;
mod error;
mod events;
mod health;
mod host;
mod index;
mod metrics;
mod openapi;
mod pages;
mod requests;
mod router;
mod server;
mod services;
mod shared;
mod source;
mod stream;
mod usage;
mod varz;

#[cfg(test)]
mod tests;

pub use action::action_json;
pub use admin::Reload;
pub use server::{BindError, Config, Limits, Server};
pub use source::{ServerIdentity, Source};
