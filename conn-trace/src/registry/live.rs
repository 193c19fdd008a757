//! The set of connections that the table holds, and what is remembered about each.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
    sync::Arc,
};

use conn_trace_common::table::{HotEntry, OWNER_KERNEL, OWNER_PROCESS};

use super::{
    connection::{Facts, Origin, Owner},
    services::Membership,
};

/// Socket cookie and generation: one connection.
pub(super) type Key = (u64, u32);

/// A connection in the table.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) key: Key,
    pub(super) slot: u32,
    /// That of the facts. They lie elsewhere, and a report looks at every connection.
    pub(super) start_ns: u64,
    pub(super) facts: Arc<Facts>,
    /// Whether its readers know that its handshake has ended, or need not.
    pub(super) is_told_established: bool,
    pub(super) membership: Membership,
}

impl Live {
    pub(super) fn is_older_than_agent(&self) -> bool {
        self.facts.origin == Origin::Preexisting
    }

    /// Whether the table knows more than the facts do, or the cgroup may be found now.
    pub(super) fn is_incomplete(
        &self,
        hot: &HotEntry,
        is_established: bool,
        place_may_be_found: bool,
    ) -> bool {
        let facts = &self.facts;
        let owner_is_new = matches!(facts.owner, Owner::Unknown | Owner::Scan(_))
            && matches!(hot.owner, OWNER_PROCESS | OWNER_KERNEL);
        let has_no_place = facts.cgroup.is_none() && matches!(facts.owner, Owner::Exact(_));
        owner_is_new
            || (is_established && (facts.local.port == 0 || facts.peer.port == 0))
            || (place_may_be_found && has_no_place)
    }
}

/// Whether the table may ever know more than the facts do.
fn is_unfinished(facts: &Facts) -> bool {
    match facts.owner {
        Owner::Unknown | Owner::Scan(_) => true,
        Owner::Exact(_) if facts.cgroup.is_none() => true,
        Owner::Exact(_) | Owner::Kernel(_) => facts.local.port == 0 || facts.peer.port == 0,
    }
}

/// Connections by number, in order of first sight, and by key.
#[derive(Debug, Default)]
pub(super) struct LiveSet {
    by_cid: BTreeMap<u64, Live>,
    cids: HashMap<Key, u64>,
    /// Those that the table may come to know more about, by number: few on most hosts.
    unfinished: BTreeSet<u64>,
    last_cid: u64,
}

impl LiveSet {
    /// The next number.
    pub(super) fn next_cid(&mut self) -> u64 {
        self.last_cid += 1;
        self.last_cid
    }

    pub(super) fn contains(&self, key: Key) -> bool {
        self.cids.contains_key(&key)
    }

    pub(super) fn insert(&mut self, cid: u64, live: Live) {
        self.cids.insert(live.key, cid);
        if is_unfinished(&live.facts) {
            self.unfinished.insert(cid);
        }
        self.by_cid.insert(cid, live);
    }

    /// Gives a connection newer facts.
    pub(super) fn renew(&mut self, cid: u64, facts: Facts) {
        let Some(live) = self.by_cid.get_mut(&cid) else {
            return;
        };
        live.start_ns = facts.start_ns;
        live.facts = Arc::new(facts);
        if is_unfinished(&live.facts) {
            self.unfinished.insert(cid);
        } else {
            self.unfinished.remove(&cid);
        }
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<(u64, Live)> {
        let cid = self.cids.remove(&key)?;
        self.unfinished.remove(&cid);
        Some((cid, self.by_cid.remove(&cid)?))
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<(u64, &mut Live)> {
        let cid = *self.cids.get(&key)?;
        Some((cid, self.by_cid.get_mut(&cid)?))
    }

    pub(super) fn get_mut_by_cid(&mut self, cid: u64) -> Option<&mut Live> {
        self.by_cid.get_mut(&cid)
    }

    /// All, or the one of this number.
    pub(super) fn only(&self, cid: Option<u64>) -> impl Iterator<Item = &Live> {
        let (first, last) = cid.map_or((0, u64::MAX), |cid| (cid, cid));
        self.by_cid.range(first..=last).map(|(_, live)| live)
    }

    /// Those that the table may come to know more about, or the one of this number if it is such.
    pub(super) fn unfinished(&self, cid: Option<u64>) -> impl Iterator<Item = &Live> {
        let (first, last) = cid.map_or((0, u64::MAX), |cid| (cid, cid));
        let cids = self.unfinished.range(first..=last);
        cids.filter_map(|cid| self.by_cid.get(cid))
    }

    /// Those of higher numbers than this.
    pub(super) fn behind(&self, cid: u64) -> impl Iterator<Item = (u64, &Live)> {
        let behind = (Bound::Excluded(cid), Bound::Unbounded);
        self.by_cid.range(behind).map(|(&cid, live)| (cid, live))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u64, &mut Live)> {
        self.by_cid.iter_mut().map(|(&cid, live)| (cid, live))
    }

    pub(super) fn get(&self, cid: u64) -> Option<&Live> {
        self.by_cid.get(&cid)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Live)> {
        self.by_cid.iter().map(|(&cid, live)| (cid, live))
    }
}

/// Numbers of connections that had ended when the record of their opening was read. Their closing
/// record was in the ring by then, so it comes with this look into the ring or with the next; if
/// it was reported from the table before, it never comes.
#[derive(Debug, Default)]
pub(super) struct Reserved {
    pub(super) now: HashMap<Key, u64>,
    before: HashMap<Key, u64>,
}

impl Reserved {
    pub(super) fn take(&mut self, key: Key) -> Option<u64> {
        self.before.remove(&key).or_else(|| self.now.remove(&key))
    }

    /// After each look into the ring.
    pub(super) fn age(&mut self) {
        self.before = std::mem::take(&mut self.now);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::is_unfinished;
    use crate::{
        query::tests::fixture::plain,
        registry::connection::{Facts, Owner, Process},
    };

    #[test]
    fn facts_are_finished_once_nothing_is_missing() {
        let process = Process {
            pid: 7,
            comm: Arc::from("server"),
        };
        let finished = Facts {
            owner: Owner::Exact(process.clone()),
            cgroup: Some(Arc::from("/system.slice")),
            ..Facts::clone(&plain(1).facts)
        };
        assert!(!is_unfinished(&finished));
        let without = |change: fn(&mut Facts)| {
            let mut facts = finished.clone();
            change(&mut facts);
            is_unfinished(&facts)
        };
        assert!(without(|facts| facts.owner = Owner::Unknown));
        assert!(without(|facts| facts.cgroup = None));
        assert!(without(|facts| facts.local.port = 0));
        assert!(without(|facts| facts.peer.port = 0));
        // The programs may name it for certain.
        let scanned = Owner::Scan(process.clone());
        assert!(is_unfinished(&Facts {
            owner: scanned,
            ..finished.clone()
        }));
        // A kernel thread's cgroup is nobody's.
        assert!(!is_unfinished(&Facts {
            owner: Owner::Kernel(process),
            cgroup: None,
            ..finished
        }));
    }
}
