//! Live connections, from the table and their sockets, and the agent's figures.

use std::sync::Arc;

use conn_trace_common::table::{ColdEntry, HotEntry};
use jiff::Timestamp;

use super::{
    connection::{Connection, Counters, Facts, TcpInfo, TcpState, Transport},
    facts,
    live::{Key, Live},
    snapshot::{FirstBytesStatus, Status},
    state::State,
};
use crate::kernel::{
    LoadError,
    clock::Moment,
    sampler::{Detail, Request, Sample},
    table::Table,
};

/// A live connection as the table has it.
pub(super) struct Read {
    pub(super) key: Key,
    pub(super) slot: u32,
    pub(super) hot: HotEntry,
    pub(super) cold: ColdEntry,
    pub(super) facts: Arc<Facts>,
}

impl State {
    fn sample_all(&mut self, reads: &[Read]) -> Result<Vec<Option<Sample>>, LoadError> {
        let wanted: Vec<_> = reads.iter().map(|read| (read.key, read.slot)).collect();
        Ok(self
            .sample(&wanted)?
            .into_iter()
            .map(|(_, sample)| sample)
            .collect())
    }

    /// Reads the sockets of live connections, without TCP's own figures.
    pub(super) fn sample(
        &mut self,
        wanted: &[(Key, u32)],
    ) -> Result<Vec<(Key, Option<Sample>)>, LoadError> {
        let requests: Vec<_> = wanted
            .iter()
            .map(|&((cookie, generation), slot)| Request {
                cookie,
                slot,
                generation,
            })
            .collect();
        let mut samples = Vec::with_capacity(wanted.len());
        self.tracer
            .sample(&requests, Detail::Common, |index, sample| {
                samples.push((wanted[index].0, sample));
            })?;
        Ok(samples)
    }

    /// Everything in the live set, in order of `cid`.
    fn read_live(&mut self) -> Vec<Read> {
        let table = self.tracer.table();
        self.live
            .iter()
            .filter_map(|(_, live)| Read::of(live, table))
            .collect()
    }

    /// The agent's own figures.
    pub(super) fn status(&mut self) -> Result<Status, LoadError> {
        self.catch_up()?;
        let totals = self.totals()?;
        self.figures(totals)
    }

    /// The same, with these sums over everything that was ever seen.
    pub(super) fn figures(&mut self, totals: Counters) -> Result<Status, LoadError> {
        let now_ns = self.tracer.now()?.boot_ns;
        self.history.age(now_ns);
        let stats = self.tracer.table().stats();
        let total = stats.opened + stats.adopted;
        Ok(Status {
            now: Timestamp::now(),
            started: self.started,
            open: total.saturating_sub(stats.closed),
            total,
            closed: stats.closed,
            totals,
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
            ring_records: self.records,
            last_loss: self.last_loss,
            tracing: self.messages.figures(),
            first_bytes: FirstBytesStatus {
                waiting: self.readings.len() as u64,
                lost: stats.ring_lost_first_bytes,
                unseen: stats.unseen_first_bytes,
            },
        })
    }

    /// Sums over everything that was ever seen.
    fn totals(&mut self) -> Result<Counters, LoadError> {
        let reads = self.read_live();
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
    /// `None` once it has left the table.
    pub(super) fn of(live: &Live, table: &Table) -> Option<Self> {
        let entry = table.entry(live.slot, live.key.0, live.key.1)?;
        Some(Self {
            key: live.key,
            slot: live.slot,
            hot: entry.hot,
            cold: entry.cold,
            facts: Arc::clone(&live.facts),
        })
    }

    /// Whether it is closed while its socket still exists.
    pub(super) fn is_closed(&self) -> bool {
        TcpState::from_kernel(self.hot.state) == TcpState::Close
    }
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

/// An open connection, with what was read of its socket.
pub(super) fn open_connection(
    read: Read,
    sample: Option<&Sample>,
    moment: &Moment,
    tcp_info: impl FnOnce(&Sample) -> Option<Box<TcpInfo>>,
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
            .then(|| tcp.map_or(0, |sample| sample.recv_queue_bytes)),
        rtt_us: tcp.and_then(|sample| (sample.srtt_us != 0).then_some(sample.srtt_us >> 3)),
        tcp: tcp.and_then(tcp_info),
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
