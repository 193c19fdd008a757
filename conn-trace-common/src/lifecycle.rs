//! Records of the lifecycle ring: the life of connections, and never their messages, but for the first
//! bytes of those that are to be told apart by protocol.

use crate::table::{ColdEntry, HotEntry};

/// A connection was opened (SYN sent, handshake done on the accepting side, or taken up).
pub const OPENED: u32 = 1;
/// The handshake of a connection that was opened with a SYN ended.
pub const ESTABLISHED: u32 = 2;
/// A connection ended; the record is a [`Closed`].
pub const CLOSED: u32 = 3;
/// Some of the first bytes that the application has read; the record is a [`FirstBytes`].
pub const FIRST_BYTES: u32 = 4;

/// What every record begins with; the whole record for [`OPENED`] and [`ESTABLISHED`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// `OPENED`, `ESTABLISHED`, `CLOSED`, `FIRST_BYTES`.
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

/// Bytes in one [`FirstBytes`] at most.
pub const FIRST_BYTES_CHUNK: usize = 512;
/// Bytes of a connection that are told of at most: a TLS ClientHello with a post-quantum key share has
/// some 1,800.
pub const FIRST_BYTES_LIMIT: u64 = 4096;

/// Some of the bytes that the application has read from the beginning of a connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstBytes {
    /// `kind` is [`FIRST_BYTES`].
    pub header: Header,
    /// Bytes before these.
    pub offset: u32,
    /// How many there are.
    pub len: u32,
    /// The bytes; those behind `len` are what was in the ring before.
    pub bytes: [u8; FIRST_BYTES_CHUNK],
}

impl Default for FirstBytes {
    fn default() -> Self {
        Self {
            header: Header::default(),
            offset: 0,
            len: 0,
            bytes: [0; FIRST_BYTES_CHUNK],
        }
    }
}

const _: () = assert!(size_of::<Header>() == 24);
const _: () = assert!(size_of::<FirstBytes>() == 32 + FIRST_BYTES_CHUNK);
const _: () = assert!(size_of::<Closed>() == 24 + 64 + 128);
