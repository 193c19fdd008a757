//! Everything that the tests consist of.

use std::path::PathBuf;

use anyhow::Result;

use crate::{
    artifacts::{self, Executable},
    build, process,
    workspace::{EBPF_PACKAGE, Workspace},
};

/// The directory of `conn-trace-tests`: its tests load eBPF programs and so run as root.
const END_TO_END: &str = "tests";

/// The tests are built by a profile of their own, the agent by that of releases.
pub(crate) const PROFILE: [&str; 2] = ["--profile", "tests"];

/// What the tests consist of.
pub(crate) struct Programs {
    /// Unit tests.
    pub(crate) unit: Vec<Executable>,
    pub(crate) end_to_end: Vec<Executable>,
    /// The programs that end-to-end tests start: cargo builds them beside these.
    pub(crate) beside: Vec<Executable>,
    pub(crate) agent: PathBuf,
}

impl Programs {
    pub(crate) fn build(workspace: &Workspace) -> Result<Self> {
        process::step("building the tests");
        let mut cargo = workspace.cargo("build")?;
        cargo.args(PROFILE);
        cargo.args([
            "--locked",
            "--workspace",
            "--exclude",
            EBPF_PACKAGE,
            "--tests",
        ]);
        let (end_to_end, others): (Vec<_>, Vec<_>) = artifacts::build(&mut cargo)?
            .into_iter()
            .partition(|executable| executable.package_dir == workspace.root.join(END_TO_END));
        let (end_to_end, beside) = end_to_end
            .into_iter()
            .partition(|executable| executable.is_test);
        Ok(Self {
            unit: others
                .into_iter()
                .filter(|executable| executable.is_test)
                .collect(),
            end_to_end,
            beside,
            // After the tests: with its own features only, so that what is tested is what `run` starts.
            agent: build::agent(workspace, true)?,
        })
    }
}
