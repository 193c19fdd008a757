//! schemathesis, which asks the API all that its document allows, and things that it does not.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

use crate::{process, workspace::Workspace};

/// The release that the tests are made with, and all that it needs, each by its hash.
const REQUIREMENTS: &str = "tests/schemathesis/requirements.txt";

/// A copy of the requirements in the virtual environment: written last, so that it stands for all
/// that is installed.
const RECORD: &str = "installed.txt";

/// Whether Python can make virtual environments; on Debian, that is a package of its own.
pub(super) fn has_venv() -> bool {
    let mut python = Command::new("python3");
    python.args(["-c", "import ensurepip, venv"]);
    python
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Where the program is, if it is installed.
pub(crate) fn schemathesis(workspace: &Workspace) -> PathBuf {
    environment(workspace).join("bin/schemathesis")
}

/// Installs it if it is not there. Its test is skipped without it, so that it is no error where
/// the packages cannot be had, as without a network.
pub(super) fn ensure(workspace: &Workspace) -> Result<()> {
    let requirements = workspace.root.join(REQUIREMENTS);
    let wanted = fs::read_to_string(&requirements)
        .with_context(|| format!("cannot read {}", requirements.display()))?;
    let record = environment(workspace).join(RECORD);
    let is_there = fs::read_to_string(&record).is_ok_and(|installed| installed == wanted)
        && schemathesis(workspace).exists();
    if is_there {
        process::note("found schemathesis");
        return Ok(());
    }
    process::step("installing schemathesis");
    match install(workspace, &requirements) {
        Ok(()) => {
            fs::write(&record, wanted).with_context(|| format!("cannot write {}", record.display()))
        }
        Err(error) => {
            process::warn(&format!(
                "{error:#}: the test that needs schemathesis is skipped"
            ));
            // Half of it would be taken for all.
            let _ = fs::remove_dir_all(environment(workspace));
            Ok(())
        }
    }
}

fn install(workspace: &Workspace, requirements: &Path) -> Result<()> {
    let environment = environment(workspace);
    process::run(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&environment),
    )?;
    process::run(
        Command::new(environment.join("bin/pip"))
            .args(["install", "--quiet", "--disable-pip-version-check"])
            // Nothing of a package runs but what is named here.
            .args([
                "--require-hashes",
                "--only-binary",
                ":all:",
                "--requirement",
            ])
            .arg(requirements),
    )
}

/// The virtual environment.
fn environment(workspace: &Workspace) -> PathBuf {
    workspace.tools().join("python")
}
