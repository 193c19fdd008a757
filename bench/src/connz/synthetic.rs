//! A server over made-up connections: everything of an answer but the kernel.

use std::{
    fmt,
    io::{Write as _, stdout},
    sync::Arc,
};

use anyhow::{Context as _, Result};
use clap::Args;
use conn_trace::{
    api::{Config, Server, ServerIdentity, Source},
    query::{Page, Query},
    registry::{
        Stopped,
        events::Batch,
        messages::{Choice, Told},
        services::Report,
        snapshot::{Scope, Snapshot, Status},
    },
};
use jiff::Timestamp;
use serde::Serialize;
use tokio::{
    sync::{mpsc, watch},
    task::spawn_blocking,
};

use super::{
    child::Running,
    client::Client,
    memory,
    questions::{Question, ask_all},
    report::{Samples, Table},
    table,
};
use crate::random::Random;

/// The hidden command of this program.
const COMMAND: &str = "synthetic";

/// One name for each sort key.
const KEYS: [&str; 18] = [
    "cid",
    "start",
    "uptime",
    "idle",
    "last",
    "pending",
    "msgs_from",
    "msgs_to",
    "bytes_from",
    "bytes_to",
    "inPacket",
    "outPacket",
    "rtt",
    "retrans",
    "pid",
    "comm",
    "ip",
    "port",
];

/// Those of closed connections; there are none, but the open ones are sorted by their absence.
const KEYS_OF_CLOSED: [&str; 2] = ["stop", "reason"];

/// Far above any number of connections here.
const ALL: &str = "/connz?limit=1000000";

#[derive(Args)]
pub(crate) struct Options {
    connections: u32,
}

/// Serves until it is killed; says first where.
pub(crate) fn serve(options: &Options) -> Result<()> {
    let source = Synthetic(Arc::new(table::snapshot(options.connections)));
    let identity = ServerIdentity {
        server_id: "synthetic".to_owned(),
        server_name: "synthetic".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        start: Timestamp::now(),
    };
    // As the agent has it.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let server = Server::bind(Config::default()).await?;
        println!("{}", server.local_addr());
        stdout().flush()?;
        server.serve(source, identity, std::future::pending()).await;
        Ok(())
    })
}

/// Shows its connections in a thread of their own, as the registry does.
#[derive(Clone)]
struct Synthetic(Arc<Snapshot>);

impl Source for Synthetic {
    async fn snapshot(&self, _: Scope) -> Result<Snapshot, Stopped> {
        Ok(Snapshot::clone(&self.0))
    }

    async fn page(&self, query: Query) -> Result<Page, Stopped> {
        let snapshot = Arc::clone(&self.0);
        spawn_blocking(move || query.page(&snapshot))
            .await
            .map_err(|_| Stopped)
    }

    /// Nothing ever happens.
    async fn events(&self, _: u64) -> Result<Batch, Stopped> {
        Ok(Batch::default())
    }

    fn news(&self) -> watch::Receiver<u64> {
        watch::channel(0).1
    }

    async fn trace(&self, _: Choice) -> Result<mpsc::Receiver<Told>, Stopped> {
        Ok(mpsc::channel(1).1)
    }

    async fn status(&self) -> Result<Status, Stopped> {
        Err(Stopped)
    }

    async fn report(&self) -> Result<Report, Stopped> {
        Err(Stopped)
    }

    async fn reset_peak(&self, _: String) -> Result<bool, Stopped> {
        Ok(false)
    }
}

/// Times of a server over made-up connections.
#[derive(Debug, Serialize)]
pub(super) struct Results {
    connections: u32,
    /// A page of 20 by each sort key.
    by_key: Vec<Samples>,
    others: Table,
    /// What the first full page took of memory, its end included.
    first_page_memory_bytes: u64,
}

/// Starts such a server and asks it.
pub(super) fn measure(connections: u32, rounds: u32, random: &mut Random) -> Result<Results> {
    let mut server = Running::own([COMMAND, &connections.to_string()])?;
    let address = server.line()?.parse().context("no address")?;
    let mut client = Client::new(address, server.pid())?;
    let all = u64::from(connections);
    client.check("/connz", all.min(20), all)?;
    let before = memory::resident_bytes(server.pid())?;
    memory::forget_peak(server.pid())?;
    client.time(ALL)?;
    let first_page_memory_bytes = memory::peak_bytes(server.pid())?.saturating_sub(before);
    client.check(ALL, all, all)?;

    let open = KEYS.map(|key| (key, format!("/connz?sort={key}")));
    let closed = KEYS_OF_CLOSED.map(|key| (key, format!("/connz?state=any&sort={key}")));
    let mut questions: Vec<_> = open
        .into_iter()
        .chain(closed)
        .map(|(key, path)| Question::http(format!("20 by {key}"), 0, path))
        .collect();
    let keys = questions.len();
    let middle = connections / 2;
    questions.extend([
        Question::http(
            "20 of a fifth, by port",
            0,
            "/connz?local_port=4222&sort=bytes_to",
        ),
        Question::http(
            "20 from the middle by rtt",
            0,
            format!("/connz?sort=rtt&offset={middle}"),
        ),
        Question::http(
            "20 from the middle by cid",
            0,
            format!("/connz?offset={middle}"),
        ),
        Question::http("1024 by bytes_to", 0, "/connz?sort=bytes_to&limit=1024"),
        Question::http("one, by its number", 0, format!("/connz/{}", middle.max(1))),
        Question::http("all", 0, ALL),
    ]);
    let mut by_key = ask_all(&questions, &mut [client], rounds, random)?;
    let others = Table {
        heading: "other pages".to_owned(),
        lines: by_key.split_off(keys),
        has_ratios: false,
    };
    Ok(Results {
        connections,
        by_key,
        others,
        first_page_memory_bytes,
    })
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [slowest, median] = Samples::slowest_and_median(&self.by_key);
        writeln!(f, "{} made-up connections", self.connections)?;
        for (what, samples) in [("slowest", slowest), ("median", median)] {
            let (time, cpu) = (samples.summary(), samples.cpu());
            writeln!(
                f,
                "  page of {}, {what} of {} sort keys: {:.2} ± {:.2} ms, CPU {:.2} ± {:.2} ms",
                samples.name(),
                self.by_key.len(),
                time.median,
                time.mad,
                cpu.median,
                cpu.mad,
            )?;
        }
        write!(f, "{}", self.others)?;
        writeln!(
            f,
            "  memory for the first page of all: {:.1} MB",
            self.first_page_memory_bytes as f64 / 1e6
        )
    }
}
