//! Finds the newest connections beyond a number.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use ipnet::IpNet;

use super::policy::{self, Bounds, Signal};
use crate::registry::connection::Facts;

const SECOND_NS: u64 = 1_000_000_000;

/// Connections in the order in which they were opened: time and number.
type InOrder = BTreeSet<(u64, u64)>;

/// A connection that is beyond a limit, and which.
#[derive(Debug)]
pub(super) struct Beyond {
    pub(super) cid: u64,
    pub(super) reason: String,
}

/// What a look has changed.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) beyond: Vec<Beyond>,
    /// Those that no longer are.
    pub(super) within: Vec<u64>,
}

/// The open connections of a service.
#[derive(Debug)]
pub(super) struct Limit {
    policy: policy::Limit,
    /// Whether the tighter bounds hold.
    pub(super) is_tight: bool,
    open: HashMap<u64, (u64, IpNet)>,
    all: InOrder,
    by_client: HashMap<IpNet, InOrder>,
    /// Clients that have more than they may.
    crowded: HashSet<IpNet>,
    /// Openings of the last second, as many as are within the limit.
    recent: VecDeque<u64>,
    /// Opened too soon: they stay so.
    too_soon: HashSet<u64>,
    /// Those of them that nobody has been told of.
    news: Vec<Beyond>,
    /// Beyond a number at the last look.
    beyond: HashSet<u64>,
    has_changed: bool,
}

impl Limit {
    pub(super) fn new(policy: &policy::Limit) -> Self {
        Self {
            policy: policy.clone(),
            is_tight: false,
            open: HashMap::new(),
            all: BTreeSet::new(),
            by_client: HashMap::new(),
            crowded: HashSet::new(),
            recent: VecDeque::new(),
            too_soon: HashSet::new(),
            news: Vec::new(),
            beyond: HashSet::new(),
            has_changed: false,
        }
    }

    /// What holds now.
    pub(super) fn bounds(&self) -> Bounds {
        let bounds = self.policy.bounds;
        match &self.policy.adaptive {
            Some(adaptive) if self.is_tight => bounds.tightened(adaptive.bounds),
            _ => bounds,
        }
    }

    /// A connection is open since a time. It `is_new` unless it was open before it was seen.
    pub(super) fn enter(&mut self, facts: &Facts, since_ns: u64, is_new: bool) {
        let client = self.policy.client(&facts.peer);
        if self.open.contains_key(&facts.cid) {
            return;
        }
        self.open.insert(facts.cid, (since_ns, client));
        self.has_changed = true;
        self.all.insert((since_ns, facts.cid));
        let of_client = self.by_client.entry(client).or_default();
        of_client.insert((since_ns, facts.cid));
        self.count_client(client);
        if is_new {
            self.note_opening(facts.cid, since_ns);
        }
    }

    fn note_opening(&mut self, cid: u64, since_ns: u64) {
        let Some(most) = self.bounds().new_per_second else {
            return;
        };
        let is_past = |at: &u64| at.saturating_add(SECOND_NS) <= since_ns;
        while self.recent.front().is_some_and(is_past) {
            self.recent.pop_front();
        }
        if self.recent.len() < most as usize {
            self.recent.push_back(since_ns);
            return;
        }
        self.too_soon.insert(cid);
        self.news.push(Beyond {
            cid,
            reason: format!("more than {most} new connections in a second"),
        });
    }

    /// It no longer counts.
    pub(super) fn leave(&mut self, cid: u64) {
        let Some((since, client)) = self.open.remove(&cid) else {
            return;
        };
        self.has_changed = true;
        self.all.remove(&(since, cid));
        if let Some(of_client) = self.by_client.get_mut(&client) {
            of_client.remove(&(since, cid));
            if of_client.is_empty() {
                self.by_client.remove(&client);
            }
        }
        self.count_client(client);
        self.beyond.remove(&cid);
        self.too_soon.remove(&cid);
    }

    /// What is looked at under pressure.
    pub(super) fn signal(&self) -> Option<Signal> {
        Some(self.policy.adaptive.as_ref()?.signal)
    }

