//! Connections of the check's own, and what is done to them.

use std::{
    ffi::OsString,
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use nix::{
    net::if_::if_nametoindex,
    sys::{
        signal::{Signal, kill},
        socket::{
            AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket,
            sockopt,
        },
        wait::waitpid,
    },
    unistd::{ForkResult, Uid, fchown, fork, geteuid},
};

use super::option::{attach_filter, detach_filter, multipath_socket};

/// Bytes sent each way: different, and more than one segment of a 1500-byte link.
pub(super) const SENT: usize = 4999;
pub(super) const ANSWERED: usize = 333;

/// The ends have different addresses, as a connection through a network has.
const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const SERVER: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// A user id whose bytes are not those of anything near it.
const MARK: Uid = Uid::from_raw(54_321);
const LOOPBACK: &str = "lo";

/// What a connection is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// IPv4, its sockets bound to an interface and given away where that is allowed: what is 0
    /// otherwise is not.
    Marked,
    /// IPv4.
    Plain,
    /// IPv6 sockets, with IPv4 addresses mapped: this needs no IPv6 address on the machine.
    Mapped,
    /// MPTCP over IPv4.
    Multipath,
}

/// How the client's process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// By itself.
    Exited,
    /// By a signal.
    Killed,
}

/// Both ends of a connection.
#[derive(Debug)]
pub(super) struct Pair<'a> {
    pub(super) client: TcpStream,
    pub(super) server: TcpStream,
    /// The user that the sockets belong to.
    pub(super) uid: u32,
    /// The interface that they are bound to, or 0.
    pub(super) interface: u32,
    /// Lets nothing through.
    filter: BorrowedFd<'a>,
}

impl<'a> Pair<'a> {
    /// Opens a connection. `filter` is for [`deafen_server`](Self::deafen_server).
    pub(super) fn open(kind: Kind, filter: BorrowedFd<'a>) -> io::Result<Self> {
        let listener = endpoint(kind, SERVER)?;
        let client = endpoint(kind, CLIENT)?;
        let (mut uid, mut interface) = (geteuid(), 0);
        if kind == Kind::Marked {
            let ends = [&listener, &client];
            if ends.iter().all(|end| fchown(end, Some(MARK), None).is_ok()) {
                uid = MARK;
            }
            let name = OsString::from(LOOPBACK);
            let bound = ends
                .iter()
                .all(|end| setsockopt(end, sockopt::BindToDevice, &name).is_ok());
            if bound {
                interface = if_nametoindex(LOOPBACK)?;
            }
        }
        let listener = TcpListener::from(listen(listener)?);
        let address = SockaddrStorage::from(listener.local_addr()?);
        connect(client.as_raw_fd(), &address)?;
        let client = TcpStream::from(client);
        let (server, _) = listener.accept()?;
        for end in [&client, &server] {
            end.set_nodelay(true)?;
        }
        Ok(Self {
            client,
            server,
            uid: uid.as_raw(),
            interface,
            filter,
        })
    }

    /// Moves [`SENT`] and [`ANSWERED`] bytes, in one message each way.
    pub(super) fn talk(&mut self) -> io::Result<()> {
        self.client.write_all(&[b'c'; SENT])?;
        self.server.read_exact(&mut [0; SENT])?;
        self.server.write_all(&[b's'; ANSWERED])?;
        self.client.read_exact(&mut [0; ANSWERED])
    }

    /// Lets everything that goes to the server be lost, or no more.
    pub(super) fn deafen_server(&self, deaf: bool) -> io::Result<()> {
        if deaf {
            attach_filter(self.server.as_fd(), self.filter)
        } else {
            detach_filter(self.server.as_fd())
        }
    }

    /// Leaves the client to a process of its own that ends in this way; gives the other end. `None`
    /// if the agent may have no child.
    pub(super) fn end_client(self, ending: Ending) -> io::Result<Option<TcpStream>> {
        let (reader, writer) = io::pipe()?;
        let (waits_on, held) = (reader.as_raw_fd(), writer.as_raw_fd());
        // SAFETY: the child calls functions only that are safe after a fork of a process with
        // threads.
        let child = match unsafe { fork() } {
            Ok(ForkResult::Parent { child }) => child,
            // SAFETY: as above, with descriptors of its own and a buffer of one byte.
            Ok(ForkResult::Child) => unsafe {
                libc::close(held);
                let mut byte = 0_u8;
                // Until the agent lets it go, or is gone itself.
                libc::read(waits_on, (&raw mut byte).cast(), 1);
                libc::_exit(0);
            },
            Err(_) => return Ok(None),
        };
        drop(self.client);
        if ending == Ending::Killed {
            kill(child, Signal::SIGKILL)?;
        }
        drop(writer);
        waitpid(child, None)?;
        Ok(Some(self.server))
    }
}

/// A socket with an address of its own.
fn endpoint(kind: Kind, ip: Ipv4Addr) -> io::Result<OwnedFd> {
    let (family, ip) = match kind {
        Kind::Mapped => (AddressFamily::Inet6, IpAddr::V6(ip.to_ipv6_mapped())),
        Kind::Marked | Kind::Plain | Kind::Multipath => (AddressFamily::Inet, IpAddr::V4(ip)),
    };
    let end = if kind == Kind::Multipath {
        multipath_socket()?
    } else {
        socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?
    };
    if kind == Kind::Mapped {
        setsockopt(&end, sockopt::Ipv6V6Only, &false)?;
    }
    bind(
        end.as_raw_fd(),
        &SockaddrStorage::from(SocketAddr::new(ip, 0)),
    )?;
    Ok(end)
}

fn listen(end: OwnedFd) -> io::Result<OwnedFd> {
    nix::sys::socket::listen(&end, nix::sys::socket::Backlog::new(1)?)?;
    Ok(end)
}
