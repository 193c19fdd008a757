//! Project tasks, run as `cargo xtask <task>`.
//!
//! Each task has one file. Progress goes to standard error, so that the standard output
//! of a task is the output of what it runs.

mod artifacts;
mod bench;
mod build;
mod fuzz;
mod libtest;
mod lint;
mod process;
mod programs;
mod run;
mod setup;
mod stream;
mod test;
mod vm;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// Project tasks of conn-trace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what the other tasks need; does nothing where everything is here.
    Setup(setup::Options),
    /// Build the agent, with its eBPF object inside.
    Build(build::Options),
    /// Build the agent and start it on this host.
    Run(run::Options),
    /// Run every test: unit, doc and end-to-end on the running kernel.
    Test(test::Options),
    /// Run the end-to-end tests on other kernels, in virtual machines.
    Vm(vm::Options),
    /// Feed broken and hostile data to what reads the kernel's own.
    Fuzz(fuzz::Options),
    /// Measure what conn-trace costs on this host.
    Bench(bench::Options),
    /// Check formatting, and clippy for the host crates and the eBPF crate.
    Lint,
}

fn main() -> ExitCode {
    match perform(&Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            process::error(&error);
            ExitCode::FAILURE
        }
    }
}

fn perform(cli: &Cli) -> Result<ExitCode> {
    let workspace = Workspace::locate()?;
    match &cli.task {
        Task::Setup(options) => setup::main(&workspace, options)?,
        Task::Build(options) => build::main(&workspace, options)?,
        Task::Run(options) => run::main(&workspace, options)?,
        // The summary is the last line whatever happened, so this task reports its own errors.
        Task::Test(options) => return Ok(test::main(&workspace, options)),
        Task::Vm(options) => return vm::main(&workspace, options),
        Task::Fuzz(options) => return fuzz::main(&workspace, options),
        Task::Bench(options) => bench::main(&workspace, options)?,
        Task::Lint => lint::main(&workspace)?,
    }
    Ok(ExitCode::SUCCESS)
}
