//! The kernel's own list of TCP sockets: `sock_diag(7)`, what `ss` shows.

use std::net::SocketAddr;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP},
    inet::{
        ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags,
        nlas::{Nla, TcpInfo},
    },
};
use netlink_sys::{Socket, SocketAddr as NetlinkAddress, protocols::NETLINK_SOCK_DIAG};

/// A TCP socket as the kernel lists it.
#[derive(Clone, Debug)]
pub struct KernelSocket {
    /// This end, IPv4-mapped addresses as IPv4.
    pub local: SocketAddr,
    /// The other end, likewise.
    pub peer: SocketAddr,
    /// Whether it is an `AF_INET6` socket.
    pub is_ipv6: bool,
    /// State, by the name that the contract gives it.
    pub state: &'static str,
    /// `rcv_nxt - copied_seq`: a FIN that was not read counts one.
    pub recv_queue: u64,
    /// `write_seq - snd_una`: a FIN that was not acknowledged counts one.
    pub send_queue: u64,
    /// The user who made it.
    pub uid: u32,
    /// Inode of its file; 0 if no process has it.
    pub inode: u32,
    /// `TCP_INFO`.
    pub info: TcpInfo,
}

impl KernelSocket {
    /// Both ends.
    #[must_use]
    pub fn tuple(&self) -> (SocketAddr, SocketAddr) {
        (self.local, self.peer)
    }
}

/// All connections of this network namespace: no listeners, none that is only remembered
/// (TIME_WAIT), none before the end of its handshake on the accepting side.
///
/// # Panics
/// If the kernel refuses.
#[must_use]
pub fn connections() -> Vec<KernelSocket> {
    let states =
        StateFlags::all() - StateFlags::LISTEN - StateFlags::TIME_WAIT - StateFlags::SYN_RECV;
    dump(states)
}

/// Whether somebody listens at exactly this address.
///
/// # Panics
/// If the kernel refuses.
#[must_use]
pub fn is_listening(address: SocketAddr) -> bool {
    dump(StateFlags::LISTEN)
        .iter()
        .any(|socket| socket.local == address)
}

/// The connection of this end.
///
/// # Panics
/// If there is not exactly one.
#[must_use]
#[track_caller]
pub fn connection(local: SocketAddr, peer: SocketAddr) -> KernelSocket {
    let mut found = connections();
    found.retain(|socket| socket.tuple() == (local, peer));
    assert_eq!(found.len(), 1, "{local} {peer}: {found:?}");
    found.remove(0)
}

fn dump(states: StateFlags) -> Vec<KernelSocket> {
    let mut found = dump_family(AF_INET, SocketId::new_v4(), states.clone());
    found.extend(dump_family(AF_INET6, SocketId::new_v6(), states));
    found
}

fn dump_family(family: u8, socket_id: SocketId, states: StateFlags) -> Vec<KernelSocket> {
    let mut request = NetlinkMessage::from(SockDiagMessage::InetRequest(InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::INFO,
        states,
        socket_id,
    }));
    request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    request.finalize();
    let mut buffer = vec![0; request.buffer_len()];
    request.serialize(&mut buffer);

    let socket = Socket::new(NETLINK_SOCK_DIAG).expect("a netlink socket");
    socket
        .connect(&NetlinkAddress::new(0, 0))
        .expect("the kernel");
    socket.send(&buffer, 0).expect("a request");
    let mut found = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full().expect("an answer");
        let mut rest = &datagram[..];
        while !rest.is_empty() {
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest).expect("a message");
            let length = (message.header.length as usize).next_multiple_of(4);
            rest = &rest[length.min(rest.len())..];
            match message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                    found.extend(socket_of(*response));
                }
                NetlinkPayload::Done(_) => return found,
                other => panic!("sock_diag: {other:?}"),
            }
        }
    }
}

/// `None` for what has no TCP_INFO.
fn socket_of(response: InetResponse) -> Option<KernelSocket> {
    let header = response.header;
    let info = response.nlas.into_iter().find_map(|nla| match nla {
        Nla::TcpInfo(info) => Some(info),
        _ => None,
    })?;
    let id = header.socket_id;
    let address = |ip: std::net::IpAddr, port| SocketAddr::new(ip.to_canonical(), port);
    Some(KernelSocket {
        local: address(id.source_address, id.source_port),
        peer: address(id.destination_address, id.destination_port),
        is_ipv6: header.family == AF_INET6,
        state: state_name(header.state),
        recv_queue: header.recv_queue.into(),
        send_queue: header.send_queue.into(),
        uid: header.uid,
        inode: header.inode,
        info,
    })
}

/// include/net/tcp_states.h, by the contract's names.
fn state_name(state: u8) -> &'static str {
    match state {
        1 => "ESTABLISHED",
        2 => "SYN_SENT",
        3 | 12 => "SYN_RECV",
        4 => "FIN_WAIT1",
        5 => "FIN_WAIT2",
        6 => "TIME_WAIT",
        7 => "CLOSED",
        8 => "CLOSE_WAIT",
        9 => "LAST_ACK",
        10 => "LISTEN",
        11 => "CLOSING",
        other => panic!("state {other}"),
    }
}
