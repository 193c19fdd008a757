//! One end of a connection: what the programs say, and what is true.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    os::fd::AsFd,
    thread,
    time::{Duration, Instant},
};

use conn_trace_common::{
    sample::Sample,
    table::{CAUSE_UNKNOWN, OWNER_PROCESS},
};

use super::{
    super::{loader::Tracer, table::Entry},
    SelfCheckError, option,
    pair::Pair,
};

// include/net/tcp_states.h
const ESTABLISHED: u8 = 1;
pub(super) const FIN_WAIT1: u8 = 4;
pub(super) const FIN_WAIT2: u8 = 5;
pub(super) const CLOSE: u8 = 7;
pub(super) const CLOSE_WAIT: u8 = 8;
const AF_INET6: u16 = libc::AF_INET6 as u16;

/// How the error calls the state in the table.
pub(super) const STATE: &str = "state";

/// Loopback takes microseconds; a busy machine may take longer.
const PATIENCE: Duration = Duration::from_secs(2);
/// An acknowledgement may be delayed, and its timer belong to a CPU that gets no time.
const PATIENCE_WITH_KERNEL: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_micros(200);

/// Looks again until it is so, or for long enough.
pub(super) fn eventually(is_so: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    within(PATIENCE, is_so)
}

fn within(patience: Duration, mut is_so: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    let deadline = Instant::now() + patience;
    while !is_so()? && Instant::now() < deadline {
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// What is true about an end.
#[derive(Clone, Debug)]
pub(super) struct Truth {
    pub(super) name: &'static str,
    pub(super) cookie: u64,
    direction: u8,
    netns: u32,
    pub(super) local: SocketAddr,
    peer: SocketAddr,
    uid: u32,
    interface: u32,
    pub(super) read: usize,
    pub(super) written: usize,
    messages_written: u64,
    pub(super) state: u8,
    cause: u8,
    error: u16,
    /// Whether segments of it were lost.
    pub(super) has_lost: bool,
}

impl Truth {
    pub(super) fn new(
        name: &'static str,
        direction: u8,
        netns: u32,
        pair: &Pair<'_>,
        stream: &TcpStream,
    ) -> io::Result<Self> {
        Ok(Self {
            name,
            cookie: option::cookie(stream.as_fd())?,
            direction,
            netns,
            local: stream.local_addr()?,
            peer: stream.peer_addr()?,
            uid: pair.uid,
            interface: pair.interface,
            read: 0,
            written: 0,
            messages_written: 0,
            state: ESTABLISHED,
            cause: CAUSE_UNKNOWN,
            error: 0,
            has_lost: false,
        })
    }

    /// The application has read so many bytes.
    pub(super) fn reads(&mut self, bytes: usize) {
        self.read += bytes;
    }

    /// The application has written so many bytes, in one message.
    pub(super) fn writes(&mut self, bytes: usize) {
        self.written += bytes;
        self.messages_written += 1;
    }

    /// Bytes of messages before the hooks were there.
    pub(super) fn moved_before(&mut self, read: usize, written: usize) {
        self.read += read;
        self.written += written;
    }

    /// How far the end is.
    pub(super) fn is_now(&mut self, state: u8, cause: u8, error: libc::c_int) {
        (self.state, self.cause, self.error) = (state, cause, error as u16);
    }

    /// Waits until the kernel says that the end has come to this state, where it is soon.
    pub(super) fn comes_to(
        &mut self,
        stream: &TcpStream,
        state: u8,
        cause: u8,
        error: libc::c_int,
    ) -> Result<(), SelfCheckError> {
        let mut last = None;
        within(PATIENCE_WITH_KERNEL, || {
            last = Some(option::tcp_info(stream.as_fd())?.state);
            Ok(last == Some(state))
        })?;
        if last != Some(state) {
            return Err(SelfCheckError::Unread { end: self.name });
        }
        self.is_now(state, cause, error);
        Ok(())
    }

    /// Compares what the hooks have written.
    pub(super) fn check_entry(&self, tracer: &mut Tracer) -> Result<Entry, SelfCheckError> {
        let entry = self.entry(tracer)?;
        self.check_place(tracer, &entry)?;
        let (hot, cold) = (entry.hot, entry.cold);
        self.same("owner", &hot.owner, &OWNER_PROCESS)?;
        self.same("task_struct.comm", &text(&cold.comm), &own_name()?)?;
        self.same("bytes read", &hot.in_bytes, &(self.read as u64))?;
        self.same("bytes written", &hot.out_bytes, &(self.written as u64))?;
        self.same("messages written", &hot.out_msgs, &self.messages_written)?;
        self.same("cause of the end", &cold.cause, &self.cause)?;
        self.same("sock.sk_err", &cold.error, &self.error)?;
        Ok(entry)
    }

    /// Compares where and whose the socket is.
    fn check_place(&self, tracer: &Tracer, entry: &Entry) -> Result<(), SelfCheckError> {
        let (hot, cold) = (entry.hot, entry.cold);
        self.same("network namespace", &cold.netns, &self.netns)?;
        self.same("direction", &cold.direction, &self.direction)?;
        let is_v6 = cold.family == AF_INET6;
        let address = |bytes, port| SocketAddr::new(address(is_v6, bytes), port);
        if !is_v6 || tracer.has_field("SOCK_LOCAL_V6") {
            let local = address(&cold.local_address, cold.local_port);
            self.same("local address", &local, &self.local)?;
        }
        if !is_v6 || tracer.has_field("SOCK_PEER_V6") {
            let peer = address(&cold.peer_address, cold.peer_port);
            self.same("peer address", &peer, &self.peer)?;
        }
        self.same("user id", &cold.uid, &self.uid)?;
        self.same("interface", &cold.bound_interface, &self.interface)?;
        self.same(STATE, &hot.state, &self.state)
    }

    /// Compares what there is to an MPTCP socket: its peer comes with the first subflow, and what
    /// it counts are messages.
    pub(super) fn check_multipath(&self, tracer: &mut Tracer) -> Result<Entry, SelfCheckError> {
        let has_peer = |entry: Entry| entry.cold.peer_port != 0;
        eventually(|| Ok(tracer.table().find(self.cookie).is_some_and(has_peer)))?;
        let entry = self.entry(tracer)?;
        self.check_place(tracer, &entry)?;
        Ok(entry)
    }

    /// Takes the entry out of the table once it has the state that it should have.
    pub(super) fn forget(&self, tracer: &mut Tracer) -> Result<(), SelfCheckError> {
        let entry = self.entry(tracer)?;
        // Nobody else takes it out before the registry is there.
        let _ = tracer
            .table()
            .end(entry.slot, self.cookie, entry.hot.generation);
        Ok(())
    }

    /// The entry, once it has the state that it should have.
    pub(super) fn entry(&self, tracer: &mut Tracer) -> Result<Entry, SelfCheckError> {
        let mut found = None;
        eventually(|| {
            // The rest of the host goes on meanwhile, and would fill the table with what has ended.
            tracer.keep_ended();
            found = tracer.table().find(self.cookie);
            // A call that has returned has made its entry or never does.
            Ok(found.is_none_or(|entry| entry.hot.state == self.state))
        })?;
        found.ok_or(SelfCheckError::Absent { end: self.name })
    }

    pub(super) fn same<T: PartialEq + ToString>(
        &self,
        field: &'static str,
        found: &T,
        expected: &T,
    ) -> Result<(), SelfCheckError> {
        if found == expected {
            return Ok(());
        }
        Err(self.wrong(field, found, expected))
    }

    pub(super) fn wrong(
        &self,
        field: &'static str,
        found: &impl ToString,
        expected: &impl ToString,
    ) -> SelfCheckError {
        SelfCheckError::Wrong {
            end: self.name,
            field,
            found: found.to_string(),
            expected: expected.to_string(),
        }
    }

    /// A number of ms that grew while it was read, give or take one for rounding.
    pub(super) fn between(
        &self,
        field: &'static str,
        found: u64,
        least: u64,
        most: u64,
    ) -> Result<(), SelfCheckError> {
        if (least.saturating_sub(1)..=most + 1).contains(&found) {
            return Ok(());
        }
        Err(self.wrong(field, &found, &format!("{least} to {most}")))
    }

    /// Segments marked lost: nothing that a socket can be asked for tells the number.
    pub(super) fn plausible_losses(&self, sample: &Sample) -> Result<(), SelfCheckError> {
        let least = u32::from(self.has_lost);
        if (least..=sample.segs_out).contains(&sample.lost) {
            return Ok(());
        }
        let most = format!("{least} to {}", sample.segs_out);
        Err(self.wrong("tcp_sock.lost", &sample.lost, &most))
    }
}

/// An address as the cold entry has it.
fn address(is_v6: bool, bytes: &[u8; 16]) -> IpAddr {
    if is_v6 {
        return Ipv6Addr::from(*bytes).into();
    }
    let [a, b, c, d, ..] = *bytes;
    Ipv4Addr::new(a, b, c, d).into()
}

/// Bytes up to the first NUL, as text.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0);
    String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]).into_owned()
}

/// The name of the agent's first thread.
fn own_name() -> io::Result<String> {
    let name = fs::read("/proc/self/comm")?;
    Ok(text(name.strip_suffix(b"\n").unwrap_or(&name)))
}
