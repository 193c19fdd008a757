//! Whether the machine was quiet.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike as _,
};

/// Watches how much CPU time is used by others than this program and its children.
pub(crate) struct Watch {
    machine: CpuTime,
    own: Duration,
}

impl Watch {
    pub(crate) fn start() -> Result<Self> {
        Ok(Self {
            machine: CpuTime::now()?,
            own: own_time()?,
        })
    }

    /// Their share of the machine's CPU time since the start; a hypervisor's theft is theirs too.
    pub(crate) fn others_percent(&self) -> Result<f64> {
        let now = CpuTime::now()?;
        let own = own_time()?.saturating_sub(self.own).as_secs_f64();
        // USER_HZ is 100 on every architecture that Linux runs BPF on.
        let busy = (now.busy - self.machine.busy) as f64 / 100.0;
        let all = (now.all - self.machine.all).max(1) as f64 / 100.0;
        Ok((busy - own).max(0.0) / all * 100.0)
    }
}

/// CPU time of all CPUs since boot, in ticks of `/proc/stat`.
#[derive(Clone, Copy)]
struct CpuTime {
    busy: u64,
    all: u64,
}

impl CpuTime {
    fn now() -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        Self::parse(&stat).context("cannot understand /proc/stat")
    }

    /// `cpu  user nice system idle iowait irq softirq steal guest guest_nice`; guests are in user.
    fn parse(stat: &str) -> Option<Self> {
        let ticks: Vec<u64> = stat
            .lines()
            .next()?
            .strip_prefix("cpu ")?
            .split_whitespace()
            .take(8)
            .filter_map(|number| number.parse().ok())
            .collect();
        let all = ticks.iter().sum();
        let idle = ticks.get(3)? + ticks.get(4)?;
        Some(Self {
            busy: all - idle,
            all,
        })
    }
}

fn own_time() -> Result<Duration> {
    Ok(cpu_time_of(UsageWho::RUSAGE_SELF)? + cpu_time_of(UsageWho::RUSAGE_CHILDREN)?)
}

/// CPU time in user space and in the kernel.
pub(crate) fn cpu_time_of(who: UsageWho) -> Result<Duration> {
    let usage = getrusage(who)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(micros.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_is_not_busy() {
        let stat = "cpu  10 1 20 1000 5 2 3 4 7 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        let time = CpuTime::parse(stat).expect("a line of CPU time");
        assert_eq!((time.busy, time.all), (40, 1045));
        assert!(CpuTime::parse("intr 1").is_none());
    }
}
