//! Snapshots: the live set read from the table and the sockets, the history, the agent's figures.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use conn_trace_common::table::{ColdEntry, HotEntry};
use jiff::Timestamp;

use super::{
    connection::{Connection, Counters, Facts, Owner, TcpState, Transport},
    facts,
    live::Key,
    snapshot::{Scope, Snapshot, Status},
    state::{State, ended_connection},
};
use crate::kernel::{LoadError, clock::Moment, sampler::Sample};

/// A live connection as the table has it.
struct Read {
    key: Key,
    slot: u32,
    hot: HotEntry,
    cold: ColdEntry,
    facts: Arc<Facts>,
}

impl State {
    /// All connections of the scope, at this moment.
    pub(super) fn snapshot(&mut self, scope: Scope) -> Result<Snapshot, LoadError> {
        self.catch_up()?;
        let moment = self.tracer.now()?;
        let (held, reads): (Vec<_>, Vec<_>) = self
            .read_live(&moment)
            .into_iter()
            .partition(Read::is_closed);
        let open = match scope {
            Scope::Closed => Vec::new(),
            Scope::Open | Scope::All => self.open(reads, &moment)?,
        };
        let closed = match scope {
            Scope::Open => Vec::new(),
            Scope::Closed | Scope::All => self.closed_apart_from(&open, held, &moment)?,
        };
        Ok(Snapshot {
            now: moment.wall,
            now_ns: moment.boot_ns,
            open,
            closed,
            untracked: self.losses.untracked,
        })
    }

    fn open(&mut self, reads: Vec<Read>, moment: &Moment) -> Result<Vec<Connection>, LoadError> {
        let samples = self.sample_all(&reads)?;
        self.ownerless = ownerless(&reads, &samples);
        let has_field = |global: &str| self.tracer.has_field(global);
        Ok(reads
            .into_iter()
            .zip(samples)
            .map(|(read, sample)| open_connection(read, sample.as_ref(), moment, has_field))
            .collect())
    }

    fn sample_all(&mut self, reads: &[Read]) -> Result<Vec<Option<Sample>>, LoadError> {
        let wanted: Vec<_> = reads.iter().map(|read| (read.key, read.slot)).collect();
        Ok(self
            .sample(&wanted)?
            .into_iter()
            .map(|(_, sample)| sample)
            .collect())
    }

    /// Everything in the live set, in order of `cid`, with complete facts.
    fn read_live(&mut self, moment: &Moment) -> Vec<Read> {
        let table = self.tracer.table();
        let place_may_be_found = self.describer.places.may_be_found_later();
        let incomplete: Vec<_> = self
            .live
            .iter()
            .filter_map(|(_, live)| {
                let hot = table.hot(live.slot, live.key.0, live.key.1)?;
                let is_established = TcpState::from_kernel(hot.state) != TcpState::SynSent;
                live.is_incomplete(&hot, is_established, place_may_be_found)
                    .then(|| table.entry(live.slot, live.key.0, live.key.1))?
            })
            .collect();
        for entry in incomplete {
            self.describe((entry.hot.cookie, entry.hot.generation), &entry, moment);
        }
        let table = self.tracer.table();
        self.live
            .iter()
            .filter_map(|(_, live)| {
                let entry = table.entry(live.slot, live.key.0, live.key.1)?;
                let facts = Arc::clone(&live.facts);
                Some(Read {
                    key: live.key,
                    slot: live.slot,
                    hot: entry.hot,
                    cold: entry.cold,
                    facts,
                })
            })
            .collect()
    }

    /// The history, and `held`: connections that are closed while their socket still exists. Those
    /// that were read as open a moment ago are left to the next snapshot.
    fn closed_apart_from(
        &mut self,
        open: &[Connection],
        held: Vec<Read>,
        moment: &Moment,
    ) -> Result<Vec<Connection>, LoadError> {
        // After the look at the table: what has left it since is in the history.
        self.catch_up()?;
        let mut shown: HashSet<u64> = open.iter().map(|open| open.facts.cid).collect();
        let mut closed: Vec<_> = self
            .history
            .iter()
            .filter(|connection| !shown.contains(&connection.facts.cid))
            .cloned()
            .collect();
        shown.extend(closed.iter().map(|connection| connection.facts.cid));
        closed.extend(
            held.into_iter()
                .filter(|read| !shown.contains(&read.facts.cid))
                .map(|read| ended_connection(read.facts, &read.hot, &read.cold, moment)),
        );
        closed.sort_by_key(|connection| connection.end.as_ref().map(|end| end.stop_ns));
        Ok(closed)
    }

