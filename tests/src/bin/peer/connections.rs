//! All connections of this process, by id, and the commands on them.

use std::{collections::HashMap, io, net::SocketAddr, os::unix::process::CommandExt, process};

use conn_trace_tests::protocol::{Command, Counts, Reply, Special};
use nix::errno::Errno;
use socket2::{SockAddr, Socket};

use crate::{
    connection::Connection,
    elsewhere,
    opening::{connect_refused, new_socket},
    pipes, shared, short, system, uring,
    wait::uninterrupted,
};

/// More than any test leaves in the queue.
const SHARED_BACKLOG: i32 = 1024;

#[derive(Default)]
pub(crate) struct Connections {
    listener: Option<Socket>,
    open: HashMap<u32, Connection>,
    last_id: u32,
    /// Children that end with the pipe to them.
    holders: Vec<process::Child>,
}

impl Connections {
    pub(crate) fn execute(&mut self, command: Command) -> io::Result<Reply> {
        match command {
            Command::Listen { address, backlog } => self.listen(address, backlog),
            Command::ListenShared { address } => {
                let listener = new_socket(address)?;
                listener.set_reuse_port(true)?;
                self.listen_with(listener, address, SHARED_BACKLOG)
            }
            Command::StopListening => {
                self.listener = None;
                Ok(Reply::Done)
            }
            Command::Accept { count } => self.accept(count),
            Command::AcceptQueued => self.accept_queued(),
            Command::Connect {
                address,
                from,
                count,
            } => self.connect(address, from, count),
            Command::ConnectRefused { address, count } => connect_refused(address, count),
            Command::ConnectWithoutWaiting { address } => self.connect_without_waiting(address),
            Command::ConnectWithData { address, bytes } => self.connect_with_data(address, bytes),
            Command::ConnectLazily { address, bytes } => self.connect_lazily(address, bytes),
            Command::AllowFastOpen => {
                system::set_fast_open(self.listener()?, 16)?;
                Ok(Reply::Done)
            }
            Command::SentDataInSyn { id } => {
                let sent = system::sent_data_in_syn(&self.get(id)?.socket)?;
                Ok(Reply::Count(sent.into()))
            }
            Command::Reconnect { id, address } => {
                let socket = &self.get(id)?.socket;
                rustix::net::connect_unspec(socket)?;
                uninterrupted(|| socket.connect(&address.into()))?;
                self.get(id)?.counts = Counts::default();
                Ok(Reply::Ends(vec![self.get(id)?.end(id)?]))
            }
            Command::Send { id, bytes, way } => self.moved(id, |end| end.send(bytes, way)),
            Command::Fill { id, bytes } => self.moved(id, |end| end.fill(bytes)),
            Command::SendUntilError { id } => self.moved(id, Connection::send_until_error),
            Command::Receive { id, bytes, chunk } => {
                self.moved(id, |end| end.receive(bytes, chunk))
            }
            Command::ReceiveBy { id, bytes, way } => {
                self.moved(id, |end| end.receive_by(bytes, way))
            }
            Command::Exchange {
                id,
                send,
                way,
                receive,
                receive_way,
            } => self.moved(id, |end| end.exchange((send, way), (receive, receive_way))),
            Command::ReceiveToEnd { id } => self.moved(id, Connection::receive_to_end),
            Command::Special {
                id,
                special: Special::Forward { to, bytes },
            } => self.forward(id, to, bytes),
            Command::Special { id, special } => self.moved(id, |end| end.special(special)),
            Command::MoveElsewhere { bytes } => {
                elsewhere::move_elsewhere(bytes)?;
                Ok(Reply::Done)
            }
            Command::ProbeUring => {
                uring::probe()?;
                Ok(Reply::Done)
            }
            Command::Peek { id, bytes } => Ok(Reply::Count(self.get(id)?.peek(bytes)?)),
            Command::ReceiveNothing { id } => self.moved(id, Connection::receive_nothing),
            Command::SendFromChild { id, bytes } => {
                self.moved(id, |end| end.send_from_child(bytes))
            }
            Command::HoldInChild { id } => {
                let child = shared::hold_in_child(&self.get(id)?.socket)?;
                self.holders.push(child);
                Ok(Reply::Done)
            }
            Command::SendFromThread { id, bytes, name } => {
                self.moved(id, |end| shared::send_from_thread(end, bytes, name))
            }
            Command::HandOver { id, path } => {
                shared::hand_over(&self.get(id)?.socket, &path)?;
                Ok(Reply::Done)
            }
            Command::TakeOver { path } => {
                let socket = shared::take_over(&path)?;
                let peer = socket.peer_addr()?;
                self.enter(vec![(socket, peer)])
            }
            Command::ShutdownWrite { id } => {
                self.get(id)?.shutdown_write()?;
                Ok(Reply::Done)
            }
            Command::Close { ids } => {
                for id in ids {
                    self.take(id)?;
                }
                Ok(Reply::Done)
            }
            Command::Reset { id } => {
                self.take(id)?.reset()?;
                Ok(Reply::Done)
            }
            Command::Report { id } => Ok(Reply::Counts(self.get(id)?.counts)),
            Command::ServeShort { count, read, write } => {
                short::serve(self.listener()?, count, read, write).map(Reply::Counts)
            }
            Command::ConnectShort {
                addresses,
                count,
                write,
                read,
            } => short::connect(&addresses, count, write, read).map(Reply::Counts),
            Command::Exit => Ok(Reply::Done),
            Command::Exec => Err(process::Command::new("sleep").arg("60").exec()),
        }
    }

