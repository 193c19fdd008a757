//! Which rows are shown.

use std::fmt::{self, Display, Formatter};

use super::{address::Network, derived, pattern::Pattern, ports::Ports};
use crate::protocol::Protocol;
use crate::registry::{
    connection::{Connection, Direction, Facts},
    flags::Flag,
};

/// Conditions on a connection; all of those given have to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The connection with this number.
    pub cid: Option<u64>,
    /// Address of the peer.
    pub ip: Option<Network>,
    /// Address of this end.
    pub local_ip: Option<Network>,
    /// Port of the peer.
    pub port: Option<Ports>,
    /// Port of this end.
    pub local_port: Option<Ports>,
    /// Who opened it.
    pub direction: Option<Direction>,
    /// Process id of the owner.
    pub pid: Option<u32>,
    /// Name of the owner.
    pub comm: Option<Pattern>,
    /// Unix user of the socket.
    pub user: Option<User>,
    /// Path of the owner's cgroup.
    pub cgroup: Option<Pattern>,
    /// Inode number of the network namespace.
    pub netns: Option<u32>,
    /// The configured service it belongs to.
    pub service: Option<String>,
    /// What policies have found in it.
    pub flag: Option<Flag>,
    /// What it speaks.
    pub protocol: Option<Protocol>,
    /// Whether the agent's own connections are shown as well.
    pub with_self: bool,
    /// Whether there is a condition on what only the application knows, such as a NATS account.
    /// No connection is known to fulfil it.
    pub unknowable: bool,
}

/// A Unix user by name or number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    name: String,
    uid: Option<u32>,
}

impl From<&str> for User {
    fn from(text: &str) -> Self {
        Self {
            name: text.to_owned(),
            uid: text.parse().ok(),
        }
    }
}

impl User {
    /// Whether it is the user of this name and number.
    #[must_use]
    pub fn is(&self, name: &str, uid: u32) -> bool {
        self.name == name || self.uid == Some(uid)
    }
}

impl Display for User {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Filter {
    /// Leaves only connections of this service.
    pub fn restrict_to(&mut self, service: &str) {
        let is_another = |asked: &String| asked != service;
        self.unknowable |= self.service.as_ref().is_some_and(is_another);
        self.service = Some(service.to_owned());
    }

    /// Whether the connection is one of those meant.
    #[must_use]
    pub fn matches(&self, connection: &Connection) -> bool {
        self.matches_facts(&connection.facts)
    }

    /// Whether a connection of these facts is.
    #[must_use]
    pub fn matches_facts(&self, facts: &Facts) -> bool {
        let process = || facts.owner.process();
        (self.with_self || !facts.is_self)
            && holds(self.cid.as_ref(), |cid| *cid == facts.cid)
            && holds(self.ip.as_ref(), |network| network.contains(&facts.peer))
            && holds(self.local_ip.as_ref(), |network| {
                network.contains(&facts.local)
            })
            && holds(self.port.as_ref(), |ports| ports.contains(facts.peer.port))
            && holds(self.local_port.as_ref(), |ports| {
                ports.contains(facts.local.port)
            })
            && holds(self.direction.as_ref(), |direction| {
                *direction == facts.direction
            })
            && holds(self.pid.as_ref(), |pid| {
                process().is_some_and(|process| process.pid == *pid)
            })
            && holds(self.comm.as_ref(), |comm| {
                process().is_some_and(|process| comm.matches(&process.comm))
            })
            && holds(self.user.as_ref(), |user| user.is(&facts.user, facts.uid))
            && holds(self.cgroup.as_ref(), |cgroup| {
                facts
                    .cgroup
                    .as_ref()
                    .is_some_and(|path| cgroup.matches(path))
            })
            && holds(self.netns.as_ref(), |netns| *netns == facts.netns)
            && holds(self.service.as_ref(), |service| {
                facts.service.as_deref() == Some(service.as_str())
            })
            && holds(self.flag.as_ref(), |flag| facts.flags.contains(*flag))
            && holds(self.protocol.as_ref(), |protocol| {
                let identity = facts.identity.as_ref();
                identity.is_some_and(|identity| identity.protocol == *protocol)
            })
            && !self.unknowable
    }
}

/// A condition that was not given always holds.
fn holds<T>(condition: Option<&T>, test: impl FnOnce(&T) -> bool) -> bool {
    condition.is_none_or(test)
}

/// From the name that rows show.
pub(super) fn flag(text: &str) -> Option<Flag> {
    Flag::ALL
        .into_iter()
        .find(|flag| text.eq_ignore_ascii_case(flag.name()))
}

/// From the name that rows show.
pub(super) fn protocol(text: &str) -> Option<Protocol> {
    Protocol::ALL
        .into_iter()
        .find(|protocol| text.eq_ignore_ascii_case(protocol.name()))
}

/// From the name that rows show.
pub(super) fn direction(text: &str) -> Option<Direction> {
    Direction::ALL
        .into_iter()
        .find(|direction| text.eq_ignore_ascii_case(derived::direction_name(*direction)))
}
