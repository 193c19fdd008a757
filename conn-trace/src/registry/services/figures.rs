//! What readers get of the host and of each service.

use ipnet::IpNet;
use jiff::Timestamp;
use std::sync::Arc;

use super::{Service, breakdown::Shares, breakdowns::Spoken, tally::Tally};
use crate::{
    kernel::ProgramRuns,
    registry::{
        connection::{Counters, Facts, TcpState},
        policies::{Deliveries, PolicyFigures, Record},
        snapshot::Status,
    },
};

/// Of the host and of all services, at one moment.
#[derive(Clone, Debug)]
pub struct Report {
    /// The moment.
    pub now: Timestamp,
    /// The same on `CLOCK_BOOTTIME`, in nanoseconds.
    pub now_ns: u64,
    /// All connections but the agent's own.
    pub host: Figures,
    /// What all sockets said when they were last looked at.
    pub sampled: SampledSums,
    /// Each service, in the order of the configuration.
    pub services: Vec<ServiceFigures>,
    /// Open connections of which it is not known yet where they belong.
    pub undecided: u64,
    /// What became of the records of actions that were to be sent somewhere.
    pub deliveries: Vec<Deliveries>,
    /// The agent's own figures. Bytes that no call moved are missing in its sums.
    pub status: Status,
    /// What the programs took, where the kernel measures it.
    pub programs: Vec<ProgramRuns>,
}

impl Report {
    /// The service of this name.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&ServiceFigures> {
        self.services.iter().find(|one| *one.service.name == *name)
    }
}

/// A service and its figures.
#[derive(Clone, Debug)]
pub struct ServiceFigures {
    /// The service.
    pub service: Service,
    /// As of the host.
    pub figures: Figures,
    /// What its sockets said when they were last looked at.
    pub sampled: SampledSums,
    /// By client.
    pub clients: Shares<IpNet>,
    /// By the port that it is offered at.
    pub ports: Shares<u16>,
    /// By name of the process; `None` has those whose owner is not known.
    pub processes: Shares<Option<Arc<str>>>,
    /// By what they speak, where the service wants to know.
    pub protocols: Option<Shares<Spoken>>,
    /// The oldest open connections, as many as the service asks for, the oldest first.
    pub oldest: Vec<Arc<Facts>>,
    /// Its policies, in the order of the configuration.
    pub policies: Vec<PolicyFigures>,
    /// The last of what they have done, the newest first.
    pub actions: Vec<Arc<Record>>,
}

/// What was counted, and what is open now.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// What openings and ends have changed.
    pub tally: Tally,
    /// Closed connections whose sockets still exist: they are not in [`Tally::closed`] yet.
    pub held: u64,
    /// What the connections that are still there have moved since they came to be counted here.
    pub live: Counters,
    /// Connections by state.
    pub states: States,
    /// Open connections without a message for as long as the service says.
    pub idle: u64,
}

impl Figures {
    /// Connections open now: their handshake has ended, and they have not.
    #[must_use]
    pub fn current(&self) -> u64 {
        self.tally.current.saturating_sub(self.held)
    }

    /// Connections that have ended.
    #[must_use]
    pub fn closed(&self) -> u64 {
        self.tally.closed.total() + self.held
    }

    /// What all connections have moved.
    #[must_use]
    pub fn moved(&self) -> Counters {
        self.tally.ended + self.live
    }
}

/// Connections by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct States([u64; TcpState::ALL.len()]);

impl States {
    pub(super) fn add(&mut self, state: TcpState) {
        if let Some(at) = TcpState::ALL.iter().position(|&other| other == state) {
            self.0[at] += 1;
        }
    }

    /// Every state and its count; closed ones are those whose sockets still exist.
    pub fn iter(&self) -> impl Iterator<Item = (TcpState, u64)> {
        TcpState::ALL.into_iter().zip(self.0)
    }
}

/// What a socket said when it was last looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sampled {
    /// Smoothed round trip time in µs; 0 without a sample.
    pub rtt_us: u32,
    /// Segments sent again in its life.
    pub retransmitted: u32,
    /// Written and not acknowledged.
    pub pending_bytes: u32,
    /// Arrived and not read.
    pub recv_queue_bytes: u32,
}

/// Sums of these over open connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SampledSums {
    /// Sockets that were looked at.
    pub sockets: u64,
    /// Of these, such with a round trip time.
    pub with_rtt: u64,
    /// The sum of those, in µs.
    pub rtt_us: u64,
    /// Segments sent again.
    pub retransmitted: u64,
    /// Written and not acknowledged.
    pub pending_bytes: u64,
    /// Arrived and not read.
    pub recv_queue_bytes: u64,
}

impl SampledSums {
    pub(super) fn add(&mut self, one: Sampled) {
        self.sockets += 1;
        self.with_rtt += u64::from(one.rtt_us != 0);
        self.rtt_us += u64::from(one.rtt_us);
        self.retransmitted += u64::from(one.retransmitted);
        self.pending_bytes += u64::from(one.pending_bytes);
        self.recv_queue_bytes += u64::from(one.recv_queue_bytes);
    }

    /// Takes out what was added of a socket.
    pub(super) fn forget(&mut self, one: Option<Sampled>) {
        let Some(one) = one else { return };
        self.sockets -= 1;
        self.with_rtt -= u64::from(one.rtt_us != 0);
        self.rtt_us -= u64::from(one.rtt_us);
        self.retransmitted -= u64::from(one.retransmitted);
        self.pending_bytes -= u64::from(one.pending_bytes);
        self.recv_queue_bytes -= u64::from(one.recv_queue_bytes);
    }
}