    fn listen(&mut self, address: SocketAddr, backlog: i32) -> io::Result<Reply> {
        let listener = new_socket(address)?;
        if address.is_ipv6() {
            listener.set_only_v6(false)?;
        }
        self.listen_with(listener, address, backlog)
    }

    fn listen_with(
        &mut self,
        listener: Socket,
        address: SocketAddr,
        backlog: i32,
    ) -> io::Result<Reply> {
        listener.bind(&address.into())?;
        listener.listen(backlog)?;
        let address = listener.local_addr()?.as_socket();
        self.listener = Some(listener);
        Ok(Reply::Address(
            address.ok_or(io::Error::from(Errno::EAFNOSUPPORT))?,
        ))
    }

    fn accept(&mut self, count: u32) -> io::Result<Reply> {
        let sockets: io::Result<Vec<_>> = (0..count)
            .map(|_| {
                let listener = self.listener()?;
                uninterrupted(|| listener.accept())
            })
            .collect();
        self.enter(sockets?)
    }

    fn accept_queued(&mut self) -> io::Result<Reply> {
        let listener = self.listener()?;
        listener.set_nonblocking(true)?;
        let mut sockets = Vec::new();
        let error = loop {
            match uninterrupted(|| listener.accept()) {
                Ok(accepted) => sockets.push(accepted),
                Err(error) => break error,
            }
        };
        listener.set_nonblocking(false)?;
        if error.kind() != io::ErrorKind::WouldBlock {
            return Err(error);
        }
        self.enter(sockets)
    }

    fn moved(
        &mut self,
        id: u32,
        action: impl FnOnce(&mut Connection) -> io::Result<()>,
    ) -> io::Result<Reply> {
        let end = self.get(id)?;
        let before = end.counts;
        action(end)?;
        Ok(Reply::Moved(Counts {
            in_bytes: end.counts.in_bytes - before.in_bytes,
            out_bytes: end.counts.out_bytes - before.out_bytes,
            in_calls: end.counts.in_calls - before.in_calls,
            out_calls: end.counts.out_calls - before.out_calls,
        }))
    }

    fn forward(&mut self, from: u32, to: u32, bytes: u64) -> io::Result<Reply> {
        let mut target = self.take(to)?;
        let reply = self.moved(from, |end| pipes::forward(end, &mut target, bytes));
        self.open.insert(to, target);
        reply
    }

    /// Sockets and the addresses of their peers: somebody may have closed them already, and then they
    /// tell no more.
    pub(crate) fn enter(&mut self, sockets: Vec<(Socket, SockAddr)>) -> io::Result<Reply> {
        sockets
            .into_iter()
            .map(|(socket, peer)| {
                let id = self.keep(socket)?;
                self.get(id)?.end_to(id, &peer)
            })
            .collect::<io::Result<_>>()
            .map(Reply::Ends)
    }

    pub(crate) fn keep(&mut self, socket: Socket) -> io::Result<u32> {
        self.last_id += 1;
        self.open.insert(self.last_id, Connection::new(socket)?);
        Ok(self.last_id)
    }

    fn listener(&self) -> io::Result<&Socket> {
        self.listener.as_ref().ok_or(Errno::EINVAL.into())
    }

    pub(crate) fn get(&mut self, id: u32) -> io::Result<&mut Connection> {
        self.open.get_mut(&id).ok_or(Errno::EBADF.into())
    }

    fn take(&mut self, id: u32) -> io::Result<Connection> {
        self.open.remove(&id).ok_or(Errno::EBADF.into())
    }
}
