//! The policies of one service, and the connections that they hold for.
//!
//! Pure: what the kernel knows is asked through functions, and time is passed in.

use std::{collections::HashMap, mem, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{
    audit::{Audit, Outcome, Outcomes, Record},
    leak::Leak,
    limit::Limit,
    policy::{Action, Bounds, Policy, Rule, Signal},
};
use crate::registry::{
    connection::{Connection, Facts, TcpState},
    flags::{Flag, Flags},
};

/// What the table knows of an open connection.
#[derive(Clone, Copy, Debug)]
pub(in crate::registry) struct Seen {
    pub(in crate::registry) state: TcpState,
    /// When it last moved something, on `CLOCK_BOOTTIME`.
    pub(in crate::registry) active_ns: u64,
}

/// What a rule has found out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Something of this connection, and why.
    Is(u64, Flag, String),
    /// It is so no longer.
    Passed(u64, Flag),
}

impl Found {
    pub(super) fn leak(cid: u64, flag: Flag, for_ns: u64, limit: Duration) -> Self {
        let what = if flag == Flag::IdleLeak {
            "idle"
        } else {
            "in CLOSE_WAIT"
        };
        let (seconds, limit) = (for_ns / 1_000_000_000, limit.as_secs());
        Self::Is(cid, flag, format!("{what} for {seconds}s, limit {limit}s"))
    }
}

/// Something to be acted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::registry) struct Finding {
    /// Place of the policy in the list.
    pub(in crate::registry) policy: usize,
    pub(in crate::registry) cid: u64,
    pub(in crate::registry) flag: Flag,
    pub(in crate::registry) reason: String,
}

#[derive(Debug)]
enum State {
    Leak(Leak),
    Limit(Box<Limit>),
    Watchlist(Vec<(u64, String)>),
}

#[derive(Debug)]
struct Watch {
    policy: Policy,
    state: State,
    outcomes: Outcomes,
    /// What it has found, of open connections.
    flagged: HashMap<u64, Flags>,
}

/// A policy and its figures.
#[derive(Clone, Debug)]
pub struct PolicyFigures {
    /// The policy.
    pub policy: Policy,
    /// What holds now, of a limit.
    pub bounds: Option<Bounds>,
    /// Whether that is tighter than without pressure.
    pub is_tight: bool,
    /// Open connections that it has found something in.
    pub flagged: u64,
    /// Actions by outcome.
    pub outcomes: Outcomes,
}

/// The policies of one service.
#[derive(Debug, Default)]
pub(in crate::registry) struct Engine {
    watches: Vec<Watch>,
    audit: Audit,
}

impl Watch {
    fn new(policy: &Policy) -> Self {
        Self {
            policy: policy.clone(),
            state: match &policy.rule {
                Rule::Leak(leak) => State::Leak(Leak::new(leak)),
                Rule::Limit(limit) => State::Limit(Box::new(Limit::new(limit))),
                Rule::Watchlist(_) => State::Watchlist(Vec::new()),
            },
            outcomes: Outcomes::default(),
            flagged: HashMap::new(),
        }
    }

    fn enter(&mut self, facts: &Facts, since_ns: u64, is_new: bool) {
        match (&mut self.state, &self.policy.rule) {
            (State::Leak(leak), _) => leak.enter(facts.cid, since_ns),
            (State::Limit(limit), _) => limit.enter(facts, since_ns, is_new),
            (State::Watchlist(news), Rule::Watchlist(watchlist)) => {
                let is_known = self.flagged.contains_key(&facts.cid);
                if let Some(objection) = watchlist.objection(&facts.peer).filter(|_| !is_known) {
                    news.push((facts.cid, objection));
                }
            }
            (State::Watchlist(_), _) => {}
        }
    }

    fn stop_counting(&mut self, cid: u64) {
        match &mut self.state {
            State::Leak(leak) => leak.leave(cid),
            State::Limit(limit) => limit.leave(cid),
            State::Watchlist(news) => news.retain(|(one, _)| *one != cid),
        }
    }

