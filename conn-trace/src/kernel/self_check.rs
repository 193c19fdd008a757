//! The start-up check: loopback connections of the agent's own, compared field by field with what
//! the kernel says through its ordinary interfaces. A wrong offset that happens to lie inside its
//! structure passes the verifier; it does not pass this.
//!
//! At rest many fields are equal or 0, and a wrong one reads right. So the connections are also
//! looked at with data lost, unsent and unread, after a FIN, a reset and a kill.

mod end;
mod live;
mod option;
mod pair;

use std::{
    fs, io,
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::MetadataExt,
    },
};

use conn_trace_common::{
    lifecycle::FIRST_BYTES_LIMIT,
    table::{
        CAUSE_KILLED, CAUSE_LOCAL_FIN, CAUSE_PEER_FIN, CAUSE_PEER_RESET, CAUSE_UNKNOWN,
        DIRECTION_IN, DIRECTION_OUT,
    },
};
use thiserror::Error;

use super::{error::LoadError, loader::Tracer};
use end::{CLOSE, CLOSE_WAIT, FIN_WAIT1, FIN_WAIT2, STATE, Truth, eventually};
use option::{cork, reset_on_close, tcp_info};
use pair::{ANSWERED, Ending, Kind, Pair, SENT};

/// Bytes that are lost, held back, and arrived and not read: all different.
const LOST: usize = 1201;
const HELD_BACK: usize = 77;
const UNREAD: usize = 41;
/// Segments after a lost one: three make TCP send it again at once.
const LATER: usize = 5;
/// On a busy machine a timer may send a segment again before it counts as lost, or come between
/// two readings.
const ATTEMPTS: usize = 20;
/// Long enough to be seen in ticks of any length.
const BUSY_US: u64 = 3000;
/// How often a check is made of which the programs could not see all.
const TRIES: usize = 5;

/// What the check found out besides.
#[derive(Clone, Copy, Debug)]
pub struct Passed {
    /// The agent's process id in the initial pid namespace.
    pub host_pid: u32,
    /// Inode number of the agent's network namespace.
    pub netns: u32,
}

