//! What this machine has and lacks, found without loading anything.

use std::{fs, path::Path};

use aya::{
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported},
};
use caps::{CapSet, Capability};
use serde::Serialize;

use super::{btf::Btf, cgroups::Cgroups, error::KERNEL_BTF, hooks::Variant, offsets::Offsets};

const LOCKDOWN: &str = "/sys/kernel/security/lockdown";
const RELEASE: &str = "/proc/sys/kernel/osrelease";

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As it should be.
    Ok,
    /// The agent runs, and knows less.
    Limited,
    /// The agent does not start.
    Failed,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// What was found, and what follows.
    pub detail: String,
}

impl Check {
    /// A check and its outcome.
    pub fn new(name: &'static str, outcome: Outcome, detail: impl Into<String>) -> Self {
        Self {
            name,
            outcome,
            detail: detail.into(),
        }
    }
}

/// Looks at kernel, lockdown and capabilities.
#[must_use]
pub fn run() -> Vec<Check> {
    let mut checks = vec![kernel(), lockdown(Path::new(LOCKDOWN))];
    checks.push(capabilities());
    checks.extend(helpers());
    checks.push(optional_capability(
        Capability::CAP_SYS_ADMIN,
        "other namespaces",
        "existing connections of other network namespaces are not listed at start",
    ));
    checks.push(optional_capability(
        Capability::CAP_SYS_PTRACE,
        "owners by scan",
        "owners of silent connections of other users stay unknown",
    ));
    checks.push(optional_capability(
        Capability::CAP_DAC_READ_SEARCH,
        "cgroups by id",
        "cgroups are looked for twice a second; those that live shorter are left out",
    ));
    checks.push(optional_capability(
        Capability::CAP_NET_ADMIN,
        "closing connections",
        "no policy can close connections",
    ));
    checks.push(cgroups());
    match fs::read(KERNEL_BTF) {
        Ok(data) => checks.extend(kernel_types(&data)),
        Err(error) => checks.push(Check::new(
            "BTF",
            Outcome::Failed,
            format!("{KERNEL_BTF}: {error}; the kernel needs CONFIG_DEBUG_INFO_BTF"),
        )),
    }
    checks
}

fn kernel() -> Check {
    match fs::read_to_string(RELEASE) {
        Ok(release) => Check::new("kernel", Outcome::Ok, release.trim_end()),
        Err(error) => Check::new("kernel", Outcome::Limited, format!("{RELEASE}: {error}")),
    }
}

/// Lockdown in confidentiality mode refuses every read of kernel memory by eBPF.
fn lockdown(path: &Path) -> Check {
    const NAME: &str = "lockdown";
    let modes = fs::read_to_string(path).unwrap_or_default();
    let mode = modes
        .split_whitespace()
        .find_map(|mode| mode.strip_prefix('[')?.strip_suffix(']'));
    match mode {
        Some("confidentiality") => Check::new(
            NAME,
            Outcome::Failed,
            "confidentiality: this kernel lets no program read its memory",
        ),
        Some(mode) => Check::new(NAME, Outcome::Ok, mode),
        None => Check::new(NAME, Outcome::Ok, "none"),
    }
}

fn capabilities() -> Check {
    let missing: Vec<String> = [Capability::CAP_BPF, Capability::CAP_PERFMON]
        .into_iter()
        .filter(|&capability| !has(capability))
        .map(|capability| capability.to_string())
        .collect();
    if missing.is_empty() || has(Capability::CAP_SYS_ADMIN) {
        Check::new("capabilities", Outcome::Ok, "CAP_BPF CAP_PERFMON")
    } else {
        Check::new(
            "capabilities",
            Outcome::Failed,
            format!("missing {}; run as root or grant them", missing.join(" ")),
        )
    }
}

fn optional_capability(capability: Capability, name: &'static str, without: &str) -> Check {
    if has(capability) {
        Check::new(name, Outcome::Ok, capability.to_string())
    } else {
        Check::new(
            name,
            Outcome::Limited,
            format!("missing {capability}: {without}"),
        )
    }
}

