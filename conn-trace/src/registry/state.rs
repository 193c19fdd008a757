//! The single owner of agent state: takes the ring's records, keeps live set and history, and
//! makes snapshots of them from the table.

use std::{collections::HashMap, mem, sync::Arc, time::Instant};

use conn_trace_common::table::{ASKED_MESSAGES, ColdEntry, FLAG_BASED, HotEntry};
use jiff::Timestamp;

use super::{
    Settings,
    audit::Audit,
    cgroups::Places,
    connection::{Connection, Counters, Facts, Origin, Owner, TcpState},
    events::{Events, What},
    facts::{self, Describer},
    first_bytes::Readings,
    history::History,
    live::{Key, Live, LiveSet, Reserved},
    memberships::Memberships,
    messages::Messages,
    names::Names,
    policies::Enforcer,
    services::{self, Members, Membership, Rounds, Stage, at},
    snapshot::Losses,
};
use crate::kernel::{LoadError, Tracer, clock::Moment, ring::Record, table::Entry};

/// Everything the agent knows.
pub(super) struct State {
    pub(super) tracer: Tracer,
    pub(super) max_connections: u32,
    pub(super) live: LiveSet,
    pub(super) history: History,
    pub(super) events: Events,
    pub(super) describer: Describer,
    pub(super) started: Timestamp,
    /// Sums over the connections that have left the table.
    pub(super) ended: Counters,
    pub(super) losses: Losses,
    pub(super) unreadable_records: u64,
    /// Records taken from the ring.
    pub(super) records: u64,
    /// Messages on connections that had not been listed yet: they are older than the agent.
    pub(super) uncounted_before: u64,
    pub(super) last_warning: Option<Instant>,
    pub(super) misses_read: Instant,
    reserved: Reserved,
    pub(super) messages: Messages,
    pub(super) readings: Readings,
    /// When readers of messages were last offered all connections.
    pub(super) reviewed: Instant,
    pub(super) audit: Audit,
    pub(super) members: Members,
    pub(super) enforcer: Enforcer,
    pub(super) rounds: Rounds,
    pub(super) last_loss: Option<Timestamp>,
    /// Sockets without an owner as of the last snapshot, by the inode of their file.
    pub(super) ownerless: HashMap<u64, Key>,
}

impl State {
    pub(super) fn new(tracer: Tracer, settings: Settings) -> Self {
        let Settings {
            cgroups,
            closed_history,
            closed_history_age,
            max_connections,
            own,
            classify,
            notify,
        } = settings;
        Self::want_first_bytes(tracer.table(), classify.as_ref());
        Self {
            describer: Describer {
                names: Names::new(),
                places: Places::of_hierarchy(cgroups),
                memberships: Memberships::new(),
                own,
                // Attached before the registry is made; without hooks everything is older.
                counting_since_ns: tracer.counting_since_ns().unwrap_or(u64::MAX),
                listed_ns: tracer.listed_ns(),
            },
            uncounted_before: tracer.table().stats().untracked_messages,
            tracer,
            max_connections,
            live: LiveSet::default(),
            history: History::new(closed_history, closed_history_age),
            events: Events::new(),
            started: Timestamp::now(),
            ended: Counters::default(),
            losses: Losses::default(),
            unreadable_records: 0,
            records: 0,
            last_loss: None,
            last_warning: None,
            misses_read: Instant::now(),
            reserved: Reserved::default(),
            messages: Messages::default(),
            readings: Readings::default(),
            reviewed: Instant::now(),
            audit: Audit::new(),
            members: Members::new(classify, services::now()),
            enforcer: Enforcer::new(notify),
            rounds: Rounds::new(),
            ownerless: HashMap::new(),
        }
    }

    /// Takes everything that happened since the last call; whether there was anything, or somebody
    /// reads messages.
    pub(super) fn catch_up(&mut self) -> Result<bool, LoadError> {
        let mut records = Vec::new();
        self.unreadable_records += self.tracer.drain(|record| records.push(record));
        self.records += records.len() as u64;
        // After the ring was read: a cgroup that was removed before is among them.
        self.describer.places.note_removed();
        // Likewise: all messages of the connections that have ended by then.
        let mut messages = self.take_messages();
        let is_active = !records.is_empty() || !messages.is_empty();
        if is_active {
            let moment = self.tracer.now()?;
            for record in records {
                if matches!(record, Record::Closed(_)) {
                    self.tell_messages(mem::take(&mut messages), &moment);
                }
                self.take(record, &moment);
            }
            self.tell_messages(messages, &moment);
        }
        self.reserved.age();
        self.readings.age(|key| self.live.contains(key));
        self.settle_levels(is_active);
        self.notice_losses()?;
        self.attend_to_readers()?;
        self.enforce()?;
        Ok(is_active || self.messages.has_readers())
    }

