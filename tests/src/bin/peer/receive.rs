//! Receiving, by every kind of call that puts the data into memory.

use std::{
    io::{self, IoSliceMut, Read},
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use conn_trace_tests::protocol::ReceiveWay;
use nix::{
    errno::Errno,
    poll::PollFlags,
    sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recv, recvfrom, recvmmsg, recvmsg},
};
use rustix::io::{ReadWriteFlags, preadv2};
use socket2::Socket;

use crate::{
    connection::{Connection, raw, size},
    pipes,
    send::NO_OFFSET,
    system, uring,
    wait::{is_ready, uninterrupted, wait_for},
};

/// Of one call: not a whole number of pages or segments, and other than what is sent at a time.
pub(crate) const PART: usize = 30_011;

impl Connection {
    pub(crate) fn receive_by(&mut self, bytes: u64, way: ReceiveWay) -> io::Result<()> {
        match way {
            ReceiveWay::Recv => self.receive_parts(bytes, PART, plain_recv),
            ReceiveWay::Read => self.receive_parts(bytes, PART, |mut socket, to| socket.read(to)),
            ReceiveWay::Readv => self.receive_parts(bytes, PART, |mut socket, to| {
                socket.read_vectored(&mut thirds(to))
            }),
            ReceiveWay::Preadv2 => self.receive_parts(bytes, PART, |socket, to| {
                let flags = ReadWriteFlags::empty();
                Ok(preadv2(socket, &mut thirds(to), NO_OFFSET, flags)?)
            }),
            ReceiveWay::RecvFrom => self.receive_parts(bytes, PART, |socket, to| {
                Ok(recvfrom::<SockaddrIn>(raw(socket), to)?.0)
            }),
            ReceiveWay::ThreeBuffers => self.receive_parts(bytes, PART, |socket, to| {
                let flags = MsgFlags::empty();
                Ok(recvmsg::<()>(raw(socket), &mut thirds(to), None, flags)?.bytes)
            }),
            ReceiveWay::TwoMessages => self.receive_two_messages(bytes),
            ReceiveWay::NonBlocking => self.receive_parts(bytes, PART, receive_what_is_there),
            ReceiveWay::AfterPeeks => self.receive_parts(bytes, PART, |socket, to| {
                peek_twice(socket, to)?;
                plain_recv(socket, to)
            }),
            ReceiveWay::Truncate => self.receive_parts(bytes, PART, |socket, to| {
                Ok(recv(raw(socket), to, MsgFlags::MSG_TRUNC)?)
            }),
            ReceiveWay::WaitAll => self.receive_parts(bytes, PART, |socket, to| {
                Ok(recv(raw(socket), to, MsgFlags::MSG_WAITALL)?)
            }),
            ReceiveWay::LowWater => self.receive_above_low_water(bytes),
            ReceiveWay::Duplicate => {
                let other = self.socket.try_clone()?;
                let mut turn = false;
                self.receive_parts(bytes, PART, |socket, to| {
                    turn = !turn;
                    plain_recv(if turn { socket } else { &other }, to)
                })
            }
            ReceiveWay::Threads { count } => self.receive_by_threads(bytes, count),
            ReceiveWay::Splice => pipes::receive_into_pipe(self, bytes),
            ReceiveWay::ZeroCopy => self.receive_zero_copy(bytes, &mut []),
            ReceiveWay::ZeroCopyOrCopy => self.receive_zero_copy(bytes, &mut [0; PART]),
            ReceiveWay::Aio => {
                let context = system::Aio::new()?;
                self.receive_parts(bytes, PART, |socket, to| context.read(raw(socket), to))
            }
            ReceiveWay::Uring { request, mode } => uring::receive(self, bytes, request, mode),
        }
    }

