//! What a policy says.

use std::{sync::Arc, time::Duration};

use ipnet::IpNet;

use crate::registry::connection::Endpoint;

/// A policy of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Its name, unique in its service.
    pub name: Arc<str>,
    /// What it looks for.
    pub rule: Rule,
    /// What it does then.
    pub action: Action,
    /// Whether it only says what it would do.
    pub dry_run: bool,
}

/// What a policy looks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// Connections that nobody uses or closes.
    Leak(Leak),
    /// Connections beyond a number.
    Limit(Limit),
    /// Peers that are not wanted.
    Watchlist(Watchlist),
}

impl Rule {
    /// Every kind.
    pub const KINDS: [&'static str; 3] = ["leak", "limit", "watchlist"];

    /// The word in `kind`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Leak(_) => "leak",
            Self::Limit(_) => "limit",
            Self::Watchlist(_) => "watchlist",
        }
    }
}

/// How long a connection may be of no use; at least one of the two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leak {
    /// Without data and messages.
    pub idle: Option<Duration>,
    /// In CLOSE_WAIT.
    pub close_wait: Option<Duration>,
}

/// How many connections there may be; at least one of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Open at the same time.
    pub connections: Option<u32>,
    /// The same, of each client.
    pub connections_per_client: Option<u32>,
    /// Opened within a second.
    pub new_per_second: Option<u32>,
}

impl Bounds {
    /// Those of `tighter` where it has some.
    #[must_use]
    pub fn tightened(self, tighter: Self) -> Self {
        Self {
            connections: tighter.connections.or(self.connections),
            connections_per_client: tighter
                .connections_per_client
                .or(self.connections_per_client),
            new_per_second: tighter.new_per_second.or(self.new_per_second),
        }
    }
}

/// A limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What holds as long as there is no pressure.
    pub bounds: Bounds,
    /// Clients that differ only in later bits of their address are one: bits of IPv4 and IPv6.
    pub client_prefix: (u8, u8),
    /// What holds under pressure.
    pub adaptive: Option<Adaptive>,
}

impl Limit {
    /// The client of a connection, as this limit tells clients apart.
    pub(super) fn client(&self, peer: &Endpoint) -> IpNet {
        let (v4, v6) = self.client_prefix;
        prefix(peer, v4, v6)
    }
}

/// The network of a peer that has so many bits in IPv4 and IPv6.
pub(in crate::registry) fn prefix(peer: &Endpoint, v4: u8, v6: u8) -> IpNet {
    let bits = if peer.ip.is_ipv4() { v4 } else { v6 };
    let whole = IpNet::from(peer.ip);
    IpNet::new(peer.ip, bits).map_or(whole, |net| net.trunc())
}

/// When a limit is tighter, and how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adaptive {
    /// What is looked at.
    pub signal: Signal,
    /// At this and above it the limit becomes tight.
    pub high: u64,
    /// Below this it becomes wide again.
    pub low: u64,
    /// What holds then.
    pub bounds: Bounds,
}

/// A sign of pressure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Open connections of the service.
    Connections,
    /// Memory of the host that is not available, in percent.
    Memory,
}

impl Signal {
    /// Every signal.
    pub const ALL: [Self; 2] = [Self::Connections, Self::Memory];

    /// The word in `signal`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Memory => "memory",
        }
    }
}

/// Which peers are wanted; at least one of the two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watchlist {
    /// These are not.
    pub deny: Vec<IpNet>,
    /// Others than these are not; empty if all are.
    pub allow: Vec<IpNet>,
}

impl Watchlist {
    /// Why this peer is not wanted, if it is not.
    pub(super) fn objection(&self, peer: &Endpoint) -> Option<String> {
        let is_of = |net: &&IpNet| net.contains(&peer.ip);
        if let Some(net) = self.deny.iter().find(is_of) {
            return Some(format!("peer is in {net}, which is denied"));
        }
        let is_wanted = self.allow.is_empty() || self.allow.iter().any(|net| is_of(&net));
        (!is_wanted).then(|| "peer is in no network that is allowed".to_owned())
    }
}

/// What is done with a connection that is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is told in the event stream and noted.
    Event,
    /// The log warns of it besides.
    Log,
    /// It is sent to this URL besides.
    Webhook(Arc<str>),
    /// It is closed.
    Close,
}

impl Action {
    /// Every word in `action`.
    pub const NAMES: [&'static str; 4] = ["event", "log", "webhook", "close"];

    /// The word in `action`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Log => "log",
            Self::Webhook(_) => "webhook",
            Self::Close => "close",
        }
    }
}
