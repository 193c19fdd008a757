//! Moving data by requests to an io_uring.
#![expect(unsafe_code, reason = "requests name memory by its address")]

use std::{
    io::{self, Read, Write},
    os::fd::AsRawFd,
    ptr,
};

use conn_trace_tests::protocol::{UringMode, UringReceive, UringSend};
use io_uring::{
    IoUring, cqueue, opcode,
    squeue::{Entry, Flags},
    types::{Fd, Timespec},
};
use nix::libc;
use socket2::Socket;

use crate::{
    connection::{Connection, size},
    pipes::{self, Pipes},
    receive, send,
    wait::uninterrupted,
};

const ENTRIES: u32 = 8;
/// After so long without a request the kernel's thread sleeps and has to be woken.
const POLLING_MS: u32 = 50;
/// The only registered descriptor and buffer.
const FIRST: i32 = 0;
const FIRST_BUFFER: u16 = 0;
/// `user_data` of the request that a completion belongs to.
const REQUEST: u64 = 1;
const TIMEOUT: u64 = 2;
const BUFFERS: u64 = 3;
const CANCEL: u64 = 4;

/// Whether the kernel lets this process have a ring.
pub(crate) fn probe() -> io::Result<()> {
    IoUring::new(ENTRIES).map(drop)
}

pub(crate) fn send(
    end: &mut Connection,
    bytes: u64,
    request: UringSend,
    mode: UringMode,
) -> io::Result<()> {
    let mut ring = Ring::new(&end.socket, mode)?;
    let mut pipes = Pipes::new()?;
    let most = match request {
        UringSend::Splice => pipes::MEMORY_BYTES,
        _ => send::PART,
    };
    end.send_parts(bytes, most, |_, data| ring.send(request, data, &mut pipes))
}

pub(crate) fn receive(
    end: &mut Connection,
    bytes: u64,
    request: UringReceive,
    mode: UringMode,
) -> io::Result<()> {
    let mut ring = Ring::new(&end.socket, mode)?;
    match request {
        UringReceive::RecvMultishot => receive_multishot(&mut ring, end, bytes),
        UringReceive::Splice => {
            let calls = end.counts.in_calls;
            let mut pipes = Pipes::new()?;
            end.receive_parts(bytes, receive::PART, |_, to| ring.splice(to, &mut pipes))?;
            // As with `splice` itself: bytes, and no message.
            end.counts.in_calls = calls;
            Ok(())
        }
        _ => end.receive_parts(bytes, receive::PART, |_, to| ring.receive(request, to, 0)),
    }
}

/// One request with `MSG_WAITALL`. It counts as one call, however many parts it took.
pub(crate) fn receive_all(end: &mut Connection, bytes: u64) -> io::Result<()> {
    let mut ring = Ring::new(&end.socket, UringMode::Plain)?;
    end.receive_parts(bytes, size(bytes), |_, to| {
        ring.receive(UringReceive::Recv, to, libc::MSG_WAITALL)
    })
}

struct Ring {
    ring: IoUring,
    mode: UringMode,
    target: Fd,
}

impl Ring {
    fn new(socket: &Socket, mode: UringMode) -> io::Result<Self> {
        let mut builder = IoUring::builder();
        if mode == UringMode::KernelThread {
            builder.setup_sqpoll(POLLING_MS);
        }
        let ring = builder.build(ENTRIES)?;
        let mut target = Fd(socket.as_raw_fd());
        if mode == UringMode::Registered {
            ring.submitter().register_files(&[target.0])?;
            target = Fd(FIRST);
        }
        Ok(Self { ring, mode, target })
    }

    fn send(&mut self, request: UringSend, data: &[u8], pipes: &mut Pipes) -> io::Result<usize> {
        let (target, from, length) = (self.target, data.as_ptr(), length(data.len()));
        let (vector, message) = described(from.cast_mut(), data.len());
        // The message refers to a copy of the vector that lives as long.
        let message = libc::msghdr {
            msg_iov: (&raw const vector).cast_mut(),
            ..message
        };
        let entry = match request {
            UringSend::Send => opcode::Send::new(target, from, length).build(),
            UringSend::SendMsg => opcode::SendMsg::new(target, &raw const message).build(),
            UringSend::SendZc => opcode::SendZc::new(target, from, length).build(),
            UringSend::SendMsgZc => opcode::SendMsgZc::new(target, &raw const message).build(),
            UringSend::Write => opcode::Write::new(target, from, length).build(),
            UringSend::Writev => opcode::Writev::new(target, &raw const vector, 1).build(),
            UringSend::WriteFixed => {
                return self.with_registered(vector, |ring| {
                    let entry = opcode::WriteFixed::new(target, from, length, FIRST_BUFFER);
                    ring.run(entry.build())
                });
            }
            UringSend::Splice => {
                pipes.writer.write_all(data)?;
                let pipe = Fd(pipes.reader.as_raw_fd());
                opcode::Splice::new(pipe, -1, target, -1, length).build()
            }
        };
        self.run(entry)
    }

    fn receive(&mut self, request: UringReceive, to: &mut [u8], flags: i32) -> io::Result<usize> {
        let (target, into, length) = (self.target, to.as_mut_ptr(), length(to.len()));
        let (vector, message) = described(into, to.len());
        let mut message = libc::msghdr {
            msg_iov: (&raw const vector).cast_mut(),
            ..message
        };
        let entry = match request {
            UringReceive::Recv => opcode::Recv::new(target, into, length).flags(flags).build(),
            UringReceive::RecvMsg => opcode::RecvMsg::new(target, &raw mut message).build(),
            UringReceive::Read => opcode::Read::new(target, into, length).build(),
            UringReceive::Readv => opcode::Readv::new(target, &raw const vector, 1).build(),
            UringReceive::ReadFixed => {
                return self.with_registered(vector, |ring| {
                    let entry = opcode::ReadFixed::new(target, into, length, FIRST_BUFFER);
                    ring.run(entry.build())
                });
            }
            UringReceive::RecvMultishot | UringReceive::Splice => {
                return Err(io::ErrorKind::Unsupported.into());
            }
        };
        self.run(entry)
    }

