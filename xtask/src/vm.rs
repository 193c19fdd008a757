//! `cargo xtask vm`: the end-to-end tests on other kernels, each in a virtual machine.

mod archive;
mod cpio;
mod download;
mod emulator;
mod guest;
mod image;
pub(crate) mod kernels;
mod libraries;
mod machine;
mod mirror;
mod modules;
mod qemu;
mod source;
mod table;
mod tree;

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use clap::Args;

use crate::{
    libtest::{Tally, results::Outcome},
    process,
    programs::Programs,
    setup::{self, Need},
    workspace::Workspace,
};
use guest::Check;
use kernels::Kernel;

#[derive(Args)]
pub(crate) struct Options {
    /// Try only this kernel: 5.10, 6.1, 6.12, 7.2, ubuntu-24.04, or the path of an image (vmlinuz). Its modules
    /// are looked for in `modules` beside it, and for vmlinuz-VERSION in ../lib/modules/VERSION.
    /// Can be given more than once.
    #[arg(long = "kernel", value_name = "VERSION|PATH")]
    kernels: Vec<String>,
    /// Run only tests with this text in their name.
    #[arg(long, value_name = "SUBSTR")]
    filter: Option<String>,
    /// Look for newer packages of the kernels, instead of using those fetched earlier.
    #[arg(long)]
    update: bool,
}

/// What became of one kernel.
pub(crate) struct Run {
    kernel: String,
    end: End,
}

enum End {
    /// It could not be tried, for a reason outside of the tests.
    Unavailable(String),
    Ran(Ran),
}

/// A machine that was started.
struct Ran {
    /// What the kernel calls itself, once it was up.
    release: Option<String>,
    checks: Vec<Check>,
    /// Until the first test, and altogether.
    boot: Duration,
    took: Duration,
    /// All that it wrote.
    log: PathBuf,
}

pub(crate) fn main(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let kernels = kernels::chosen(&options.kernels)?;
    setup::ensure(workspace, Need::Test)?;
    let programs = Programs::build(workspace)?;
    let start = Instant::now();
    let runs = run(
        workspace,
        &programs,
        &kernels,
        options.filter.as_deref().as_slice(),
        options.update,
    )?;
    let mut tally = Tally::default();
    report(&runs, &mut tally);
    for skip in tally.skips() {
        println!("skipped {skip}");
    }
    let unavailable: Vec<_> = runs.iter().filter_map(Run::unavailable).collect();
    println!("{tally} in {} s", start.elapsed().as_secs());
    if !unavailable.is_empty() {
        bail!("{}", unavailable.join("\n"));
    }
    if tally.is_success() {
        process::note("next: `cargo xtask lint`, then commit");
        return Ok(ExitCode::SUCCESS);
    }
    process::note("next: `cargo xtask vm --kernel VERSION --filter NAME` repeats a test");
    Ok(ExitCode::FAILURE)
}

/// Tries these kernels with all tests that have one of these texts in their name, or all tests
/// without any; two kernels at a time.
pub(crate) fn run(
    workspace: &Workspace,
    programs: &Programs,
    kernels: &[Kernel],
    filters: &[&str],
    update: bool,
) -> Result<Vec<Run>> {
    machine::Host::new(workspace, programs, filters)?.try_all(kernels, update)
}

/// Prints the table with the output of what failed, and counts each check once.
pub(crate) fn report(runs: &[Run], tally: &mut Tally) {
    table::print(runs);
    for run in runs {
        match &run.end {
            End::Unavailable(reason) => tally.count(
                &format!("kernel {}", run.kernel),
                &Outcome::Skipped(reason.clone()),
            ),
            End::Ran(ran) => {
                for check in &ran.checks {
                    tally.count(&format!("{} on {}", check.name, run.kernel), &check.outcome);
                }
            }
        }
    }
}

impl Run {
    fn unavailable(&self) -> Option<String> {
        match &self.end {
            End::Unavailable(reason) => Some(format!("kernel {}: {reason}", self.kernel)),
            End::Ran(_) => None,
        }
    }
}
