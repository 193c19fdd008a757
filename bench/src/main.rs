//! Benchmarks of conn-trace, started by `cargo xtask bench`. See `docs/benchmarks.md`.
#![forbid(unsafe_code)]

mod bpftrace;
mod busy;
mod churn;
mod connz;
mod load;
mod machine;
mod overhead;
mod random;
mod report;
mod rounds;
mod stats;
mod thread;
mod traced;
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
    /// Measure how long answers to /connz take, beside nats-server and ss.
    Connz(connz::Options),
    /// Measure how long scrapes of /metrics take, and finding services.
    Metrics(connz::MetricsOptions),
    /// Measure what policies take of an idle agent, and how soon a limit acts.
    Policies(connz::PoliciesOptions),
    /// Hold pairs of connections, for `metrics` and `policies`.
    #[command(hide = true)]
    Pairs(connz::PairsOptions),
    /// Hold connections, for `connz`.
    #[command(hide = true)]
    Hold(connz::HoldOptions),
    /// Serve made-up connections, for `connz`.
    #[command(hide = true)]
    Synthetic(connz::SyntheticOptions),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().benchmark {
        Benchmark::Overhead(options) => overhead::main(&options),
        Benchmark::Connz(options) => connz::main(&options),
        Benchmark::Metrics(options) => connz::metrics(&options),
        Benchmark::Policies(options) => connz::policies(&options),
        Benchmark::Pairs(options) => connz::hold_pairs(&options),
        Benchmark::Hold(options) => connz::hold(&options),
        Benchmark::Synthetic(options) => connz::serve(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
