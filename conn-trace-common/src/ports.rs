//! The ports of connections whose first bytes are wanted: two bits for each port, in 64-bit words.

/// The bit of a port at this end.
pub const LOCAL: u32 = 0;
/// The bit of a port at the peer's end.
pub const PEER: u32 = 1;

const PORTS: u32 = 1 << 16;
const PORTS_IN_WORD: u32 = 32;

/// Number of words.
pub const WORDS: u32 = PORTS / PORTS_IN_WORD;

/// The word and the bit of a port, at [`LOCAL`] or [`PEER`].
#[must_use]
#[inline(always)]
pub const fn place(port: u16, end: u32) -> (u32, u32) {
    let port = port as u32;
    (port / PORTS_IN_WORD, port % PORTS_IN_WORD * 2 + end)
}
