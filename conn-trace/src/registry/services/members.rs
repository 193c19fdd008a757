//! Counts connections where they belong.

use std::{collections::HashSet, mem, sync::Arc};

use super::{
    Classify, Service, Verdict,
    breakdowns::Breakdowns,
    figures::{Sampled, SampledSums},
    level::At,
    membership::{Membership, Place, Stage},
    tally::Tally,
};
use crate::{
    protocol::Identity,
    registry::{
        connection::{Connection, Counters, Facts, Origin},
        flags::Flags,
        live::Key,
        policies::{Engine, Signal},
    },
};

/// What is known of one service.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) service: Service,
    pub(super) tally: Tally,
    pub(super) by: Breakdowns,
    pub(super) sampled: SampledSums,
    pub(super) engine: Engine,
}

impl Watched {
    /// Writes into the facts of a connection that it belongs here, and what it speaks.
    fn name(&self, facts: &mut Facts, identity: Option<&Arc<Identity>>) {
        facts.service = Some(Arc::clone(&self.service.name));
        facts.identity = identity.filter(|_| self.service.identify).cloned();
    }
}

/// All services, and the host as a whole. The agent's own connections are in neither.
#[derive(Debug)]
pub(in crate::registry) struct Members {
    classify: Box<dyn Classify>,
    pub(super) host: Tally,
    /// Of all sockets of the host.
    pub(super) sampled: SampledSums,
    pub(super) services: Vec<Watched>,
    /// Connections of which more has to be known.
    pub(in crate::registry) undecided: HashSet<Key>,
}

impl Members {
    pub(in crate::registry) fn new(classify: Box<dyn Classify>, now: At) -> Self {
        Self {
            services: watched(classify.as_ref(), now),
            classify,
            host: Tally::new(now),
            sampled: SampledSums::default(),
            undecided: HashSet::new(),
        }
    }

    /// Counts a connection that has come to be known, and writes its service into its facts.
    pub(in crate::registry) fn enter(
        &mut self,
        key: Key,
        facts: &mut Facts,
        stage: Stage,
        now: At,
    ) -> Membership {
        let mut membership = Membership {
            cid: facts.cid,
            stage,
            place: match facts.is_self {
                true => Place::Own,
                false => Place::Undecided,
            },
            has_joined: stage == Stage::Open && facts.origin != Origin::Opened,
            base: Counters::default(),
            reported: Counters::default(),
            sampled: None,
            retransmitted_before: 0,
            identity: None,
        };
        if !facts.is_self {
            match stage {
                Stage::Connecting => self.host.connecting += 1,
                Stage::Open => {
                    let since = since(&membership, facts, now);
                    self.host.open(membership.has_joined, since);
                }
            }
            self.undecided.insert(key);
            self.review(key, &mut membership, facts, now);
        }
        membership
    }

    /// The handshake of a connection has ended.
    pub(in crate::registry) fn establish(&mut self, membership: &mut Membership, facts: &Facts) {
        if mem::replace(&mut membership.stage, Stage::Open) == Stage::Open {
            return;
        }
        if !matches!(membership.place, Place::Own) {
            self.host.connecting -= 1;
            self.host.open(false, facts.start_ns);
        }
        if let Place::Service(at, keys) = &mut membership.place {
            let watched = &mut self.services[*at];
            watched.tally.connecting -= 1;
            watched.tally.open(false, facts.start_ns);
            let client = watched.service.client(&facts.peer);
            *keys = Some(watched.by.enter(facts, client));
            watched.engine.enter(facts, facts.start_ns, true);
        }
    }

    /// More may be known of a connection now.
    pub(in crate::registry) fn review(
        &mut self,
        key: Key,
        membership: &mut Membership,
        facts: &mut Facts,
        now: At,
    ) {
        if facts.is_self && !matches!(membership.place, Place::Own) {
            self.disown(key, membership, now);
            return;
        }
        match &mut membership.place {
            Place::Own | Place::Nowhere => {}
            Place::Service(at, keys) => {
                let watched = &mut self.services[*at];
                watched.name(facts, membership.identity.as_ref());
                if let Some(keys) = keys {
                    watched.by.rename(keys, facts);
                }
            }
            Place::Undecided => match self.classify.classify(facts) {
                Verdict::Undecided => {}
                Verdict::Nowhere => {
                    self.undecided.remove(&key);
                    membership.place = Place::Nowhere;
                }
                Verdict::Of(at) => {
                    self.undecided.remove(&key);
                    self.place(at, membership, facts, now);
                }
            },
        }
    }

