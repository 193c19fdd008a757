//! What a test tells a peer to do and what the peer answers: one JSON object a line.

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

pub use crate::{
    special::Special,
    way::{ReceiveWay, UringMode, UringReceive, UringSend, Way},
};

/// One end of a connection, as its own process knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct End {
    /// Names the connection in further commands to the same peer.
    pub id: u32,
    /// `getsockname`, IPv4-mapped addresses as IPv4.
    pub local: SocketAddr,
    /// `getpeername`, likewise.
    pub peer: SocketAddr,
}

/// What one process has moved over one connection, counted from what its calls returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Bytes received.
    pub in_bytes: u64,
    /// Bytes sent.
    pub out_bytes: u64,
    /// Receive calls that returned more than 0.
    pub in_calls: u64,
    /// Send calls that returned more than 0.
    pub out_calls: u64,
}

impl Counts {
    /// The sums of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            in_bytes: self.in_bytes + other.in_bytes,
            out_bytes: self.out_bytes + other.out_bytes,
            in_calls: self.in_calls + other.in_calls,
            out_calls: self.out_calls + other.out_calls,
        }
    }

    /// In the order of `in_bytes`, `out_bytes`, `in_msgs`, `out_msgs`.
    #[must_use]
    pub fn moved(self) -> [u64; 4] {
        let Self {
            in_bytes,
            out_bytes,
            in_calls,
            out_calls,
        } = self;
        [in_bytes, out_bytes, in_calls, out_calls]
    }
}

