//! One connection, and what its calls returned. The kinds of calls are in `send`, `receive`,
//! `pipes` and `uring`.

use std::{
    io::{self, Read},
    mem::MaybeUninit,
    net::{Shutdown, SocketAddr},
    os::fd::OwnedFd,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use conn_trace_tests::{
    protocol::{Counts, End, ReceiveWay, Way},
    wait::patience,
};
use nix::{errno::Errno, sys::socket::MsgFlags};
use socket2::{SockAddr, Socket};

use crate::wait::uninterrupted;

pub(crate) struct Connection {
    pub(crate) socket: Socket,
    pub(crate) counts: Counts,
}

impl Connection {
    pub(crate) fn new(socket: Socket) -> io::Result<Self> {
        socket.set_nonblocking(false)?;
        // A test fails rather than waits for ever.
        socket.set_read_timeout(Some(patience()))?;
        socket.set_write_timeout(Some(patience()))?;
        Ok(Self {
            socket,
            counts: Counts::default(),
        })
    }

    pub(crate) fn end(&self, id: u32) -> io::Result<End> {
        self.end_to(id, &self.socket.peer_addr()?)
    }

    pub(crate) fn end_to(&self, id: u32, peer: &SockAddr) -> io::Result<End> {
        Ok(End {
            id,
            local: plain(self.socket.local_addr()?.as_socket())?,
            peer: plain(peer.as_socket())?,
        })
    }

    pub(crate) fn sent(&mut self, bytes: usize) {
        if bytes > 0 {
            self.counts.out_bytes += bytes as u64;
            self.counts.out_calls += 1;
        }
    }

    pub(crate) fn received(&mut self, bytes: usize) {
        if bytes > 0 {
            self.counts.in_bytes += bytes as u64;
            self.counts.in_calls += 1;
        }
    }

    /// Sends until the buffers are full.
    pub(crate) fn fill(&mut self, bytes: u64) -> io::Result<()> {
        let data = [b'f'; 4096];
        self.socket.set_nonblocking(true)?;
        let mut left = bytes;
        while left > 0 {
            match self.socket.send(&data[..size(left.min(data.len() as u64))]) {
                Ok(sent) => {
                    self.sent(sent);
                    left -= sent as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.socket.set_nonblocking(false)
    }

    pub(crate) fn receive(&mut self, bytes: u64, chunk: u64) -> io::Result<()> {
        let mut buffer = vec![0; size(chunk)];
        let mut left = bytes;
        while left > 0 {
            let part = &mut buffer[..size(left.min(chunk))];
            let received = uninterrupted(|| self.socket.read(part))?;
            if received == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.received(received);
            left -= received as u64;
        }
        Ok(())
    }

    pub(crate) fn receive_to_end(&mut self) -> io::Result<()> {
        let mut buffer = [0; 65536];
        loop {
            let received = uninterrupted(|| self.socket.read(&mut buffer))?;
            if received == 0 {
                return Ok(());
            }
            self.received(received);
        }
    }

    /// Sends and receives at the same time.
    pub(crate) fn exchange(
        &mut self,
        (send, way): (u64, Way),
        (receive, receive_way): (u64, ReceiveWay),
    ) -> io::Result<()> {
        let mut other = Self {
            socket: self.socket.try_clone()?,
            counts: Counts::default(),
        };
        thread::scope(|scope| {
            let sender = scope.spawn(|| other.send(send, way));
            self.receive_by(receive, receive_way)?;
            sender.join().expect("the sender")
        })?;
        self.counts = self.counts.plus(other.counts);
        Ok(())
    }

    /// Sees at least so many bytes and leaves them where they are.
    pub(crate) fn peek(&self, bytes: u64) -> io::Result<u64> {
        let mut buffer = vec![MaybeUninit::uninit(); size(bytes)];
        let flags = (MsgFlags::MSG_PEEK | MsgFlags::MSG_WAITALL).bits();
        Ok(uninterrupted(|| self.socket.recv_with_flags(&mut buffer, flags))? as u64)
    }

    pub(crate) fn receive_nothing(&mut self) -> io::Result<()> {
        self.socket.set_nonblocking(true)?;
        let outcome = self.socket.read(&mut [0; 16]);
        self.socket.set_nonblocking(false)?;
        self.received(outcome?);
        Ok(())
    }

    /// A child that has the connection as its standard output.
    pub(crate) fn send_from_child(&mut self, bytes: u64) -> io::Result<()> {
        let descriptor: OwnedFd = self.socket.try_clone()?.into();
        let status = Command::new("head")
            .args(["--bytes", &bytes.to_string(), "/dev/zero"])
            .stdin(Stdio::null())
            .stdout(descriptor)
            .status()?;
        if !status.success() {
            return Err(io::Error::other(format!("head: {status}")));
        }
        // `head` copies in blocks of its own choice; a small amount is one.
        self.sent(size(bytes));
        Ok(())
    }

    pub(crate) fn send_until_error(&mut self) -> io::Result<()> {
        loop {
            let sent = uninterrupted(|| self.socket.send(b"x"))?;
            self.sent(sent);
        }
    }

    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Write)
    }

    pub(crate) fn reset(self) -> io::Result<()> {
        self.socket.set_linger(Some(Duration::ZERO))
    }
}

fn plain(address: Option<SocketAddr>) -> io::Result<SocketAddr> {
    let address = address.ok_or_else(|| io::Error::from(Errno::EAFNOSUPPORT))?;
    Ok(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

pub(crate) fn raw(socket: &Socket) -> i32 {
    std::os::fd::AsRawFd::as_raw_fd(socket)
}

pub(crate) fn size(bytes: u64) -> usize {
    usize::try_from(bytes).expect("what a test moves fits into memory")
}