    /// Counts the connection at a service.
    fn place(&mut self, at: usize, membership: &mut Membership, facts: &mut Facts, now: At) {
        let watched = &mut self.services[at];
        watched.name(facts, membership.identity.as_ref());
        let keys = match membership.stage {
            Stage::Connecting => {
                watched.tally.connecting += 1;
                None
            }
            Stage::Open => {
                let since = since(membership, facts, now);
                watched.tally.open(membership.has_joined, since);
                let client = watched.service.client(&facts.peer);
                let is_new = !membership.has_joined;
                watched.engine.enter(facts, facts.start_ns, is_new);
                Some(watched.by.enter(facts, client))
            }
        };
        if let Some(sampled) = membership.sampled_here() {
            watched.sampled.add(sampled);
        }
        membership.place = Place::Service(at, keys);
    }

    /// A connection was not to be counted: it is the agent's own, or has been counted before. What has
    /// been told of it stays.
    pub(in crate::registry) fn disown(&mut self, key: Key, membership: &mut Membership, now: At) {
        self.undecided.remove(&key);
        let told = membership.reported;
        match membership.stage {
            Stage::Connecting => self.host.connecting -= 1,
            Stage::Open => self.host.leave(told, now.ns),
        }
        let place = mem::replace(&mut membership.place, Place::Own);
        self.take_out(place, membership, told.since(membership.base), now);
        let sampled = membership.sampled.take();
        self.sampled.forget(sampled);
        self.host.retransmitted += sampled.map_or(0, |one| u64::from(one.retransmitted));
    }

    /// A connection has ended. What is not known of it by now stays so.
    pub(in crate::registry) fn end(
        &mut self,
        key: Key,
        mut membership: Membership,
        facts: &mut Facts,
        now: At,
    ) -> Membership {
        self.undecided.remove(&key);
        if membership.is_undecided()
            && let Some(at) = self.classify.settle(facts)
        {
            self.place(at, &mut membership, facts, now);
        }
        membership
    }

    /// Counts the end of a connection that [`end`](Self::end) has found the place of.
    pub(in crate::registry) fn ended(&mut self, membership: &Membership, connection: &Connection) {
        if matches!(membership.place, Place::Own) {
            return;
        }
        let at_end = connection.end.as_ref().and_then(|end| end.retrans);
        let retransmitted = membership.retransmitted(at_end);
        self.host.retransmitted += u64::from(retransmitted);
        self.sampled.forget(membership.sampled);
        match membership.stage {
            Stage::Connecting => self.host.fail(connection),
            Stage::Open => self.host.close(connection, connection.counters),
        }
        if let Place::Service(at, keys) = &membership.place {
            let watched = &mut self.services[*at];
            let sampled = membership.sampled_here();
            let here = retransmitted.saturating_sub(membership.retransmitted_before);
            watched.tally.retransmitted += u64::from(here);
            watched.sampled.forget(sampled);
            let moved = connection.counters.since(membership.base);
            match keys {
                None => watched.tally.fail(connection),
                Some(keys) => {
                    watched.tally.close(connection, moved);
                    watched.engine.ended(connection);
                    watched.by.leave(keys, moved);
                }
            }
        }
    }

    /// Takes a connection that is still there out of its service.
    fn take_out(&mut self, place: Place, membership: &mut Membership, moved: Counters, now: At) {
        if let Place::Service(at, keys) = place {
            let watched = &mut self.services[at];
            let sampled = membership.sampled_here();
            watched.sampled.forget(sampled);
            watched.tally.retransmitted += sampled.map_or(0, |one| u64::from(one.retransmitted));
            match keys {
                None => watched.tally.connecting -= 1,
                Some(keys) => {
                    watched.engine.leave(membership.cid);
                    watched.tally.leave(moved, now.ns);
                    watched.by.leave(&keys, moved);
                }
            }
        }
    }

    /// Takes note of the socket of a connection.
    pub(super) fn sample(&mut self, membership: &mut Membership, sampled: Sampled) {
        let before = membership.sampled_here();
        self.sampled.forget(membership.sampled.replace(sampled));
        self.sampled.add(sampled);
        if let (Place::Service(at, _), Some(now)) = (&membership.place, membership.sampled_here()) {
            let sums = &mut self.services[*at].sampled;
            sums.forget(before);
            sums.add(now);
        }
    }

    /// Replaces the services. Those that keep their name keep what was counted. Every connection has
    /// to be [moved](Self::move_over) then.
    pub(in crate::registry) fn replace(&mut self, classify: Box<dyn Classify>, now: At) -> Former {
        let fresh = watched(classify.as_ref(), now);
        let former = mem::replace(&mut self.services, fresh);
        self.classify = classify;
        let mut places = Vec::new();
        for mut before in former {
            let at = self
                .services
                .iter()
                .position(|now| now.service.name == before.service.name);
            if let Some(at) = at {
                let watched = &mut self.services[at];
                mem::swap(&mut watched.tally, &mut before.tally);
                mem::swap(&mut watched.by, &mut before.by);
                mem::swap(&mut watched.sampled, &mut before.sampled);
                mem::swap(&mut watched.engine, &mut before.engine);
                watched.engine.replace(&watched.service.policies);
            }
            places.push(at);
        }
        Former(places)
    }

