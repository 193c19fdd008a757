//! `cargo xtask run`: build the agent and become it.

use std::{ffi::OsString, os::unix::process::CommandExt as _};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{
    build, process,
    setup::{self, Need, host},
    workspace::Workspace,
};

/// The agent's default address, with the query that NATS and WuKongIM operators know.
const EXAMPLE_QUERY: &str = "curl 'http://127.0.0.1:8322/connz?offset=0&limit=50&subs=1'";

#[derive(Args)]
pub(crate) struct Options {
    /// Passed to `conn-trace agent` as they are.
    #[arg(last = true)]
    agent_args: Vec<OsString>,
}

pub(crate) fn main(workspace: &Workspace, options: &Options) -> Result<()> {
    // Before the build: minutes of compiling don't help a kernel that cannot run the result.
    let problems = host::kernel_problems();
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    setup::ensure(workspace, Need::Build)?;
    let binary = build::agent(workspace, true)?;
    let mut command = process::as_root(&binary)?;
    command.arg("agent").args(&options.agent_args);
    process::step(&format!(
        "starting {} agent; Ctrl-C stops it",
        binary.display()
    ));
    process::note(&format!("next, in another terminal: {EXAMPLE_QUERY}"));
    // The agent takes this process's place, so that signals reach it and not a parent.
    Err(command.exec()).with_context(|| format!("cannot start {}", command.get_program().display()))
}