    /// The agent's own figures.
    pub(super) fn status(&mut self) -> Result<Status, LoadError> {
        self.catch_up()?;
        let stats = self.tracer.table().stats();
        let total = stats.opened + stats.adopted;
        Ok(Status {
            now: Timestamp::now(),
            started: self.started,
            open: total.saturating_sub(stats.closed),
            total,
            closed: stats.closed,
            totals: self.totals()?,
            losses: self.losses,
            capacity: u64::from(self.max_connections),
            messages_after_end: stats.messages_after_end,
            used: stats.used,
            kernel_memory_bytes: self.tracer.kernel_memory_bytes(),
            history: self.history.len() as u64,
            history_capacity: self.history.capacity() as u64,
            variant: self.tracer.variant(),
            degradations: self.tracer.degradations().to_vec(),
            attached: self.tracer.counting_since_ns().is_some(),
            last_loss: self.last_loss,
        })
    }

    /// Sums over everything that was ever seen.
    fn totals(&mut self) -> Result<Counters, LoadError> {
        let moment = self.tracer.now()?;
        let reads = self.read_live(&moment);
        let samples = self.sample_all(&reads)?;
        // What has left the table since is in the other sum now.
        self.catch_up()?;
        Ok(reads
            .iter()
            .zip(&samples)
            .filter(|(read, _)| self.live.contains(read.key))
            .map(|(read, sample)| current(&read.hot, sample.as_ref()))
            .fold(self.ended, |sum, counters| sum + counters))
    }
}

impl Read {
    fn is_closed(&self) -> bool {
        TcpState::from_kernel(self.hot.state) == TcpState::Close
    }
}

fn ownerless(reads: &[Read], samples: &[Option<Sample>]) -> HashMap<u64, Key> {
    reads
        .iter()
        .zip(samples)
        .filter(|(read, _)| read.facts.owner == Owner::Unknown)
        .filter_map(|(read, sample)| Some((sample.as_ref()?.inode, read.key)))
        .filter(|&(inode, _)| inode != 0)
        .collect()
}

/// The counters of a live connection: bytes from the socket, which also knows of those that were
/// moved by no call on it.
pub(super) fn current(hot: &HotEntry, sample: Option<&Sample>) -> Counters {
    let mut counters = facts::counters(hot);
    let closed = TcpState::from_kernel(hot.state) == TcpState::Close;
    if let Some(sample) = sample.filter(|_| !closed) {
        counters.in_bytes = sample.in_bytes;
        counters.out_bytes = sample.out_bytes;
    }
    counters
}

fn open_connection(
    read: Read,
    sample: Option<&Sample>,
    moment: &Moment,
    has_field: impl Fn(&str) -> bool,
) -> Connection {
    let Read { hot, mut facts, .. } = read;
    let counters = current(&hot, sample);
    // An MPTCP socket has no transport of its own.
    let tcp = sample.filter(|_| facts.transport != Transport::Mptcp);
    if let Some(sample) = sample
        && facts.local.port == 0
    {
        // The port of a connection in SYN_SENT is chosen after the hook.
        Arc::make_mut(&mut facts).local.port = sample.local_port;
    }
    Connection {
        state: state(&hot, sample),
        counters,
        last_activity_ns: last_activity(&hot, counters, &facts, tcp, moment),
        pending_bytes: sample.map_or(0, |sample| u64::from(sample.pending_bytes)),
        recv_queue_bytes: (facts.transport != Transport::Mptcp)
            .then(|| tcp.map_or(0, |sample| sample.recv_queue_bytes.into())),
        tcp: tcp.map(|sample| facts::tcp_info(sample, moment, has_field)),
        rates: None,
        end: None,
        facts,
    }
}

/// The socket's own state. A socket that has closed since the table was read stays open in this
/// answer, as its counters are.
fn state(hot: &HotEntry, sample: Option<&Sample>) -> TcpState {
    sample
        .map(|sample| TcpState::from_kernel(sample.state))
        .filter(|&state| state != TcpState::Close)
        .unwrap_or_else(|| TcpState::from_kernel(hot.state))
}

/// The last counted message, or the last data on the wire where bytes moved without a message.
fn last_activity(
    hot: &HotEntry,
    counters: Counters,
    facts: &Facts,
    sample: Option<&Sample>,
    moment: &Moment,
) -> u64 {
    let message = match hot.last_activity_jiffies {
        0 => None,
        jiffies => Some(moment.boot_of_jiffies(jiffies)),
    };
    let data = sample.into_iter().flat_map(|sample| {
        let unseen = hot.last_activity_jiffies == 0;
        let sent = counters.out_bytes > 0 && (unseen || counters.out_bytes != hot.out_bytes);
        let received = counters.in_bytes > 0 && (unseen || counters.in_bytes != hot.in_bytes);
        [
            sent.then_some(sample.last_sent),
            received.then_some(sample.last_received),
        ]
    });
    let data = data.flatten().map(|stamp| moment.boot_of_jiffies32(stamp));
    // A stamp is only good to the tick, the start to the nanosecond.
    data.chain(message)
        .max()
        .unwrap_or(0)
        .min(moment.boot_ns)
        .max(facts.start_ns)
}
