//! What the programs take, where the kernel measures it: `kernel.bpf_stats_enabled`, since 5.1.

use std::{fs, os::fd::AsFd};

use aya::Ebpf;

use super::misses;

/// Whether the kernel measures programs. It does so for everybody or for nobody.
const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// What one program took since it was loaded, as far as it was measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramRuns {
    /// Name of the program.
    pub program: String,
    /// Runs.
    pub runs: u64,
    /// Time in it, in nanoseconds.
    pub run_time_ns: u64,
}

/// Those of all programs in order of their names; none while the kernel does not measure.
pub(super) fn of(ebpf: &Ebpf) -> Vec<ProgramRuns> {
    let is_on = fs::read_to_string(SWITCH).is_ok_and(|text| text.trim() != "0");
    if !is_on {
        return Vec::new();
    }
    let mut all: Vec<_> = ebpf
        .programs()
        .filter_map(|(name, program)| {
            // Not all are loaded, for the first variant that works is used.
            let info = misses::info(program.fd().ok()?.as_fd()).ok()?;
            Some(ProgramRuns {
                program: name.to_owned(),
                runs: info.run_cnt,
                run_time_ns: info.run_time_ns,
            })
        })
        .collect();
    all.sort_by(|one, other| one.program.cmp(&other.program));
    all
}
