//! Records of the lifecycle ring: the life of connections, never their messages.

use crate::table::{ColdEntry, HotEntry};

/// A connection was opened (SYN sent, handshake done on the accepting side, or taken up).
pub const OPENED: u32 = 1;
/// The handshake of a connection that was opened with a SYN ended.
pub const ESTABLISHED: u32 = 2;
/// A connection ended; the record is a [`Closed`].
pub const CLOSED: u32 = 3;

/// What every record begins with; the whole record for [`OPENED`] and [`ESTABLISHED`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// `OPENED`, `ESTABLISHED`, `CLOSED`.
    pub kind: u32,
    /// Slot in the table.
    pub slot: u32,
    /// Socket cookie.
    pub cookie: u64,
    /// Generation of the entry.
    pub generation: u32,
    /// Zero.
    pub reserved: u32,
}

/// The end of a connection with its final counters. The slot may already be somebody else's.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Closed {
    /// `kind` is [`CLOSED`].
    pub header: Header,
    /// The hot entry at the end.
    pub hot: HotEntry,
    /// The cold entry at the end.
    pub cold: ColdEntry,
}

const _: () = assert!(size_of::<Header>() == 24);
const _: () = assert!(size_of::<Closed>() == 24 + 64 + 128);
