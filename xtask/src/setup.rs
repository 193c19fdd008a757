//! `cargo xtask setup`: everything that building, testing or measuring needs beyond a Rust toolchain.
//!
//! Each part looks first and installs only what is not there, so a second run changes nothing.

mod apt;
pub(crate) mod host;
mod linker;
mod packages;
pub(crate) mod python;
mod toolchain;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::{process, workspace::Workspace};

/// What the machine is prepared for; each need includes those above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Need {
    /// Build and run the agent.
    Build,
    /// Also the programs that the end-to-end tests watch or use.
    Test,
    /// Also the tools that the benchmarks compare with.
    Bench,
}

#[derive(Args)]
pub(crate) struct Options {
    /// What to prepare this machine for.
    #[arg(long = "for", value_enum, default_value_t = Need::Test)]
    need: Need,
}

pub(crate) fn main(workspace: &Workspace, options: &Options) -> Result<()> {
    ensure(workspace, options.need)?;
    process::step("setup is complete");
    process::note(match options.need {
        Need::Build => "next: `cargo xtask run`",
        Need::Test => "next: `cargo xtask run` or `cargo xtask test`",
        Need::Bench => "next: `cargo xtask bench overhead`",
    });
    Ok(())
}

/// Installs what is missing for `need`.
pub(crate) fn ensure(workspace: &Workspace, need: Need) -> Result<()> {
    process::step("checking what this machine has");
    for problem in host::kernel_problems() {
        process::warn(&problem);
    }
    if process::find_program("cc").is_none() {
        process::warn("no C compiler `cc` in PATH: install gcc, which links Rust programs");
    }
    toolchain::ensure(workspace)?;
    // The packages below Need::Test are there to build the linker: a linker that runs needs them no more.
    let has_linker = linker::is_installed(workspace);
    apt::ensure(need, has_linker, &linker::install_by_hand(workspace))?;
    if !has_linker {
        linker::install(workspace)?;
    }
    if need >= Need::Test {
        python::ensure(workspace)?;
    }
    Ok(())
}