    /// Counts an open connection where it belongs now. `counters` are what it has moved so far.
    pub(in crate::registry) fn move_over(
        &mut self,
        former: &Former,
        key: Key,
        membership: &mut Membership,
        facts: &mut Facts,
        counters: Counters,
        now: At,
    ) {
        let before = match mem::replace(&mut membership.place, Place::Undecided) {
            Place::Own => {
                membership.place = Place::Own;
                return;
            }
            Place::Service(at, keys) => former.0[at].map(|at| (at, keys)),
            Place::Undecided | Place::Nowhere => None,
        };
        let verdict = self.classify.classify(facts);
        let before = match before {
            Some((at, mut keys)) if verdict == Verdict::Of(at) => {
                let watched = &mut self.services[at];
                watched.name(facts, membership.identity.as_ref());
                if let Some(keys) = &mut keys {
                    watched.by.rename(keys, facts);
                    watched.engine.enter(facts, facts.start_ns, false);
                }
                membership.place = Place::Service(at, keys);
                self.undecided.remove(&key);
                return;
            }
            elsewhere => elsewhere,
        };
        facts.service = None;
        facts.identity = None;
        if let Some((at, keys)) = before {
            let moved = counters.since(membership.base);
            self.take_out(Place::Service(at, keys), membership, moved, now);
        }
        membership.base = counters;
        membership.retransmitted_before = membership.sampled.map_or(0, |one| one.retransmitted);
        membership.has_joined = membership.stage == Stage::Open;
        self.undecided.insert(key);
        self.review(key, membership, facts, now);
    }

    /// Whether the service of a connection wants to know what it speaks; `None` while it is not known
    /// where that belongs.
    pub(in crate::registry) fn identifies(&self, membership: &Membership) -> Option<bool> {
        match membership.place {
            Place::Undecided => None,
            Place::Service(at, _) => Some(self.services[at].service.identify),
            Place::Own | Place::Nowhere => Some(false),
        }
    }

    /// Whether a policy has something to do, unless pressure has changed.
    pub(in crate::registry) fn is_policy_due(&self, now_ns: u64) -> bool {
        self.services.iter().any(|one| one.engine.is_due(now_ns))
    }

    /// Whether one of them has to act soon after an opening.
    pub(in crate::registry) fn has_prompt_policies(&self) -> bool {
        self.services.iter().any(|one| one.engine.is_prompt())
    }

    /// Whether one of them looks at this sign of pressure.
    pub(in crate::registry) fn wants_signal(&self, signal: Signal) -> bool {
        self.services
            .iter()
            .any(|one| one.engine.has_signal(signal))
    }

    /// The numbers of services with policies.
    pub(in crate::registry) fn with_policies(&self) -> Vec<usize> {
        let services = self.services.iter().enumerate();
        let has_some = |(at, one): (usize, &Watched)| (!one.engine.is_empty()).then_some(at);
        services.filter_map(has_some).collect()
    }

    /// The URLs that records of policies go to.
    pub(in crate::registry) fn urls(&self) -> HashSet<Arc<str>> {
        let services = self.services.iter();
        services.flat_map(|one| one.engine.urls()).collect()
    }

    /// The name and the policies of the service of this number.
    pub(in crate::registry) fn engine(&mut self, at: usize) -> (&Arc<str>, &mut Engine) {
        let watched = &mut self.services[at];
        (&watched.service.name, &mut watched.engine)
    }

    /// What policies have found in a connection.
    pub(in crate::registry) fn flags(&self, membership: &Membership) -> Flags {
        match membership.place {
            Place::Service(at, _) => self.services[at].engine.flags(membership.cid),
            Place::Own | Place::Undecided | Place::Nowhere => Flags::default(),
        }
    }

    /// Nothing from before this moment will be told any more.
    pub(in crate::registry) fn settle(&mut self, until: At) {
        self.host.level.settle(until);
        for watched in &mut self.services {
            watched.tally.level.settle(until);
        }
    }

    /// Lets the peak of a service begin anew; whether there is such a service.
    pub(in crate::registry) fn reset_peak(&mut self, name: &str, now: At) -> bool {
        let found = self
            .services
            .iter_mut()
            .find(|watched| &*watched.service.name == name);
        found
            .map(|watched| watched.tally.level.reset(now))
            .is_some()
    }
}

/// Since when the connection is open where it is counted.
fn since(membership: &Membership, facts: &Facts, now: At) -> u64 {
    match membership.has_joined {
        true => now.ns,
        false => facts.start_ns,
    }
}

/// Where the services before are in the list now.
#[derive(Debug)]
pub(in crate::registry) struct Former(Vec<Option<usize>>);

fn watched(classify: &dyn Classify, now: At) -> Vec<Watched> {
    let services = classify.services().iter();
    services
        .map(|service| Watched {
            service: service.clone(),
            tally: Tally::new(now),
            by: Breakdowns::default(),
            sampled: SampledSums::default(),
            engine: Engine::new(&service.policies),
        })
        .collect()
}