/// The programs' view of a known connection is wrong, or could not be had.
#[derive(Debug, Error)]
pub enum SelfCheckError {
    /// The check's own connection failed.
    #[error("self-check: no connection to 127.0.0.1: {0}")]
    Io(#[from] io::Error),
    /// A program could not be attached or run.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The connection is not in the table.
    #[error("self-check: the agent's own connection ({end} end) is not in the table")]
    Absent {
        /// Which connection, and which end of it.
        end: &'static str,
    },
    /// No figures could be had with nothing moved in between.
    #[error("self-check: the {end} end of the agent's own connection could not be read at rest")]
    Unread {
        /// Which connection, and which end of it.
        end: &'static str,
    },
    /// A figure is wrong: the offset of the field it comes from is.
    #[error("self-check: {field} of the {end} end is {found}, the kernel says {expected}")]
    Wrong {
        /// Which connection, and which end of it.
        end: &'static str,
        /// The field.
        field: &'static str,
        /// What the programs read.
        found: String,
        /// What it is.
        expected: String,
    },
}

impl SelfCheckError {
    /// Whether it is what a hook leaves behind that did not run.
    fn is_of_a_hook(&self) -> bool {
        match self {
            Self::Absent { .. } => true,
            Self::Wrong { field, .. } => *field == STATE,
            _ => false,
        }
    }
}

/// Attaches the hooks and compares.
///
/// # Errors
/// If the kernel refuses a program; or names the first figure that is wrong.
pub fn attach(tracer: &mut Tracer) -> Result<Passed, SelfCheckError> {
    let filter = tracer.deaf_filter()?;
    let filter = filter.as_fd();
    let mut older = [const { None }; TRIES];
    for one in &mut older {
        *one = Some(Older::open(filter)?);
    }
    let mut older = older.into_iter().flatten();
    tracer.attach()?;
    let netns = fs::metadata("/proc/self/ns/net")?.ino() as u32;
    let host_pid = seen(tracer, |tracer| life(tracer, filter, netns))?;
    seen(tracer, |tracer| mapped(tracer, filter, netns))?;
    seen(tracer, |tracer| multipath(tracer, filter, netns))?;
    seen(tracer, |tracer| {
        older.next().map_or(Ok(()), |one| one.check(tracer, netns))
    })?;
    drop(older);
    seen(tracer, |tracer| read_first(tracer, filter))?;
    for ending in [Ending::Exited, Ending::Killed] {
        seen(tracer, |tracer| left(tracer, filter, netns, ending))?;
    }
    Ok(Passed { host_pid, netns })
}

/// Makes a check again if something was not seen: on a busy host that, and not a wrong offset, is why
/// it fails. Once more also where nothing says so and a hook did not run: some virtual machines let no
/// program run on top of their own processes.
fn seen<T>(
    tracer: &mut Tracer,
    mut check: impl FnMut(&mut Tracer) -> Result<T, SelfCheckError>,
) -> Result<T, SelfCheckError> {
    for attempt in 1..TRIES {
        let before = tracer.unseen()?;
        match check(tracer) {
            Err(error @ (SelfCheckError::Absent { .. } | SelfCheckError::Wrong { .. }))
                if tracer.unseen()? != before || (attempt == 1 && error.is_of_a_hook()) =>
            {
                tracing::debug!(%error, "the programs could not see all of it: once more");
            }
            result => return result,
        }
    }
    check(tracer)
}

/// A connection from its opening to its end. Gives the process id in its entry.
fn life(tracer: &mut Tracer, filter: BorrowedFd<'_>, netns: u32) -> Result<u32, SelfCheckError> {
    let mut pair = Pair::open(Kind::Marked, filter)?;
    let (mut client, mut server) = talked(&mut pair, ["client", "server"], netns)?;
    let entry = client.check(tracer, &pair.client)?;
    server.check(tracer, &pair.server)?;

    pair.server.write_all(&[b'u'; UNREAD])?;
    server.writes(UNREAD);
    for _ in 0..ATTEMPTS {
        lose(tracer, &mut pair, &mut client, &mut server)?;
        let sample = client.read(tracer, &pair.client)?.sample;
        if sample.lost > 0 || !tracer.has_field("TCP_LOST") {
            break;
        }
    }
    client.has_lost = true;
    client.check_sample(tracer, &pair.client)?;
    server.check_sample(tracer, &pair.server)?;

    pair.client.read_exact(&mut [0; UNREAD])?;
    client.reads(UNREAD);
    finish_writing(&mut pair)?;
    client.comes_to(&pair.client, FIN_WAIT2, CAUSE_LOCAL_FIN, 0)?;
    server.comes_to(&pair.server, CLOSE_WAIT, CAUSE_PEER_FIN, 0)?;
    client.check(tracer, &pair.client)?;
    server.check(tracer, &pair.server)?;

    // The client takes no more, so that data for it resets both ends.
    pair.client.shutdown(Shutdown::Read)?;
    pair.server.write_all(b"e")?;
    server.writes(1);
    client.comes_to(&pair.client, CLOSE, CAUSE_LOCAL_FIN, libc::ECONNRESET)?;
    server.comes_to(&pair.server, CLOSE, CAUSE_PEER_RESET, libc::EPIPE)?;
    client.check_entry(tracer)?;
    server.check_entry(tracer)?;
    Ok(entry.cold.pid)
}

/// Has the first bytes of a connection told, and compares them with what was read.
fn read_first(tracer: &mut Tracer, filter: BorrowedFd<'_>) -> Result<(), SelfCheckError> {
    const REGISTERS: [&str; 3] = ["REGS_RESULT", "REGS_CALL", "REGS_SECOND"];
    if !REGISTERS.iter().all(|global| tracer.has_field(global)) {
        return Ok(());
    }
    // The agent takes it back for all others that open meanwhile.
    tracer.table().want_first_bytes(|_| true, |_| true);
    let pair = Pair::open(Kind::Plain, filter);
    tracer.table().want_first_bytes(|_| false, |_| false);
    let mut pair = pair?;
    tracer.keep_ended();
    pair.talk()?;
    tracer.keep_ended();
    let expected = vec![b'c'; FIRST_BYTES_LIMIT as usize];
    let found = tracer.first_bytes(option::cookie(pair.server.as_fd())?);
    if found == expected {
        return Ok(());
    }
    let right = found.iter().filter(|byte| **byte == b'c').count();
    Err(SelfCheckError::Wrong {
        end: "server",
        field: "first bytes read",
        found: format!("{right} right ones of {}", found.len()),
        expected: format!("{} of {}", expected.len(), expected.len()),
    })
}

/// Moves the first bytes over a new connection; gives what is true about its ends then.
fn talked(pair: &mut Pair<'_>, names: [&'static str; 2], netns: u32) -> io::Result<(Truth, Truth)> {
    pair.talk()?;
    let mut client = Truth::new(names[0], DIRECTION_OUT, netns, pair, &pair.client)?;
    let mut server = Truth::new(names[1], DIRECTION_IN, netns, pair, &pair.server)?;
    client.writes(SENT);
    client.reads(ANSWERED);
    server.reads(SENT);
    server.writes(ANSWERED);
    Ok((client, server))
}

