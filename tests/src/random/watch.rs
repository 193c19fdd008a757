//! An agent, and the comparison of all that it shows with the model and the kernel.

use std::{
    collections::{HashMap, HashSet},
    thread,
    time::{Duration, Instant},
};

use super::{
    closed::{Closed, Explained},
    ending::{Causes, Side},
    fleet::Fleet,
    model::{Key, Model, Tuple},
    rest::{Kernel, at_rest, is_fin_received, is_fin_unacked, is_our_row, is_same, kernel_list},
    span::{Span, Spans},
};
use crate::{
    agent::Agent,
    connz::{Losses, Row},
    sockets::KernelSocket,
    wait::eventually,
};

/// Closed connections that the agent remembers: more than end between two comparisons, those of
/// other programs included.
const HISTORY: usize = 200_000;
/// Ends of other programs' connections that may close between two requests.
const OTHERS: u64 = 200;

/// The user guide's promise is 10 s.
const AUDIT: Duration = Duration::from_secs(12);

/// An agent under test, and what it has shown so far.
#[derive(Debug)]
pub struct Watch {
    agent: Agent,
    /// What older ends had moved when the agent began to count.
    bases: HashMap<Key, Spans>,
    /// The number that the agent gave to an end.
    cids: HashMap<Key, u64>,
    /// Ends that were shown closed with their last figures, or that ended before the agent began.
    done: HashSet<Key>,
    /// What the latter had moved by then. They are no connections any more, but what had arrived
    /// may still be read, which the agent counts as messages that it has no row for.
    late: HashMap<Key, Spans>,
    /// Messages on those of them that are forgotten.
    late_messages: Span,
    /// Closed rows that are accounted for.
    explained: Explained,
    closed_before: u64,
    first_burst: u64,
    /// Ends that the kernel may hide from the agent before that is a failure.
    tolerated: u64,
    /// Ends that are shown without a cause.
    unseen: HashSet<u64>,
}

impl Watch {
    /// Starts an agent while no process is at work.
    #[must_use]
    pub fn start(model: &mut Model, fleet: &Fleet, tolerated: u64) -> Self {
        let before = at_rest(model, fleet);
        let agent = Agent::start_with(&["--closed-history", &HISTORY.to_string()]);
        let first_burst = model.next_number();
        let mut watch = Self {
            agent,
            bases: HashMap::new(),
            cids: HashMap::new(),
            done: HashSet::new(),
            late: HashMap::new(),
            late_messages: Span::default(),
            explained: Explained::up_to(2 * HISTORY),
            closed_before: 0,
            first_burst,
            tolerated,
            unseen: HashSet::new(),
        };
        let after = kernel_list(fleet);
        for (tuple, keys) in model.by_tuple() {
            let newest = *keys.last().expect("at least one");
            for key in keys {
                let connection = &model.connections[&key.0];
                let moved = connection.moved(key.1);
                // What nobody holds may go away while the agent starts, just before it looks.
                let is_seen = before.contains_key(&tuple)
                    && (after.contains_key(&tuple)
                        || !watch
                            .agent
                            .rows_of(&connection.end(key.1).end, "all")
                            .is_empty());
                if key == newest && is_seen {
                    watch.bases.insert(key, moved);
                } else {
                    watch.done.insert(key);
                    watch.late.insert(key, moved);
                }
            }
        }
        watch
    }

    /// Ends the agent: by SIGTERM, or as a crash would.
    pub fn stop(self, is_crash: bool) {
        println!(
            "an agent ends; what it could not count: {:?}",
            self.losses()
        );
        if !is_crash {
            self.agent.stop();
        }
    }

