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
    oldest::Oldest,
    tally::Tally,
};
use crate::{
    kernel::{
        LoadError, ProgramRuns,
        clock::{Moment, boot_now_ns},
        sampler::Sample,
    },
    registry::{
        connection::{Counters, Facts, Owner, TcpState, Transport},
        facts,
        live::{Key, Live},
        policies::Deliveries,
        snapshot::Status,
        state::State,
    },
};

/// Sockets that one report reads, so that a small host has figures of this moment; where there are
/// more, the next one goes on. At 1 µs each that is a twentieth of what a scrape may take. The audit
/// reads all of them every few seconds.
const SAMPLED: usize = 1024;
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
        self.sample_sockets()?;
        let moment = self.tracer.now()?;
        let mut own = Counters::default();
        let mut host = Open::new(0);
        let mut of_services = self.members.open();
        let table = self.tracer.table();
        for (cid, live) in self.live.iter_mut() {
            let hot = table.hot(live.slot, live.key.0, live.key.1);
            // It has ended, and the record of that is still in the ring: it has moved no less than
            // was reported.
            let (state, counters, jiffies) =
                hot.map_or((TcpState::Close, live.membership.reported, 0), |hot| {
                    let state = TcpState::from_kernel(hot.state);
                    (state, facts::counters(&hot), hot.last_activity_jiffies)
                });
            let membership = &mut live.membership;
            membership.reported = counters;
            if matches!(membership.place, Place::Own) {
                own = own + counters;
                continue;
            }
            let is_open = membership.stage == Stage::Open;
            host.add(state, is_open, counters, None);
            if let Place::Service(at, _) = membership.place {
                let active_ns = match jiffies {
                    0 => live.start_ns,
                    jiffies => moment.boot_of_jiffies(jiffies),
                };
                let idle = Duration::from_nanos(moment.boot_ns.saturating_sub(active_ns));
                let is_idle = idle >= self.members.services[at].service.idle_after;
                let moved = counters.since(membership.base);
                of_services[at].add(state, is_open, moved, Some(is_idle));
                if is_open && state != TcpState::Close {
                    of_services[at].oldest.add(live.start_ns, cid);
                }
            }
        }
        let look = Look {
            now: moment.wall,
            now_ns: moment.boot_ns,
            status: self.figures(self.ended + host.live + own)?,
            programs: self.tracer.program_runs(),
            deliveries: self.enforcer.notify.deliveries(),
            host,
            of_services,
        };
        let facts = |cid| self.live.get(cid).map(|live| Arc::clone(&live.facts));
        Ok(self.members.report(look, facts))
    }

    /// Reads the sockets of connections, but the agent's own.
    fn sample_sockets(&mut self) -> Result<(), LoadError> {
        let wanted: Vec<(u64, Key, u32)> = {
            let is_wanted = |(_, live): &(u64, &Live)| {
                !matches!(live.membership.place, Place::Own)
                    && live.facts.transport != Transport::Mptcp
            };
            let last = self.rounds.sampled;
            let behind = self.live.behind(last).filter(is_wanted);
            let before = self.live.iter().take_while(|(cid, _)| *cid <= last);
            behind
                .chain(before.filter(is_wanted))
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
            self.take_sample(key, sample.as_ref());
        }
        Ok(())
    }

    /// Takes note of what a socket says. That of MPTCP has no figures of its own.
    pub(in crate::registry) fn take_sample(&mut self, key: Key, sample: Option<&Sample>) {
        let Some(sample) = sample else { return };
        let Some((_, live)) = self.live.get_mut(key) else {
            return;
        };
        let is_own = matches!(live.membership.place, Place::Own);
        if !is_own && live.facts.transport != Transport::Mptcp {
            let sampled = Sampled {
                rtt_us: sample.srtt_us >> 3,
                retransmitted: sample.retrans,
                pending_bytes: sample.pending_bytes,
                recv_queue_bytes: sample.recv_queue_bytes,
            };
            self.members.sample(&mut live.membership, sampled);
        }
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
        Self::want_first_bytes(self.tracer.table(), classify.as_ref());
        let former = self.members.replace(classify, now);
        self.enforcer.notify.keep(&self.members.urls());
        let table = self.tracer.table();
        for (_, live) in self.live.iter_mut() {
            let hot = table.hot(live.slot, live.key.0, live.key.1);
            let told = live.membership.reported;
            let counters = hot.map_or(told, |hot| facts::counters(&hot));
            let facts = Arc::make_mut(&mut live.facts);
            self.members.move_over(
                &former,
                live.key,
                &mut live.membership,
                facts,
                counters,
                now,
            );
            facts.flags = self.members.flags(&live.membership);
        }
        Ok(())
    }
}

impl Members {
    /// Of each service, before any connection was looked at.
    fn open(&self) -> Vec<Open> {
        let services = self.services.iter();
        services
            .map(|watched| Open::new(watched.service.oldest))
            .collect()
    }

