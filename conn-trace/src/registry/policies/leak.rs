//! Finds connections that nobody uses or closes, by the time at which each is due.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Duration,
};

use super::{
    engine::{Found, Seen},
    policy,
};
use crate::registry::{connection::TcpState, flags::Flag};

/// Which part of the time that a policy says may pass until it is looked again at what has no due time:
/// the state of a socket, which changes without a record.
const PART: u32 = 20;
const SHORTEST: Duration = Duration::from_millis(250);
/// 10,000 connections take some 3 ms.
const LONGEST: Duration = Duration::from_secs(5);

/// Between two looks for something that is to last `time`.
fn interval(time: Duration) -> u64 {
    nanos((time / PART).clamp(SHORTEST, LONGEST))
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The open connections of a service, and when to look at each.
#[derive(Debug)]
pub(super) struct Leak {
    idle: Option<Duration>,
    close_wait: Option<Duration>,
    /// By connection, when it is idle for too long unless it moves something.
    idle_due: HashMap<u64, u64>,
    queue: BTreeSet<(u64, u64)>,
    /// Since when a connection is known to be in CLOSE_WAIT.
    half_closed: HashMap<u64, u64>,
    open: HashSet<u64>,
    next_look: u64,
}

impl Leak {
    pub(super) fn new(policy: &policy::Leak) -> Self {
        Self {
            idle: policy.idle,
            close_wait: policy.close_wait,
            idle_due: HashMap::new(),
            queue: BTreeSet::new(),
            half_closed: HashMap::new(),
            open: HashSet::new(),
            next_look: 0,
        }
    }

    pub(super) fn enter(&mut self, cid: u64, since_ns: u64) {
        if self.open.insert(cid)
            && let Some(idle) = self.idle
        {
            self.look_at(cid, since_ns.saturating_add(nanos(idle)));
        }
    }

    pub(super) fn leave(&mut self, cid: u64) {
        self.open.remove(&cid);
        self.half_closed.remove(&cid);
        if let Some(due) = self.idle_due.remove(&cid) {
            self.queue.remove(&(due, cid));
        }
    }

    /// It has moved something at this time, which the table does not know of.
    pub(super) fn moved(&mut self, cid: u64, at_ns: u64) {
        if let Some(idle) = self.idle.filter(|_| self.open.contains(&cid)) {
            self.look_at(cid, at_ns.saturating_add(nanos(idle)));
        }
    }

    fn look_at(&mut self, cid: u64, due: u64) {
        if let Some(before) = self.idle_due.insert(cid, due) {
            self.queue.remove(&(before, cid));
        }
        self.queue.insert((due, cid));
    }

    /// Whether a look may find something.
    pub(super) fn is_due(&self, now_ns: u64) -> bool {
        let is_idle_due = self.queue.first().is_some_and(|(due, _)| *due <= now_ns);
        is_idle_due || (self.close_wait.is_some() && self.next_look <= now_ns)
    }

    /// What is due by now. Those that were found before are told again.
    pub(super) fn look(
        &mut self,
        now_ns: u64,
        seen: &mut dyn FnMut(u64) -> Option<Seen>,
        found: &mut Vec<Found>,
    ) {
        if let Some(idle) = self.idle {
            self.look_for_idle(now_ns, idle, seen, found);
        }
        if let Some(close_wait) = self.close_wait
            && self.next_look <= now_ns
        {
            self.next_look = now_ns.saturating_add(interval(close_wait));
            self.look_for_half_closed(now_ns, close_wait, seen, found);
        }
    }

    fn look_for_idle(
        &mut self,
        now_ns: u64,
        idle: Duration,
        seen: &mut dyn FnMut(u64) -> Option<Seen>,
        found: &mut Vec<Found>,
    ) {
        let again = now_ns.saturating_add(interval(idle));
        while let Some(&(due, cid)) = self.queue.first()
            && due <= now_ns
        {
            let active_ns = seen(cid)
                .filter(|seen| seen.state != TcpState::Close)
                .map(|seen| seen.active_ns);
            let is_due = |active: &u64| active.saturating_add(nanos(idle)) <= now_ns;
            let next = match active_ns {
                // It is about to end.
                None => again,
                Some(active) if is_due(&active) => {
                    found.push(Found::leak(cid, Flag::IdleLeak, now_ns - active, idle));
                    again
                }
                Some(active) => {
                    found.push(Found::Passed(cid, Flag::IdleLeak));
                    active.saturating_add(nanos(idle))
                }
            };
            self.look_at(cid, next);
        }
    }

    fn look_for_half_closed(
        &mut self,
        now_ns: u64,
        close_wait: Duration,
        seen: &mut dyn FnMut(u64) -> Option<Seen>,
        found: &mut Vec<Found>,
    ) {
        for &cid in &self.open {
            let is_half_closed = seen(cid).is_some_and(|seen| seen.state == TcpState::CloseWait);
            if !is_half_closed {
                if self.half_closed.remove(&cid).is_some() {
                    found.push(Found::Passed(cid, Flag::CloseWaitLeak));
                }
                continue;
            }
            let since = *self.half_closed.entry(cid).or_insert(now_ns);
            let waited = now_ns.saturating_sub(since);
            if waited >= nanos(close_wait) {
                found.push(Found::leak(cid, Flag::CloseWaitLeak, waited, close_wait));
            }
        }
    }
}