/// Which helper functions of the programs the kernel has; nothing if it does not tell.
fn helpers() -> Option<Check> {
    const NAME: &str = "helpers";
    // The youngest one of those that the programs call. Raw tracepoints take the same ones.
    let youngest = BpfHelper::BPF_FUNC_get_current_task_btf;
    Some(
        if is_helper_supported(ProgramType::RawTracePoint, youngest).ok()? {
            Check::new(NAME, Outcome::Ok, "all found")
        } else {
            Check::new(
                NAME,
                Outcome::Failed,
                "no helper bpf_get_current_task_btf: Linux has it since 5.11, and conn-trace needs 5.15",
            )
        },
    )
}

fn cgroups() -> Check {
    const NAME: &str = "cgroups";
    match Cgroups::find() {
        Ok(found) if found.sees_removals() => {
            Check::new(NAME, Outcome::Ok, found.mount().to_string_lossy())
        }
        Ok(found) => Check::new(
            NAME,
            Outcome::Limited,
            format!(
                "{}: removals are not told; cgroups that live for milliseconds are left out",
                found.mount().display()
            ),
        ),
        Err(error) => Check::new(NAME, Outcome::Limited, error.to_string()),
    }
}

/// Whether sockets may be closed from outside.
#[must_use]
pub fn may_close() -> bool {
    has(Capability::CAP_NET_ADMIN)
}

fn has(capability: Capability) -> bool {
    caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false)
}

/// What the kernel's own description of its types says about hooks and fields.
fn kernel_types(data: &[u8]) -> Vec<Check> {
    let btf = match Btf::parse(data) {
        Ok(btf) => btf,
        Err(error) => return vec![Check::new("BTF", Outcome::Failed, error.to_string())],
    };
    let mut checks = vec![Check::new(
        "BTF",
        Outcome::Ok,
        format!("{} bytes", data.len()),
    )];
    let (possible, refusals): (Vec<_>, Vec<_>) = Variant::ALL
        .into_iter()
        .map(|variant| (variant, variant.hooks(&btf)))
        .partition(|(_, hooks)| hooks.is_ok());
    let names: Vec<_> = possible.iter().map(|(variant, _)| variant.name()).collect();
    let reasons: Vec<_> = refusals
        .into_iter()
        .filter_map(|(variant, hooks)| Some(format!("{variant}: {}", hooks.err()?)))
        .collect();
    checks.push(if names.is_empty() {
        Check::new("message hooks", Outcome::Failed, reasons.join("; "))
    } else {
        Check::new("message hooks", Outcome::Ok, names.join(" "))
    });
    checks.push(match Offsets::resolve(&btf) {
        Ok(offsets) if offsets.missing().is_empty() => {
            Check::new("kernel fields", Outcome::Ok, "all found")
        }
        Ok(offsets) => {
            let fields: Vec<_> = offsets.missing().iter().map(ToString::to_string).collect();
            Check::new("kernel fields", Outcome::Limited, fields.join("; "))
        }
        Err(error) => Check::new("kernel fields", Outcome::Failed, error.to_string()),
    });
    checks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lockdown_of(content: &str) -> Outcome {
        let path = std::env::temp_dir().join(format!("conn-trace-lockdown-{}", content.len()));
        fs::write(&path, content).expect("a temporary file");
        let outcome = lockdown(&path).outcome;
        fs::remove_file(&path).expect("the temporary file");
        outcome
    }

    #[test]
    fn only_confidentiality_forbids() {
        assert_eq!(
            lockdown_of("none integrity [confidentiality]\n"),
            Outcome::Failed
        );
        assert_eq!(
            lockdown_of("none [integrity] confidentiality\n"),
            Outcome::Ok
        );
        assert_eq!(lockdown(Path::new("/nonexistent")).outcome, Outcome::Ok);
    }

    #[test]
    fn broken_types_are_a_failure() {
        let checks = kernel_types(b"no BTF");
        assert_eq!(checks.len(), 1);
        assert_eq!(checks[0].outcome, Outcome::Failed);
    }
}