    fn take(&mut self, record: Record, moment: &Moment) {
        match record {
            Record::Opened(header) => {
                let key = (header.cookie, header.generation);
                let entry = self.tracer.table().entry(header.slot, key.0, key.1);
                self.opened(key, header.slot, entry.as_ref(), moment);
            }
            Record::Established(header) => {
                let key = (header.cookie, header.generation);
                if let Some(entry) = self.tracer.table().entry(header.slot, key.0, key.1) {
                    self.describe(key, &entry, moment);
                    self.established(key, &entry, moment);
                }
                self.offer_established(key, moment);
            }
            Record::Closed(closed) => self.closed(&closed.hot, &closed.cold, moment),
            Record::FirstBytes(some) => self.take_first_bytes(&some, moment),
        }
    }

    pub(super) fn opened(&mut self, key: Key, slot: u32, entry: Option<&Entry>, moment: &Moment) {
        if self.live.contains(key) {
            return;
        }
        let cid = self.live.next_cid();
        let Some(entry) = entry else {
            // It has ended already: its number waits for the closing record.
            self.reserved.now.insert(key, cid);
            return;
        };
        let mut facts = self.describer.facts(cid, &entry.hot, &entry.cold, moment);
        let is_established = has_handshake(&entry.hot, &entry.cold);
        let stage = stage(is_established, &entry.hot);
        let membership = self.members.enter(key, &mut facts, stage, at(moment));
        let facts = Arc::new(facts);
        let connection = opened_connection(Arc::clone(&facts), &entry.hot, moment);
        self.tell_opened(&connection, is_established, moment);
        let is_told_established = is_established || facts.origin == Origin::Preexisting;
        let live = Live {
            key,
            slot,
            start_ns: facts.start_ns,
            facts: Arc::clone(&facts),
            is_told_established,
            membership,
        };
        self.live.insert(cid, live);
        self.offer_opened(
            key,
            slot,
            entry.hot.asked & ASKED_MESSAGES != 0,
            &facts,
            moment,
        );
    }

    fn tell_opened(&mut self, connection: &Connection, is_established: bool, moment: &Moment) {
        for &what in What::of_opening(connection.facts.origin, is_established) {
            self.events
                .push(what, connection.clone(), moment.wall, moment.boot_ns);
        }
    }

    fn established(&mut self, key: Key, entry: &Entry, moment: &Moment) {
        let Some((_, live)) = self.live.get_mut(key) else {
            return;
        };
        self.members.establish(&mut live.membership, &live.facts);
        if !mem::replace(&mut live.is_told_established, true) {
            let connection = opened_connection(Arc::clone(&live.facts), &entry.hot, moment);
            self.events
                .push(What::Established, connection, moment.wall, moment.boot_ns);
        }
    }

    /// Brings the facts of a live connection up to what the table knows.
    pub(super) fn describe(&mut self, key: Key, entry: &Entry, moment: &Moment) {
        if let Some((cid, live)) = self.live.get_mut(key) {
            let mut facts = self.describer.facts(cid, &entry.hot, &entry.cold, moment);
            settle(&mut facts, &live.facts);
            self.members
                .review(key, &mut live.membership, &mut facts, at(moment));
            self.live.renew(cid, facts);
        }
    }

    pub(super) fn closed(&mut self, hot: &HotEntry, cold: &ColdEntry, moment: &Moment) {
        let key = (hot.cookie, hot.generation);
        let (cid, before) = match self.live.remove(key) {
            Some((cid, live)) => (cid, Some(live)),
            None => (
                self.reserved
                    .take(key)
                    .unwrap_or_else(|| self.live.next_cid()),
                None,
            ),
        };
        let mut facts = self.describer.facts(cid, hot, cold, moment);
        if let Some(before) = &before {
            settle(&mut facts, &before.facts);
        }
        let is_established = has_handshake(hot, cold);
        let membership = before.as_ref().map(|live| live.membership.clone());
        let membership = self.end_membership(key, membership, is_established, &mut facts, moment);
        let facts = Arc::new(facts);
        match before {
            // It had ended before anybody could tell of it.
            None => {
                let unused = unused_connection(Arc::clone(&facts), is_established);
                self.tell_opened(&unused, is_established, moment);
            }
            Some(live) if is_established && !live.is_told_established => {
                let unused = unused_connection(Arc::clone(&facts), is_established);
                self.events
                    .push(What::Established, unused, moment.wall, moment.boot_ns);
            }
            Some(_) => {}
        }
        self.offer_ended(key, &facts, moment);
        let has_field = |global: &str| self.tracer.has_field(global);
        let connection = ended_connection(facts, hot, cold, moment, has_field);
        self.events.push(
            What::Closed,
            connection.clone(),
            moment.wall,
            moment.boot_ns,
        );
        self.ended = self.ended + connection.counters;
        self.members.ended(&membership, &connection);
        self.history.push(connection);
        self.history.age(moment.boot_ns);
    }

