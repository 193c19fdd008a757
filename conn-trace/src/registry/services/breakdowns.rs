//! The connections of one service by client, port, process and protocol.

use std::sync::Arc;

use ipnet::IpNet;

use super::breakdown::Breakdown;
use crate::{
    protocol::Protocol,
    registry::connection::{Counters, Direction, Facts, Owner},
};

/// What a connection speaks, and the version as a label; `None` where that is not known.
pub type Spoken = Option<(Protocol, &'static str)>;

/// Where a connection is counted; its end has to be told the same.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    client: (IpNet, bool),
    port: (u16, bool),
    process: (Option<Arc<str>>, bool),
    spoken: (Spoken, bool),
}

#[derive(Debug, Default)]
pub(super) struct Breakdowns {
    pub(super) clients: Breakdown<IpNet>,
    pub(super) ports: Breakdown<u16>,
    /// By name; `None` has those whose owner is not known.
    pub(super) processes: Breakdown<Option<Arc<str>>>,
    /// By protocol and version.
    pub(super) protocols: Breakdown<Spoken>,
}

impl Breakdowns {
    pub(super) fn enter(&mut self, facts: &Facts, client: IpNet) -> Keys {
        let port = service_port(facts);
        let process = process_name(&facts.owner);
        let spoken = spoken(facts);
        Keys {
            client: (client, self.clients.enter(client)),
            port: (port, self.ports.enter(port)),
            process: (process.clone(), self.processes.enter(process)),
            spoken: (spoken, self.protocols.enter(spoken)),
        }
    }

    pub(super) fn leave(&mut self, keys: &Keys, moved: Counters) {
        let Keys {
            client,
            port,
            process,
            spoken,
        } = keys;
        self.clients.leave(&client.0, client.1, moved);
        self.ports.leave(&port.0, port.1, moved);
        self.processes.leave(&process.0, process.1, moved);
        self.protocols.leave(&spoken.0, spoken.1, moved);
    }

    /// The owner of an open connection may have become known, or what it speaks.
    pub(super) fn rename(&mut self, keys: &mut Keys, facts: &Facts) {
        let process = process_name(&facts.owner);
        let (before, is_named) = &keys.process;
        if process != *before {
            self.processes.forget(before, *is_named);
            keys.process = (process.clone(), self.processes.enter(process));
        }
        let spoken = spoken(facts);
        let (before, is_named) = &keys.spoken;
        if spoken != *before {
            self.protocols.forget(before, *is_named);
            keys.spoken = (spoken, self.protocols.enter(spoken));
        }
    }
}

/// The port that the service is offered at: this end's of accepted connections, else the peer's.
fn service_port(facts: &Facts) -> u16 {
    match facts.direction {
        Direction::In => facts.local.port,
        Direction::Out | Direction::Unknown => facts.peer.port,
    }
}

fn spoken(facts: &Facts) -> Spoken {
    let identity = facts.identity.as_ref()?;
    Some((identity.protocol, identity.version_label()))
}

fn process_name(owner: &Owner) -> Option<Arc<str>> {
    owner.process().map(|process| Arc::clone(&process.comm))
}
