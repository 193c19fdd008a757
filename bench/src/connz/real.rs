//! The agent, nats-server and `ss`, asked about the same real connections in turn.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use serde::Serialize;

use super::{
    child::Running,
    client::Client,
    hold, memory,
    questions::{Question, ask_all},
    report::Table,
    sampling,
};
use crate::random::Random;

/// Both servers are up within a second on an idle machine.
const START: Duration = Duration::from_secs(60);

/// Between two looks whether they are.
const LOOK: Duration = Duration::from_millis(50);

/// Positions among the clients.
const AGENT: usize = 0;
const NATS: usize = 1;

/// Times of all three.
#[derive(Debug, Serialize)]
pub(super) struct Results {
    clients: u32,
    tables: Vec<Table>,
    /// What the agent's first full page took of its memory.
    first_page_memory_bytes: u64,
}

/// Starts agent, nats-server and its clients, and asks.
pub(super) fn measure(
    agent: &Path,
    clients: u32,
    rounds: u32,
    random: &mut Random,
) -> Result<Results> {
    let [agent_address, nats_address, monitor] = free_addresses()?;
    let listen = agent_address.to_string();
    let running = Running::start(agent, ["agent", "--log-level=warn", "--listen", &listen])?;
    wait_for(agent_address)?;
    let port = nats_address.port().to_string();
    let monitor_port = monitor.port().to_string();
    let arguments = [
        ["-a", "127.0.0.1"],
        ["-p", &port],
        ["-m", &monitor_port],
        ["-l", "/dev/null"],
    ];
    let server = Running::start("nats-server", arguments.concat())?;
    wait_for(nats_address)?;
    let holders = hold::start(nats_address, clients)?;

    let count = u64::from(clients);
    let ours = Client::new(agent_address, running.pid())?;
    let theirs = Client::new(monitor, server.pid())?;
    let of_server = format!("/connz?direction=in&local_port={port}");
    let of_clients = format!("/connz?direction=out&port={port}");
    ours.check(&of_clients, count.min(20), count)?;
    theirs.check("/connz?limit=20", count.min(20), count)?;
    let before = memory::resident_bytes(running.pid())?;
    memory::forget_peak(running.pid())?;
    ours.check(&format!("{of_server}&limit={count}"), count, count)?;
    let first_page_memory_bytes = memory::peak_bytes(running.pid())?.saturating_sub(before);
    theirs.check(&format!("/connz?limit={count}"), count, count)?;

    let groups = [
        (
            "a page of 20 of nats-server's clients, by bytes_to".to_owned(),
            vec![
                Question::http("agent", AGENT, format!("{of_server}&sort=bytes_to")),
                Question::http("agent, by cid", AGENT, of_server.clone()),
                Question::http("agent, of all connections", AGENT, "/connz?sort=bytes_to"),
                Question::http("agent, one connection", AGENT, "/connz/1"),
                Question::http("nats-server", NATS, "/connz?limit=20&sort=bytes_to"),
                Question::http("nats-server, by cid", NATS, "/connz?limit=20"),
            ],
        ),
        (
            format!("all of nats-server's {clients} clients"),
            vec![
                Question::http("agent", AGENT, format!("{of_server}&limit={count}")),
                Question::http("nats-server", NATS, format!("/connz?limit={count}")),
            ],
        ),
        (
            "all connections of the host".to_owned(),
            vec![
                Question::http("agent", AGENT, "/connz?limit=1000000"),
                Question::program(&["ss", "-tanip"]),
                Question::program(&["ss", "-tani"]),
            ],
        ),
    ];
    let (sizes, questions): (Vec<_>, Vec<_>) = groups
        .into_iter()
        .map(|(heading, questions)| ((heading, questions.len()), questions))
        .unzip();
    let questions: Vec<_> = questions.into_iter().flatten().collect();
    let mut samples = ask_all(&questions, &mut [ours, theirs], rounds, random)?.into_iter();
    let mut tables: Vec<_> = sizes
        .into_iter()
        .map(|(heading, size)| Table {
            heading,
            lines: samples.by_ref().take(size).collect(),
            has_ratios: true,
        })
        .collect();
    drop(running);
    tables.push(Table {
        heading: "the kernel's share, without the agent".to_owned(),
        lines: sampling::measure(rounds, 2 * count)?,
        has_ratios: false,
    });
    drop((holders, server));
    Ok(Results {
        clients,
        tables,
        first_page_memory_bytes,
    })
}

/// Ports that nobody listens on.
pub(super) fn free_addresses<const N: usize>() -> Result<[SocketAddr; N]> {
    let mut listeners = Vec::new();
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); N];
    for address in &mut addresses {
        let listener = TcpListener::bind(*address)?;
        *address = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok(addresses)
}

/// Waits until somebody listens there.
pub(super) fn wait_for(address: SocketAddr) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < START {
        if TcpStream::connect(address).is_ok() {
            return Ok(());
        }
        thread::sleep(LOOK);
    }
    bail!("nobody listens at {address}")
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} clients of nats-server: {} connections of this host",
            self.clients,
            2 * self.clients
        )?;
        for table in &self.tables {
            write!(f, "{table}")?;
        }
        writeln!(
            f,
            "  agent's memory for its first page of all clients: {:.1} MB",
            self.first_page_memory_bytes as f64 / 1e6
        )
    }
}
