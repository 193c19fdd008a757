//! Random operations on real connections, a model of what they must have done, and the
//! comparison of the agent's rows with it.

pub mod action;
mod closed;
pub mod connection;
pub mod ending;
mod events;
pub mod fleet;
pub mod model;
mod rest;
pub mod span;
pub mod watch;
mod ways;
pub mod world;