    /// Tightens or widens the limit. Memory is in percent of that of the host.
    pub(super) fn adapt(&mut self, memory: Option<u64>) {
        let Some(adaptive) = &self.policy.adaptive else {
            return;
        };
        let pressure = match adaptive.signal {
            Signal::Connections => Some(self.all.len() as u64),
            Signal::Memory => memory,
        };
        // What cannot be read says nothing.
        let Some(pressure) = pressure else { return };
        let was_tight = self.is_tight;
        self.is_tight = match was_tight {
            false => pressure >= adaptive.high,
            true => pressure >= adaptive.low,
        };
        if self.is_tight != was_tight {
            self.has_changed = true;
            let clients: Vec<_> = self.by_client.keys().copied().collect();
            for client in clients {
                self.count_client(client);
            }
        }
    }

    /// Whether a look may find something.
    pub(super) fn is_due(&self) -> bool {
        self.has_changed || !self.news.is_empty()
    }

    /// What has changed since the last look. `is_gone` says whether a connection has ended though it
    /// is still there: its program has not closed the socket.
    pub(super) fn look(&mut self, is_gone: impl FnMut(u64) -> bool) -> Changes {
        let mut changes = Changes::default();
        let ended = |one: &Beyond| !self.open.contains_key(&one.cid);
        self.news.retain(|one| !ended(one));
        changes.beyond.append(&mut self.news);
        if !self.has_changed {
            return changes;
        }
        self.has_changed = false;
        let mut now = self.beyond_bounds();
        // Only then it matters, and it takes some 3 ms for 10,000 connections.
        if now.keys().any(|cid| !self.beyond.contains(cid)) {
            self.forget(is_gone);
            self.has_changed = false;
            now = self.beyond_bounds();
        }
        for cid in &self.beyond {
            if !now.contains_key(cid) && !self.too_soon.contains(cid) {
                changes.within.push(*cid);
            }
        }
        let before = std::mem::replace(&mut self.beyond, now.keys().copied().collect());
        let mut news: Vec<_> = now
            .into_iter()
            .filter(|(cid, _)| !before.contains(cid) && !self.too_soon.contains(cid))
            .map(|(cid, bound)| Beyond {
                cid,
                reason: self.reason(bound),
            })
            .collect();
        // In the order in which they came to be beyond.
        news.sort_by_key(|one| self.open.get(&one.cid).map(|(since, _)| (*since, one.cid)));
        changes.beyond.extend(news);
        changes
    }

    /// Those that are gone count no longer.
    fn forget(&mut self, mut is_gone: impl FnMut(u64) -> bool) {
        let gone: Vec<_> = self
            .open
            .keys()
            .copied()
            .filter(|cid| is_gone(*cid))
            .collect();
        for cid in gone {
            self.leave(cid);
        }
    }

    /// The newest beyond each bound.
    fn beyond_bounds(&self) -> HashMap<u64, Bound> {
        let bounds = self.bounds();
        let mut found = HashMap::new();
        if let Some(most) = bounds.connections {
            let beyond = newest_beyond(&self.all, most);
            found.extend(beyond.map(|cid| (cid, Bound::OfAll(most))));
        }
        if let Some(most) = bounds.connections_per_client {
            for client in &self.crowded {
                let open = self.by_client.get(client).into_iter();
                for cid in open.flat_map(|open| newest_beyond(open, most)) {
                    found.entry(cid).or_insert(Bound::OfClient(*client, most));
                }
            }
        }
        found
    }

    /// Takes note whether a client has more than it may.
    fn count_client(&mut self, client: IpNet) {
        let open = self.by_client.get(&client).map_or(0, BTreeSet::len);
        let most = self.bounds().connections_per_client;
        match most.is_some_and(|most| open > most as usize) {
            true => self.crowded.insert(client),
            false => self.crowded.remove(&client),
        };
    }

    fn reason(&self, bound: Bound) -> String {
        match bound {
            Bound::OfAll(most) => format!("{} connections, limit {most}", self.all.len()),
            Bound::OfClient(client, most) => {
                let open = self.by_client.get(&client).map_or(0, BTreeSet::len);
                let client = address_or_prefix(&client);
                format!("{open} connections of {client}, limit {most}")
            }
        }
    }
}

/// What a connection is beyond.
#[derive(Clone, Copy)]
enum Bound {
    OfAll(u32),
    OfClient(IpNet, u32),
}

fn newest_beyond(open: &InOrder, most: u32) -> impl Iterator<Item = u64> {
    let beyond = open.len().saturating_sub(most as usize);
    open.iter().rev().take(beyond).map(|(_, cid)| *cid)
}

/// A prefix without its length where that is the whole address.
fn address_or_prefix(net: &IpNet) -> String {
    match net.prefix_len() == net.max_prefix_len() {
        true => net.addr().to_string(),
        false => net.to_string(),
    }
}
