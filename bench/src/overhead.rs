//! `overhead`: what a message costs more while something counts it.
//!
//! In every round each variant is measured once, in random order, and compared with the same
//! round's window without hooks: a machine that gets slower for a minute slows all of them down.

use std::{path::PathBuf, thread, time::Duration};

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use crate::{
    bpftrace,
    busy::Watch,
    churn::Request,
    load::MESSAGE_BYTES,
    machine::{self, Machine},
    random::{Random, seed_at},
    report::write_json,
    rounds::Rounds,
    thread::last_cpu,
    variant::Variant,
};

/// Long enough to see whether somebody else is using the machine.
const LOOK: Duration = Duration::from_secs(2);

/// Share of the machine's CPU time that others may use before the results are doubtful.
const QUIET_PERCENT: f64 = 2.0;

#[derive(Args)]
pub(crate) struct Options {
    /// Measure every variant this many times.
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Spread the messages over so many pairs of sockets.
    #[arg(long, value_name = "PAIRS", value_delimiter = ',', default_value = "1,8000",
        value_parser = clap::value_parser!(u16).range(1..))]
    sockets: Vec<u16>,
    /// Send and receive at least so many messages in a window.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    loops: u32,
    /// Keep the load on this CPU [default: the last one].
    #[arg(long)]
    cpu: Option<usize>,
    /// Repeat the random orders of an earlier run.
    #[arg(long)]
    seed: Option<u64>,
    /// Leave bpftrace out.
    #[arg(long)]
    no_bpftrace: bool,
    /// Write all samples and results to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) fn main(options: &Options) -> Result<()> {
    let _alone = machine::lock()?;
    machine::ensure_no_bpf_stats()?;
    let bpftrace = (!options.no_bpftrace).then(prepare_bpftrace).transpose()?;
    let machine = Machine::describe()?;
    let cpu = options.cpu.map_or_else(last_cpu, Ok)?;
    let started = Timestamp::now();
    let seed = options.seed.unwrap_or_else(|| seed_at(started));
    println!("{machine}");
    println!(
        "{} rounds, load on CPU {cpu}, messages of {MESSAGE_BYTES} bytes, seed {seed}, {}",
        options.rounds,
        bpftrace.as_deref().unwrap_or("without bpftrace")
    );
    let watch = Watch::start()?;
    thread::sleep(LOOK);
    warn_if_busy("before", watch.others_percent()?);

    let mut variants = vec![
        Variant::None,
        Variant::NoneAgain,
        Variant::Floor,
        Variant::ConnTrace,
        Variant::TracedOther,
        Variant::TracedOwn,
        Variant::FirstBytes,
    ];
    variants.extend(bpftrace.as_ref().map(|_| Variant::Bpftrace));
    let mut rounds = Rounds {
        count: options.rounds,
        cpu,
        random: Random::new(seed),
        counted: 0,
    };
    let watch = Watch::start()?;
    let mut all = Vec::new();
    for pairs in &options.sockets {
        let series = rounds.messages((*pairs).into(), options.loops as usize, &variants)?;
        print!("\n{series}");
        all.push(series);
    }
    for request in [Request::None, Request::One] {
        let series = rounds.connections(request)?;
        print!("\n{series}");
        all.push(series);
    }
    // Any other outcome has ended the run.
    println!(
        "\nevents counted == events made: conn-trace has counted {} events, \
         and each connection's own messages and bytes",
        rounds.counted
    );
    let others_percent = watch.others_percent()?;
    warn_if_busy("during", others_percent);

    if let Some(file) = &options.json {
        let results: Vec<_> = all
            .iter()
            .map(|series| json!({ "series": series, "rows": series.rows() }))
            .collect();
        let report = json!({
            "started": started,
            "machine": machine,
            "load_cpu": cpu,
            "message_bytes": MESSAGE_BYTES,
            "rounds": options.rounds,
            "seed": seed,
            "bpftrace": bpftrace,
            "others_cpu_percent": others_percent,
            "results": results,
        });
        write_json(file, &report)?;
    }
    Ok(())
}

/// Gives its version.
fn prepare_bpftrace() -> Result<String> {
    bpftrace::ensure_tracefs()?;
    bpftrace::version()
}

fn warn_if_busy(when: &str, others_percent: f64) {
    println!("CPU time used by others {when} the run: {others_percent:.1} %");
    if others_percent > QUIET_PERCENT {
        println!("warning: the machine was busy; repeat this on a quiet one before you rely on it");
    }
}
