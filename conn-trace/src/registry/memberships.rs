//! Containers on hosts with cgroups of version 1, where a container may have none of version 2 of its
//! own: from what the process's `/proc/PID/cgroup` says, once it is known that it uses a connection.
//!
//! The kernel programs see only version 2, so a process that has ended by then stays without.

use std::{
    collections::HashMap,
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{connection::Process, container};
use crate::kernel::namespaces::{is_cgroup_namespace_initial, is_pid_namespace_initial};

/// A process that opens many connections is read once in a while. A pid does not come round in it.
const KEPT: Duration = Duration::from_millis(500);
/// Processes kept; then all are read anew.
const REMEMBERED: usize = 4096;
/// `/proc` counts in USER_HZ, and the time of a message is known to the tick (up to 10 ms).
const USER_TICK_NS: u64 = 10_000_000;
const TOLERANCE_NS: u64 = 2 * USER_TICK_NS;

/// Reads processes on hosts that have cgroups of version 1.
#[derive(Debug)]
pub(super) struct Memberships {
    is_needed: bool,
    read: HashMap<u32, Read>,
}

#[derive(Debug)]
struct Read {
    at: Instant,
    comm: Arc<str>,
    container: Option<Arc<str>>,
}

impl Memberships {
    pub(super) fn new() -> Self {
        let own = fs::read("/proc/self/cgroup").unwrap_or_default();
        Self {
            is_needed: version_1(&own).next().is_some()
                && is_cgroup_namespace_initial()
                && is_pid_namespace_initial(),
            read: HashMap::new(),
        }
    }

    /// The container of a process that was there at a time of `CLOCK_BOOTTIME`.
    pub(super) fn container(&mut self, process: &Process, there_ns: u64) -> Option<Arc<str>> {
        if !self.is_needed {
            return None;
        }
        if let Some(read) = self.read.get(&process.pid)
            && read.at.elapsed() < KEPT
            && read.comm == process.comm
        {
            return read.container.clone();
        }
        if self.read.len() >= REMEMBERED {
            self.read.clear();
        }
        let memberships = fs::read(format!("/proc/{}/cgroup", process.pid)).ok()?;
        // Afterwards: what was read is not that of a later process with the same pid.
        if started_ns(process.pid)? > there_ns.saturating_add(TOLERANCE_NS) {
            return None;
        }
        let container = version_1(&memberships).find_map(|path| {
            Some(
                container::id(&String::from_utf8_lossy(path))?
                    .into_owned()
                    .into(),
            )
        });
        let read = Read {
            at: Instant::now(),
            comm: Arc::clone(&process.comm),
            container: container.clone(),
        };
        self.read.insert(process.pid, read);
        container
    }
}

/// The paths in hierarchies of version 1: `ID:CONTROLLERS:PATH`, where version 2 has the id 0.
fn version_1(memberships: &[u8]) -> impl Iterator<Item = &[u8]> {
    memberships
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.starts_with(b"0:"))
        .filter_map(|line| line.splitn(3, |&byte| byte == b':').nth(2))
}

fn started_ns(pid: u32) -> Option<u64> {
    started_ticks(&fs::read(format!("/proc/{pid}/stat")).ok()?)?.checked_mul(USER_TICK_NS)
}

/// Field 22 of proc_pid_stat(5). The second, the name, is in parentheses and may have any bytes.
fn started_ticks(stat: &[u8]) -> Option<u64> {
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    let field = stat[end..].split(|&byte| byte == b' ').nth(20)?;
    std::str::from_utf8(field).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_version_1_are_told_from_those_of_version_2() {
        let text = b"9:name=systemd:/a\n4:cpu,cpuacct:/docker/b:c\n1:x:\n0::/d\nbroken\n";
        let paths: Vec<_> = version_1(text).collect();
        assert_eq!(paths, [&b"/a"[..], b"/docker/b:c", b""]);
        assert_eq!(version_1(b"0::/docker/a\n").count(), 0);
    }

    #[test]
    fn the_start_is_found_behind_any_name() {
        let stat = b"7 (a) S ) 1 2) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2 3\n";
        assert_eq!(started_ticks(stat), Some(987_654));
        assert_eq!(started_ticks(b"7 (a) S 1"), None);
        assert_eq!(started_ticks(b""), None);
    }
}
