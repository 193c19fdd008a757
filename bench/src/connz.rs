//! `connz`: how long the agent takes to answer `/connz`.
//!
//! First a server over made-up connections, more than a machine has files for: what filtering,
//! sorting and writing take. Then the agent, nats-server and `ss` over the same real connections.

mod child;
mod client;
mod hold;
mod memory;
mod metrics;
mod policies;
mod questions;
mod real;
mod report;
mod sampling;
mod synthetic;
mod table;

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;
use serde_json::json;

pub(crate) use self::{
    hold::{Options as HoldOptions, hold},
    metrics::{Options as MetricsOptions, PairsOptions, hold_pairs, main as metrics},
    policies::{Options as PoliciesOptions, main as policies},
    synthetic::{Options as SyntheticOptions, serve},
};
use crate::{
    busy::Watch,
    machine::{self, Machine},
    random::{Random, seed_at},
    report::write_json,
};

#[derive(Args)]
pub(crate) struct Options {
    /// Ask every question this many times.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Made-up connections.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    synthetic: u32,
    /// Clients of nats-server; each is two connections of this host. 0 leaves the real part out.
    #[arg(long, default_value_t = 19_500)]
    clients: u32,
    /// The agent's program.
    #[arg(long, value_name = "FILE", default_value = "conn-trace")]
    agent: PathBuf,
    /// Repeat the random orders of an earlier run.
    #[arg(long)]
    seed: Option<u64>,
    /// Write all samples and results to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) fn main(options: &Options) -> Result<()> {
    let _alone = machine::lock()?;
    machine::ensure_no_bpf_stats()?;
    let machine = Machine::describe()?;
    let started = Timestamp::now();
    let seed = options.seed.unwrap_or_else(|| seed_at(started));
    println!("{machine}");
    println!("{} rounds, seed {seed}", options.rounds);
    let mut random = Random::new(seed);
    let watch = Watch::start()?;
    let synthetic = synthetic::measure(options.synthetic, options.rounds, &mut random)?;
    print!("\n{synthetic}");
    let real = match options.clients {
        0 => None,
        clients => {
            let real = real::measure(&options.agent, clients, options.rounds, &mut random)?;
            print!("\n{real}");
            Some(real)
        }
    };
    let others_percent = watch.others_percent()?;
    println!("\nCPU time used by others during the run: {others_percent:.1} %");
    if let Some(file) = &options.json {
        let report = json!({
            "started": started,
            "machine": machine,
            "rounds": options.rounds,
            "seed": seed,
            "others_cpu_percent": others_percent,
            "synthetic": synthetic,
            "real": real,
        });
        write_json(file, &report)?;
    }
    Ok(())
}
