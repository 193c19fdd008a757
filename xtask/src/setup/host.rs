//! What the running kernel has to offer before the agent can work at all.
//!
//! Only what no program can work around is looked at here: whether the kernel takes the
//! eBPF programs is decided by loading them.

use std::{fs, path::Path};

const BTF: &str = "/sys/kernel/btf/vmlinux";
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";

/// One line for each reason why the agent cannot run on this kernel.
pub(crate) fn kernel_problems() -> Vec<String> {
    let mut problems = Vec::new();
    if !Path::new(BTF).exists() {
        problems.push(
            "this kernel has no BTF (CONFIG_DEBUG_INFO_BTF): the agent cannot run here".to_owned(),
        );
    }
    // A kernel without lockdown, or a container without securityfs, has no such file.
    if fs::read_to_string(LOCKDOWN)
        .is_ok_and(|modes| lockdown_mode(&modes) == Some("confidentiality"))
    {
        problems.push(
            "kernel lockdown is in confidentiality mode, which forbids reading kernel memory: \
             the agent cannot run here"
                .to_owned(),
        );
    }
    problems
}

/// The mode in brackets is the one in force.
fn lockdown_mode(modes: &str) -> Option<&str> {
    modes
        .split_whitespace()
        .find_map(|mode| mode.strip_prefix('[')?.strip_suffix(']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bracketed_lockdown_mode_is_in_force() {
        assert_eq!(
            lockdown_mode("[none] integrity confidentiality\n"),
            Some("none")
        );
        assert_eq!(
            lockdown_mode("none integrity [confidentiality]\n"),
            Some("confidentiality")
        );
        assert_eq!(lockdown_mode(""), None);
    }
}
