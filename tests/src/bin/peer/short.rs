//! Many connections that live for one exchange of bytes.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
};

use conn_trace_tests::protocol::Counts;
use socket2::Socket;

/// Waits for the client to close first, so that it is known who did.
pub(crate) fn serve(
    listener: &Socket,
    count: u32,
    read: usize,
    write: usize,
) -> io::Result<Counts> {
    let mut counts = Counts::default();
    for _ in 0..count {
        let (connection, _) = listener.accept()?;
        let mut connection = TcpStream::from(connection);
        exchange_in(&mut connection, read, &mut counts)?;
        exchange_out(&mut connection, write, &mut counts)?;
        if connection.read(&mut [0])? != 0 {
            return Err(io::Error::other("more than expected"));
        }
    }
    Ok(counts)
}

pub(crate) fn connect(
    addresses: &[SocketAddr],
    count: u32,
    write: usize,
    read: usize,
) -> io::Result<Counts> {
    let mut counts = Counts::default();
    let addresses = addresses.iter().cycle().take(count as usize);
    for address in addresses {
        let mut connection = TcpStream::connect(address)?;
        exchange_out(&mut connection, write, &mut counts)?;
        exchange_in(&mut connection, read, &mut counts)?;
    }
    Ok(counts)
}

fn exchange_in(connection: &mut TcpStream, bytes: usize, counts: &mut Counts) -> io::Result<()> {
    let mut buffer = vec![0; bytes];
    let mut left = &mut buffer[..];
    while !left.is_empty() {
        let received = connection.read(left)?;
        if received == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        counts.in_bytes += received as u64;
        counts.in_calls += 1;
        left = &mut left[received..];
    }
    Ok(())
}

fn exchange_out(connection: &mut TcpStream, bytes: usize, counts: &mut Counts) -> io::Result<()> {
    let mut left = &vec![b'w'; bytes][..];
    while !left.is_empty() {
        let sent = connection.write(left)?;
        counts.out_bytes += sent as u64;
        counts.out_calls += 1;
        left = &left[sent..];
    }
    Ok(())
}
