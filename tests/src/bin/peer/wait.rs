//! Waiting for a socket.

use std::{io, os::fd::AsFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::Socket;

/// Longer than anything here takes: a test fails rather than waits for ever.
const PATIENCE_MS: u16 = 20_000;

/// Waits until the socket is ready for this.
pub(crate) fn wait_for(socket: &Socket, events: PollFlags) -> io::Result<()> {
    if is_ready(socket, events, PATIENCE_MS)? {
        return Ok(());
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// Waits for something in the error queue, which poll(2) reports unasked.
pub(crate) fn wait_for_error(socket: &Socket) -> io::Result<()> {
    wait_for(socket, PollFlags::empty())
}

/// Whether the socket becomes ready within this time.
pub(crate) fn is_ready(socket: &Socket, events: PollFlags, within_ms: u16) -> io::Result<bool> {
    let mut asked = [PollFd::new(socket.as_fd(), events)];
    uninterrupted(|| Ok(poll(&mut asked, PollTimeout::from(within_ms))? > 0))
}

/// Calls once more what was interrupted. Where a socket has a timeout, the kernel does not do that
/// itself (signal(7)), and work for an io_uring interrupts as a signal does.
pub(crate) fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}
