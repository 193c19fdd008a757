//! The report of a moment, and what keeps it complete.

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{
    Classify, Members,
    figures::{Figures, Report, Sampled, ServiceFigures, States},
    level::At,
    membership::{Place, Stage},
    tally::Tally,
};
use crate::{
    kernel::{
        LoadError,
        clock::{Moment, boot_now_ns},
    },
    registry::{
        connection::{Counters, Owner, TcpState, Transport},
        facts,
        live::{Key, Live},
        state::State,
    },
};

/// Sockets that one report reads; where there are more, the next one goes on. At 0.8 µs each, half of
/// what a scrape may take.
const SAMPLED: usize = 8192;
/// How often connections are looked at that are not decided.
const REVIEW_INTERVAL: Duration = Duration::from_secs(1);

/// What is to be done now and then.
#[derive(Debug)]
pub(in crate::registry) struct Rounds {
    reviewed: Instant,
    /// The number of the last connection that was sampled.
    sampled: u64,
    /// When the last look into the ring was that found something.
    drained: Option<At>,
    /// Whether there are sockets whose owners have not been looked for.
    wants_owners: bool,
}

impl Rounds {
    pub(in crate::registry) fn new() -> Self {
        Self {
            reviewed: Instant::now(),
            sampled: 0,
            drained: None,
            wants_owners: false,
        }
    }
}

impl State {
    /// What is known of the host and of each service at this moment.
    pub(in crate::registry) fn report(&mut self) -> Result<Report, LoadError> {
        self.catch_up()?;
        self.sample_members()?;
        let moment = self.tracer.now()?;
        let mut host = Open::default();
        let mut of_services = vec![Open::default(); self.members.services.len()];
        let table = self.tracer.table();
        for (_, live) in self.live.iter() {
            let membership = &live.membership;
            if matches!(membership.place, Place::Own) {
                continue;
            }
            let Some(hot) = table.hot(live.slot, live.key.0, live.key.1) else {
                continue;
            };
            let state = TcpState::from_kernel(hot.state);
            let counters = facts::counters(&hot);
            let is_open = membership.stage == Stage::Open;
            host.add(state, is_open, counters, None);
            if let Place::Service(at, _) = membership.place {
                let active_ns = match hot.last_activity_jiffies {
                    0 => live.facts.start_ns,
                    jiffies => moment.boot_of_jiffies(jiffies),
                };
                let idle = Duration::from_nanos(moment.boot_ns.saturating_sub(active_ns));
                let is_idle = idle >= self.members.services[at].service.idle_after;
                let moved = counters.since(membership.base);
                of_services[at].add(state, is_open, moved, Some(is_idle));
            }
        }
        Ok(self.members.report(moment.wall, host, of_services))
    }

    /// Reads the sockets of connections that belong to a service.
    fn sample_members(&mut self) -> Result<(), LoadError> {
        let wanted: Vec<(u64, Key, u32)> = {
            let members = |(_, live): &(u64, &Live)| {
                matches!(live.membership.place, Place::Service(..))
                    && live.facts.transport != Transport::Mptcp
            };
            let last = self.rounds.sampled;
            let behind = self.live.behind(last).filter(members);
            let before = self.live.iter().take_while(|(cid, _)| *cid <= last);
            behind
                .chain(before.filter(members))
                .take(SAMPLED)
                .map(|(cid, live)| (cid, live.key, live.slot))
                .collect()
        };
        let Some(&(last, ..)) = wanted.last() else {
            return Ok(());
        };
        self.rounds.sampled = last;
        let sockets: Vec<_> = wanted.iter().map(|&(_, key, slot)| (key, slot)).collect();
        for (key, sample) in self.sample(&sockets)? {
            let Some(sample) = sample else { continue };
            if let Some((_, live)) = self.live.get_mut(key) {
                let sampled = Sampled {
                    rtt_us: sample.srtt_us >> 3,
                    retransmitted: sample.retrans,
                    pending_bytes: sample.pending_bytes,
                    recv_queue_bytes: sample.recv_queue_bytes,
                };
                self.members.sample(&mut live.membership, sampled);
            }
        }
        Ok(())
    }

    /// After each look into the ring. One that had ended when its opening was told is told as a whole
    /// with the next look at the latest.
    pub(in crate::registry) fn settle_levels(&mut self, is_active: bool) {
        let until = match is_active {
            true => self.rounds.drained.replace(now()),
            false => self.rounds.drained.take(),
        };
        if let Some(until) = until {
            self.members.settle(until);
        }
    }

    /// Looks whether more is known by now of connections that are not decided.
    pub(in crate::registry) fn review_undecided(&mut self) -> Result<(), LoadError> {
        if self.members.undecided.is_empty() || self.rounds.reviewed.elapsed() < REVIEW_INTERVAL {
            return Ok(());
        }
        self.rounds.reviewed = Instant::now();
        let moment = self.tracer.now()?;
        let place_may_be_found = self.describer.places.may_be_found_later();
        let undecided: Vec<Key> = self.members.undecided.iter().copied().collect();
        let mut ownerless = Vec::new();
        for key in undecided {
            let Some((_, live)) = self.live.get_mut(key) else {
                continue;
            };
            let slot = live.slot;
            let Some(hot) = self.tracer.table().hot(slot, key.0, key.1) else {
                continue;
            };
            let is_established = TcpState::from_kernel(hot.state) != TcpState::SynSent;
            if live.is_incomplete(&hot, is_established, place_may_be_found) {
                if let Some(entry) = self.tracer.table().entry(slot, key.0, key.1) {
                    self.describe(key, &entry, &moment);
                }
            } else if live.facts.owner == Owner::Unknown {
                ownerless.push((key, slot));
            }
        }
        self.note_ownerless(&ownerless)
    }

