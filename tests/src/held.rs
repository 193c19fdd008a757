//! Ends of connections that the test's own process holds, with all that a process can do to them.

use std::{
    io::{self, Read},
    net::{SocketAddr, TcpListener},
    os::fd::AsFd,
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use socket2::{Domain, Socket, Type};

use crate::{
    agent::Agent,
    connz::Row,
    protocol::{Counts, End},
    slowness::longer,
    wait::eventually,
};

/// Of one call, where the number of calls does not matter.
const CHUNK: usize = 1 << 16;
/// More than a segment and its acknowledgement take between two sockets of one machine.
const UNDERWAY: Duration = Duration::from_millis(300);

/// An end, and what was moved over it.
#[derive(Debug)]
pub struct Held {
    /// Of which some other descriptor may exist.
    pub socket: Socket,
    /// Its addresses.
    pub end: End,
    /// What its calls returned.
    pub counts: Counts,
}

/// An end that was given up.
#[derive(Clone, Copy, Debug)]
pub struct Gone {
    /// Its addresses.
    pub end: End,
    /// All that was moved over it.
    pub counts: Counts,
}

impl Held {
    /// Both ends of a connection on 127.0.0.1: the one that connected, the one that accepted.
    #[must_use]
    pub fn pair() -> (Self, Self) {
        Self::pair_by(&TcpListener::bind("127.0.0.1:0").expect("a listener"))
    }

    /// Both ends of a connection to a listener of this process.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn pair_by(listener: &TcpListener) -> (Self, Self) {
        let address = listener.local_addr().expect("an address");
        let client = Self::connect(address);
        let (server, _) = listener.accept().expect("a connection");
        (client, Self::of(server.into()))
    }

    /// The end that connects.
    ///
    /// # Panics
    /// If it cannot.
    #[must_use]
    pub fn connect(address: SocketAddr) -> Self {
        let socket = new_socket(address);
        socket.connect(&address.into()).expect("a connection");
        Self::of(socket)
    }

    /// Of a connected socket.
    ///
    /// # Panics
    /// If it is not connected.
    #[must_use]
    pub fn of(socket: Socket) -> Self {
        Self {
            end: End {
                id: 0,
                local: plain(socket.local_addr()),
                peer: plain(socket.peer_addr()),
            },
            socket,
            counts: Counts::default(),
        }
    }

    /// Sends with one call.
    ///
    /// # Panics
    /// If not everything is taken.
    #[track_caller]
    pub fn send(&mut self, bytes: usize) {
        let sent = self.socket.send(&vec![b'h'; bytes]).expect("sent");
        assert_eq!(sent, bytes);
        self.counts.out_bytes += sent as u64;
        self.counts.out_calls += 1;
    }

    /// Sends until the buffers of both ends are full: what was sent last may still be on its way
    /// when a call finds no room.
    ///
    /// # Panics
    /// If sending fails for another reason.
    #[track_caller]
    pub fn fill(&mut self) {
        let data = vec![b'f'; CHUNK];
        self.socket.set_nonblocking(true).expect("an option");
        while is_writable(&self.socket, longer(UNDERWAY)) {
            match self.socket.send(&data) {
                Ok(sent) => {
                    self.counts.out_bytes += sent as u64;
                    self.counts.out_calls += 1;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
        }
        self.socket.set_nonblocking(false).expect("an option");
    }

    /// Receives exactly so much, in as many calls as it takes.
    ///
    /// # Panics
    /// If the stream ends before.
    #[track_caller]
    pub fn receive(&mut self, bytes: usize) {
        let mut left = bytes;
        while left > 0 {
            let received = self.receive_once(left).expect("received");
            assert!(received > 0, "the stream ended {left} bytes too early");
            left -= received;
        }
    }

    /// Receives to the end of the stream; gives the number of bytes.
    ///
    /// # Panics
    /// If it does not end well.
    #[track_caller]
    pub fn receive_to_end(&mut self) -> u64 {
        let before = self.counts.in_bytes;
        while self.receive_once(CHUNK).expect("received") > 0 {}
        self.counts.in_bytes - before
    }

    /// One call, of whatever result.
    ///
    /// # Errors
    /// The call's.
    pub fn receive_once(&mut self, most: usize) -> io::Result<usize> {
        let received = (&self.socket).read(&mut vec![0; most.min(CHUNK)])?;
        if received > 0 {
            self.counts.in_bytes += received as u64;
            self.counts.in_calls += 1;
        }
        Ok(received)
    }

    /// Sends and receives so much at the same time.
    ///
    /// # Panics
    /// If that fails.
    #[track_caller]
    pub fn exchange(&mut self, bytes: usize) {
        let mut sender = Self {
            socket: self.socket.try_clone().expect("a descriptor"),
            end: self.end,
            counts: Counts::default(),
        };
        let sent = thread::scope(|scope| {
            let sending = scope.spawn(move || {
                sender.send(bytes);
                sender.counts
            });
            self.receive(bytes);
            sending.join().expect("everything is sent")
        });
        self.counts = self.counts.plus(sent);
    }

    /// Gives this descriptor up.
    #[must_use]
    pub fn close(self) -> Gone {
        Gone {
            end: self.end,
            counts: self.counts,
        }
    }

    /// What is true of an open end at any moment: one row, of the counts. Gives it.
    ///
    /// # Panics
    /// If it is not true.
    #[track_caller]
    pub fn open(&self, agent: &Agent) -> Row {
        let row = agent.open(&self.end);
        assert_eq!(row.counts(), self.counts, "{row:#?}");
        row
    }

    /// Waits until its one open row is in this state.
    #[track_caller]
    pub fn wait_for_state(&self, agent: &Agent, state: &str) -> Row {
        eventually(state, || {
            Some(self.open(agent)).filter(|row| row.state == state)
        })
    }
}

impl Gone {
    /// Waits until it is closed, and sees that this happened once, with this cause and with the
    /// counts. Gives the row.
    ///
    /// # Panics
    /// If it is otherwise.
    #[track_caller]
    pub fn closed(&self, agent: &Agent, cause: &str) -> Row {
        let row = agent.closed(&self.end);
        assert_eq!(row.close_cause.as_deref(), Some(cause), "{row:#?}");
        assert_eq!(row.counts(), self.counts, "{row:#?}");
        row
    }
}

/// An unbound socket of the address's family.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn new_socket(address: SocketAddr) -> Socket {
    Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket")
}

/// Begins to connect and gives the end as it is then.
///
/// # Panics
/// If that fails at once.
#[must_use]
#[track_caller]
pub fn connecting(socket: &Socket, address: SocketAddr) -> End {
    socket.set_nonblocking(true).expect("an option");
    let error = socket
        .connect(&address.into())
        .expect_err("an answer at once");
    assert_eq!(
        error.raw_os_error(),
        Some(Errno::EINPROGRESS as i32),
        "{error}"
    );
    End {
        id: 0,
        local: plain(socket.local_addr()),
        peer: address,
    }
}

/// Waits for the end of a connect: `None` if it went well.
///
/// # Panics
/// If it does not end.
#[track_caller]
pub fn connected(socket: &Socket) -> Option<i32> {
    // Asked before the end, SO_ERROR gives errors that the kernel goes on after.
    eventually("the end of a connect", || {
        is_writable(socket, Duration::ZERO).then_some(())
    });
    let error = socket.take_error().expect("an option")?;
    Some(error.raw_os_error().expect("a number"))
}

/// Whether the socket takes data, or has failed, within this time.
fn is_writable(socket: &Socket, within: Duration) -> bool {
    let mut asked = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    let within = PollTimeout::try_from(within).expect("some milliseconds");
    poll(&mut asked, within).expect("a socket") == 1
}

/// IPv4-mapped addresses as IPv4.
fn plain(address: io::Result<socket2::SockAddr>) -> SocketAddr {
    let address = address.expect("an address").as_socket().expect("IP");
    if address.ip().to_canonical() == address.ip() {
        return address;
    }
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
