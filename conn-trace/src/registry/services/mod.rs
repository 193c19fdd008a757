//! Services: which connections belong to what people watch, and what is known of each as a whole.
//!
//! The configuration says what belongs where through [`Classify`]. A connection is counted when that
//! is certain: while something decides that is not known yet, such as the owner of a connection that
//! nobody has used, it is *undecided* and counts only for the host.

mod breakdown;
mod breakdowns;
mod figures;
mod histogram;
mod level;
mod members;
mod membership;
mod oldest;
pub(crate) mod report;
mod tally;

use std::{fmt::Debug, sync::Arc, time::Duration};

pub use self::{
    breakdown::{Share, Shares},
    breakdowns::Spoken,
    figures::{Figures, Report, Sampled, SampledSums, ServiceFigures, States},
    histogram::{DURATIONS, Histogram, SIZES},
    level::{At, Peak},
    tally::{Causes, Tally},
};
pub(super) use self::{
    members::Members,
    membership::{Membership, Stage},
    report::{Rounds, at, now},
};
use super::{
    connection::{Endpoint, Facts},
    policies::{self, Policy},
};

/// Where a connection belongs, as far as its facts tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// To the service at this place in the list.
    Of(usize),
    /// To none.
    Nowhere,
    /// What is not known yet decides.
    Undecided,
}

/// Says which service a connection belongs to. Replaced as a whole when the configuration changes.
pub trait Classify: Debug + Send {
    /// The services, in the order in which they are tried.
    fn services(&self) -> &[Service];

    /// Where a connection of these facts belongs.
    fn classify(&self, facts: &Facts) -> Verdict;

    /// The same of a connection of which no more will be known: what is not known speaks against.
    fn settle(&self, facts: &Facts) -> Option<usize>;

    /// Whether a connection with this port at this end may belong to a service that wants to know what
    /// it speaks. Port 0 stands for one that is not known yet.
    fn identifies_local_port(&self, port: u16) -> bool;

    /// The same of the peer's port. Of a connection that belongs to such a service one of the two says
    /// so.
    fn identifies_peer_port(&self, port: u16) -> bool;
}

/// What the registry has to know of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Its name.
    pub name: Arc<str>,
    /// Connections without a message for this long are idle.
    pub idle_after: Duration,
    /// Clients that differ only in later bits of their address are one: bits of IPv4 and IPv6.
    pub client_prefix: (u8, u8),
    /// Clients, ports and processes that are shown one by one; the others together.
    pub top: usize,
    /// The oldest connections that are shown one by one.
    pub oldest: usize,
    /// What is to be found in its connections, and what is done then.
    pub policies: Vec<Policy>,
    /// Whether the first bytes of its connections are read, to say what they speak.
    pub identify: bool,
}

impl Service {
    /// The client of a connection, as this service tells clients apart.
    fn client(&self, peer: &Endpoint) -> ipnet::IpNet {
        let (v4, v6) = self.client_prefix;
        policies::prefix(peer, v4, v6)
    }
}
