//! What is one message (docs/guide.md), and which kernel knows which path (the manual pages).

use std::sync::LazyLock;

use conn_trace_tests::protocol::{ReceiveWay, UringMode, UringReceive, UringSend, Way};

const PAGE_BYTES: u64 = 4096;
/// What `sendfile` moves at a time, and the pages that the kernel hands to a socket together.
const CHUNK_BYTES: u64 = 16 * PAGE_BYTES;

/// Release of the running kernel: version, patch level.
static KERNEL: LazyLock<(u32, u32)> = LazyLock::new(|| {
    let name = rustix::system::uname();
    let release = name.release().to_str().expect("a text").to_owned();
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    let mut next = || {
        let number = numbers.next().unwrap_or_default();
        number.parse().expect("a number")
    };
    (next(), next())
});

/// Whether each page of a pipe is a message, instead of what the pipe holds together.
pub(crate) fn splices_by_pages() -> bool {
    *KERNEL < (6, 5)
}

/// Whether calls on a connection with kernel TLS are messages.
pub(crate) fn sees_calls_of_kernel_tls() -> bool {
    *KERNEL >= (6, 3)
}

/// Messages of sending so much with so many calls.
pub(crate) fn sent(way: Way, bytes: u64, calls: u64) -> u64 {
    let by_pages = splices_by_pages();
    match way {
        Way::Sendfile if by_pages => bytes.div_ceil(PAGE_BYTES),
        Way::Sendfile => bytes.div_ceil(CHUNK_BYTES),
        // Pipes are filled with whole pages, but for the rest.
        Way::Splice
        | Way::Tee
        | Way::Vmsplice
        | Way::Uring {
            request: UringSend::Splice,
            ..
        } if by_pages => bytes.div_ceil(PAGE_BYTES),
        _ => calls,
    }
}

/// Why this path does not exist here.
pub(crate) fn missing(way: Way, receive_way: ReceiveWay) -> Option<String> {
    let send = match way {
        Way::Uring { request, mode } => match request {
            UringSend::SendZc => (6, 0),
            UringSend::SendMsgZc => (6, 1),
            _ => with_mode(mode),
        },
        _ => (0, 0),
    };
    let receive = match receive_way {
        ReceiveWay::Uring { request, mode } => match request {
            UringReceive::RecvMultishot => (6, 0),
            _ => with_mode(mode),
        },
        _ => (0, 0),
    };
    let needed = send.max(receive);
    (*KERNEL < needed).then(|| format!("needs Linux {}.{}", needed.0, needed.1))
}

pub(crate) fn uses_uring(way: Way, receive_way: ReceiveWay) -> bool {
    matches!(way, Way::Uring { .. }) || matches!(receive_way, ReceiveWay::Uring { .. })
}

fn with_mode(mode: UringMode) -> (u32, u32) {
    match mode {
        // Before, the thread takes only registered descriptors.
        UringMode::KernelThread => (5, 11),
        _ => (5, 7),
    }
}
