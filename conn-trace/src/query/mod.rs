//! From a snapshot to a page of `/connz`: filter, sort, cut. Pure functions, no I/O.
//!
//! [`Query::parse`] reads the query string, [`Query::page`] cuts the page out of a
//! [`Snapshot`](crate::registry::snapshot::Snapshot), [`Row`] is how one connection is written.

mod address;
pub mod csv;
mod cursor;
mod cut;
mod derived;
mod described;
mod dialect;
mod duration;
mod error;
mod filter;
mod format;
mod page;
mod parameters;
mod params;
mod pattern;
mod percent;
mod ports;
mod reason;
mod row;
mod schema;
mod sort;
mod state;
mod tcp;
mod text;
mod top;
mod value;

#[cfg(test)]
pub(crate) mod tests;

pub use address::{Network, address_or_prefix};
pub use cursor::Cursor;
pub use cut::Cut;
pub use described::Described;
pub use dialect::Dialect;
pub use duration::{GoDuration, Seconds};
pub use error::{QueryError, Quoted};
pub use filter::{Filter, User};
pub use format::Format;
pub use page::Page;
pub use params::Query;
pub use pattern::Pattern;
pub use ports::Ports;
pub use reason::reason;
pub use row::{Address, Integer, Row, SocketName};
pub use sort::{Order, Sort, SortKey};
pub use state::StateFilter;
pub use tcp::Tcp;
