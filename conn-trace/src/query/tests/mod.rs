//! Whole queries over made-up snapshots, against what the same would be if done naively.

pub(crate) mod fixture;

mod csv;
mod cursor;
mod dialect;
mod filter;
mod order;
mod params;
mod reference;
mod row;
