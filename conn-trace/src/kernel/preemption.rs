//! Whether the kernel can take the CPU from a task inside of a hook.

use std::fs;

use super::hooks::Variant;

const RELEASE: &str = "/proc/sys/kernel/osrelease";
/// `uname -v`: says `PREEMPT` of some kind, or nothing.
const VERSION: &str = "/proc/sys/kernel/version";
/// The mode in force stands in parentheses. Needs debugfs.
const MODE: &str = "/sys/kernel/debug/sched/preempt";

/// Tracepoints hold off preemption up to 6.18; later ones protect their programs by SRCU.
const PREEMPTIBLE_TRACEPOINTS: (u32, u32) = (6, 19);

/// True where it can, and where that is not known.
pub(super) fn reaches(variant: Variant) -> bool {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let has_preemption = is_preemptible(&read(VERSION), &read(MODE));
    match variant {
        Variant::Fexit => has_preemption,
        Variant::TpBtf => has_preemption && release(&read(RELEASE)) >= PREEMPTIBLE_TRACEPOINTS,
    }
}

fn is_preemptible(version: &str, mode: &str) -> bool {
    version.contains("PREEMPT") && !mode.contains("(none)") && !mode.contains("(voluntary)")
}

/// Major and minor number.
fn release(text: &str) -> (u32, u32) {
    let mut numbers = text
        .split(|character: char| !character.is_ascii_digit())
        .map(|number| number.parse().unwrap_or(u32::MAX));
    let mut next = || numbers.next().unwrap_or(u32::MAX);
    (next(), next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_number() {
        assert_eq!(release("6.1.0-56-cloud-amd64\n"), (6, 1));
        assert_eq!(release("6.18.44-fc"), (6, 18));
        assert!(release("7.2.13+deb14") >= PREEMPTIBLE_TRACEPOINTS);
        assert!(release("6.9") < PREEMPTIBLE_TRACEPOINTS);
        assert!(release("") >= PREEMPTIBLE_TRACEPOINTS, "not known");
    }

    #[test]
    fn only_what_is_known_rules_preemption_out() {
        let dynamic = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2";
        assert!(!is_preemptible("#1 SMP Debian 5.10.262-1", ""));
        assert!(!is_preemptible(dynamic, "none (voluntary) full\n"));
        assert!(!is_preemptible(dynamic, "(none) voluntary full\n"));
        assert!(is_preemptible(dynamic, "full (lazy)\n"));
        assert!(is_preemptible(dynamic, ""));
    }
}
