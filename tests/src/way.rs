//! The calls by which a peer moves data.

use serde::{Deserialize, Serialize};

/// How a peer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// `send` of `chunk` bytes at a time.
    Send {
        /// Bytes of one call.
        chunk: u64,
    },
    /// `write`.
    Write,
    /// `writev` of three buffers.
    Writev,
    /// `pwritev2` at the current position.
    Pwritev2,
    /// `sendto` with an address, which TCP ignores.
    SendTo,
    /// `sendmsg` whose bytes lie in three buffers.
    ThreeBuffers,
    /// `sendmmsg` of two messages.
    TwoMessages,
    /// `send` with `MSG_DONTWAIT`: parts, and `EAGAIN` while the buffers are full.
    NonBlocking,
    /// `send` with `MSG_MORE`, the last without.
    More,
    /// Small `send`s under `TCP_CORK`, which is taken away at the end.
    Cork,
    /// `send` with `MSG_ZEROCOPY`; the completions are read from the error queue.
    ZeroCopy,
    /// `send` over two descriptors of the same socket in turn.
    Duplicate,
    /// `send` by so many threads at the same time.
    Threads {
        /// How many.
        count: u64,
    },
    /// `sendfile` from a file, in one call or as few as it takes.
    Sendfile,
    /// Written into a pipe, and from there with `splice`.
    Splice,
    /// The same through a second pipe that `tee` fills.
    Tee,
    /// The memory itself put into a pipe with `vmsplice`, and from there with `splice`.
    Vmsplice,
    /// Linux's own asynchronous I/O (`io_submit`).
    Aio,
    /// A request to an io_uring.
    Uring {
        /// Which.
        request: UringSend,
        /// How it is made.
        mode: UringMode,
    },
}

/// How a peer receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReceiveWay {
    /// `recv`.
    Recv,
    /// `read`.
    Read,
    /// `readv` into three buffers.
    Readv,
    /// `preadv2` at the current position.
    Preadv2,
    /// `recvfrom` that asks for the address.
    RecvFrom,
    /// `recvmsg` into three buffers.
    ThreeBuffers,
    /// `recvmmsg` of two messages.
    TwoMessages,
    /// `recv` with `MSG_DONTWAIT`, and `EAGAIN` while there is nothing.
    NonBlocking,
    /// Each `recv` after two that only peek, one of which asks for more than there is.
    AfterPeeks,
    /// `recv` with `MSG_TRUNC`: the kernel throws the data away.
    Truncate,
    /// `recv` with `MSG_WAITALL`.
    WaitAll,
    /// `recv` under `SO_RCVLOWAT`.
    LowWater,
    /// `recv` from two descriptors of the same socket in turn.
    Duplicate,
    /// `recv` by so many threads at the same time.
    Threads {
        /// How many.
        count: u64,
    },
    /// `splice` into a pipe.
    Splice,
    /// `TCP_ZEROCOPY_RECEIVE`: pages are mapped, what is left over is copied by `recv`.
    ZeroCopy,
    /// The same, and the kernel is given a buffer for what is left over.
    ZeroCopyOrCopy,
    /// Linux's own asynchronous I/O (`io_submit`).
    Aio,
    /// A request to an io_uring.
    Uring {
        /// Which.
        request: UringReceive,
        /// How it is made.
        mode: UringMode,
    },
}

/// Requests that send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are those of the requests")]
pub enum UringSend {
    Send,
    SendMsg,
    SendZc,
    SendMsgZc,
    Write,
    Writev,
    WriteFixed,
    Splice,
}

/// Requests that receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are those of the requests")]
pub enum UringReceive {
    Recv,
    RecvMsg,
    /// One request that completes again and again, into buffers that were provided before.
    RecvMultishot,
    Read,
    Readv,
    ReadFixed,
    Splice,
}

/// How a request is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UringMode {
    /// On the descriptor.
    Plain,
    /// On the registered descriptor.
    Registered,
    /// Linked with a timeout that does not come.
    LinkedTimeout,
    /// Started by a worker of the kernel (`IOSQE_ASYNC`).
    Worker,
    /// Taken from the queue by a thread of the kernel (`IORING_SETUP_SQPOLL`).
    KernelThread,
}
