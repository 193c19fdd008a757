//! `cargo xtask bench`: build a benchmark and become it.

use std::{ffi::OsString, os::unix::process::CommandExt as _};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};

use crate::{
    build, process,
    setup::{self, Need, host},
    workspace::Workspace,
};

/// The package and the binary of the benchmarks.
const BENCHMARKS: &str = "conn-trace-bench";

#[derive(Clone, Copy, ValueEnum)]
enum Benchmark {
    /// What a message costs more while it is counted, beside an empty program and bpftrace.
    Overhead,
    /// How long answers to /connz take, beside nats-server and ss.
    Connz,
    /// How long scrapes of /metrics take with many connections and services.
    Metrics,
    /// What policies take of an agent when nothing happens, and how soon a limit acts.
    Policies,
}

#[derive(Args)]
pub(crate) struct Options {
    /// What to measure.
    #[arg(value_enum)]
    benchmark: Benchmark,
    /// Passed to the benchmark as they are; `-- --help` lists them.
    #[arg(last = true)]
    args: Vec<OsString>,
}

pub(crate) fn main(workspace: &Workspace, options: &Options) -> Result<()> {
    let problems = host::kernel_problems();
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    let need = match options.benchmark {
        Benchmark::Overhead => Need::Bench,
        // nats-server is among what the tests need.
        Benchmark::Connz | Benchmark::Metrics | Benchmark::Policies => Need::Test,
    };
    setup::ensure(workspace, need)?;
    process::step("building the benchmarks");
    let binary = build::binary(workspace, BENCHMARKS, true)?;
    // Built here: the benchmark runs as root, who should own nothing in the target directory.
    let (name, needs_agent) = match options.benchmark {
        Benchmark::Overhead => ("overhead", false),
        Benchmark::Connz => ("connz", true),
        Benchmark::Metrics => ("metrics", true),
        Benchmark::Policies => ("policies", true),
    };
    let mut command = process::as_root(&binary)?;
    command.arg(name);
    if needs_agent {
        command.arg("--agent").arg(build::agent(workspace, true)?);
    }
    command.args(&options.args);
    process::step(&format!("measuring {name}; Ctrl-C stops it"));
    process::note("leave the machine alone meanwhile: whatever else runs is measured too");
    // The benchmark takes this process's place, so that signals reach it and not a parent.
    Err(command.exec()).with_context(|| format!("cannot start {}", command.get_program().display()))
}
