//! Benchmarks of conn-trace, started by `cargo xtask bench`. See `docs/benchmarks.md`.
#![forbid(unsafe_code)]

mod bpftrace;
mod busy;
mod churn;
mod load;
mod machine;
mod overhead;
mod random;
mod report;
mod rounds;
mod stats;
mod thread;
mod variant;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Benchmarks of conn-trace.
#[derive(Parser)]
#[command(name = "conn-trace-bench")]
struct Cli {
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Subcommand)]
enum Benchmark {
    /// Measure what a message and a connection cost more while they are counted.
    Overhead(overhead::Options),
}

fn main() -> ExitCode {
    let Benchmark::Overhead(options) = Cli::parse().benchmark;
    match overhead::main(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
