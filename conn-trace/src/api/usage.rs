//! What the agent itself takes of the host.

use std::{
    fs,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use nix::time::{ClockId, clock_gettime};

/// Shortest span over which CPU use is measured: when two clients poll at nearly the same moment,
/// the second must not be shown the cost of answering the first.
const MIN_SPAN: Duration = Duration::from_secs(1);

/// CPU time of the process, measured from reading to reading.
#[derive(Debug)]
pub(super) struct Usage(Mutex<Reading>);

#[derive(Clone, Copy, Debug)]
struct Reading {
    at: Instant,
    cpu_time: Duration,
    percent: f64,
}

impl Usage {
    /// Measures from now on.
    pub(super) fn new() -> Self {
        let cpu_time = cpu_time().unwrap_or_default();
        Self(Mutex::new(Reading {
            at: Instant::now(),
            cpu_time,
            percent: 0.0,
        }))
    }

    /// Percent of one core between the last two readings, which are at least a second apart:
    /// a client that polls sees the average since its last poll, as `ps` and NATS would show it.
    pub(super) fn cpu_percent(&self) -> f64 {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let span = last.at.elapsed();
        if span >= MIN_SPAN
            && let Some(cpu_time) = cpu_time()
        {
            let used = cpu_time.saturating_sub(last.cpu_time);
            // One decimal, as NATS has it.
            let percent = (used.as_secs_f64() / span.as_secs_f64() * 1000.0).round() / 10.0;
            *last = Reading {
                at: last.at + span,
                cpu_time,
                percent,
            };
        }
        last.percent
    }
}

/// Resident memory in bytes; `None` where `/proc` does not say.
pub(super) fn resident_bytes() -> Option<u64> {
    // From `status` rather than `statm`, whose unit is a page of unknown size.
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kibibytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    kibibytes
        .trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

/// Open file descriptors.
pub(super) fn open_fds() -> Option<u64> {
    let listed = fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    // One of them is that of the listing.
    listed.checked_sub(1)
}

/// User and system time of all threads, the ended ones included.
pub(super) fn cpu_time() -> Option<Duration> {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)
        .ok()
        .map(Into::into)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::{cpu_time, open_fds, resident_bytes};

    #[test]
    fn this_process_has_memory_and_time() {
        assert!(resident_bytes().unwrap() > 100_000);
        assert!(cpu_time().is_some());
    }

    #[test]
    fn a_file_is_one_descriptor() {
        let _files = [(); 50].map(|()| File::open("/dev/null").unwrap());
        assert!(open_fds().unwrap() >= 50);
    }
}
