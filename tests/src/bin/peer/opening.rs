//! The ways to open connections.

use std::{
    io,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
};

use conn_trace_tests::protocol::{End, Reply};
use nix::{
    errno::Errno,
    libc::MSG_FASTOPEN,
    sys::socket::{setsockopt, sockopt::TcpFastOpenConnect},
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::{connection::size, connections::Connections};

impl Connections {
    pub(crate) fn connect(
        &mut self,
        address: SocketAddr,
        from: Option<SocketAddr>,
        count: u32,
    ) -> io::Result<Reply> {
        let sockets: io::Result<Vec<_>> = (0..count)
            .map(|_| {
                let socket = new_socket(address)?;
                if let Some(from) = from {
                    socket.set_reuse_address(true)?;
                    socket.bind(&from.into())?;
                }
                let peer = address.into();
                socket.connect(&peer)?;
                Ok((socket, peer))
            })
            .collect();
        self.enter(sockets?)
    }

    pub(crate) fn connect_without_waiting(&mut self, address: SocketAddr) -> io::Result<Reply> {
        let socket = new_socket(address)?;
        socket.set_nonblocking(true)?;
        match socket.connect(&address.into()) {
            Err(error)
                if Errno::from_raw(error.raw_os_error().unwrap_or(0)) != Errno::EINPROGRESS =>
            {
                return Err(error);
            }
            _ => {}
        }
        let local = socket.local_addr()?.as_socket();
        let id = self.keep(socket)?;
        let local = local.ok_or(io::Error::from(Errno::EAFNOSUPPORT))?;
        Ok(Reply::Ends(vec![End {
            id,
            local,
            peer: address,
        }]))
    }

    pub(crate) fn connect_with_data(
        &mut self,
        address: SocketAddr,
        bytes: u64,
    ) -> io::Result<Reply> {
        let socket = new_socket(address)?;
        let data = vec![b'o'; size(bytes)];
        let sent = socket.send_to_with_flags(&data, &SockAddr::from(address), MSG_FASTOPEN)?;
        self.enter_having_sent(socket, sent)
    }

    /// `connect` only notes the address where a cookie is at hand: the first send connects.
    pub(crate) fn connect_lazily(&mut self, address: SocketAddr, bytes: u64) -> io::Result<Reply> {
        let socket = new_socket(address)?;
        setsockopt(&socket, TcpFastOpenConnect, &true)?;
        socket.connect(&address.into())?;
        let sent = socket.send(&vec![b'l'; size(bytes)])?;
        self.enter_having_sent(socket, sent)
    }

    fn enter_having_sent(&mut self, socket: Socket, sent: usize) -> io::Result<Reply> {
        let id = self.keep(socket)?;
        let end = self.get(id)?;
        end.sent(sent);
        Ok(Reply::Ends(vec![end.end(id)?]))
    }
}

static MPTCP: AtomicBool = AtomicBool::new(false);

/// All sockets from now on are MPTCP's.
pub(crate) fn use_mptcp() {
    MPTCP.store(true, Ordering::Relaxed);
}

pub(crate) fn new_socket(address: SocketAddr) -> io::Result<Socket> {
    let protocol = MPTCP.load(Ordering::Relaxed).then_some(Protocol::MPTCP);
    Socket::new(Domain::for_address(address), Type::STREAM, protocol)
}

pub(crate) fn connect_refused(address: SocketAddr, count: u32) -> io::Result<Reply> {
    for _ in 0..count {
        match new_socket(address)?.connect(&address.into()) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error),
            Ok(()) => return Err(io::Error::other("somebody listens there")),
        }
    }
    Ok(Reply::Count(count.into()))
}
