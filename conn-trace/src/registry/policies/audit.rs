//! What policies have done, as far back as there is room.

use std::{collections::VecDeque, sync::Arc};

use jiff::Timestamp;

use super::policy::{Action, Policy};
use crate::registry::{connection::Connection, flags::Flag};

/// Records kept of a service.
const KEPT: usize = 100;

/// How an action ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was done: the policy only says what it would do.
    DryRun,
    /// It was done.
    Done,
    /// It could not be done.
    Failed(String),
    /// The connection had ended by itself.
    Gone,
}

impl Outcome {
    /// Every word in `outcome`.
    pub const NAMES: [&'static str; 4] = ["dry_run", "done", "failed", "gone"];

    /// The word in `outcome`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        Self::NAMES[self.place()]
    }

    fn place(&self) -> usize {
        match self {
            Self::DryRun => 0,
            Self::Done => 1,
            Self::Failed(_) => 2,
            Self::Gone => 3,
        }
    }
}

/// Counts by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes([u64; Outcome::NAMES.len()]);

impl Outcomes {
    pub(super) fn add(&mut self, outcome: &Outcome) {
        self.0[outcome.place()] += 1;
    }

    /// Every outcome and its count.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Outcome::NAMES.into_iter().zip(self.0)
    }

    /// All together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// One action of a policy.
#[derive(Clone, Debug)]
pub struct Record {
    /// When.
    pub time: Timestamp,
    /// Name of the service.
    pub service: Arc<str>,
    /// Name of the policy.
    pub policy: Arc<str>,
    /// The word for what it looks for.
    pub kind: &'static str,
    /// What it does.
    pub action: Action,
    /// What came of it.
    pub outcome: Outcome,
    /// What was found.
    pub flag: Flag,
    /// The same with figures, for people.
    pub reason: String,
    /// The connection: as it was found, or of one that was closed, as it ended.
    pub connection: Connection,
    /// The moment of the connection's figures on `CLOCK_BOOTTIME`, in nanoseconds.
    pub seen_ns: u64,
    /// Wall clock of that moment.
    pub seen: Timestamp,
}

impl Record {
    pub(super) fn new(
        service: Arc<str>,
        policy: &Policy,
        outcome: Outcome,
        (flag, reason): (Flag, String),
        connection: Connection,
        (seen, seen_ns): (Timestamp, u64),
    ) -> Self {
        Self {
            time: seen,
            service,
            policy: Arc::clone(&policy.name),
            kind: policy.rule.kind(),
            action: policy.action.clone(),
            outcome,
            flag,
            reason,
            connection,
            seen_ns,
            seen,
        }
    }

    /// Whether the figures are those of the connection's end.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.connection.end.is_some()
    }

    fn was_closed(&self) -> bool {
        self.action == Action::Close && self.outcome == Outcome::Done
    }

    fn end(&mut self, connection: &Connection) {
        self.connection = connection.clone();
        if let Some(end) = &connection.end {
            (self.seen, self.seen_ns) = (end.stop, end.stop_ns);
        }
    }
}

/// The records of a service. That of a close waits for the connection's last figures, which come when
/// its program closes the socket; a program that does not is not waited for long.
#[derive(Debug, Default)]
pub(super) struct Audit {
    kept: VecDeque<Arc<Record>>,
    waiting: Vec<(u64, Record)>,
    /// Closes among the kept ones that are without last figures.
    unfinished: usize,
}

impl Audit {
    /// Takes a record; those that are complete come out of [`due`](Self::due).
    pub(super) fn push(&mut self, record: Record, wait_until_ns: u64) {
        let wait = if record.was_closed() {
            wait_until_ns
        } else {
            0
        };
        self.waiting.push((wait, record));
    }

    /// A connection has ended.
    pub(super) fn ended(&mut self, connection: &Connection) {
        let cid = connection.facts.cid;
        let is_it = |record: &Record| {
            record.was_closed() && !record.is_final() && record.connection.facts.cid == cid
        };
        for (wait, record) in &mut self.waiting {
            if is_it(record) {
                record.end(connection);
                *wait = 0;
            }
        }
        if self.unfinished == 0 {
            return;
        }
        for record in &mut self.kept {
            if is_it(record) {
                Arc::make_mut(record).end(connection);
                self.unfinished -= 1;
            }
        }
    }

    /// Whether there are records to be told.
    pub(super) fn is_due(&self, now_ns: u64) -> bool {
        self.waiting.iter().any(|(wait, _)| *wait <= now_ns)
    }

    /// The records that are to be told now, in order.
    pub(super) fn due(&mut self, now_ns: u64) -> Vec<Arc<Record>> {
        let (due, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(wait, _)| *wait <= now_ns);
        self.waiting = waiting;
        let due: Vec<_> = due
            .into_iter()
            .map(|(_, record)| Arc::new(record))
            .collect();
        for record in &due {
            if self.kept.len() == KEPT {
                let oldest = self.kept.pop_front();
                let was_unfinished = |one: &Arc<Record>| one.was_closed() && !one.is_final();
                self.unfinished -= usize::from(oldest.as_ref().is_some_and(was_unfinished));
            }
            self.unfinished += usize::from(record.was_closed() && !record.is_final());
            self.kept.push_back(Arc::clone(record));
        }
        due
    }

    /// Those that are kept, the newest first.
    pub(super) fn newest(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.kept.iter().rev()
    }
}
