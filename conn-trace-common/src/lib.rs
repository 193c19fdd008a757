//! The contract between the kernel programs and the agent: layouts and names, no logic.
//!
//! Everything here is `#[repr(C)]`, made of plain integers, and has no implicit padding, so that
//! the agent can read the kernel's memory in place and no uninitialised kernel byte leaves it.
#![no_std]
#![forbid(unsafe_code)]

pub mod fields;
pub mod lifecycle;
pub mod message;
pub mod ports;
pub mod sample;
pub mod stats;
pub mod table;
