//! `metrics`: how long a scrape takes, by the number of connections, with many services; and what
//! finding the service of a connection takes.

use std::{
    env, fmt, fs,
    hint::black_box,
    io::{Write as _, stdout},
    path::{Path, PathBuf},
    process, thread,
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use conn_trace::{config::Configuration, registry::services::Classify as _};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::{
    child::Running,
    client::Client,
    questions::{Question, ask_all},
    real::{free_addresses, wait_for},
    report::{Samples, Table},
    table,
};
use crate::{
    busy::Watch,
    load::Load,
    machine::{self, Machine},
    random::Random,
    report::write_json,
    stats::Summary,
};

/// Pairs of one process: a pair is two files, of the 20,000 that some hosts allow it.
const PAIRS_PER_PROCESS: u32 = 9_500;

/// The hidden command of this program.
pub(super) const COMMAND: &str = "pairs";

/// Connections that are told apart in one measurement of that.
const CLASSIFIED: u32 = 10_000;

#[derive(Args)]
pub(crate) struct Options {
    /// Scrape this many times.
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Connections of the host; measured is this many, a tenth, and none.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(20..))]
    connections: u32,
    /// Configured services. All but the last have none of the connections.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    services: u32,
    /// The agent's program.
    #[arg(long, value_name = "FILE", default_value = "conn-trace")]
    agent: PathBuf,
    /// Write all samples and results to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct PairsOptions {
    pairs: u32,
    /// Send a byte on each: too few to say what it speaks.
    #[arg(long)]
    with_byte: bool,
}

/// Opens pairs of sockets, says so, and holds them until it is killed.
pub(crate) fn hold_pairs(options: &PairsOptions) -> Result<()> {
    let pairs = options.pairs as usize;
    ensure!(machine::pairs_that_fit(pairs)? == pairs, "too many files");
    let mut load = Load::open(pairs, 0, &mut Random::new(1))?;
    if options.with_byte {
        load.send_byte()?;
    }
    println!("connected");
    stdout().flush()?;
    loop {
        thread::park();
    }
}

/// What a scrape takes, and finding a service.
#[derive(Debug, Serialize)]
struct Results {
    scrapes: Table,
    /// Finding the service of a connection, in µs; each a mean of many.
    classify_us: Vec<f64>,
    services: u32,
}

pub(crate) fn main(options: &Options) -> Result<()> {
    let _alone = machine::lock()?;
    machine::ensure_no_bpf_stats()?;
    let machine = Machine::describe()?;
    println!("{machine}");
    let watch = Watch::start()?;
    let results = measure(options)?;
    print!("\n{results}");
    let others_percent = watch.others_percent()?;
    println!("\nCPU time used by others during the run: {others_percent:.1} %");
    if let Some(file) = &options.json {
        let report = json!({
            "started": Timestamp::now(),
            "machine": machine,
            "rounds": options.rounds,
            "others_cpu_percent": others_percent,
            "results": results,
        });
        write_json(file, &report)?;
    }
    Ok(())
}

fn measure(options: &Options) -> Result<Results> {
    let configuration = configuration(options.services);
    let classify_us = classify(&configuration, options.rounds)?;
    let file = env::temp_dir().join(format!("conn-trace-bench-{}.toml", process::id()));
    fs::write(&file, &configuration).context("cannot write the configuration")?;
    let scrapes = scrapes(options, &file);
    fs::remove_file(&file).context("cannot remove the configuration")?;
    Ok(Results {
        scrapes: scrapes?,
        classify_us,
        services: options.services,
    })
}

/// Services of which the last has all connections of this host, and each is compared with all.
fn configuration(services: u32) -> String {
    let others = (1..services).map(|number| {
        format!(
            "[[service]]\nname = \"s{number}\"\ndirection = [\"in\", \"out\"]\n\
             remote_ip = [\"192.0.2.{}\", \"198.51.100.0/24\"]\ncomm = \"none\"\n",
            number % 256
        )
    });
    let last = "[[service]]\nname = \"all\"\nremote_ip = [\"0.0.0.0/0\", \"::/0\"]\nmetric_prefix = \"all\"\n";
    others.collect::<String>() + last
}

/// µs for one connection, again and again.
fn classify(configuration: &str, rounds: u32) -> Result<Vec<f64>> {
    let matcher = Configuration::parse(Path::new("bench.toml"), configuration)?.matcher();
    let snapshot = table::snapshot(CLASSIFIED);
    let measure = || {
        let start = Instant::now();
        for connection in &snapshot.open {
            black_box(matcher.classify(black_box(&connection.facts)));
        }
        start.elapsed().as_secs_f64() * 1e6 / f64::from(CLASSIFIED)
    };
    Ok((0..rounds).map(|_| measure()).collect())
}

/// Scrapes the same agent while more and more connections are open.
fn scrapes(options: &Options, configuration: &Path) -> Result<Table> {
    let [address] = free_addresses()?;
    let listen = address.to_string();
    let most = (2 * options.connections).to_string();
    let file = configuration.display().to_string();
    let arguments = [
        ["agent", "--log-level=warn"],
        ["--listen", &listen],
        ["--max-connections", &most],
        ["--config", &file],
    ];
    let agent = Running::start(&options.agent, arguments.concat())?;
    wait_for(address)?;
    let mut clients = [Client::new(address, agent.pid())?];
    let mut random = Random::new(1);
    let (mut lines, mut holders) = (Vec::new(), Vec::new());
    let mut open = 0;
    for connections in [0, options.connections / 10, options.connections] {
        let mut left = (connections - open) / 2;
        while left > 0 {
            let some = left.min(PAIRS_PER_PROCESS);
            let mut holder = Running::own([COMMAND, &some.to_string()])?;
            holder.line().context("the pairs do not connect")?;
            holders.push(holder);
            left -= some;
        }
        open = connections;
        // The other ends have not been used, and nobody is known to own them; the client has one more.
        let owned = u64::from(connections / 2) + 1;
        clients[0].check("/connz?limit=1&comm=conn-trace-benc", 1, owned)?;
        let name = format!("{connections} connections");
        let question = Question::http(name, 0, "/metrics");
        lines.extend(ask_all(
            &[question],
            &mut clients,
            options.rounds,
            &mut random,
        )?);
    }
    Ok(Table {
        heading: format!("GET /metrics with {} services", options.services),
        lines,
        has_ratios: false,
    })
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.scrapes)?;
        let Summary { median, mad, .. } = Summary::of(&self.classify_us);
        writeln!(
            f,
            "finding the service of a connection among {}: {median:.2} ± {mad:.2} µs",
            self.services
        )?;
        let slowest = self.scrapes.lines.iter().map(Samples::summary);
        let slowest = slowest.fold(0.0_f64, |most, one| most.max(one.median));
        writeln!(f, "slowest scrape: {slowest:.2} ms")
    }
}
