//! Closes sockets from outside: `SOCK_DESTROY` of sock_diag(7), as `ss -K` does it.
//!
//! Linux has it since 4.5, if built with `CONFIG_INET_DIAG_DESTROY`, and asks for CAP_NET_ADMIN in the
//! socket's network namespace (`sock_diag_destroy`, net/core/sock_diag.c). The socket is found by its
//! addresses and has to have the cookie as well (`inet_diag_find_one_icsk`, net/ipv4/inet_diag.c), so that
//! a later one with the same addresses is left alone.

use std::{
    fs::File,
    io,
    net::SocketAddr,
    os::{fd::AsFd, unix::fs::MetadataExt},
    thread,
};

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::{
    SockDiagDestroy, SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP},
    inet::{ExtensionFlags, InetRequest, SocketId, StateFlags},
};
use netlink_sys::{Socket, SocketAddr as NetlinkAddress, protocols::NETLINK_SOCK_DIAG};
use nix::{
    errno::Errno,
    sched::{CloneFlags, setns},
};

/// The socket that is meant.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its cookie.
    pub cookie: u64,
    /// Its own address; IPv4-mapped ones as IPv4.
    pub local: SocketAddr,
    /// That of the peer, likewise.
    pub peer: SocketAddr,
    /// Index of the interface that it is bound to, or 0.
    pub interface: u32,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// It was open, and has been closed.
    Now,
    /// There is no such socket any more.
    Before,
}

/// Closes sockets.
#[derive(Debug, Default)]
pub struct Closer {
    /// To the kernel, of the agent's own network namespace.
    socket: Option<Socket>,
}

impl Closer {
    /// Closes a socket of the agent's own network namespace.
    ///
    /// # Errors
    /// If the kernel refuses, or cannot do it.
    pub fn close(&mut self, target: &Target) -> io::Result<Closed> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => connect()?,
        };
        let closed = destroy(&socket, target)?;
        self.socket = Some(socket);
        Ok(closed)
    }

    /// Closes a socket of another network namespace, the one that this process is in.
    ///
    /// # Errors
    /// If there is no such process or it cannot be entered, and as of [`close`](Self::close).
    pub fn close_elsewhere(
        &mut self,
        target: &Target,
        netns: u32,
        pid: Option<u32>,
    ) -> io::Result<Closed> {
        let unknown = || io::Error::other("no way into its network namespace is known");
        let pid = pid.ok_or_else(unknown)?;
        let namespace = File::open(format!("/proc/{pid}/ns/net")).map_err(|_| unknown())?;
        if namespace.metadata()?.ino() != u64::from(netns) {
            return Err(unknown());
        }
        let close = || {
            setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)?;
            destroy(&connect()?, target)
        };
        // A thread of its own: entering a namespace is for good.
        thread::scope(|scope| scope.spawn(close).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn connect() -> io::Result<Socket> {
    let socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.connect(&NetlinkAddress::new(0, 0))?;
    Ok(socket)
}

/// The kernel answers before it returns from the sending.
fn destroy(socket: &Socket, target: &Target) -> io::Result<Closed> {
    socket.send(&request(target), 0)?;
    let (answer, _) = socket.recv_from_full()?;
    let answer =
        NetlinkMessage::<SockDiagDestroy>::deserialize(&answer).map_err(io::Error::other)?;
    let NetlinkPayload::Error(error) = answer.payload else {
        return Err(io::Error::other("an unexpected answer"));
    };
    match error.code.map_or(0, |code| code.get().wrapping_neg()) {
        0 => Ok(Closed::Now),
        // No socket has these addresses, or another one has.
        code if [Errno::ENOENT, Errno::ESTALE].contains(&Errno::from_raw(code)) => {
            Ok(Closed::Before)
        }
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

fn request(target: &Target) -> Vec<u8> {
    let family = match target.local {
        SocketAddr::V4(_) => AF_INET,
        SocketAddr::V6(_) => AF_INET6,
    };
    let mut cookie = [0; 8];
    // Two words, the low one first (`sock_diag_save_cookie`).
    cookie[..4].copy_from_slice(&(target.cookie as u32).to_ne_bytes());
    cookie[4..].copy_from_slice(&((target.cookie >> 32) as u32).to_ne_bytes());
    let message = SockDiagMessage::InetRequest(InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all(),
        socket_id: SocketId {
            source_port: target.local.port(),
            destination_port: target.peer.port(),
            source_address: target.local.ip(),
            destination_address: target.peer.ip(),
            interface_id: target.interface,
            cookie,
        },
    });
    let mut request = NetlinkMessage::from(SockDiagDestroy::new(message));
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK;
    request.finalize();
    let mut buffer = vec![0; request.buffer_len()];
    request.serialize(&mut buffer);
    buffer
}

#[cfg(test)]
mod tests {
    use std::{
        io::{ErrorKind, Read},
        net::{TcpListener, TcpStream},
    };

    use nix::sys::socket::{getsockopt, sockopt::SockType};

    use super::*;

    /// As `struct nlmsghdr` and `struct inet_diag_req_v2` lie in memory.
    #[test]
    fn the_request_names_addresses_and_cookie() {
        let bytes = request(&Target {
            cookie: 0x1122_3344_5566_7788,
            local: "192.0.2.1:80".parse().unwrap(),
            peer: "192.0.2.2:40000".parse().unwrap(),
            interface: 3,
        });
        assert_eq!(bytes.len(), 16 + 56);
        assert_eq!(bytes[4..6], 21_u16.to_ne_bytes());
        assert_eq!(bytes[16..18], [2, 6]);
        assert_eq!(bytes[24..28], [0, 80, 0x9c, 0x40]);
        assert_eq!(bytes[28..32], [192, 0, 2, 1]);
        assert_eq!(bytes[44..48], [192, 0, 2, 2]);
        assert_eq!(bytes[60..64], 3_u32.to_ne_bytes());
        assert_eq!(bytes[64..68], 0x5566_7788_u32.to_ne_bytes());
        assert_eq!(bytes[68..72], 0x1122_3344_u32.to_ne_bytes());
    }

    /// Whether this may be asked for or not, a socket with another cookie stays.
    #[test]
    fn another_cookie_is_another_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let target = Target {
            cookie: 1 << 40,
            local: client.local_addr().unwrap(),
            peer: client.peer_addr().unwrap(),
            interface: 0,
        };
        match Closer::default().close(&target) {
            Ok(closed) => assert_eq!(closed, Closed::Before),
            Err(error) => assert!(
                [ErrorKind::PermissionDenied, ErrorKind::Unsupported].contains(&error.kind()),
                "{error}"
            ),
        }
        assert!(getsockopt(&client, SockType).is_ok());
        client.set_nonblocking(true).unwrap();
        let error = (&client).read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        drop(server);
    }
}
