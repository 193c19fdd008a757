//! The memory of another process.

use std::fs;

use anyhow::{Context as _, Result};

/// Resident memory now.
pub(super) fn resident_bytes(pid: u32) -> Result<u64> {
    field(pid, "VmRSS")
}

/// The most resident memory since [`forget_peak`].
pub(super) fn peak_bytes(pid: u32) -> Result<u64> {
    field(pid, "VmHWM")
}

/// Lets the peak begin anew. proc_pid_clear_refs(5), value 5.
pub(super) fn forget_peak(pid: u32) -> Result<()> {
    let file = format!("/proc/{pid}/clear_refs");
    fs::write(&file, "5").with_context(|| format!("cannot write {file}"))
}

fn field(pid: u32, name: &str) -> Result<u64> {
    let file = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
    parse(&status, name).with_context(|| format!("no {name} in {file}"))
}

/// A line like `VmRSS:     1234 kB`.
fn parse(status: &str, name: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_in_kilobytes() {
        let status = "Name:\tx\nVmHWM:\t     12 kB\nVmRSS:\t      5 kB\n";
        assert_eq!(parse(status, "VmRSS"), Some(5 * 1024));
        assert_eq!(parse(status, "VmHWM"), Some(12 * 1024));
        assert_eq!(parse(status, "Vm"), None);
    }
}
