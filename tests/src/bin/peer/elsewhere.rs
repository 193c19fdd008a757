//! Sockets that are no TCP connections.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    os::unix::net::{UnixDatagram, UnixStream},
};

use nix::libc::IPPROTO_RAW;
use socket2::{Domain, Protocol, Socket, Type};

/// Number of the protocol in an IPv4 header that no program here speaks (RFC 3692, "experiments").
const EXPERIMENT: u8 = 253;

/// Moves so many bytes over each kind.
pub(crate) fn move_elsewhere(bytes: usize) -> io::Result<()> {
    let data = vec![b'e'; bytes];
    let mut buffer = vec![0; bytes];
    let (mut one, mut other) = UnixStream::pair()?;
    one.write_all(&data)?;
    other.read_exact(&mut buffer)?;
    let (one, other) = UnixDatagram::pair()?;
    one.send(&data)?;
    other.recv(&mut buffer)?;
    let to = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let from = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    from.connect(to.local_addr()?)?;
    from.send(&data)?;
    to.recv(&mut buffer)?;
    raw_ip(&data)?;
    raw_tcp(&data)
}

/// `IPPROTO_RAW`: the program writes the IP header too.
fn raw_ip(data: &[u8]) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(IPPROTO_RAW)))?;
    let mut packet = vec![0; 20];
    // Version 4, five words of header; the kernel fills in lengths, checksum and source.
    packet[0] = 0x45;
    packet[8] = 64;
    packet[9] = EXPERIMENT;
    packet[16..20].copy_from_slice(&Ipv4Addr::LOCALHOST.octets());
    packet.extend_from_slice(data);
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    socket.send_to(&packet, &to.into())?;
    Ok(())
}

/// A raw socket for the protocol TCP, connected: to the kernel it is in the state ESTABLISHED.
fn raw_tcp(data: &[u8]) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP))?;
    socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    // Source and destination port 0, which no TCP connection has, and nonsense.
    let mut segment = vec![0; 20];
    segment.extend_from_slice(data);
    let sent = socket.send(&segment)?;
    let mut buffer = vec![0; sent + 60];
    let received = (&socket).read(&mut buffer)?;
    if received < sent {
        return Err(io::Error::other("less than was sent"));
    }
    Ok(())
}
