//! The measuring thread: one CPU, and a clock that runs only while it does.

use std::{
    panic,
    thread::{self, Scope, ScopedJoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    time::{ClockId, clock_gettime},
    unistd::Pid,
};

/// Asks for the calling thread, as the kernel does.
const THIS_THREAD: Pid = Pid::from_raw(0);

/// The last CPU that this process may use: interrupts tend to go to the first.
pub(crate) fn last_cpu() -> Result<usize> {
    let allowed = sched_getaffinity(THIS_THREAD).context("cannot tell the allowed CPUs")?;
    (0..CpuSet::count())
        .rev()
        .find(|cpu| allowed.is_set(*cpu).unwrap_or(false))
        .context("no CPU is allowed")
}

/// Does `work` in a thread that stays on `cpu`.
///
/// A thread of its own, so that a program started from this one is free to use the other CPUs.
pub(crate) fn on_cpu<T: Send>(cpu: usize, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| finish(start(scope, cpu, work)))
}

/// The same, and `meanwhile` again and again in this thread.
pub(crate) fn on_cpu_while<T: Send>(
    cpu: usize,
    work: impl FnOnce() -> Result<T> + Send,
    mut meanwhile: impl FnMut(),
) -> Result<T> {
    thread::scope(|scope| {
        let worker = start(scope, cpu, work);
        while !worker.is_finished() {
            meanwhile();
            thread::sleep(PAUSE);
        }
        finish(worker)
    })
}

/// Between two calls of `meanwhile`.
const PAUSE: Duration = Duration::from_millis(5);

fn start<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    cpu: usize,
    work: impl FnOnce() -> Result<T> + Send + 'scope,
) -> ScopedJoinHandle<'scope, Result<T>> {
    scope.spawn(move || {
        let mut only = CpuSet::new();
        only.set(cpu)?;
        sched_setaffinity(THIS_THREAD, &only)
            .with_context(|| format!("cannot stay on CPU {cpu}"))?;
        work()
    })
}

fn finish<T>(worker: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    worker
        .join()
        .unwrap_or_else(|panicked| panic::resume_unwind(panicked))
}

/// CPU time of the calling thread, with the network's work that the kernel does on its account:
/// on loopback, receiving happens in the sender's call.
pub(crate) fn cpu_time() -> Result<Duration> {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .map(Duration::from)
        .context("cannot read the thread's CPU clock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_runs_while_the_thread_does() {
        let cpu = last_cpu().expect("there is a CPU");
        let took = on_cpu(cpu, || {
            let start = cpu_time()?;
            while cpu_time()? - start < Duration::from_millis(2) {}
            Ok(cpu_time()? - start)
        });
        assert!(took.expect("it runs") >= Duration::from_millis(2));
    }

    #[test]
    fn a_failure_comes_back() {
        let cpu = last_cpu().expect("there is a CPU");
        let mut looked = false;
        let work = || -> Result<()> {
            thread::sleep(PAUSE);
            anyhow::bail!("so it goes")
        };
        let failed = on_cpu_while(cpu, work, || looked = true);
        assert!(looked);
        assert_eq!(failed.expect_err("it failed").to_string(), "so it goes");
    }
}