    /// Calls until so much is received; each call gives what it moved. A call that has nothing
    /// to give says `WouldBlock`: 0 is the end of the stream.
    pub(crate) fn receive_parts(
        &mut self,
        bytes: u64,
        most: usize,
        mut call: impl FnMut(&Socket, &mut [u8]) -> io::Result<usize>,
    ) -> io::Result<()> {
        let mut buffer = vec![0; most.min(size(bytes))];
        let mut left = bytes;
        while left > 0 {
            let part = buffer.len().min(size(left));
            match uninterrupted(|| call(&self.socket, &mut buffer[..part])) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(received) => {
                    self.received(received);
                    left -= received as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait_for(&self.socket, PollFlags::POLLIN)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn receive_two_messages(&mut self, bytes: u64) -> io::Result<()> {
        let mut left = bytes;
        while left > 0 {
            let part = size(left).min(2 * PART);
            let (mut first, mut second) = (vec![0; part / 2], vec![0; part - part / 2]);
            let mut buffers = [
                [IoSliceMut::new(&mut first)],
                [IoSliceMut::new(&mut second)],
            ];
            let mut headers = MultiHeaders::<SockaddrIn>::preallocate(buffers.len(), None);
            let flags = MsgFlags::MSG_WAITALL;
            let received: Vec<usize> =
                match recvmmsg(raw(&self.socket), &mut headers, &mut buffers, flags, None) {
                    Err(Errno::EINTR) => continue,
                    outcome => outcome?.map(|result| result.bytes).collect(),
                };
            for message in received {
                self.received(message);
                left -= message as u64;
            }
        }
        Ok(())
    }

    fn receive_above_low_water(&mut self, bytes: u64) -> io::Result<()> {
        self.receive_parts(bytes, PART, |socket, to| {
            system::set_low_water(socket, to.len())?;
            // A call that has taken a part sleeps until as much again arrives
            // (tcp_data_ready), which may be never.
            wait_for(socket, PollFlags::POLLIN)?;
            plain_recv(socket, to)
        })?;
        system::set_low_water(&self.socket, 1)
    }

    fn receive_by_threads(&mut self, bytes: u64, count: u64) -> io::Result<()> {
        let (received, calls) = (AtomicU64::new(0), AtomicU64::new(0));
        let socket = &self.socket;
        thread::scope(|scope| {
            let threads: Vec<_> = (0..count)
                .map(|_| scope.spawn(|| receive_share(socket, bytes, &received, &calls)))
                .collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().expect("a receiver"))
        })?;
        self.counts.in_bytes += received.into_inner();
        self.counts.in_calls += calls.into_inner();
        Ok(())
    }

    /// What was mapped, or copied into `rest` on the way, is bytes without a call that would be
    /// a message.
    fn receive_zero_copy(&mut self, bytes: u64, rest: &mut [u8]) -> io::Result<()> {
        let mut window = system::Window::new(&self.socket)?;
        let mut left = bytes;
        while left > 0 {
            wait_for(&self.socket, PollFlags::POLLIN)?;
            let part = window.take(&self.socket, left, rest)?;
            let taken = part.mapped + part.copied;
            self.counts.in_bytes += taken;
            left -= taken;
            let copy = part.to_copy.min(left);
            self.receive_parts(copy, PART, plain_recv)?;
            left -= copy;
        }
        Ok(())
    }
}

/// No thread may wait for what another one takes.
fn receive_share(
    socket: &Socket,
    bytes: u64,
    received: &AtomicU64,
    calls: &AtomicU64,
) -> io::Result<()> {
    const PAUSE_MS: u16 = 10;
    let mut buffer = [0; 1500];
    while received.load(Ordering::Relaxed) < bytes {
        match recv(raw(socket), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Err(Errno::EAGAIN) => {
                is_ready(socket, PollFlags::POLLIN, PAUSE_MS)?;
            }
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            outcome => {
                received.fetch_add(outcome? as u64, Ordering::Relaxed);
                calls.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    Ok(())
}

pub(crate) fn plain_recv(socket: &Socket, to: &mut [u8]) -> io::Result<usize> {
    Ok(recv(raw(socket), to, MsgFlags::empty())?)
}

fn receive_what_is_there(socket: &Socket, to: &mut [u8]) -> io::Result<usize> {
    Ok(recv(raw(socket), to, MsgFlags::MSG_DONTWAIT)?)
}

fn peek_twice(socket: &Socket, to: &mut [u8]) -> io::Result<()> {
    recv(raw(socket), to, MsgFlags::MSG_PEEK)?;
    recv(raw(socket), &mut [0; 2 * PART], MsgFlags::MSG_PEEK)?;
    Ok(())
}

fn thirds(buffer: &mut [u8]) -> [IoSliceMut<'_>; 3] {
    let (first, rest) = buffer.split_at_mut(buffer.len() / 3);
    let (second, third) = rest.split_at_mut(rest.len() / 2);
    [first, second, third].map(IoSliceMut::new)
}
