//! What could not be counted, and what can be made up for.

use std::time::{Duration, Instant};

use conn_trace_common::table::FLAG_MPTCP;
use jiff::Timestamp;

use super::{connection::TcpState, snapshot::Losses, state::State};
use crate::kernel::LoadError;

/// How often the kernel is asked for runs that it skipped.
const MISSES_INTERVAL: Duration = Duration::from_secs(1);
/// A loss that goes on is not told more often than this.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

impl State {
    /// Looks at the loss counters; lost records are made up for from the table.
    pub(super) fn notice_losses(&mut self) -> Result<(), LoadError> {
        let stats = self.tracer.table().stats();
        let losses = Losses {
            untracked: stats.untracked,
            untracked_messages: stats.untracked_messages - self.uncounted_before,
            ring_records: stats.ring_lost + self.unreadable_records,
            ring_closed: stats.ring_lost_closed,
            missed_runs: self.missed_runs()?,
            missed_ends: self.audit.missed_ends,
        };
        if losses == self.losses {
            return Ok(());
        }
        if self
            .last_warning
            .is_none_or(|warned| warned.elapsed() >= WARNING_INTERVAL)
        {
            tracing::warn!(?losses, "something could not be counted");
            self.last_warning = Some(Instant::now());
        }
        let records_lost = losses.ring_records != self.losses.ring_records
            || losses.ring_closed != self.losses.ring_closed;
        self.losses = losses;
        self.last_loss = Some(Timestamp::now());
        if records_lost {
            self.reconcile()
        } else {
            Ok(())
        }
    }

    /// Asking the kernel takes four system calls: once in a while is enough for what is rare.
    fn missed_runs(&mut self) -> Result<u64, LoadError> {
        if self.misses_read.elapsed() < MISSES_INTERVAL {
            return Ok(self.losses.missed_runs);
        }
        self.misses_read = Instant::now();
        self.tracer.missed_runs()
    }

    /// Reads the whole table: takes up what no record told of.
    fn reconcile(&mut self) -> Result<(), LoadError> {
        let moment = self.tracer.now()?;
        let (mut open, mut ended) = (Vec::new(), Vec::new());
        self.tracer
            .table()
            .scan(|entry| open.push(entry), |entry| ended.push(entry));
        // One that is closed is reported when its socket is destroyed, and may have been by now: the
        // programs put the record into the ring and then free the slot. MPTCP's is left to the audit.
        open.retain(|entry| {
            TcpState::from_kernel(entry.hot.state) != TcpState::Close
                || entry.hot.flags & FLAG_MPTCP != 0
        });
        for entry in open {
            let key = (entry.hot.cookie, entry.hot.generation);
            self.opened(key, entry.slot, Some(&entry), &moment);
        }
        let messages = self.take_messages();
        self.tell_messages(messages, &moment);
        for entry in ended {
            self.closed(&entry.hot, &entry.cold, &moment);
        }
        Ok(())
    }
}