    fn splice(&mut self, to: &mut [u8], pipes: &mut Pipes) -> io::Result<usize> {
        let pipe = Fd(pipes.writer.as_raw_fd());
        let entry = opcode::Splice::new(self.target, -1, pipe, -1, length(to.len()));
        let moved = self.run(entry.build())?;
        pipes.reader.read_exact(&mut to[..moved])?;
        Ok(moved)
    }

    fn with_registered(
        &mut self,
        vector: libc::iovec,
        action: impl FnOnce(&mut Self) -> io::Result<usize>,
    ) -> io::Result<usize> {
        // SAFETY: unregistered below, while the caller still has the buffer.
        unsafe { self.ring.submitter().register_buffers(&[vector])? };
        let outcome = action(self);
        self.ring.submitter().unregister_buffers()?;
        outcome
    }

    /// Makes one request and waits until the kernel has done with it.
    fn run(&mut self, entry: Entry) -> io::Result<usize> {
        let flags = match self.mode {
            UringMode::Plain | UringMode::KernelThread => Flags::empty(),
            UringMode::Registered => Flags::FIXED_FILE,
            UringMode::LinkedTimeout => Flags::IO_LINK,
            UringMode::Worker => Flags::ASYNC,
        };
        let limit = Timespec::new().sec(20);
        let mut outstanding = 1;
        self.push(&entry.flags(flags).user_data(REQUEST))?;
        if self.mode == UringMode::LinkedTimeout {
            let timeout = opcode::LinkTimeout::new(&raw const limit).build();
            self.push(&timeout.user_data(TIMEOUT))?;
            outstanding += 1;
        }
        let mut moved = 0;
        while outstanding > 0 {
            let completion = self.next()?;
            // Zero-copy sends complete twice: when the data is taken, and when it is done with.
            let more = cqueue::more(completion.flags());
            outstanding -= i32::from(!more);
            if completion.user_data() == REQUEST && !cqueue::notif(completion.flags()) {
                moved = completion.result();
            }
        }
        result(moved)
    }

    fn push(&mut self, entry: &Entry) -> io::Result<()> {
        while self.ring.submission().is_full() {
            self.ring.submit()?;
        }
        // SAFETY: whoever builds an entry keeps what it points to until its completion.
        unsafe { self.ring.submission().push(entry) }.map_err(io::Error::other)
    }

    fn next(&mut self) -> io::Result<cqueue::Entry> {
        loop {
            if let Some(completion) = self.ring.completion().next() {
                return Ok(completion);
            }
            uninterrupted(|| self.ring.submit_and_wait(1))?;
        }
    }
}

fn receive_multishot(ring: &mut Ring, end: &mut Connection, bytes: u64) -> io::Result<()> {
    const COUNT: u16 = 8;
    const EACH: u16 = 4000;
    const GROUP: u16 = 7;
    let mut memory = vec![0; usize::from(COUNT) * usize::from(EACH)];
    let start = memory.as_mut_ptr();
    let all = opcode::ProvideBuffers::new(start, EACH.into(), COUNT, GROUP, 0).build();
    ring.push(&all.user_data(BUFFERS))?;
    let fixed = match ring.mode {
        UringMode::Registered => Flags::FIXED_FILE,
        _ => Flags::empty(),
    };
    let request = opcode::RecvMulti::new(ring.target, GROUP).build();
    let request = request.flags(fixed).user_data(REQUEST);
    ring.push(&request)?;
    let mut left = bytes;
    let mut armed = true;
    while left > 0 || armed {
        let completion = ring.next()?;
        if completion.user_data() != REQUEST {
            // Cancelling comes too late if the request has just ended by itself.
            if completion.user_data() == BUFFERS {
                result(completion.result())?;
            }
            continue;
        }
        armed = cqueue::more(completion.flags());
        if let Some(buffer) = cqueue::buffer_select(completion.flags()) {
            let received = result(completion.result())?;
            end.received(received);
            left -= received as u64;
            let again = memory[usize::from(buffer) * usize::from(EACH)..].as_mut_ptr();
            let one = opcode::ProvideBuffers::new(again, EACH.into(), 1, GROUP, buffer).build();
            ring.push(&one.user_data(BUFFERS))?;
        } else if !matches!(-completion.result(), libc::ENOBUFS | libc::ECANCELED) {
            result(completion.result())?;
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if left == 0 && armed {
            let cancel = opcode::AsyncCancel::new(REQUEST).build();
            ring.push(&cancel.user_data(CANCEL))?;
        } else if left > 0 && !armed {
            ring.push(&request)?;
            armed = true;
        }
    }
    Ok(())
}

/// A vector of one buffer, and a message without anything but the vector it is to be given.
fn described(start: *mut u8, bytes: usize) -> (libc::iovec, libc::msghdr) {
    let vector = libc::iovec {
        iov_base: start.cast(),
        iov_len: bytes,
    };
    let message = libc::msghdr {
        msg_name: ptr::null_mut(),
        msg_namelen: 0,
        msg_iov: ptr::null_mut(),
        msg_iovlen: 1,
        msg_control: ptr::null_mut(),
        msg_controllen: 0,
        msg_flags: 0,
    };
    (vector, message)
}

fn result(completion: i32) -> io::Result<usize> {
    usize::try_from(completion).map_err(|_| io::Error::from_raw_os_error(-completion))
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a part is small")
}
