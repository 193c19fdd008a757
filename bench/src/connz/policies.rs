//! `policies`: what policies and first bytes take of an agent when nothing happens, and how soon a limit
//! acts.

use std::{
    env, fmt, fs,
    io::{ErrorKind, Read as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::{
    child::Running,
    client::Client,
    metrics::COMMAND,
    real::{free_addresses, wait_for},
};
use crate::{
    busy::Watch,
    machine::{self, Machine},
    random::{Random, seed_at},
    report::write_json,
    rounds::progress,
    stats::Summary,
};

/// A new configuration, and connections that came before it, are dealt with by then.
const SETTLE: Duration = Duration::from_secs(3);

/// A limit that has not acted by then does not act.
const PATIENCE: Duration = Duration::from_secs(10);

/// Openings come at any moment between two looks of the agent, which are 35 ms apart at most.
const MOST_PAUSE_MS: u64 = 100;

#[derive(Args)]
pub(crate) struct Options {
    /// Measure so many windows, and limit so many connections.
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Length of a window, in seconds. The agent looks at all its sockets every 5 s.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    window: u32,
    /// Pairs of connections of this host that are idle meanwhile; on each a byte was sent.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=9_500))]
    pairs: u32,
    /// The agent's program.
    #[arg(long, value_name = "FILE", default_value = "conn-trace")]
    agent: PathBuf,
    /// Repeat the random pauses of an earlier run.
    #[arg(long)]
    seed: Option<u64>,
    /// Write all samples and results to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Results {
    connections: u32,
    /// Percent of a core, of an agent without a configuration.
    bare_percent: Vec<f64>,
    /// The same in the same windows, with all policies and first bytes.
    all_percent: Vec<f64>,
    /// From the connection that is one too many, as its client sees it, to its reset.
    limited_ms: Vec<f64>,
}

pub(crate) fn main(options: &Options) -> Result<()> {
    let _alone = machine::lock()?;
    machine::ensure_no_bpf_stats()?;
    let machine = Machine::describe()?;
    let started = Timestamp::now();
    let seed = options.seed.unwrap_or_else(|| seed_at(started));
    println!("{machine}");
    println!("{} rounds, seed {seed}", options.rounds);
    let watch = Watch::start()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen")?;
    let file = env::temp_dir().join(format!("conn-trace-bench-{}.toml", process::id()));
    fs::write(&file, configuration(listener.local_addr()?.port()))
        .context("cannot write the configuration")?;
    let results = measure(options, &file, &listener, &mut Random::new(seed));
    fs::remove_file(&file).context("cannot remove the configuration")?;
    let results = results?;
    print!("\n{results}");
    let others_percent = watch.others_percent()?;
    println!("\nCPU time used by others during the run: {others_percent:.1} %");
    if let Some(file) = &options.json {
        let report = json!({
            "started": started,
            "machine": machine,
            "rounds": options.rounds,
            "window_seconds": options.window,
            "seed": seed,
            "others_cpu_percent": others_percent,
            "results": results,
        });
        write_json(file, &report)?;
    }
    Ok(())
}

/// A service that has both ends of all pairs, with every policy and none that finds anything; and one
/// that may have a single connection.
fn configuration(limited_port: u16) -> String {
    format!(
        r#"
[[service]]
name = "limited"
local_port = {limited_port}
direction = "in"

[[service.policy]]
kind = "limit"
connections = 1
action = "close"
dry_run = false

[[service]]
name = "all"
direction = ["in", "out"]
comm = "conn-trace-benc"
identify = true

[[service.policy]]
kind = "leak"
idle = "1h"
close_wait = "1h"
action = "close"
dry_run = false

[[service.policy]]
kind = "limit"
connections = 1000000
connections_per_client = 1000000
new_per_second = 100000
action = "close"
dry_run = false

[service.policy.adaptive]
signal = "memory"
high = 99
low = 98
connections = 500000

[[service.policy]]
kind = "watchlist"
deny = ["192.0.2.0/24"]
allow = ["127.0.0.0/8"]
action = "close"
dry_run = false
"#
    )
}

fn measure(
    options: &Options,
    configuration: &Path,
    listener: &TcpListener,
    random: &mut Random,
) -> Result<Results> {
    let [bare_address, all_address] = free_addresses()?;
    let start = |listen: String, rest: &[&str]| {
        let arguments = ["agent", "--log-level=error", "--listen", &listen];
        Running::start(&options.agent, [&arguments, rest].concat())
    };
    let bare = start(bare_address.to_string(), &[])?;
    let file = configuration.display().to_string();
    let all = start(all_address.to_string(), &["--config", &file])?;
    wait_for(bare_address)?;
    wait_for(all_address)?;
    let [bare, all] = [
        Client::new(bare_address, bare.pid())?,
        Client::new(all_address, all.pid())?,
    ];
    // An agent listens before its hooks are attached: first bytes of what opens until then are not read.
    for agent in [&bare, &all] {
        agent.text("/healthz")?;
    }
    let pairs = options.pairs.to_string();
    let mut holder = Running::own([COMMAND, &pairs, "--with-byte"])?;
    holder.line().context("the pairs do not connect")?;
    let connections = 2 * options.pairs;
    let held = format!("/connz?limit=1&service=all&pid={}", holder.pid());
    all.check(&held, 1, connections.into())?;
    thread::sleep(SETTLE);

    let window = Duration::from_secs(options.window.into());
    let (mut bare_percent, mut all_percent) = (Vec::new(), Vec::new());
    all_wait(&all, options.pairs)?;
    for round in 1..=options.rounds {
        progress(&format!("idle: window {round} of {}", options.rounds));
        let before = [bare.cpu()?, all.cpu()?];
        let start = Instant::now();
        thread::sleep(window);
        let took = start.elapsed().as_secs_f64();
        let percent = |now: Duration, before| (now - before).as_secs_f64() / took * 100.0;
        bare_percent.push(percent(bare.cpu()?, before[0]));
        all_percent.push(percent(all.cpu()?, before[1]));
    }
    all_wait(&all, options.pairs)?;
    let limited_ms = limited(listener, options.rounds, random)?;
    // Neither was harmed by a policy.
    all.check(&held, 1, connections.into())?;
    Ok(Results {
        connections,
        bare_percent,
        all_percent,
        limited_ms,
    })
}

/// Makes sure that what each of these speaks is still waited for.
fn all_wait(agent: &Client, pairs: u32) -> Result<()> {
    let varz: serde_json::Value = serde_json::from_str(&agent.text("/varz")?)?;
    let first_bytes = &varz["conn_trace"]["first_bytes"];
    ensure!(
        first_bytes["waiting"] == pairs && first_bytes["lost"] == 0,
        "{pairs} connections do not wait: {first_bytes}"
    );
    Ok(())
}

/// Opens the connection that the service may have, and then one too many again and again.
fn limited(listener: &TcpListener, rounds: u32, random: &mut Random) -> Result<Vec<f64>> {
    let address = listener.local_addr()?;
    let _allowed = (TcpStream::connect(address)?, listener.accept()?);
    let mut times = Vec::new();
    for round in 1..=rounds {
        progress(&format!("limit: connection {round} of {rounds}"));
        thread::sleep(Duration::from_millis(random.next() % MOST_PAUSE_MS));
        let start = Instant::now();
        let mut client = TcpStream::connect(address)?;
        client.set_read_timeout(Some(PATIENCE))?;
        let _server = listener.accept()?;
        match client.read(&mut [0]) {
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            other => bail!("a connection above the limit was not reset: {other:?}"),
        }
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    progress("");
    Ok(times)
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} idle connections, percent of a core in the same windows:",
            self.connections
        )?;
        let agents = [
            ("without a configuration", &self.bare_percent),
            ("every policy, first bytes", &self.all_percent),
        ];
        for (name, percent) in agents {
            let Summary { median, mad } = Summary::of(percent);
            let most = percent.iter().copied().fold(0.0, f64::max);
            writeln!(
                f,
                "  agent, {name:26} {median:5.2} ± {mad:.2} %, at most {most:.2} %"
            )?;
        }
        let Summary { median, mad } = Summary::of(&self.limited_ms);
        let most = self.limited_ms.iter().copied().fold(0.0, f64::max);
        writeln!(
            f,
            "reset of a connection above a limit: {median:.1} ± {mad:.1} ms, at most {most:.1} ms"
        )
    }
}