/// A line to a peer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Command {
    /// Listen. Answers `Address`.
    Listen {
        /// Where; port 0 for any.
        address: SocketAddr,
        /// One more than this wait to be accepted; then the kernel ignores SYNs.
        backlog: i32,
    },
    /// Listen at an address that other processes listen at too (`SO_REUSEPORT`). Answers `Address`.
    ListenShared {
        /// Where; port 0 for any.
        address: SocketAddr,
    },
    /// Stop listening: what was not accepted is reset by the kernel.
    StopListening,
    /// Accept. Answers `Ends`.
    Accept {
        /// How many.
        count: u32,
    },
    /// Accept all that wait already. Answers `Ends`.
    AcceptQueued,
    /// Connect. Answers `Ends`.
    Connect {
        /// Where to.
        address: SocketAddr,
        /// Local address and port, if not those that the kernel gives.
        from: Option<SocketAddr>,
        /// How many.
        count: u32,
    },
    /// Connect where nobody listens; answers `Count` with the number of `ECONNREFUSED`.
    ConnectRefused {
        /// Where to.
        address: SocketAddr,
        /// How many.
        count: u32,
    },
    /// Begin to connect and do not wait for the end of the handshake. Answers `Ends`, with an
    /// unspecified port where the peer is not known yet.
    ConnectWithoutWaiting {
        /// Where to.
        address: SocketAddr,
    },
    /// Connect by sending (`MSG_FASTOPEN`), without any call of `connect`. Answers `Ends`.
    ConnectWithData {
        /// Where to.
        address: SocketAddr,
        /// How much to send.
        bytes: u64,
    },
    /// Connect by the first `send` (`TCP_FASTOPEN_CONNECT`). Answers `Ends`.
    ConnectLazily {
        /// Where to.
        address: SocketAddr,
        /// How much to send.
        bytes: u64,
    },
    /// Let the listener take data in a SYN.
    AllowFastOpen,
    /// Answers `Count` with 1 if the other end took data in this end's SYN, else 0.
    SentDataInSyn {
        /// The connection.
        id: u32,
    },
    /// Dissolve the association (`connect` to `AF_UNSPEC`) and use the same socket for another
    /// connection. Answers `Ends`.
    Reconnect {
        /// The connection.
        id: u32,
        /// Where to.
        address: SocketAddr,
    },
    /// Send. Answers `Moved`.
    Send {
        /// The connection.
        id: u32,
        /// How much altogether.
        bytes: u64,
        /// By which calls.
        way: Way,
    },
    /// Send without waiting until the buffers are full. Answers `Moved`.
    Fill {
        /// The connection.
        id: u32,
        /// How much at most.
        bytes: u64,
    },
    /// Send until that fails, and answer `Failed` with why. Bytes that were taken are counted.
    SendUntilError {
        /// The connection.
        id: u32,
    },
    /// Receive exactly so much. Answers `Moved`.
    Receive {
        /// The connection.
        id: u32,
        /// How much altogether.
        bytes: u64,
        /// Largest receive buffer of one call.
        chunk: u64,
    },
    /// Receive exactly so much, in some way. Answers `Moved`.
    ReceiveBy {
        /// The connection.
        id: u32,
        /// How much altogether.
        bytes: u64,
        /// By which calls.
        way: ReceiveWay,
    },
    /// Send and receive at the same time. Answers `Moved`.
    Exchange {
        /// The connection.
        id: u32,
        /// How much to send.
        send: u64,
        /// By which calls.
        way: Way,
        /// How much to receive.
        receive: u64,
        /// By which calls.
        receive_way: ReceiveWay,
    },
    /// Receive to the end of the stream. Answers `Moved`.
    ReceiveToEnd {
        /// The connection.
        id: u32,
    },
    /// Something with a rule of its own. Answers `Moved`.
    Special {
        /// The connection.
        id: u32,
        /// What.
        special: Special,
    },
    /// Move so many bytes over sockets that are no TCP connections.
    MoveElsewhere {
        /// Over each kind of socket.
        bytes: usize,
    },
    /// Open an io_uring, and close it.
    ProbeUring,
    /// Look at data without taking it. Answers `Count` with the bytes seen.
    Peek {
        /// The connection.
        id: u32,
        /// Bytes to wait for.
        bytes: u64,
    },
    /// Receive where there is nothing to receive; answers `Failed` with `EAGAIN`.
    ReceiveNothing {
        /// The connection.
        id: u32,
    },
    /// Let a child process send so much over the connection, and wait for its end.
    SendFromChild {
        /// The connection.
        id: u32,
        /// How much.
        bytes: u64,
    },
    /// Let a child process hold the connection and do nothing, until this process ends.
    HoldInChild {
        /// The connection.
        id: u32,
    },
    /// Let a thread of this process send so much. Answers `Moved`.
    SendFromThread {
        /// The connection.
        id: u32,
        /// How much.
        bytes: u64,
        /// Name of the thread (`comm`).
        name: String,
    },
    /// Hand the connection to the process that takes it at this path (`SCM_RIGHTS`), and keep it.
    HandOver {
        /// The connection.
        id: u32,
        /// A socket file.
        path: PathBuf,
    },
    /// Wait at this path for a connection that another process hands over. Answers `Ends`.
    TakeOver {
        /// A socket file, which is made.
        path: PathBuf,
    },
    /// `shutdown(SHUT_WR)`.
    ShutdownWrite {
        /// The connection.
        id: u32,
    },
    /// Close.
    Close {
        /// The connections.
        ids: Vec<u32>,
    },
    /// Close with `SO_LINGER` 0, which sends a reset.
    Reset {
        /// The connection.
        id: u32,
    },
    /// Everything moved so far. Answers `Counts`.
    Report {
        /// The connection.
        id: u32,
    },
    /// Accept, read to the end, having answered the first `read` bytes with `write` bytes, close:
    /// so many times. Answers `Counts`, the sums.
    ServeShort {
        /// How many.
        count: u32,
        /// Bytes read of each.
        read: usize,
        /// Bytes written to each.
        write: usize,
    },
    /// Connect, write `write` bytes, read `read` bytes, close: so many times, to the addresses in
    /// turn. Answers `Counts`, the sums.
    ConnectShort {
        /// Where to.
        addresses: Vec<SocketAddr>,
        /// How many.
        count: u32,
        /// Bytes written to each.
        write: usize,
        /// Bytes read of each.
        read: usize,
    },
    /// End the process with connections open, status 0.
    Exit,
    /// Become `sleep`: the connections are closed because they are close-on-exec.
    Exec,
}

/// A line from a peer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Where it listens.
    Address(SocketAddr),
    /// Connections, in order.
    Ends(Vec<End>),
    /// What this command moved.
    Moved(Counts),
    /// What was moved altogether.
    Counts(Counts),
    /// A number of things.
    Count(u64),
    /// Nothing to say.
    Done,
    /// The error that the system call gave.
    Failed {
        /// Its number.
        errno: i32,
        /// In words.
        message: String,
    },
}
