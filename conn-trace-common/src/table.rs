//! The connection table: three parallel arrays, one slot per connection.
//!
//! * `HOT`: [`HotEntry`], one cache line, written by every message, mapped by the agent.
//! * `COLD`: [`ColdEntry`], facts written on open, on first use and on close, mapped by the agent.
//! * `SOCKETS`: the kernel address of the socket, never mapped to user space.
//!
//! A slot is found from the socket cookie by arithmetic: two windows of [`WINDOW`] neighbouring
//! slots, each entered at a place given by a hash. There are no tombstones and nothing is evicted.

/// Slots in one probe window. Two windows of 32 at a load of at most one half leave less than one
/// connection in a million without a slot.
pub const WINDOW: u32 = 32;

/// Slots looked at before a connection counts as untracked.
pub const PROBES: u32 = 2 * WINDOW;

/// Multipliers of the two hashes (the golden ratio, and a prime of xxHash).
pub const HASH_MULTIPLIERS: [u64; 2] = [0x9E37_79B9_7F4A_7C15, 0xC2B2_AE3D_27D4_EB4F];

/// Flipped in [`HotEntry::cookie`] while a slot is claimed and not yet published.
///
/// The three top bits of a real cookie are equal: cookies count up from 1, and down from 2^64 where
/// one is made inside the making of another (include/linux/cookie.h).
pub const CLAIMED: u64 = 1 << 61;

/// Flipped in [`HotEntry::cookie`] when the connection has ended and its closing record found no
/// room in the ring. No socket has such a cookie; the agent reports the entry and frees the slot.
pub const DETACHED: u64 = 1 << 62;

/// [`HotEntry::flags`]: this end sent the first SYN, so one sequence number is not data.
pub const FLAG_ACTIVE_OPEN: u8 = 1 << 0;
/// [`HotEntry::flags`]: the sequence bases are set, so byte counts are exact to the byte.
pub const FLAG_BASED: u8 = 1 << 1;
/// [`HotEntry::flags`]: nothing more can be written; `out_bytes` is final.
pub const FLAG_OUT_FINAL: u8 = 1 << 2;

/// [`HotEntry::flags`]: the socket is MPTCP's, above those of its subflows. Its bytes are counted by
/// its messages.
pub const FLAG_MPTCP: u8 = 1 << 3;

/// [`HotEntry::owner`]: nobody has used the socket yet.
pub const OWNER_UNKNOWN: u8 = 0;
/// [`HotEntry::owner`]: a program is writing the owner into the cold entry.
pub const OWNER_CLAIMED: u8 = 1;
/// [`HotEntry::owner`]: the cold entry names the process.
pub const OWNER_PROCESS: u8 = 2;
/// [`HotEntry::owner`]: the socket is used by a kernel thread, named in the cold entry.
pub const OWNER_KERNEL: u8 = 3;

/// [`HotEntry::asked`]: a record of each message.
pub const ASKED_MESSAGES: u8 = 1 << 0;
/// [`HotEntry::asked`]: the first bytes that the application reads.
pub const ASKED_FIRST_BYTES: u8 = 1 << 1;

/// What a cookie in the table says about its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// Nobody's.
    Free,
    /// Somebody is about to enter a connection.
    Claimed,
    /// A connection's.
    Live,
    /// An ended connection's that is to be reported from the table.
    Detached,
}

impl Tag {
    /// Reads a cookie as it stands in the table.
    #[must_use]
    pub const fn of(cookie: u64) -> Self {
        match cookie >> 61 {
            _ if cookie == 0 => Self::Free,
            0b001 | 0b110 => Self::Claimed,
            0b010 | 0b101 => Self::Detached,
            _ => Self::Live,
        }
    }
}

/// What a message touches: one cache line per connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HotEntry {
    /// Socket cookie; 0 in a free slot.
    pub cookie: u64,
    /// Bytes that the application has read.
    pub in_bytes: u64,
    /// Bytes that the application has written.
    pub out_bytes: u64,
    /// Receive calls that moved at least one byte.
    pub in_msgs: u64,
    /// Send calls that moved at least one byte.
    pub out_msgs: u64,
    /// `jiffies_64` of the last counted message, 0 before the first.
    pub last_activity_jiffies: u64,
    /// Counts the connections that this socket has carried (AF_UNSPEC disconnect and reconnect).
    pub generation: u32,
    /// `copied_seq` at which `in_bytes` was 0, modulo 2^32. Valid with [`FLAG_BASED`].
    pub in_base: u32,
    /// `write_seq` at which `out_bytes` was 0, modulo 2^32. Valid with [`FLAG_BASED`].
    pub out_base: u32,
    /// TCP state as in `include/net/tcp_states.h`.
    pub state: u8,
    /// `FLAG_*`.
    pub flags: u8,
    /// `OWNER_*`.
    pub owner: u8,
    /// `ASKED_*`: what the agent wants to be told of. Written by the agent, and before the entry is
    /// published.
    pub asked: u8,
}

