//! `cargo xtask build`: the agent, with the eBPF object that its build script embeds.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{
    artifacts, process,
    setup::{self, Need},
    workspace::Workspace,
};

/// The package and the binary of the agent.
const AGENT: &str = "conn-trace";

#[derive(Args)]
pub(crate) struct Options {
    /// Optimise, as for the agent that `run` starts.
    #[arg(long)]
    release: bool,
}

pub(crate) fn main(workspace: &Workspace, options: &Options) -> Result<()> {
    setup::ensure(workspace, Need::Build)?;
    let binary = agent(workspace, options.release)?;
    process::step(&format!("built {}", binary.display()));
    process::note("next: `cargo xtask run` starts it, `cargo xtask test` tests it");
    Ok(())
}

/// Builds the agent and returns the path of its binary.
pub(crate) fn agent(workspace: &Workspace, release: bool) -> Result<PathBuf> {
    process::step("building the agent");
    binary(workspace, AGENT, release)
}

/// Builds the binary of a package of the same name.
pub(crate) fn binary(workspace: &Workspace, package: &str, release: bool) -> Result<PathBuf> {
    let mut cargo = workspace.cargo("build")?;
    cargo.args(["--locked", "--package", package]);
    if release {
        cargo.arg("--release");
    }
    artifacts::build(&mut cargo)?
        .into_iter()
        .find(|executable| executable.target == package)
        .map(|executable| executable.path)
        .with_context(|| format!("cargo built no binary `{package}`"))
}