    /// Compares everything. Nothing is at work.
    ///
    /// # Errors
    /// The first difference.
    pub fn compare(&mut self, model: &Model, fleet: &Fleet) -> Result<(), String> {
        let (rows, kernel) = self.look_without_ghosts(model, fleet);
        let varz = self.agent.varz();
        let losses = varz.conn_trace.losses;
        if losses.missed_runs > 0 {
            return Err(format!("the kernel skipped runs of programs: {losses:?}"));
        }
        let mut late = self.late_messages;
        for key in self.late.keys() {
            late = late.plus(self.late_messages(model, key));
        }
        let others = Losses {
            missed_ends: losses.missed_ends.saturating_sub(self.tolerated),
            ..losses
        };
        if others != Losses::default() || !late.holds(varz.conn_trace.messages_after_end) {
            return Err(format!(
                "{} messages after an end, of which {late} are right; losses {losses:?}",
                varz.conn_trace.messages_after_end
            ));
        }
        let live = varz.total_connections - varz.conn_trace.closed_connections;
        if varz.connections != live {
            return Err(format!("opened less closed is {live}: {varz:?}"));
        }
        let new = varz.conn_trace.closed_connections - self.closed_before + OTHERS;
        let page = self.agent.connz(&format!(
            "state=closed&sort=stop&netns={}&limit={new}",
            fleet.netns
        ));
        let mut closed = Closed::new(page.connections, fleet, &self.explained);

        let mut open: HashMap<Tuple, Row> = HashMap::new();
        for row in rows.into_iter().filter(|row| is_our_row(row, fleet)) {
            if let Some(twin) = open.insert(row.tuple(), row) {
                return Err(format!("two open rows of one end: {twin:#?}"));
            }
        }
        let mut live: HashSet<Tuple> = HashSet::new();
        for (tuple, keys) in model.by_tuple() {
            let newest = *keys.last().expect("at least one");
            for key in keys {
                if self.done.contains(&key) {
                    continue;
                }
                let socket = kernel.get(&tuple).filter(|_| key == newest);
                let outcome = match (socket, open.remove(&tuple)) {
                    (Some(socket), Some(row)) => {
                        live.insert(tuple);
                        self.live(model, key, socket, &row)
                    }
                    (Some(socket), None) => Err(format!("no open row of {socket:?}")),
                    (None, Some(row)) if key == newest => {
                        Err(format!("the kernel has it no more: {row:#?}"))
                    }
                    (None, row) => {
                        open.extend(row.map(|row| (tuple, row)));
                        self.ended(model, key, tuple, &mut closed)
                    }
                };
                outcome.map_err(|text| {
                    let connection = &model.connections[&key.0];
                    format!("{:?} end: {text}\n{}", key.1, connection.story())
                })?;
            }
        }
        if let Some(row) = open.into_values().next() {
            return Err(format!("an open row of no connection: {row:#?}"));
        }
        for burst in &model.bursts {
            if burst.number > self.first_burst {
                closed.take_burst(burst, &mut self.explained)?;
            }
        }
        if let Some(row) = closed.rest(&live, &self.explained) {
            return Err(format!(
                "a closed row of no connection, or a second one: {row:#?}"
            ));
        }
        self.closed_before = varz.conn_trace.closed_connections;
        if self.unseen.len() as u64 > losses.missed_ends {
            return Err(format!(
                "ends without a cause {:?}: {losses:?}",
                self.unseen
            ));
        }
        Ok(())
    }

    /// What the agent says that it could not count.
    #[must_use]
    pub fn losses(&self) -> Losses {
        self.agent.varz().conn_trace.losses
    }

    /// Whether this end need not be looked at again.
    #[must_use]
    pub fn is_done(&self, key: &Key) -> bool {
        self.done.contains(key)
    }

    /// Calls on an end that ended before the agent began.
    fn late_messages(&self, model: &Model, key: &Key) -> Span {
        let Some(before) = self.late.get(key) else {
            return Span::default();
        };
        let now = model.connections[&key.0].moved(key.1);
        let since = now.counted_since(*before);
        since.in_calls.plus(since.out_calls)
    }

    /// Forgets an end that the model is about to forget.
    pub fn forget(&mut self, model: &Model, key: &Key) {
        self.late_messages = self.late_messages.plus(self.late_messages(model, key));
        self.late.remove(key);
        self.done.remove(key);
        self.bases.remove(key);
        self.cids.remove(key);
    }

    /// The open rows, and the kernel's list at the same moment.
    fn look(&self, model: &Model, fleet: &Fleet) -> (Vec<Row>, Kernel) {
        eventually("all sockets are at rest", || {
            let before = at_rest(model, fleet);
            let rows = self.agent.rows("state=open&self=1");
            let after = kernel_list(fleet);
            is_same(&before, &after).then_some((rows, after))
        })
    }

    /// The same, after the agent has noticed by itself which ends the kernel never showed.
    fn look_without_ghosts(&self, model: &Model, fleet: &Fleet) -> (Vec<Row>, Kernel) {
        let deadline = Instant::now() + AUDIT;
        loop {
            let (rows, kernel) = self.look(model, fleet);
            let is_ghost = |row: &Row| is_our_row(row, fleet) && !kernel.contains_key(&row.tuple());
            if self.tolerated == 0 || Instant::now() > deadline || !rows.iter().any(is_ghost) {
                return (rows, kernel);
            }
            thread::sleep(Duration::from_millis(500));
        }
    }