/// Byte offset of the word that holds `state`, `flags`, `owner` in a [`HotEntry`].
pub const HOT_STATE_WORD_OFFSET: usize = 60;
/// Byte offset of `asked` in a [`HotEntry`].
pub const HOT_ASKED_OFFSET: usize = 63;
/// Bit position of `owner` in that word (little endian).
pub const HOT_OWNER_SHIFT: u32 = 16;

/// [`ColdEntry::direction`]: not known.
pub const DIRECTION_UNKNOWN: u8 = 0;
/// [`ColdEntry::direction`]: accepted here.
pub const DIRECTION_IN: u8 = 1;
/// [`ColdEntry::direction`]: connected from here.
pub const DIRECTION_OUT: u8 = 2;

/// [`ColdEntry::origin`]: the programs saw it open.
pub const ORIGIN_OPENED: u8 = 0;
/// [`ColdEntry::origin`]: it existed before the agent.
pub const ORIGIN_PREEXISTING: u8 = 1;
/// [`ColdEntry::origin`]: the table had no room when it opened, or its namespace was not listed;
/// taken up at a later message.
pub const ORIGIN_LATE: u8 = 2;

/// [`ColdEntry::cause`]: still open, or closed in a way that left no trace.
pub const CAUSE_UNKNOWN: u8 = 0;
/// [`ColdEntry::cause`]: this end sent the first FIN.
pub const CAUSE_LOCAL_FIN: u8 = 1;
/// [`ColdEntry::cause`]: the peer sent the first FIN.
pub const CAUSE_PEER_FIN: u8 = 2;
/// [`ColdEntry::cause`]: this end sent a reset.
pub const CAUSE_LOCAL_RESET: u8 = 3;
/// [`ColdEntry::cause`]: the peer sent a reset.
pub const CAUSE_PEER_RESET: u8 = 4;
/// [`ColdEntry::cause`]: retransmissions or keepalives were not answered.
pub const CAUSE_TIMEOUT: u8 = 5;
/// [`ColdEntry::cause`]: the peer answered the SYN with a reset.
pub const CAUSE_REFUSED: u8 = 6;
/// [`ColdEntry::cause`]: no route, or ICMP said so.
pub const CAUSE_UNREACHABLE: u8 = 7;
/// [`ColdEntry::cause`]: the owning process was ended by a signal.
pub const CAUSE_KILLED: u8 = 8;
/// [`ColdEntry::cause`]: closed before the handshake ended.
pub const CAUSE_CANCELLED: u8 = 9;
/// [`ColdEntry::cause`]: destroyed from outside (SOCK_DESTROY, `ss -K`).
pub const CAUSE_ABORTED: u8 = 10;
/// [`ColdEntry::cause`]: any other socket error; see [`ColdEntry::error`].
pub const CAUSE_ERROR: u8 = 11;

/// Facts about a connection, written rarely.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ColdEntry {
    /// Socket cookie, as in the hot entry.
    pub cookie: u64,
    /// Generation, as in the hot entry.
    pub generation: u32,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Local address: IPv6, or IPv4 in the first four bytes. Network byte order.
    pub local_address: [u8; 16],
    /// Peer address, likewise.
    pub peer_address: [u8; 16],
    /// Local port, host byte order.
    pub local_port: u16,
    /// Peer port, host byte order.
    pub peer_port: u16,
    /// `AF_INET` (2) or `AF_INET6` (10).
    pub family: u16,
    /// `DIRECTION_*`.
    pub direction: u8,
    /// `ORIGIN_*`.
    pub origin: u8,
    /// Interface the socket is bound to (the scope of a link-local address), or 0.
    pub bound_interface: u32,
    /// User id of the socket's owner.
    pub uid: u32,
    /// `CLOCK_BOOTTIME` when the entry was made: SYN sent, handshake done, or taken up.
    pub opened_ns: u64,
    /// `CLOCK_BOOTTIME` of the end of the handshake, 0 if it was not seen.
    pub established_ns: u64,
    /// `CLOCK_BOOTTIME` of the change to CLOSE, 0 before it.
    pub closed_ns: u64,
    /// Id of the owner's cgroup (v2), 0 if unknown.
    pub cgroup: u64,
    /// Written and not acknowledged at the change to CLOSE.
    pub closed_pending_bytes: u32,
    /// Segments retransmitted until the change to CLOSE; 0 for MPTCP.
    pub closed_retrans: u32,
    /// Process id (thread group) of the owner, in the initial pid namespace.
    pub pid: u32,
    /// `sk_err` at the change to CLOSE, 0 if none.
    pub error: u16,
    /// `CAUSE_*`.
    pub cause: u8,
    /// Segments received with data, modulo 256, when this end's FIN was queued before the peer's
    /// came; 0 before.
    pub data_segs_at_fin: u8,
    /// Name of the owner's first thread, NUL-padded, any bytes.
    pub comm: [u8; 16],
}

const _: () = assert!(size_of::<HotEntry>() == 64);
const _: () = assert!(size_of::<ColdEntry>() == 128);
const _: () = assert!(core::mem::offset_of!(HotEntry, state) == HOT_STATE_WORD_OFFSET);
const _: () = assert!(core::mem::offset_of!(HotEntry, asked) == HOT_ASKED_OFFSET);
