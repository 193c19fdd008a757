//! Counters that the programs keep about the table and the rings, in one memory-mapped array.

/// Connections seen opening and taken into the table.
pub const OPENED: u32 = 0;
/// Connections taken up after they had opened (older than the agent, or late).
pub const ADOPTED: u32 = 1;
/// Changes to CLOSE of connections in the table.
pub const CLOSED: u32 = 2;
/// Slots in use.
pub const USED: u32 = 3;
/// Connections that found no slot when they opened or were to be taken up.
pub const UNTRACKED: u32 = 4;
/// Messages on connections that are not in the table.
pub const UNTRACKED_MESSAGES: u32 = 5;
/// Opened records that found no room in the ring.
pub const RING_LOST_OPENED: u32 = 6;
/// Established records that found no room in the ring.
pub const RING_LOST_ESTABLISHED: u32 = 7;
/// Closed records that found no room in the ring.
pub const RING_LOST_CLOSED: u32 = 8;
/// Runs of a hook's first program that the kernel skipped and its second program did.
pub const NESTED_RUNS: u32 = 9;
/// Messages on connections that had ended before they could be entered.
pub const MESSAGES_AFTER_END: u32 = 10;
/// Messages of traced connections that found no room in the ring for them.
pub const RING_LOST_MESSAGES: u32 = 11;
/// No counter: written by the agent. Not 0 while new connections are traced from the beginning.
pub const TRACE_NEW: u32 = 12;
/// Records of first bytes that found no room in the ring.
pub const RING_LOST_FIRST_BYTES: u32 = 13;
/// Receive calls whose first bytes were asked for and could not be found.
pub const UNSEEN_FIRST_BYTES: u32 = 14;

/// Number of counters.
pub const COUNT: u32 = 16;
