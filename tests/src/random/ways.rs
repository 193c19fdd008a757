//! All calls that move data, to choose from.

use fastrand::Rng;

use crate::protocol::{ReceiveWay, UringMode, UringReceive, UringSend, Way};

const MODES: [UringMode; 5] = [
    UringMode::Plain,
    UringMode::Registered,
    UringMode::LinkedTimeout,
    UringMode::Worker,
    UringMode::KernelThread,
];

/// Some way to send.
pub(super) fn to_send(rng: &mut Rng, chunk: u64, has_uring: bool) -> Way {
    const URING: [UringSend; 8] = [
        UringSend::Send,
        UringSend::SendMsg,
        UringSend::SendZc,
        UringSend::SendMsgZc,
        UringSend::Write,
        UringSend::Writev,
        UringSend::WriteFixed,
        UringSend::Splice,
    ];
    const OTHERS: [Way; 17] = [
        Way::Write,
        Way::Writev,
        Way::Pwritev2,
        Way::SendTo,
        Way::ThreeBuffers,
        Way::TwoMessages,
        Way::NonBlocking,
        Way::More,
        Way::Cork,
        Way::ZeroCopy,
        Way::Duplicate,
        Way::Threads { count: 3 },
        Way::Sendfile,
        Way::Splice,
        Way::Tee,
        Way::Vmsplice,
        Way::Aio,
    ];
    let index = rng.usize(..OTHERS.len() + 8);
    if let Some(&way) = OTHERS.get(index) {
        return way;
    }
    if has_uring && rng.bool() {
        return Way::Uring {
            request: URING[rng.usize(..URING.len())],
            mode: MODES[rng.usize(..MODES.len())],
        };
    }
    Way::Send { chunk }
}

/// Some way to receive a part of what is there.
pub(super) fn to_receive(rng: &mut Rng, has_uring: bool) -> ReceiveWay {
    const URING: [UringReceive; 5] = [
        UringReceive::Recv,
        UringReceive::RecvMsg,
        UringReceive::Read,
        UringReceive::Readv,
        UringReceive::ReadFixed,
    ];
    const OTHERS: [ReceiveWay; 14] = [
        ReceiveWay::Recv,
        ReceiveWay::Read,
        ReceiveWay::Readv,
        ReceiveWay::Preadv2,
        ReceiveWay::RecvFrom,
        ReceiveWay::ThreeBuffers,
        ReceiveWay::TwoMessages,
        ReceiveWay::NonBlocking,
        ReceiveWay::AfterPeeks,
        ReceiveWay::Truncate,
        ReceiveWay::WaitAll,
        ReceiveWay::Duplicate,
        ReceiveWay::Splice,
        ReceiveWay::Aio,
    ];
    let index = rng.usize(..OTHERS.len() + 4);
    match OTHERS.get(index) {
        Some(&way) => way,
        None if has_uring => ReceiveWay::Uring {
            request: URING[rng.usize(..URING.len())],
            mode: MODES[rng.usize(..MODES.len())],
        },
        None => ReceiveWay::Recv,
    }
}

/// Some way to receive all that is there: these may take more than they are asked for.
pub(super) fn to_receive_all(rng: &mut Rng, has_uring: bool) -> ReceiveWay {
    const WAYS: [ReceiveWay; 4] = [
        ReceiveWay::LowWater,
        ReceiveWay::Threads { count: 3 },
        ReceiveWay::ZeroCopy,
        ReceiveWay::ZeroCopyOrCopy,
    ];
    match WAYS.get(rng.usize(..=WAYS.len())) {
        Some(&way) => way,
        None if has_uring => ReceiveWay::Uring {
            request: UringReceive::RecvMultishot,
            mode: UringMode::Plain,
        },
        None => ReceiveWay::Recv,
    }
}

/// Whether the kernel sees one message for each call, and not one for each part of it. A way that
/// is new has to be named here, and above.
#[must_use]
pub(super) const fn is_message_per_call(way: Way) -> bool {
    match way {
        Way::Sendfile | Way::Splice | Way::Tee | Way::Vmsplice => false,
        Way::Uring { request, .. } => !matches!(request, UringSend::Splice),
        Way::Send { .. }
        | Way::Write
        | Way::Writev
        | Way::Pwritev2
        | Way::SendTo
        | Way::ThreeBuffers
        | Way::TwoMessages
        | Way::NonBlocking
        | Way::More
        | Way::Cork
        | Way::ZeroCopy
        | Way::Duplicate
        | Way::Threads { .. }
        | Way::Aio => true,
    }
}

/// Whether bytes are received without a message. A way that is new has to be named here, and above.
#[must_use]
pub(super) const fn is_without_message(way: ReceiveWay) -> bool {
    match way {
        ReceiveWay::Splice | ReceiveWay::ZeroCopy | ReceiveWay::ZeroCopyOrCopy => true,
        ReceiveWay::Uring { request, .. } => matches!(request, UringReceive::Splice),
        ReceiveWay::Recv
        | ReceiveWay::Read
        | ReceiveWay::Readv
        | ReceiveWay::Preadv2
        | ReceiveWay::RecvFrom
        | ReceiveWay::ThreeBuffers
        | ReceiveWay::TwoMessages
        | ReceiveWay::NonBlocking
        | ReceiveWay::AfterPeeks
        | ReceiveWay::Truncate
        | ReceiveWay::WaitAll
        | ReceiveWay::LowWater
        | ReceiveWay::Duplicate
        | ReceiveWay::Threads { .. }
        | ReceiveWay::Aio => false,
    }
}