    fn look(&mut self, now_ns: u64, seen: &mut dyn FnMut(u64) -> Option<Seen>) -> Vec<Found> {
        let mut found = Vec::new();
        match &mut self.state {
            State::Leak(leak) => leak.look(now_ns, seen, &mut found),
            State::Limit(limit) => {
                let is_closed = |cid| seen(cid).is_none_or(|seen| seen.state == TcpState::Close);
                let changes = limit.look(is_closed);
                let within = changes.within.into_iter();
                found.extend(within.map(|cid| Found::Passed(cid, Flag::OverLimit)));
                let beyond = changes.beyond.into_iter();
                found.extend(beyond.map(|one| Found::Is(one.cid, Flag::OverLimit, one.reason)));
            }
            State::Watchlist(news) => {
                let news = mem::take(news).into_iter();
                found.extend(news.map(|(cid, why)| Found::Is(cid, Flag::Watchlist, why)));
            }
        }
        found
    }
}

impl Engine {
    pub(in crate::registry) fn new(policies: &[Policy]) -> Self {
        Self {
            watches: policies.iter().map(Watch::new).collect(),
            audit: Audit::default(),
        }
    }

    /// Goes on with other policies. One that is the same as before has lost nothing; one of the same name
    /// keeps its counts. Then every connection has to [`enter`](Self::enter) again.
    pub(in crate::registry) fn replace(&mut self, policies: &[Policy]) {
        let mut former = mem::take(&mut self.watches);
        for policy in policies {
            let at = former.iter().position(|one| one.policy.name == policy.name);
            let before = at.map(|at| former.swap_remove(at));
            self.watches.push(match before {
                Some(before) if before.policy == *policy => before,
                Some(before) => Watch {
                    outcomes: before.outcomes,
                    ..Watch::new(policy)
                },
                None => Watch::new(policy),
            });
        }
    }

    /// The URLs that records go to.
    pub(in crate::registry) fn urls(&self) -> impl Iterator<Item = Arc<str>> {
        self.watches
            .iter()
            .filter_map(|watch| match &watch.policy.action {
                Action::Webhook(url) => Some(Arc::clone(url)),
                Action::Event | Action::Log | Action::Close => None,
            })
    }

    pub(in crate::registry) fn is_empty(&self) -> bool {
        self.watches.is_empty()
    }

    /// Whether something has to be done soon after a connection has opened.
    pub(in crate::registry) fn is_prompt(&self) -> bool {
        let is_leak = |watch: &Watch| matches!(watch.state, State::Leak(_));
        !self.watches.iter().all(is_leak)
    }

    /// A connection is open here, since a time of `CLOCK_BOOTTIME`. It `is_new` unless it was open before.
    pub(in crate::registry) fn enter(&mut self, facts: &Facts, since_ns: u64, is_new: bool) {
        for watch in &mut self.watches {
            watch.enter(facts, since_ns, is_new);
        }
    }

    /// A connection is open here no longer.
    pub(in crate::registry) fn leave(&mut self, cid: u64) {
        for watch in &mut self.watches {
            watch.stop_counting(cid);
            watch.flagged.remove(&cid);
        }
    }

    /// A connection of this service has ended.
    pub(in crate::registry) fn ended(&mut self, connection: &Connection) {
        if !self.is_empty() {
            self.leave(connection.facts.cid);
            self.audit.ended(connection);
        }
    }

    /// What is looked at under pressure.
    pub(in crate::registry) fn has_signal(&self, signal: Signal) -> bool {
        self.limits().any(|limit| limit.signal() == Some(signal))
    }

    fn limits(&self) -> impl Iterator<Item = &Limit> {
        self.watches.iter().filter_map(|watch| match &watch.state {
            State::Limit(limit) => Some(&**limit),
            State::Leak(_) | State::Watchlist(_) => None,
        })
    }

    /// Whether there is something to be done, unless pressure has changed.
    pub(in crate::registry) fn is_due(&self, now_ns: u64) -> bool {
        let is_due = |watch: &Watch| match &watch.state {
            State::Leak(leak) => leak.is_due(now_ns),
            State::Limit(limit) => limit.is_due(),
            State::Watchlist(news) => !news.is_empty(),
        };
        self.watches.iter().any(is_due) || self.audit.is_due(now_ns)
    }

