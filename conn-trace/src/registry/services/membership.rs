//! What a connection has been counted as, kept with it while it is open.

use std::sync::Arc;

use super::{breakdowns::Keys, figures::Sampled};
use crate::{protocol::Identity, registry::connection::Counters};

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) enum Stage {
    /// Its handshake has not ended.
    Connecting,
    /// Its handshake has ended.
    Open,
}

/// Where a connection is counted besides the host.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// Nowhere at all: it is the agent's own.
    Own,
    /// Only at the host, until more is known.
    Undecided,
    /// Only at the host.
    Nowhere,
    /// At the service of this number; with the keys once it is open.
    Service(usize, Option<Keys>),
}

/// What a connection has been counted as.
#[derive(Clone, Debug)]
pub(in crate::registry) struct Membership {
    /// The number of the connection.
    pub(super) cid: u64,
    pub(super) stage: Stage,
    pub(super) place: Place,
    /// Whether it was open before it came to be known.
    pub(super) has_joined: bool,
    /// What it had moved when it came to its service.
    pub(super) base: Counters,
    /// What it had moved when it was last reported: what has been told is not taken back.
    pub(super) reported: Counters,
    /// Its socket when it was last looked at.
    pub(super) sampled: Option<Sampled>,
    /// Segments that it had sent again when it came to its service.
    pub(super) retransmitted_before: u32,
    /// What it speaks, as far as its first bytes have said.
    pub(in crate::registry) identity: Option<Arc<Identity>>,
}

impl Membership {
    /// Its socket, as its service counts it.
    pub(super) fn sampled_here(&self) -> Option<Sampled> {
        self.sampled.map(|sampled| Sampled {
            retransmitted: sampled
                .retransmitted
                .saturating_sub(self.retransmitted_before),
            ..sampled
        })
    }

    /// Segments that it sent again in its life: as its end says, but no fewer than were told of.
    pub(super) fn retransmitted(&self, at_end: Option<u32>) -> u32 {
        let told = self.sampled.map_or(0, |sampled| sampled.retransmitted);
        at_end.unwrap_or(0).max(told)
    }

    /// Whether more facts may decide where it belongs.
    pub(in crate::registry) fn is_undecided(&self) -> bool {
        matches!(self.place, Place::Undecided)
    }
}
