//! All services, tried in the order of the configuration.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::selector::{Holds, Selector};
use crate::registry::{
    connection::Facts,
    services::{Classify, Service, Verdict},
};

/// Finds the service of a connection: the first one whose selectors all hold.
#[derive(Clone, Debug)]
pub struct Matcher {
    services: Arc<[Service]>,
    selectors: Arc<[Vec<Selector>]>,
}

/// What one service says to a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Explained {
    /// Name of the service.
    pub service: String,
    /// `yes`, `no`, or `unknown` as long as what it asks for is not known.
    pub matches: &'static str,
    /// Whether the connection belongs to it: it is the first that matches.
    pub chosen: bool,
    /// Each of its selectors.
    pub selectors: Vec<Selected>,
}

/// What one selector says to a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Selected {
    /// Its key in the configuration.
    pub key: &'static str,
    /// What it asks for.
    pub wanted: String,
    /// `yes`, `no` or `unknown`.
    pub holds: &'static str,
}

impl Matcher {
    /// Of services and their selectors, in order.
    #[must_use]
    pub fn new(services: Vec<(Service, Vec<Selector>)>) -> Self {
        let (services, selectors): (Vec<_>, Vec<_>) = services.into_iter().unzip();
        Self {
            services: services.into(),
            selectors: selectors.into(),
        }
    }

    /// The selectors of services that want to know what their connections speak.
    fn identifying(&self) -> impl Iterator<Item = &[Selector]> {
        let all = self.services.iter().zip(self.selectors.iter());
        all.filter(|(service, _)| service.identify)
            .map(|(_, selectors)| &selectors[..])
    }

    /// What every service says to a connection of these facts.
    #[must_use]
    pub fn explain(&self, facts: &Facts) -> Vec<Explained> {
        let chosen = match self.classify(facts) {
            Verdict::Of(at) => Some(at),
            Verdict::Nowhere | Verdict::Undecided => None,
        };
        let all = self.services.iter().zip(self.selectors.iter());
        all.enumerate()
            .map(|(at, (service, selectors))| Explained {
                service: service.name.to_string(),
                matches: word(all_hold(selectors, facts)),
                chosen: chosen == Some(at),
                selectors: selectors
                    .iter()
                    .map(|selector| Selected {
                        key: selector.key(),
                        wanted: selector.wanted(),
                        holds: word(selector.holds(facts)),
                    })
                    .collect(),
            })
            .collect()
    }
}

fn word(holds: Holds) -> &'static str {
    match holds {
        Holds::Yes => "yes",
        Holds::No => "no",
        Holds::Unknown => "unknown",
    }
}

/// Whether all hold: no if one does not, whatever is unknown of the others.
fn all_hold(selectors: &[Selector], facts: &Facts) -> Holds {
    let mut all = Holds::Yes;
    for selector in selectors {
        match selector.holds(facts) {
            Holds::Yes => {}
            Holds::No => return Holds::No,
            Holds::Unknown => all = Holds::Unknown,
        }
    }
    all
}

impl Classify for Matcher {
    fn services(&self) -> &[Service] {
        &self.services
    }

    fn classify(&self, facts: &Facts) -> Verdict {
        for (at, selectors) in self.selectors.iter().enumerate() {
            match all_hold(selectors, facts) {
                Holds::Yes => return Verdict::Of(at),
                Holds::No => {}
                Holds::Unknown => return Verdict::Undecided,
            }
        }
        Verdict::Nowhere
    }

    fn identifies_local_port(&self, port: u16) -> bool {
        self.identifying().any(|selectors| {
            let mut local = selectors.iter().filter_map(Selector::local_ports);
            match local.next() {
                Some(ports) => ports.any(|ports| ports.contains(port)),
                // Nothing is known by the ports alone.
                None => !selectors.iter().any(|one| one.peer_ports().is_some()),
            }
        })
    }

    fn identifies_peer_port(&self, port: u16) -> bool {
        self.identifying().any(|selectors| {
            let has_local = selectors.iter().any(|one| one.local_ports().is_some());
            let mut peer = selectors.iter().filter_map(Selector::peer_ports);
            !has_local && peer.any(|ports| ports.any(|ports| ports.contains(port)))
        })
    }

    fn settle(&self, facts: &Facts) -> Option<usize> {
        let mut all = self.selectors.iter();
        all.position(|selectors| all_hold(selectors, facts) == Holds::Yes)
    }
}