    /// What is to be acted on, and connections whose flags have changed. `memory` is what of it is not
    /// available, in percent.
    pub(in crate::registry) fn look(
        &mut self,
        now_ns: u64,
        memory: Option<u64>,
        mut seen: impl FnMut(u64) -> Option<Seen>,
    ) -> (Vec<Finding>, Vec<u64>) {
        let (mut findings, mut passed) = (Vec::new(), Vec::new());
        for (policy, watch) in self.watches.iter_mut().enumerate() {
            if let State::Limit(limit) = &mut watch.state {
                limit.adapt(memory);
            }
            for found in watch.look(now_ns, &mut seen) {
                match found {
                    Found::Is(cid, flag, reason) => {
                        let flags = watch.flagged.entry(cid).or_default();
                        if !flags.contains(flag) {
                            *flags = flags.with(flag);
                            findings.push(Finding {
                                policy,
                                cid,
                                flag,
                                reason,
                            });
                        }
                    }
                    Found::Passed(cid, flag) => {
                        if watch.clear(cid, flag) {
                            passed.push(cid);
                        }
                    }
                }
            }
        }
        (findings, passed)
    }

    /// A finding does not hold: the socket knows of data at this time that the table does not know.
    pub(in crate::registry) fn moved(&mut self, finding: &Finding, at_ns: u64) {
        let watch = &mut self.watches[finding.policy];
        if let State::Leak(leak) = &mut watch.state {
            leak.moved(finding.cid, at_ns);
        }
        self.withdraw(finding);
    }

    /// Nothing is to be said of a finding.
    pub(in crate::registry) fn withdraw(&mut self, finding: &Finding) {
        self.watches[finding.policy].clear(finding.cid, finding.flag);
    }

    /// All that was found in a connection.
    pub(in crate::registry) fn flags(&self, cid: u64) -> Flags {
        let flagged = self.watches.iter().filter_map(|one| one.flagged.get(&cid));
        flagged.fold(Flags::default(), |all, flags| all.and(*flags))
    }

    pub(in crate::registry) fn policy(&self, finding: &Finding) -> &Policy {
        &self.watches[finding.policy].policy
    }

    /// The record of what is done about a finding.
    pub(in crate::registry) fn record(
        &self,
        service: &Arc<str>,
        finding: &Finding,
        outcome: Outcome,
        connection: Connection,
        at: (Timestamp, u64),
    ) -> Record {
        let policy = &self.watches[finding.policy].policy;
        let found = (finding.flag, finding.reason.clone());
        Record::new(Arc::clone(service), policy, outcome, found, connection, at)
    }

    /// Notes what was done about a finding. What was closed counts no longer, and its record waits for
    /// the last figures until this time at most.
    pub(in crate::registry) fn acted(&mut self, finding: &Finding, record: Record, until_ns: u64) {
        self.watches[finding.policy].outcomes.add(&record.outcome);
        let has_ended = matches!(record.outcome, Outcome::Done | Outcome::Gone);
        if record.action == Action::Close && has_ended {
            for watch in &mut self.watches {
                watch.stop_counting(finding.cid);
            }
        }
        self.audit.push(record, until_ns);
    }

    /// The records that are to be told now, in order.
    pub(in crate::registry) fn due_records(&mut self, now_ns: u64) -> Vec<Arc<Record>> {
        self.audit.due(now_ns)
    }

    pub(in crate::registry) fn figures(&self) -> Vec<PolicyFigures> {
        let figures = self.watches.iter().map(|watch| {
            let limit = match &watch.state {
                State::Limit(limit) => Some(limit),
                State::Leak(_) | State::Watchlist(_) => None,
            };
            PolicyFigures {
                policy: watch.policy.clone(),
                bounds: limit.map(|limit| limit.bounds()),
                is_tight: limit.is_some_and(|limit| limit.is_tight),
                flagged: watch.flagged.len() as u64,
                outcomes: watch.outcomes,
            }
        });
        figures.collect()
    }

    /// The last records, the newest first.
    pub(in crate::registry) fn newest_records(&self) -> Vec<Arc<Record>> {
        self.audit.newest().cloned().collect()
    }
}

impl Watch {
    /// Takes a flag back; whether it was there.
    fn clear(&mut self, cid: u64, flag: Flag) -> bool {
        let Some(flags) = self.flagged.get_mut(&cid) else {
            return false;
        };
        let was_there = flags.contains(flag);
        *flags = flags.without(flag);
        if flags.is_empty() {
            self.flagged.remove(&cid);
        }
        was_there
    }
}
