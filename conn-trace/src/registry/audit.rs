//! Connections whose end no program saw.
//!
//! An MPTCP socket passes no hook when it is destroyed; its row is a closed one by then. And
//! the kernel may skip a program without saying so (the interrupt of a guarded task, for one), and
//! a skipped end would leave its row for ever. So the sockets of all rows are looked at now and
//! then, and a row whose socket is gone at two looks is ended here.

use std::{
    collections::HashSet,
    mem,
    time::{Duration, Instant},
};

use conn_trace_common::table::{CAUSE_UNKNOWN, FLAG_MPTCP};

use super::{connection::TcpState, live::Key, services, state::State, view::current};
use crate::kernel::{LoadError, sampler::Sample};

/// Between two looks. One look costs 0.4 µs for each connection.
const INTERVAL: Duration = Duration::from_secs(5);

/// What the looks have found.
#[derive(Debug)]
pub(super) struct Audit {
    last: Instant,
    /// Without a socket at the last look.
    gone: HashSet<Key>,
    /// Ends that no program saw.
    pub(super) missed_ends: u64,
}

impl Audit {
    pub(super) fn new() -> Self {
        Self {
            last: Instant::now(),
            gone: HashSet::new(),
            missed_ends: 0,
        }
    }
}

impl State {
    /// Looks at the sockets, if it is time.
    pub(super) fn audit(&mut self) -> Result<(), LoadError> {
        if self.audit.last.elapsed() < INTERVAL {
            return Ok(());
        }
        self.audit.last = Instant::now();
        // What has ended by now and was seen is no row any more.
        self.catch_up()?;
        let wanted: Vec<_> = self
            .live
            .iter()
            .map(|(_, live)| (live.key, live.slot))
            .collect();
        let samples = self.sample(&wanted)?;
        let before = mem::take(&mut self.audit.gone);
        for ((key, slot), (_, sample)) in wanted.into_iter().zip(samples) {
            if !is_gone(sample.as_ref()) {
                self.take_sample(key, sample.as_ref());
                continue;
            }
            if before.contains(&key) {
                self.end_unseen(key, slot, sample.as_ref())?;
            } else {
                self.audit.gone.insert(key);
            }
        }
        Ok(())
    }

    fn end_unseen(
        &mut self,
        key: Key,
        slot: u32,
        sample: Option<&Sample>,
    ) -> Result<(), LoadError> {
        let moment = self.tracer.now()?;
        let Some(mut entry) = self.tracer.table().end(slot, key.0, key.1) else {
            // Its end was reported. `finish_index` puts the record into the ring and then frees the
            // slot; a look at the whole table between the two took it up again.
            if let Some((_, mut live)) = self.live.remove(key) {
                self.members
                    .disown(key, &mut live.membership, services::now());
            }
            self.messages.end(key);
            return Ok(());
        };
        let counters = current(&entry.hot, sample);
        entry.hot.in_bytes = counters.in_bytes;
        entry.hot.out_bytes = counters.out_bytes;
        if entry.cold.closed_ns == 0 {
            entry.cold.closed_ns = moment.boot_ns;
            entry.cold.cause = CAUSE_UNKNOWN;
        }
        // The last that any program sees of an MPTCP socket is its change to CLOSE.
        let is_seen = entry.hot.flags & FLAG_MPTCP != 0
            && TcpState::from_kernel(entry.hot.state) == TcpState::Close;
        self.audit.missed_ends += u64::from(!is_seen);
        self.closed(&entry.hot, &entry.cold, &moment);
        Ok(())
    }
}

/// Whether the socket was freed: its memory belongs to another one, or to none yet and still shows
/// a closed socket that is nobody's. One that was reset while it waits to be accepted is closed and
/// has no file, but can still be accepted and read.
fn is_gone(sample: Option<&Sample>) -> bool {
    sample.is_none_or(|sample| {
        TcpState::from_kernel(sample.state) == TcpState::Close && sample.is_dead != 0
    })
}

#[cfg(test)]
mod tests {
    use super::{Sample, is_gone};

    #[test]
    fn socket_that_can_still_be_accepted_is_not_gone() {
        const ESTABLISHED: u8 = 1;
        const CLOSE: u8 = 7;
        let sample = |state, is_dead| Sample {
            state,
            is_dead,
            ..Sample::default()
        };
        assert!(is_gone(None));
        assert!(is_gone(Some(&sample(CLOSE, 1))));
        assert!(!is_gone(Some(&sample(CLOSE, 0))));
        // Sends on for a process that is gone.
        assert!(!is_gone(Some(&sample(ESTABLISHED, 1))));
    }
}
