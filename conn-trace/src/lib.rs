//! conn-trace: every TCP connection of a Linux host, counted in the kernel, answered as `connz`.
//!
//! Dependencies between the rooms point one way: `api → query → registry → kernel`.
#![deny(unsafe_code)]

pub mod agent;
pub mod api;
pub mod cli;
mod client;
pub mod config;
pub mod config_command;
pub mod connz;
pub mod doctor;
#[expect(
    unsafe_code,
    reason = "bpf(2) and memory shared with the kernel; nowhere else"
)]
pub mod kernel;
pub mod metrics;
pub mod protocol;
pub mod query;
pub mod registry;
pub mod services;
mod terminal;
pub mod trace;
pub mod watch;
mod webhook;
