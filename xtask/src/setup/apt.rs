//! Debian packages: which are missing, and how they are installed without a trace on running services.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::{
    Need,
    packages::{self, Package},
    python,
};
use crate::process;

/// Keeps maintainer scripts from starting or restarting anything: `systemctl` leaves systemd
/// alone when told that it is offline, invoke-rc.d asks for the runlevel, in which no network
/// service is due, and needrestart (Ubuntu) stays out. Nothing on disk has to change for it.
/// Without systemd, a policy-rc.d of the administrator's that says "run" still has its way.
const LEAVE_SERVICES_ALONE: [(&str, &str); 3] = [
    ("SYSTEMD_OFFLINE", "1"),
    ("RUNLEVEL", "1"),
    ("NEEDRESTART_SUSPEND", "1"),
];

/// Refuses to remove a package in favour of ours.
const INSTALL: [&str; 4] = ["install", "-y", "--no-install-recommends", "--no-remove"];

/// Installs the packages that `need` asks for and that are missing.
///
/// `linker_by_hand` is for people without apt: we cannot see which libraries they have.
pub(super) fn ensure(need: Need, has_linker: bool, linker_by_hand: &str) -> Result<()> {
    let wanted = packages::wanted(need, has_linker, python::has_venv());
    let mut missing = missing(&wanted)?;
    for package in &wanted {
        if !missing.iter().any(|other| other.name == package.name) {
            process::note(&format!("found {}", package.name));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    if process::find_program("apt-get").is_none() {
        missing.retain(|package| !can_be_left_out(package));
        if missing.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = missing.iter().map(|package| package.name).collect();
        let linker = if has_linker {
            String::new()
        } else {
            format!("\nthen build the linker:\n  {linker_by_hand}\nand try again")
        };
        bail!(
            "this system has no apt-get: install what corresponds to these Debian packages: {}{linker}",
            names.join(" ")
        );
    }
    if !process::is_root()? {
        leave_out(&mut missing)?;
        if missing.is_empty() {
            return Ok(());
        }
        check_candidates(&missing)?;
        bail!(
            "root is needed once; run\n  {}\nand try again",
            sudo_command(&missing)
        );
    }
    process::step("asking which packages there are");
    // One broken third-party source doesn't have to matter: if it does, the next step says so.
    if let Err(error) = process::run(apt_get().args(["update", "-q"])) {
        process::warn(&format!("{error:#}"));
    }
    leave_out(&mut missing)?;
    if missing.is_empty() {
        return Ok(());
    }
    check_candidates(&missing)?;
    let names: Vec<_> = missing.iter().map(|package| package.name).collect();
    process::step(&format!("installing {}", names.join(", ")));
    process::run(apt_get().args(INSTALL).args(names))?;
    keep_services_off(&missing)
}

/// The packages that are neither installed nor, for programs, provided in another way.
fn missing(wanted: &[&'static Package]) -> Result<Vec<&'static Package>> {
    let asked: Vec<_> = wanted
        .iter()
        .copied()
        .filter(|package| {
            package
                .program
                .is_none_or(|program| process::find_program(program).is_none())
        })
        .collect();
    if asked.is_empty() || process::find_program("dpkg-query").is_none() {
        return Ok(asked);
    }
    // The status is non-zero and standard error talks as soon as one package is unknown.
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat=${Package} ${db:Status-Status}\n"])
        .args(asked.iter().map(|package| package.name))
        .stderr(Stdio::null())
        .output()
        .context("cannot start dpkg-query")?;
    let answer = String::from_utf8_lossy(&output.stdout);
    Ok(asked
        .into_iter()
        .filter(|package| !is_installed(&answer, package.name))
        .collect())
}

/// Looks a package up in lines of `name status`; an architecture may follow the name.
fn is_installed(answer: &str, package: &str) -> bool {
    answer.lines().any(|line| {
        line.split_once(' ').is_some_and(|(name, status)| {
            name.split(':').next() == Some(package) && status == "installed"
        })
    })
}

/// Whether a package is for one test alone, which is said then.
fn can_be_left_out(package: &Package) -> bool {
    let Some(test) = package.skipped else {
        return false;
    };
    process::warn(&format!(
        "no {}: the test `{test}` is skipped",
        package.name
    ));
    true
}

/// Forgets the packages for one test that the archive does not have.
fn leave_out(missing: &mut Vec<&Package>) -> Result<()> {
    let mut left = Vec::new();
    for &package in &*missing {
        if package.skipped.is_none() || is_in_archive(package)? || !can_be_left_out(package) {
            left.push(package);
        }
    }
    *missing = left;
    Ok(())
}

fn is_in_archive(package: &Package) -> Result<bool> {
    let policy = process::stdout_of(
        Command::new("apt-cache")
            .args(["policy", package.name])
            .env("LC_ALL", "C"),
    )?;
    Ok(has_candidate(&policy))
}

/// Says in one line what apt would say in many.
fn check_candidates(missing: &[&Package]) -> Result<()> {
    for package in missing
        .iter()
        .filter(|package| package.name == packages::LLVM)
    {
        if !is_in_archive(package)? {
            bail!(
                "this distribution's archive has no {} as of the last `apt-get update`; \
                 https://apt.llvm.org provides it",
                package.name
            );
        }
    }
    Ok(())
}

/// Reads the answer of `apt-cache policy`, which is empty for a name that apt has never seen.
fn has_candidate(policy: &str) -> bool {
    policy
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Candidate: "))
        .any(|version| version != "(none)")
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .envs(LEAVE_SERVICES_ALONE)
        // Another apt, such as an unattended upgrade, is waited for.
        .args(["-o", "DPkg::Lock::Timeout=300"])
        // A configuration file that the user has changed is theirs.
        .args(["-o", "Dpkg::Options::=--force-confdef"])
        .args(["-o", "Dpkg::Options::=--force-confold"])
        .stdin(Stdio::null());
    command
}

/// What somebody without root's rights can run to the same end.
fn sudo_command(missing: &[&Package]) -> String {
    let mut words = vec!["sudo apt-get update && sudo".to_owned()];
    if missing.iter().any(|package| package.service.is_some()) {
        words.push("env".to_owned());
        words.extend(LEAVE_SERVICES_ALONE.map(|(name, value)| format!("{name}={value}")));
    }
    words.push("apt-get".to_owned());
    words.extend(INSTALL.map(str::to_owned));
    words.extend(missing.iter().map(|package| package.name.to_owned()));
    words.join(" ")
}

/// Packages enable their service for the next boot; the tests start their own instead.
fn keep_services_off(installed: &[&Package]) -> Result<()> {
    let services: Vec<_> = installed
        .iter()
        .filter_map(|package| package.service)
        .collect();
    let runs_systemd = Path::new("/run/systemd/system").exists();
    if services.is_empty() || !runs_systemd {
        return Ok(());
    }
    // Also makes systemd read the units that it was not told about.
    process::run(Command::new("systemctl").arg("disable").args(services))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_status_installed_counts() {
        let answer = "curl installed\nwrk config-files\nnginx-light not-installed\nzlib1g-dev:amd64 installed\n";
        assert!(is_installed(answer, "curl"));
        assert!(is_installed(answer, "zlib1g-dev"));
        assert!(!is_installed(answer, "wrk"));
        assert!(!is_installed(answer, "nginx-light"));
        assert!(!is_installed(answer, "nginx"));
        assert!(!is_installed("", "curl"));
    }

    #[test]
    fn a_candidate_is_a_version() {
        let known =
            "llvm-22-dev:\n  Installed: (none)\n  Candidate: 1:22.1.8-1\n  Version table:\n";
        let none = "llvm-22-dev:\n  Installed: (none)\n  Candidate: (none)\n  Version table:\n";
        assert!(has_candidate(known));
        assert!(!has_candidate(none));
        assert!(!has_candidate(""));
    }

    #[test]
    fn the_command_for_sudo_spares_services_where_there_are_any() {
        let library = Package::library("zlib1g-dev", Need::Build);
        assert_eq!(
            sudo_command(&[&library]),
            "sudo apt-get update && sudo apt-get install -y --no-install-recommends --no-remove zlib1g-dev"
        );
        let server = Package::server("nginx-light", "nginx", Need::Test);
        assert!(sudo_command(&[&server]).contains("sudo env SYSTEMD_OFFLINE=1 RUNLEVEL=1"));
    }
}
