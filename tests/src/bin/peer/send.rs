//! Sending, by every kind of call that takes the data from memory.

use std::{
    io::{self, IoSlice, Write},
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use conn_trace_tests::protocol::Way;
use nix::{
    errno::Errno,
    libc::{MSG_DONTWAIT, MSG_MORE, MSG_ZEROCOPY},
    poll::PollFlags,
    sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, recvmsg, sendmmsg,
    },
};
use rustix::io::{ReadWriteFlags, pwritev2};
use socket2::Socket;

use crate::{
    connection::{Connection, raw, size},
    pipes, system, uring,
    wait::{uninterrupted, wait_for, wait_for_error},
};

/// Of one call where the way does not say: not a whole number of pages or segments.
pub(crate) const PART: usize = 50_001;
/// Of the small calls that `MSG_MORE` and `TCP_CORK` gather into segments.
const SMALL: usize = 1000;
/// For `pwritev2`: as `writev`, at the position that a socket does not have.
pub(crate) const NO_OFFSET: u64 = u64::MAX;

impl Connection {
    pub(crate) fn send(&mut self, bytes: u64, way: Way) -> io::Result<()> {
        match way {
            Way::Send { chunk } => self.send_parts(bytes, size(chunk), Socket::send),
            Way::Write => self.send_parts(bytes, PART, |mut socket, data| socket.write(data)),
            Way::Writev => self.send_parts(bytes, PART, |mut socket, data| {
                socket.write_vectored(&thirds(data))
            }),
            Way::Pwritev2 => self.send_parts(bytes, PART, |socket, data| {
                let flags = ReadWriteFlags::empty();
                Ok(pwritev2(socket, &thirds(data), NO_OFFSET, flags)?)
            }),
            Way::SendTo => {
                let address = self.socket.peer_addr()?;
                self.send_parts(bytes, PART, |socket, data| socket.send_to(data, &address))
            }
            Way::ThreeBuffers => self.send_parts(bytes, PART, |socket, data| {
                socket.send_vectored(&thirds(data))
            }),
            Way::TwoMessages => self.send_two_messages(bytes),
            Way::NonBlocking => self.send_parts(bytes, 1 << 20, send_what_fits),
            Way::More => self.send_with_more(bytes),
            Way::Cork => {
                self.socket.set_tcp_cork(true)?;
                self.send_parts(bytes, SMALL, Socket::send)?;
                self.socket.set_tcp_cork(false)
            }
            Way::ZeroCopy => self.send_zero_copy(bytes),
            Way::Duplicate => {
                let other = self.socket.try_clone()?;
                let mut turn = false;
                self.send_parts(bytes, SMALL, |socket, data| {
                    turn = !turn;
                    let socket = if turn { socket } else { &other };
                    socket.send(data)
                })
            }
            Way::Threads { count } => self.send_by_threads(bytes, count),
            Way::Sendfile => pipes::send_file(self, bytes),
            Way::Splice => pipes::send_from_pipe(self, bytes, pipes::write),
            Way::Tee => pipes::send_from_pipe(self, bytes, pipes::write_and_tee),
            Way::Vmsplice => pipes::send_from_pipe(self, bytes, pipes::give_memory),
            Way::Aio => {
                let context = system::Aio::new()?;
                self.send_parts(bytes, PART, |socket, data| context.write(raw(socket), data))
            }
            Way::Uring { request, mode } => uring::send(self, bytes, request, mode),
        }
    }

    /// Calls until everything is sent; each call gives what it moved.
    pub(crate) fn send_parts(
        &mut self,
        bytes: u64,
        most: usize,
        mut call: impl FnMut(&Socket, &[u8]) -> io::Result<usize>,
    ) -> io::Result<()> {
        let data = vec![b's'; most.min(size(bytes))];
        let mut left = bytes;
        while left > 0 {
            let part = data.len().min(size(left));
            let sent = uninterrupted(|| call(&self.socket, &data[..part]))?;
            self.sent(sent);
            left -= sent as u64;
        }
        Ok(())
    }

