//! Records of the messages ring: messages of connections that somebody asked for.

/// [`Message::direction`]: a receive call.
pub const RECEIVED: u8 = 1;
/// [`Message::direction`]: a send call.
pub const SENT: u8 = 2;

/// One message of a connection whose entry is traced ([`ASKED_MESSAGES`](crate::table::ASKED_MESSAGES)).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Socket cookie.
    pub cookie: u64,
    /// `CLOCK_BOOTTIME` after the call.
    pub time_ns: u64,
    /// Which of the connection's messages in this direction, from 1: `in_msgs` or `out_msgs` with it.
    pub number: u64,
    /// Slot in the table.
    pub slot: u32,
    /// Generation of the entry.
    pub generation: u32,
    /// Bytes that the call moved.
    pub bytes: u32,
    /// `MSG_*` that a receive was called with. 0 for a send: its hook is not told.
    pub flags: u32,
    /// [`RECEIVED`] or [`SENT`].
    pub direction: u8,
    /// Zero.
    pub reserved: [u8; 7],
}

const _: () = assert!(size_of::<Message>() == 48);
