//! The connections of one service by client, port and process.

use std::sync::Arc;

use ipnet::IpNet;

use super::breakdown::Breakdown;
use crate::registry::connection::{Counters, Direction, Facts, Owner};

/// Where a connection is counted; its end has to be told the same.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    client: (IpNet, bool),
    port: (u16, bool),
    process: (Option<Arc<str>>, bool),
}

#[derive(Debug, Default)]
pub(super) struct Breakdowns {
    pub(super) clients: Breakdown<IpNet>,
    pub(super) ports: Breakdown<u16>,
    /// By name; `None` has those whose owner is not known.
    pub(super) processes: Breakdown<Option<Arc<str>>>,
}

impl Breakdowns {
    pub(super) fn enter(&mut self, facts: &Facts, client: IpNet) -> Keys {
        let port = service_port(facts);
        let process = process_name(&facts.owner);
        Keys {
            client: (client, self.clients.enter(client)),
            port: (port, self.ports.enter(port)),
            process: (process.clone(), self.processes.enter(process)),
        }
    }

    pub(super) fn leave(&mut self, keys: &Keys, moved: Counters) {
        let Keys {
            client,
            port,
            process,
        } = keys;
        self.clients.leave(&client.0, client.1, moved);
        self.ports.leave(&port.0, port.1, moved);
        self.processes.leave(&process.0, process.1, moved);
    }

    /// The owner of an open connection may have become known.
    pub(super) fn rename(&mut self, keys: &mut Keys, facts: &Facts) {
        let process = process_name(&facts.owner);
        let (before, is_named) = &keys.process;
        if process != *before {
            self.processes.forget(before, *is_named);
            keys.process = (process.clone(), self.processes.enter(process));
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

fn process_name(owner: &Owner) -> Option<Arc<str>> {
    owner.process().map(|process| Arc::clone(&process.comm))
}