    /// What a connection that has ended counts as.
    fn end_membership(
        &mut self,
        key: Key,
        before: Option<Membership>,
        is_established: bool,
        facts: &mut Facts,
        moment: &Moment,
    ) -> Membership {
        let now = at(moment);
        let mut membership = before.unwrap_or_else(|| {
            // One that was taken up late was open then.
            let was_open = is_established || facts.origin != Origin::Opened;
            let stage = if was_open {
                Stage::Open
            } else {
                Stage::Connecting
            };
            self.members.enter(key, facts, stage, now)
        });
        if let Some(identity) = self.last_finding(key, facts) {
            membership.identity = Some(identity);
        }
        self.members.review(key, &mut membership, facts, now);
        let mut membership = self.members.end(key, membership, facts, now);
        if is_established {
            self.members.establish(&mut membership, facts);
        }
        membership
    }
}

/// Whether the handshake has ended. MPTCP's has no sequence numbers, an older one no time.
fn has_handshake(hot: &HotEntry, cold: &ColdEntry) -> bool {
    hot.flags & FLAG_BASED != 0 || cold.established_ns != 0
}

/// Whether a connection is open when it comes to be known. The handshake of one that is older than the
/// agent may leave no trace.
fn stage(is_established: bool, hot: &HotEntry) -> Stage {
    let has_begun = !matches!(
        TcpState::from_kernel(hot.state),
        TcpState::SynSent | TcpState::SynRecv | TcpState::Close
    );
    if is_established || has_begun {
        Stage::Open
    } else {
        Stage::Connecting
    }
}

/// The last counted message, or the start without one; not after `end_ns`.
fn last_message(hot: &HotEntry, facts: &Facts, end_ns: u64, moment: &Moment) -> u64 {
    match hot.last_activity_jiffies {
        0 => facts.start_ns,
        jiffies => moment
            .boot_of_jiffies(jiffies)
            .min(end_ns)
            .max(facts.start_ns),
    }
}

/// A connection that has just opened, as the table has it.
fn opened_connection(facts: Arc<Facts>, hot: &HotEntry, moment: &Moment) -> Connection {
    Connection {
        state: TcpState::from_kernel(hot.state),
        counters: facts::counters(hot),
        last_activity_ns: last_message(hot, &facts, moment.boot_ns, moment),
        ..unused_connection(facts, false)
    }
}

/// A connection as it was at its opening, before anything was moved.
fn unused_connection(facts: Arc<Facts>, is_established: bool) -> Connection {
    Connection {
        state: match is_established {
            true => TcpState::Established,
            false => TcpState::SynSent,
        },
        counters: Counters::default(),
        last_activity_ns: facts.start_ns,
        pending_bytes: 0,
        recv_queue_bytes: None,
        rtt_us: None,
        tcp: None,
        rates: None,
        end: None,
        facts,
    }
}

/// A connection that has ended, as the table or its closing record has it.
pub(super) fn ended_connection(
    facts: Arc<Facts>,
    hot: &HotEntry,
    cold: &ColdEntry,
    moment: &Moment,
    has_field: impl Fn(&str) -> bool,
) -> Connection {
    Connection {
        last_activity_ns: last_message(hot, &facts, cold.closed_ns, moment),
        facts,
        state: TcpState::Close,
        counters: facts::counters(hot),
        pending_bytes: cold.closed_pending_bytes.into(),
        recv_queue_bytes: Some(0),
        rtt_us: None,
        tcp: None,
        rates: None,
        end: Some(facts::end(hot, cold, moment, has_field)),
    }
}

/// Carries over what newly made facts do not know: what policies have found, a start that was estimated,
/// an owner that was found by a scan, and the wall clock of a start that has not moved.
fn settle(facts: &mut Facts, before: &Facts) {
    facts.flags = before.flags;
    if facts.origin != Origin::Opened || facts.start_ns == before.start_ns {
        facts.start_ns = before.start_ns;
        facts.start = before.start;
        facts.counted_since = before.counted_since;
    }
    if facts.owner == Owner::Unknown && matches!(before.owner, Owner::Scan(_)) {
        facts.owner = before.owner.clone();
        facts.is_self = before.is_self;
    }
    // Process and cgroup may be gone.
    if facts.owner == before.owner {
        facts.cgroup = facts.cgroup.take().or_else(|| before.cgroup.clone());
        facts.container = facts.container.take().or_else(|| before.container.clone());
    }
}