    fn expected(&self, model: &Model, key: Key, row: &Row) -> Spans {
        let connection = &model.connections[&key.0];
        let mut moved = connection.moved(key.1);
        // What is read from an end that is closed already is final when the socket is gone; until
        // then the agent knows it from messages only.
        let end = connection.end(key.1);
        if row.stop.is_some() && end.is_held {
            moved.in_bytes.least = moved.in_bytes.least.saturating_sub(end.spliced);
        }
        let base = self.bases.get(&key).copied().unwrap_or_default();
        moved.counted_since(base)
    }

    /// What open and closed rows have in common.
    fn common(&self, model: &Model, key: Key, row: &Row) -> Result<(), String> {
        let end = model.connections[&key.0].end(key.1);
        let expected = self.expected(model, key, row);
        if !expected.holds(row.counts()) {
            return Err(format!("expected {expected}: {row:#?}"));
        }
        let direction = match key.1 {
            Side::Client => "out",
            Side::Server => "in",
        };
        if row.direction != direction {
            return Err(format!("expected direction {direction}: {row:#?}"));
        }
        if row.preexisting != self.bases.contains_key(&key) {
            return Err(format!("preexisting or not: {row:#?}"));
        }
        // Who accepts is not known before the first call that moves data.
        if row.pid.is_some_and(|pid| pid != end.pid) && !end.is_shared {
            return Err(format!("expected process {}: {row:#?}", end.pid));
        }
        let is_used =
            key.1 == Side::Client || expected.in_calls.least + expected.out_calls.least > 0;
        if row.pid.is_none() && is_used && !row.preexisting {
            return Err(format!("expected process {}, not none: {row:#?}", end.pid));
        }
        match self.cids.get(&key) {
            Some(cid) if *cid != row.cid => Err(format!("was number {cid}: {row:#?}")),
            _ => Ok(()),
        }
    }

    fn live(
        &mut self,
        model: &Model,
        key: Key,
        socket: &KernelSocket,
        row: &Row,
    ) -> Result<(), String> {
        self.common(model, key, row)?;
        self.cids.insert(key, row.cid);
        let transport = if socket.is_ipv6 { "tcp6" } else { "tcp" };
        if (&*row.state, &*row.transport) != (socket.state, transport) {
            return Err(format!("not what the kernel has: {socket:?} {row:#?}"));
        }
        // A FIN is no data, though it takes a place in the kernel's queues.
        let pending = socket.send_queue - u64::from(is_fin_unacked(socket.state));
        if row.pending_bytes != pending {
            return Err(format!("expected {pending} pending: {socket:?} {row:#?}"));
        }
        let unread_fin = socket.recv_queue.checked_sub(row.recv_queue_bytes);
        if unread_fin != Some(0) && !(unread_fin == Some(1) && is_fin_received(socket.state)) {
            return Err(format!(
                "not the kernel's receive queue: {socket:?} {row:#?}"
            ));
        }
        Ok(())
    }

    fn ended(
        &mut self,
        model: &Model,
        key: Key,
        tuple: Tuple,
        closed: &mut Closed,
    ) -> Result<(), String> {
        let connection = &model.connections[&key.0];
        let row = match self.cids.get(&key) {
            Some(&cid) => closed.take(cid, tuple).map_or_else(
                || self.agent.rows(&format!("state=closed&cid={cid}")).pop(),
                Some,
            ),
            None => closed.first(tuple, |row| self.common(model, key, row).is_ok()),
        };
        let Some(row) = row else {
            return Err("neither the kernel nor the agent has it".to_owned());
        };
        self.explained.insert(row.cid);
        self.common(model, key, &row)?;
        self.cids.insert(key, row.cid);
        let mut causes = connection.causes(key.1);
        if self.bases.contains_key(&key) && causes.holds("killed") {
            // A FIN that is older than the agent has lost its sender.
            causes = causes.or(Causes::LOCAL_FIN);
        }
        if self.tolerated > 0 {
            // An end that no program saw has no cause.
            causes = causes.or(Causes::UNSEEN);
        }
        if !row
            .close_cause
            .as_ref()
            .is_some_and(|cause| causes.holds(cause))
        {
            return Err(format!("expected to end by {causes}: {row:#?}"));
        }
        // Its process may still read what arrived before.
        if !connection.end(key.1).is_held {
            self.done.insert(key);
        }
        Ok(())
    }
}
