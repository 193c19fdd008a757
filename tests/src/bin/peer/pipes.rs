//! Moving data between a connection and a pipe or file inside the kernel.
//!
//! These calls are no messages one by one: the calls counted here are those of `splice` and
//! `sendfile` themselves.

use std::{
    fs::File,
    io::{self, IoSlice, PipeReader, PipeWriter, Read, Seek, Write},
    os::fd::AsFd,
};

use nix::{
    fcntl::{SpliceFFlags, splice, tee, vmsplice},
    sys::sendfile::sendfile,
};

use crate::{
    connection::{Connection, size},
    wait::uninterrupted,
};

/// What a pipe holds unless asked otherwise (pipe(7)).
const PIPE_BYTES: u64 = 65536;
const PAGE_BYTES: usize = 4096;
/// Put into a pipe at a time: whole pages, and fewer than it has places.
pub(crate) const MEMORY_BYTES: usize = 15 * PAGE_BYTES;

pub(crate) fn send_file(end: &mut Connection, bytes: u64) -> io::Result<()> {
    // Without blocks on the disk: reads as zeros.
    let mut file: File = tempfile::tempfile()?;
    file.set_len(bytes)?;
    file.rewind()?;
    let mut left = bytes;
    while left > 0 {
        let sent = uninterrupted(|| Ok(sendfile(&end.socket, &file, None, size(left))?))?;
        end.sent(sent);
        left -= sent as u64;
    }
    Ok(())
}

/// Fills a pipe by `fill`, empties it into the connection, and so on.
pub(crate) fn send_from_pipe(
    end: &mut Connection,
    bytes: u64,
    fill: impl Fn(&mut Pipes, &[u8]) -> io::Result<usize>,
) -> io::Result<()> {
    let mut pipes = Pipes::new()?;
    let memory = vec![b'p'; MEMORY_BYTES + PAGE_BYTES];
    let aligned = &memory[memory.as_ptr().align_offset(PAGE_BYTES)..][..MEMORY_BYTES];
    let mut left = bytes;
    while left > 0 {
        let mut filled = fill(&mut pipes, &aligned[..aligned.len().min(size(left))])?;
        left -= filled as u64;
        while filled > 0 {
            let sent = move_part(&pipes.reader, &end.socket, filled)?;
            end.sent(sent);
            filled -= sent;
        }
    }
    Ok(())
}

pub(crate) struct Pipes {
    pub(crate) reader: PipeReader,
    pub(crate) writer: PipeWriter,
    /// For `tee`.
    first_reader: PipeReader,
    first_writer: PipeWriter,
}

impl Pipes {
    pub(crate) fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        let (first_reader, first_writer) = io::pipe()?;
        Ok(Self {
            reader,
            writer,
            first_reader,
            first_writer,
        })
    }
}

pub(crate) fn write(pipes: &mut Pipes, data: &[u8]) -> io::Result<usize> {
    pipes.writer.write(data)
}

pub(crate) fn write_and_tee(pipes: &mut Pipes, data: &[u8]) -> io::Result<usize> {
    let written = pipes.first_writer.write(data)?;
    let flags = SpliceFFlags::empty();
    let copied = tee(&pipes.first_reader, &pipes.writer, written, flags)?;
    pipes.first_reader.read_exact(&mut vec![0; written])?;
    if copied != written {
        return Err(io::Error::other(format!("tee: {copied} of {written}")));
    }
    Ok(copied)
}

pub(crate) fn give_memory(pipes: &mut Pipes, data: &[u8]) -> io::Result<usize> {
    Ok(vmsplice(
        &pipes.writer,
        &[IoSlice::new(data)],
        SpliceFFlags::empty(),
    )?)
}

/// What `splice` takes from a socket is no message: only bytes are counted.
pub(crate) fn receive_into_pipe(end: &mut Connection, bytes: u64) -> io::Result<()> {
    let mut pipes = Pipes::new()?;
    let mut buffer = vec![0; size(PIPE_BYTES)];
    let mut left = bytes;
    while left > 0 {
        let most = size(left.min(PIPE_BYTES));
        let moved = move_part(&end.socket, &pipes.writer, most)?;
        if moved == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        pipes.reader.read_exact(&mut buffer[..moved])?;
        end.counts.in_bytes += moved as u64;
        left -= moved as u64;
    }
    Ok(())
}

/// One call of `splice`.
fn move_part(from: &impl AsFd, to: &impl AsFd, most: usize) -> io::Result<usize> {
    let flags = SpliceFFlags::empty();
    uninterrupted(|| Ok(splice(from, None, to, None, most, flags)?))
}

/// Moves what arrives at one connection to another one, through a pipe. Only the calls that put
/// something into the second connection are counted.
pub(crate) fn forward(from: &mut Connection, to: &mut Connection, bytes: u64) -> io::Result<()> {
    let pipes = Pipes::new()?;
    let mut left = bytes;
    while left > 0 {
        let most = size(left.min(PIPE_BYTES));
        let mut moved = move_part(&from.socket, &pipes.writer, most)?;
        if moved == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        from.counts.in_bytes += moved as u64;
        left -= moved as u64;
        while moved > 0 {
            let sent = move_part(&pipes.reader, &to.socket, moved)?;
            to.sent(sent);
            moved -= sent;
        }
    }
    Ok(())
}