/// Has data of the client lost and held back, looks at it while that is so, and has it sent again.
fn lose(
    tracer: &mut Tracer,
    pair: &mut Pair<'_>,
    client: &mut Truth,
    server: &mut Truth,
) -> Result<(), SelfCheckError> {
    pair.deafen_server(true)?;
    pair.client.write_all(&[b'l'; LOST])?;
    client.writes(LOST);
    cork(pair.client.as_fd(), true)?;
    pair.client.write_all(&[b'h'; HELD_BACK])?;
    client.writes(HELD_BACK);
    eventually(|| Ok(tcp_info(pair.client.as_fd())?.busy_time >= BUSY_US))?;
    client.check_sample(tracer, &pair.client)?;

    pair.deafen_server(false)?;
    cork(pair.client.as_fd(), false)?;
    for _ in 0..LATER {
        pair.client.write_all(b"m")?;
        client.writes(1);
    }
    pair.server.read_exact(&mut [0; LOST + HELD_BACK + LATER])?;
    server.reads(LOST + HELD_BACK + LATER);
    option::acknowledge(pair.server.as_fd())?;
    eventually(|| Ok(tcp_info(pair.client.as_fd())?.unacked == 0))?;
    Ok(())
}

/// The client's FIN, read by the server.
fn finish_writing(pair: &mut Pair<'_>) -> io::Result<()> {
    pair.client.shutdown(Shutdown::Write)?;
    match pair.server.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// IPv6 sockets, and the server's reset after the client's FIN.
fn mapped(tracer: &mut Tracer, filter: BorrowedFd<'_>, netns: u32) -> Result<(), SelfCheckError> {
    // Without such sockets there are no such connections.
    let Ok(mut pair) = Pair::open(Kind::Mapped, filter) else {
        return Ok(());
    };
    let (mut client, server) = talked(&mut pair, ["IPv6 client", "IPv6 server"], netns)?;
    client.check(tracer, &pair.client)?;
    server.check(tracer, &pair.server)?;

    finish_writing(&mut pair)?;
    reset_on_close(pair.server.as_fd())?;
    drop(pair.server);
    client.comes_to(&pair.client, CLOSE, CAUSE_PEER_RESET, libc::ECONNRESET)?;
    client.check_entry(tracer)?;
    Ok(())
}

/// MPTCP sockets, of which the hooks know less.
fn multipath(
    tracer: &mut Tracer,
    filter: BorrowedFd<'_>,
    netns: u32,
) -> Result<(), SelfCheckError> {
    let fields = ["TCP_IS_MPTCP", "ULP_DATA", "SUBFLOW_CONNECTION"];
    if !fields.iter().all(|field| tracer.has_field(field)) {
        return Ok(());
    }
    // As for IPv6; net.mptcp.enabled may be 0.
    let Ok(mut pair) = Pair::open(Kind::Multipath, filter) else {
        return Ok(());
    };
    let (client, server) = talked(&mut pair, ["MPTCP client", "MPTCP server"], netns)?;
    client.check_multipath(tracer)?;
    server.check_multipath(tracer)?;
    let is_in_flight = || option::unacked(pair.client.as_fd()).is_ok_and(|bytes| bytes > 0);
    eventually(|| Ok(!is_in_flight()))?;
    client.check_multipath_sample(tracer, &pair.client)?;
    for end in [&pair.client, &pair.server] {
        reset_on_close(end.as_fd())?;
    }
    drop(pair);
    // No hook sees such a socket go, and its entry would stay for seconds.
    for mut truth in [client, server] {
        truth.is_now(CLOSE, CAUSE_UNKNOWN, 0);
        truth.forget(tracer)?;
    }
    Ok(())
}

/// A connection that is older than the hooks, with data lost and unsent when they meet it.
struct Older<'a>(Pair<'a>);

