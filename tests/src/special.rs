//! Calls that are no way to move an amount of data, each with a rule of its own.

use serde::{Deserialize, Serialize};

/// Something that a peer does with one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Special {
    /// `send` with `MSG_OOB`: the last byte is urgent.
    SendUrgent {
        /// How much.
        bytes: u64,
    },
    /// `recv` with `MSG_OOB`, which gives the urgent byte.
    ReceiveUrgent,
    /// `SO_OOBINLINE`: urgent bytes are read like others.
    UrgentInline,
    /// `send`, `write`, `sendmsg` of nothing.
    SendNothing,
    /// One `recv` with `MSG_WAITALL`, which the end of the stream may cut short.
    ReceiveAll {
        /// How much at most.
        bytes: u64,
    },
    /// One request for so much with `MSG_WAITALL` to an io_uring.
    ReceiveAllByUring {
        /// How much.
        bytes: u64,
    },
    /// `SO_TIMESTAMPING`: each sent packet comes back through the error queue.
    TimestampSends,
    /// Reads a packet from the error queue. Fails if it has no data.
    ReadErrorQueue,
    /// Moves so much from this connection to another one, through a pipe.
    Forward {
        /// The other connection of the same process.
        to: u32,
        /// How much.
        bytes: u64,
    },
    /// Lets the kernel encrypt (TLS 1.2, AES-128-GCM) what is sent, and decrypt what is received.
    /// Fails with `ENOENT` where the kernel cannot.
    KernelTls,
}
