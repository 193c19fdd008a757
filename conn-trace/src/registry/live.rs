//! The set of connections that the table holds, and what is remembered about each.

use std::{
    collections::{BTreeMap, HashMap},
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
    pub(super) facts: Arc<Facts>,
    /// Whether its readers know that its handshake has ended, or need not.
    pub(super) is_told_established: bool,
    pub(super) membership: Membership,
}

impl Live {
    pub(super) fn is_older_than_agent(&self) -> bool {
        self.facts.origin == Origin::Preexisting
    }

    /// Whether the table may know more than the facts do, or the cgroup may be found now.
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

/// Connections by number, in order of first sight, and by key.
#[derive(Debug, Default)]
pub(super) struct LiveSet {
    by_cid: BTreeMap<u64, Live>,
    cids: HashMap<Key, u64>,
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
        self.by_cid.insert(cid, live);
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<(u64, Live)> {
        let cid = self.cids.remove(&key)?;
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

    /// Those of higher numbers than this.
    pub(super) fn behind(&self, cid: u64) -> impl Iterator<Item = (u64, &Live)> {
        let behind = (Bound::Excluded(cid), Bound::Unbounded);
        self.by_cid.range(behind).map(|(&cid, live)| (cid, live))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Live> {
        self.by_cid.values_mut()
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
