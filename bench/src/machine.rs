//! The machine: what a reader has to know about it, and what it allows.

use std::{
    fmt,
    fs::{self, File},
    io::ErrorKind,
    path::Path,
    thread,
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::{
    resource::{Resource, getrlimit, setrlimit},
    utsname::uname,
};
use serde::Serialize;

/// Held while a benchmark runs: two at once measure each other.
const LOCK: &str = "/run/conn-trace-bench.lock";

/// With this on, the kernel reads its clock twice around every program: some 40 ns per event.
const BPF_STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// Descriptors that are not the load's: standard streams, maps, programs, links.
const OTHER_FILES: usize = 200;

/// A description of the machine.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    kernel: String,
    architecture: String,
    cpus: usize,
    cpu_model: String,
    is_virtual: bool,
}

impl Machine {
    pub(crate) fn describe() -> Result<Self> {
        let name = uname()?;
        let cpu = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
        let field = |wanted: &str| {
            cpu.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                (key.trim() == wanted).then_some(value.trim())
            })
        };
        Ok(Self {
            kernel: name.release().to_string_lossy().into_owned(),
            architecture: name.machine().to_string_lossy().into_owned(),
            cpus: thread::available_parallelism()?.get(),
            cpu_model: field("model name").unwrap_or("unknown").to_owned(),
            is_virtual: field("flags")
                .is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_virtual { " (virtual)" } else { "" };
        write!(
            f,
            "kernel {} {}, {} CPUs{kind}, {}",
            self.kernel, self.architecture, self.cpus, self.cpu_model
        )
    }
}

/// Waits until no other benchmark runs on this machine. The lock goes with the file.
pub(crate) fn lock() -> Result<File> {
    let file = File::create(LOCK).map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => {
            anyhow::anyhow!("benchmarks load programs: run them as root")
        }
        _ => anyhow::Error::new(error).context(format!("cannot open {LOCK}")),
    })?;
    if file.try_lock().is_err() {
        eprintln!("another benchmark is running; waiting for it to end");
        file.lock().with_context(|| format!("cannot lock {LOCK}"))?;
    }
    Ok(file)
}

/// Refuses a kernel that is set to measure on its own.
pub(crate) fn ensure_no_bpf_stats() -> Result<()> {
    let on = Path::new(BPF_STATS).exists() && fs::read_to_string(BPF_STATS)?.trim() != "0";
    ensure!(
        !on,
        "{BPF_STATS} is on and slows every program down: `sysctl kernel.bpf_stats_enabled=0`"
    );
    Ok(())
}

/// As many pairs of sockets as were asked for, or as this process may open.
pub(crate) fn pairs_that_fit(wanted: usize) -> Result<usize> {
    let needed = (2 * wanted + OTHER_FILES) as u64;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= needed {
        return Ok(wanted);
    }
    // Beyond the hard limit only a privileged process may go, and not everywhere.
    let limit = [needed.max(hard), hard]
        .into_iter()
        .find(|limit| setrlimit(Resource::RLIMIT_NOFILE, *limit, *limit).is_ok())
        .unwrap_or(soft);
    let fit = usize::try_from(limit)
        .unwrap_or(usize::MAX)
        .saturating_sub(OTHER_FILES)
        / 2;
    if fit < wanted {
        eprintln!("note: {fit} pairs instead of {wanted}: this process may open {limit} files");
    }
    ensure!(fit > 0, "this process may open only {limit} files");
    Ok(fit.min(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_can_be_described() {
        let machine = Machine::describe().expect("it has a kernel");
        assert!(machine.cpus > 0 && !machine.kernel.is_empty());
    }
}