    /// Takes note of the files of sockets whose owner is to be looked for.
    fn note_ownerless(&mut self, sockets: &[(Key, u32)]) -> Result<(), LoadError> {
        for (key, sample) in self.sample(sockets)? {
            if let Some(sample) = sample.filter(|sample| sample.inode != 0) {
                let is_new = self.ownerless.insert(sample.inode, key).is_none();
                self.rounds.wants_owners |= is_new;
            }
        }
        Ok(())
    }

    /// Whether owners are to be looked for that decide where connections belong. Asked once.
    pub(in crate::registry) fn wants_owners(&mut self) -> bool {
        mem::take(&mut self.rounds.wants_owners) && self.has_ownerless()
    }

    /// Replaces the services; every open connection is counted where it belongs now.
    pub(in crate::registry) fn reconfigure(
        &mut self,
        classify: Box<dyn Classify>,
        ports: Vec<u16>,
    ) -> Result<(), LoadError> {
        self.catch_up()?;
        self.describer.own.ports = ports;
        let now = now();
        let former = self.members.replace(classify, now);
        let table = self.tracer.table();
        for live in self.live.iter_mut() {
            let hot = table.hot(live.slot, live.key.0, live.key.1);
            let counters = hot.map_or(Counters::default(), |hot| facts::counters(&hot));
            let facts = Arc::make_mut(&mut live.facts);
            self.members.move_over(
                &former,
                live.key,
                &mut live.membership,
                facts,
                counters,
                now,
            );
        }
        Ok(())
    }
}

impl Members {
    fn report(&self, now: Timestamp, host: Open, of_services: Vec<Open>) -> Report {
        let services = self.services.iter().zip(of_services);
        Report {
            now,
            host: host.figures(self.host.clone()),
            services: services
                .map(|(watched, open)| ServiceFigures {
                    service: watched.service.clone(),
                    figures: open.figures(watched.tally.clone()),
                    sampled: watched.sampled,
                    clients: watched.by.clients.top(watched.service.top),
                    ports: watched.by.ports.top(watched.service.top),
                    processes: watched.by.processes.top(watched.service.top),
                })
                .collect(),
            undecided: self.undecided.len() as u64,
        }
    }
}

/// The moment on both clocks.
pub(in crate::registry) fn at(moment: &Moment) -> At {
    At {
        ns: moment.boot_ns,
        wall: moment.wall,
    }
}

/// This moment.
pub(in crate::registry) fn now() -> At {
    At {
        ns: boot_now_ns(),
        wall: Timestamp::now(),
    }
}

/// What is open of the host or of a service.
#[derive(Clone, Default)]
struct Open {
    held: u64,
    live: Counters,
    states: States,
    idle: u64,
}

impl Open {
    fn add(&mut self, state: TcpState, is_open: bool, moved: Counters, is_idle: Option<bool>) {
        self.states.add(state);
        self.live = self.live + moved;
        let is_closed = state == TcpState::Close;
        self.held += u64::from(is_closed && is_open);
        self.idle += u64::from(!is_closed && is_open && is_idle == Some(true));
    }

    fn figures(self, tally: Tally) -> Figures {
        let Self {
            held,
            live,
            states,
            idle,
        } = self;
        Figures {
            tally,
            held,
            live,
            states,
            idle,
        }
    }
}

/// Reports without a kernel.
#[cfg(test)]
pub(crate) mod tests {
    use super::{At, Classify, Members, Open, Place, Report, Sampled, Stage, Timestamp};
    use crate::registry::connection::Connection;

    /// That of an agent that has seen these connections open, and some of them end.
    pub(crate) fn report(
        classify: Box<dyn Classify>,
        connections: &[Connection],
        now: Timestamp,
    ) -> Report {
        let moment = now;
        let now = At {
            ns: 0,
            wall: moment,
        };
        let mut members = Members::new(classify, now);
        let mut host = Open::default();
        let mut of_services = vec![Open::default(); members.services.len()];
        for connection in connections {
            let key = (connection.facts.cid, 0);
            let mut connection = connection.clone();
            let facts = std::sync::Arc::make_mut(&mut connection.facts);
            let mut membership = members.enter(key, facts, Stage::Open, now);
            if connection.end.is_some() {
                let membership = members.end(key, membership, facts, now);
                members.ended(&membership, &connection);
                continue;
            }
            let sampled = Sampled {
                rtt_us: 100,
                ..Sampled::default()
            };
            members.sample(&mut membership, sampled);
            if !matches!(membership.place, Place::Own) {
                host.add(connection.state, true, connection.counters, None);
            }
            if let Place::Service(at, _) = membership.place {
                of_services[at].add(connection.state, true, connection.counters, Some(false));
            }
        }
        members.report(moment, host, of_services)
    }
}
