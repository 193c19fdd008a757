//! What the registry hands to readers.

use jiff::Timestamp;

use super::connection::{Connection, Counters, Facts};
use crate::kernel::{degradation::Degradation, hooks::Variant};

/// All connections at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Wall clock of the moment.
    pub now: Timestamp,
    /// The same moment on `CLOCK_BOOTTIME`, in nanoseconds: durations are differences to it.
    pub now_ns: u64,
    /// Open connections, in order of `cid`.
    pub open: Vec<Connection>,
    /// Closed connections that are still remembered, in order of their end; empty if not asked for.
    pub closed: Vec<Connection>,
    /// Connections that the table had no room for, since the agent started.
    pub untracked: u64,
}

impl Snapshot {
    /// Of this moment, and of nothing yet.
    #[must_use]
    pub fn new(taken: Taken) -> Self {
        let Taken {
            now,
            now_ns,
            untracked,
        } = taken;
        Self {
            now,
            now_ns,
            open: Vec::new(),
            closed: Vec::new(),
            untracked,
        }
    }

    /// What holds for all of it.
    #[must_use]
    pub fn taken(&self) -> Taken {
        Taken {
            now: self.now,
            now_ns: self.now_ns,
            untracked: self.untracked,
        }
    }
}

/// What holds for all connections that are read together.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// Wall clock of the moment.
    pub now: Timestamp,
    /// The same moment on `CLOCK_BOOTTIME`, in nanoseconds.
    pub now_ns: u64,
    /// Connections that the table had no room for, since the agent started.
    pub untracked: u64,
}

/// Sockets that are read at once: few enough to stay in the CPU's cache until they are shown.
pub const BATCH: usize = 256;

/// Is shown the connections of one moment, one after the other: the open ones in order of `cid`,
/// then the closed ones in order of their end. Those that are read may come after later ones that
/// were skipped, fewer than [`BATCH`] at a time.
pub trait Visitor {
    /// The only connection of interest, if it is only one.
    fn only(&self) -> Option<u64>;

    /// Whether a connection of these facts may be of interest. What is not need not be read; it
    /// may be shown all the same, for its facts may be newer by then.
    fn wants(&self, facts: &Facts) -> bool;

    /// Whether TCP's figures are of interest, besides the round trip time.
    fn wants_tcp(&self) -> bool {
        true
    }

    /// Whether an open connection of these facts can be passed over because nothing else about it
    /// would make a difference. It is then done with it, as if it had been shown.
    fn skip(&mut self, facts: &Facts) -> bool;

    /// Takes what it needs of a connection.
    fn visit(&mut self, connection: &Connection);
}

/// Takes everything.
impl Visitor for Snapshot {
    fn only(&self) -> Option<u64> {
        None
    }

    fn wants(&self, _: &Facts) -> bool {
        true
    }

    fn skip(&mut self, _: &Facts) -> bool {
        false
    }

    fn visit(&mut self, connection: &Connection) {
        let list = match connection.end {
            None => &mut self.open,
            Some(_) => &mut self.closed,
        };
        list.push(connection.clone());
    }
}

/// Which connections a snapshot is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Only open ones.
    Open,
    /// Only closed ones.
    Closed,
    /// Both.
    All,
}

/// The agent's own figures.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Wall clock.
    pub now: Timestamp,
    /// Wall clock when the agent started.
    pub started: Timestamp,
    /// Open connections.
    pub open: u64,
    /// Connections seen since the start, those that existed before it included.
    pub total: u64,
    /// Connections closed since the start.
    pub closed: u64,
    /// Sums over all connections, open and closed, from the moment each was first seen.
    pub totals: Counters,
    /// What could not be counted, by name.
    pub losses: Losses,
    /// Connections that the table takes.
    pub capacity: u64,
    /// Messages on connections that had ended before they could be entered: no loss, but no row's.
    pub messages_after_end: u64,
    /// Slots of the table in use.
    pub used: u64,
    /// Bytes of kernel memory that table and ring occupy.
    pub kernel_memory_bytes: u64,
    /// Closed connections remembered.
    pub history: u64,
    /// Closed connections remembered at most.
    pub history_capacity: u64,
    /// How messages are seen, if all hooks are attached.
    pub variant: Option<Variant>,
    /// What is not known on this kernel.
    pub degradations: Vec<Degradation>,
    /// Whether all hooks are attached.
    pub attached: bool,
    /// Records taken from the ring of openings and ends.
    pub ring_records: u64,
    /// When a loss was last noticed, if ever.
    pub last_loss: Option<Timestamp>,
    /// Messages that readers have asked for.
    pub tracing: Tracing,
    /// First bytes of connections.
    pub first_bytes: FirstBytesStatus,
}

/// Messages of single connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tracing {
    /// Readers now.
    pub readers: u64,
    /// Connections that any of them has chosen.
    pub connections: u64,
    /// Messages that the kernel has told of, since the start.
    pub messages: u64,
    /// Messages that had no room in the ring, or in front of a reader: one for each such reader.
    pub lost: u64,
}

/// What the agent has to say of first bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FirstBytesStatus {
    /// Connections of which more bytes are needed.
    pub waiting: u64,
    /// Records that found no room in the ring.
    pub lost: u64,
    /// Receive calls whose bytes could not be found.
    pub unseen: u64,
}

/// Counters of what could not be counted. All are 0 on a healthy host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Connections that found no slot in the table.
    pub untracked: u64,
    /// Messages on connections that are not in the table.
    pub untracked_messages: u64,
    /// Opened and established records that found no room in the ring; repaired from the table.
    pub ring_records: u64,
    /// Closed records that found no room in the ring; repaired from the table.
    pub ring_closed: u64,
    /// Runs of the hooks that the kernel skipped, because the same one was running on that CPU.
    pub missed_runs: u64,
    /// Connections whose end no program saw. Their end shows late and without a cause.
    pub missed_ends: u64,
}
