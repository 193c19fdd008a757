//! Policies: what is to be found in the connections of a service, and what is done about it.
//!
//! They are off unless the configuration has some. A policy holds for connections that are open and
//! that certainly belong to its service; those that are undecided, and the agent's own, are no concern of
//! any. The engine of a service is told of openings and ends where the service counts them, and is
//! asked after every look into the ring what is to be done.

mod audit;
mod enforce;
mod engine;
mod leak;
mod limit;
mod policy;
#[cfg(test)]
mod tests;

use std::{collections::HashSet, fmt::Debug, sync::Arc};

#[cfg(test)]
pub(super) use self::engine::Seen;
pub use self::{
    audit::{Outcome, Outcomes, Record},
    engine::PolicyFigures,
    policy::{Action, Adaptive, Bounds, Leak, Limit, Policy, Rule, Signal, Watchlist},
};
pub(super) use self::{enforce::Enforcer, engine::Engine, policy::prefix};

/// What became of the records for one webhook.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deliveries {
    /// Host and port of its URL.
    pub host: String,
    /// Records that wait.
    pub waiting: u64,
    /// Records that were taken there.
    pub delivered: u64,
    /// Tries that failed.
    pub failures: u64,
    /// Records that were given up: there was no room, or no try succeeded.
    pub dropped: u64,
}

/// Sends records elsewhere, and never waits for that.
pub trait Notify: Debug + Send {
    /// Takes a record for a URL.
    ///
    /// # Errors
    /// Says why it does not.
    fn notify(&mut self, url: &str, record: &Record) -> Result<(), String>;

    /// Gives up every URL that is not used any more, and what waits for it.
    fn keep(&mut self, used: &HashSet<Arc<str>>);

    /// What became of those that were taken.
    fn deliveries(&self) -> Vec<Deliveries>;
}