impl<'a> Older<'a> {
    fn open(filter: BorrowedFd<'a>) -> io::Result<Self> {
        let mut pair = Pair::open(Kind::Plain, filter)?;
        pair.talk()?;
        pair.deafen_server(true)?;
        pair.client.write_all(&[b'l'; LOST])?;
        cork(pair.client.as_fd(), true)?;
        Ok(Self(pair))
    }

    fn check(mut self, tracer: &mut Tracer, netns: u32) -> Result<(), SelfCheckError> {
        let pair = &mut self.0;
        let ends = [&pair.client, &pair.server];
        let mut client = Truth::new("older client", DIRECTION_OUT, netns, pair, ends[0])?;
        let mut server = Truth::new("older server", DIRECTION_IN, netns, pair, ends[1])?;
        client.moved_before(ANSWERED, SENT + LOST);
        server.moved_before(SENT, ANSWERED);
        meet(tracer, &mut client, &mut pair.client, &[b'h'; HELD_BACK])?;
        meet(tracer, &mut server, &mut pair.server, &[b'u'; UNREAD])?;
        client.check(tracer, &pair.client)?;
        server.check(tracer, &pair.server)?;
        Ok(())
    }
}

/// Its sockets would wait for minutes for an acknowledgement of what is lost.
impl Drop for Older<'_> {
    fn drop(&mut self) {
        // Where one fails, that is what they do.
        let _ = self.0.deafen_server(false);
        let _ = reset_on_close(self.0.client.as_fd());
    }
}

/// Writes until the hooks have met the connection, with the first message that counts.
fn meet(
    tracer: &Tracer,
    truth: &mut Truth,
    stream: &mut TcpStream,
    bytes: &[u8],
) -> io::Result<()> {
    for _ in 0..ATTEMPTS {
        stream.write_all(bytes)?;
        if tracer.table().find(truth.cookie).is_some() {
            truth.writes(bytes.len());
            break;
        }
        truth.moved_before(0, bytes.len());
    }
    Ok(())
}

/// A client whose process ends without closing it.
fn left(
    tracer: &mut Tracer,
    filter: BorrowedFd<'_>,
    netns: u32,
    ending: Ending,
) -> Result<(), SelfCheckError> {
    let mut pair = Pair::open(Kind::Plain, filter)?;
    let (name, cause) = match ending {
        Ending::Exited => ("exited client", CAUSE_LOCAL_FIN),
        Ending::Killed => ("killed client", CAUSE_KILLED),
    };
    let (mut client, _) = talked(&mut pair, [name, "server"], netns)?;
    // Its FIN is not acknowledged, so its socket stays.
    pair.deafen_server(true)?;
    let Some(server) = pair.end_client(ending)? else {
        return Ok(());
    };
    client.is_now(FIN_WAIT1, cause, 0);
    client.check_entry(tracer)?;
    option::detach_filter(server.as_fd())?;
    reset_on_close(server.as_fd())?;
    Ok(())
}