    fn report(&self, look: Look, facts: impl Fn(u64) -> Option<Arc<Facts>>) -> Report {
        let Look {
            now,
            now_ns,
            host,
            of_services,
            deliveries,
            status,
            programs,
        } = look;
        let services = self.services.iter().zip(of_services);
        Report {
            now,
            now_ns,
            host: host.figures(self.host.clone()),
            sampled: self.sampled,
            services: services
                .map(|(watched, mut open)| ServiceFigures {
                    service: watched.service.clone(),
                    oldest: open.take_oldest().filter_map(&facts).collect(),
                    figures: open.figures(watched.tally.clone()),
                    sampled: watched.sampled,
                    clients: watched.by.clients.top(watched.service.top),
                    ports: watched.by.ports.top(watched.service.top),
                    processes: watched.by.processes.top(watched.service.top),
                    protocols: watched
                        .service
                        .identify
                        .then(|| watched.by.protocols.top(usize::MAX)),
                    policies: watched.engine.figures(),
                    actions: watched.engine.newest_records(),
                })
                .collect(),
            undecided: self.undecided.len() as u64,
            deliveries,
            status,
            programs,
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

/// What was seen of all connections at one moment.
struct Look {
    now: Timestamp,
    now_ns: u64,
    host: Open,
    of_services: Vec<Open>,
    deliveries: Vec<Deliveries>,
    status: Status,
    programs: Vec<ProgramRuns>,
}

/// What is open of the host or of a service.
struct Open {
    held: u64,
    live: Counters,
    states: States,
    idle: u64,
    oldest: Oldest,
}

impl Open {
    /// Nothing yet; the `oldest` are kept.
    fn new(oldest: usize) -> Self {
        Self {
            held: 0,
            live: Counters::default(),
            states: States::default(),
            idle: 0,
            oldest: Oldest::new(oldest),
        }
    }

    fn take_oldest(&mut self) -> impl Iterator<Item = u64> + use<> {
        mem::replace(&mut self.oldest, Oldest::new(0)).cids()
    }

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
            oldest: _,
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
    use std::{collections::HashMap, sync::Arc};

    use super::{At, Classify, Look, Members, Open, Place, Report, Sampled, Stage, Status};
    use crate::{
        kernel::ProgramRuns,
        registry::{
            connection::{Connection, TcpState},
            policies::{Outcome, Seen},
            snapshot::Snapshot,
        },
    };

    /// Lets policies look for the first time, and fail.
    fn enforce(members: &mut Members, open: &[Connection], now: At) {
        for at in members.with_policies() {
            let (service, engine) = members.engine(at);
            let seen = Seen {
                state: TcpState::Established,
                active_ns: now.ns,
            };
            let (findings, _) = engine.look(now.ns, None, |_| Some(seen));
            for finding in findings {
                let found = open.iter().find(|one| one.facts.cid == finding.cid);
                let found = found.unwrap().clone();
                let outcome = Outcome::Failed("no reason".to_owned());
                let now = (now.wall, now.ns);
                let record = engine.record(service, &finding, outcome, found, now);
                engine.acted(&finding, record, 0);
            }
            engine.due_records(now.ns);
        }
    }

    /// That of an agent that has seen these connections open, and some of them end.
    pub(crate) fn report(
        classify: Box<dyn Classify>,
        snapshot: &Snapshot,
        status: Status,
    ) -> Report {
        let Snapshot {
            now,
            now_ns,
            open,
            closed,
            ..
        } = snapshot;
        let now = At { ns: 0, wall: *now };
        let mut members = Members::new(classify, now);
        let mut host = Open::new(0);
        let mut of_services = members.open();
        let mut by_cid = HashMap::new();
        for connection in open.iter().chain(closed) {
            let key = (connection.facts.cid, 0);
            let mut connection = connection.clone();
            let facts = Arc::make_mut(&mut connection.facts);
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
            if matches!(membership.place, Place::Own) {
                continue;
            }
            members.sample(&mut membership, sampled);
            host.add(connection.state, true, connection.counters, None);
            if let Place::Service(at, _) = membership.place {
                of_services[at].add(connection.state, true, connection.counters, Some(false));
                of_services[at].oldest.add(facts.start_ns, facts.cid);
                by_cid.insert(facts.cid, Arc::clone(&connection.facts));
            }
        }
        enforce(&mut members, open, now);
        let look = Look {
            now: now.wall,
            now_ns: *now_ns,
            host,
            of_services,
            deliveries: Vec::new(),
            status,
            programs: vec![ProgramRuns {
                program: "state_changed".to_owned(),
                runs: 3,
                run_time_ns: 1500,
            }],
        };
        members.report(look, |cid| by_cid.get(&cid).cloned())
    }
}