    fn send_two_messages(&mut self, bytes: u64) -> io::Result<()> {
        let mut left = bytes;
        while left > 0 {
            let part = size(left).min(2 * PART);
            let (half, rest) = (vec![b'm'; part / 2], vec![b'm'; part - part / 2]);
            let messages = [[IoSlice::new(&half)], [IoSlice::new(&rest)]];
            let mut headers = MultiHeaders::<SockaddrIn>::preallocate(messages.len(), None);
            let nobody: [Option<SockaddrIn>; 2] = [None, None];
            let control: [ControlMessage<'_>; 0] = [];
            let sent: Vec<usize> = match sendmmsg(
                raw(&self.socket),
                &mut headers,
                &messages,
                nobody,
                control,
                MsgFlags::empty(),
            ) {
                Err(Errno::EINTR) => continue,
                outcome => outcome?.map(|result| result.bytes).collect(),
            };
            for message in sent {
                self.sent(message);
                left -= message as u64;
            }
        }
        Ok(())
    }

    fn send_with_more(&mut self, bytes: u64) -> io::Result<()> {
        let mut left = bytes;
        self.send_parts(bytes, SMALL, |socket, data| {
            let is_last = left == data.len() as u64;
            let sent = socket.send_with_flags(data, if is_last { 0 } else { MSG_MORE })?;
            left -= sent as u64;
            Ok(sent)
        })
    }

    fn send_zero_copy(&mut self, bytes: u64) -> io::Result<()> {
        system::allow_zero_copy(&self.socket)?;
        let mut calls = 0;
        self.send_parts(bytes, PART, |socket, data| {
            let sent = socket.send_with_flags(data, MSG_ZEROCOPY)?;
            calls += 1;
            Ok(sent)
        })?;
        while calls > 0 {
            calls -= self.completions()?;
        }
        Ok(())
    }

    /// Waits for zero-copy sends to complete and gives how many did.
    fn completions(&self) -> io::Result<u32> {
        wait_for_error(&self.socket)?;
        let mut buffer = [0; 64];
        let mut control = nix::cmsg_space!([u8; 128]);
        let mut parts = [io::IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::MSG_ERRQUEUE;
        let received = recvmsg::<()>(raw(&self.socket), &mut parts, Some(&mut control), flags)?;
        let completed = received.cmsgs()?.map(|message| match message {
            ControlMessageOwned::Ipv4RecvErr(error, _)
            | ControlMessageOwned::Ipv6RecvErr(error, _)
                if error.ee_errno == 0 =>
            {
                // A range of sends, both ends included.
                Ok(error.ee_data - error.ee_info + 1)
            }
            other => Err(io::Error::other(format!("{other:?}"))),
        });
        completed.sum()
    }

    fn send_by_threads(&mut self, bytes: u64, count: u64) -> io::Result<()> {
        let calls = AtomicU64::new(0);
        let socket = &self.socket;
        thread::scope(|scope| {
            let threads: Vec<_> = (0..count)
                .map(|number| {
                    let share = bytes / count + u64::from(number < bytes % count);
                    let calls = &calls;
                    scope.spawn(move || send_share(socket, share, calls))
                })
                .collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().expect("a sender"))
        })?;
        self.counts.out_bytes += bytes;
        self.counts.out_calls += calls.into_inner();
        Ok(())
    }
}

fn send_share(socket: &Socket, share: u64, calls: &AtomicU64) -> io::Result<()> {
    let data = [b't'; 700];
    let mut left = share;
    while left > 0 {
        let part = data.len().min(size(left));
        left -= uninterrupted(|| socket.send(&data[..part]))? as u64;
        calls.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

fn send_what_fits(socket: &Socket, data: &[u8]) -> io::Result<usize> {
    match socket.send_with_flags(data, MSG_DONTWAIT) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            wait_for(socket, PollFlags::POLLOUT)?;
            Ok(0)
        }
        outcome => outcome,
    }
}

fn thirds(data: &[u8]) -> [IoSlice<'_>; 3] {
    let (first, rest) = data.split_at(data.len() / 3);
    let (second, third) = rest.split_at(rest.len() / 2);
    [first, second, third].map(IoSlice::new)
}
