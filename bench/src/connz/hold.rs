//! Idle clients of nats-server, in a process of their own: one may not have files for all.

use std::{
    io::{BufRead as _, BufReader, Write as _, stdout},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use super::child::Running;
use crate::machine;

/// Half of the 20,000 that some hosts allow a process.
const PER_PROCESS: u32 = 10_000;

/// nats-server answers in microseconds, unless the machine is very busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// The hidden command of this program.
const COMMAND: &str = "hold";

#[derive(Args)]
pub(crate) struct Options {
    server: SocketAddr,
    clients: u32,
}

/// Connects the clients, says so, and holds them until it is killed.
pub(crate) fn hold(options: &Options) -> Result<()> {
    // A client is one file, a pair of sockets two.
    let files = machine::pairs_that_fit(options.clients.div_ceil(2) as usize)? * 2;
    ensure!(
        files >= options.clients as usize,
        "too many clients for one process"
    );
    let mut held = Vec::new();
    for number in 1..=options.clients {
        let client = connect(options.server)
            .with_context(|| format!("client {number} of {}", options.clients))?;
        held.push(client);
    }
    println!("connected");
    stdout().flush()?;
    loop {
        thread::park();
    }
}

/// A client as nats-server has them: said hello, answered a ping, idle since.
fn connect(server: SocketAddr) -> Result<TcpStream> {
    let client = TcpStream::connect(server)?;
    client.set_read_timeout(Some(PATIENCE))?;
    (&client).write_all(b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\nPING\r\n")?;
    for line in BufReader::new(&client).lines() {
        let line = line?;
        match line.as_str() {
            "PONG" => return Ok(client),
            _ => ensure!(!line.starts_with("-ERR"), "nats-server says {line}"),
        }
    }
    bail!("nats-server has closed the connection")
}

/// Starts as many processes as `clients` take, and waits until all are connected.
pub(super) fn start(server: SocketAddr, clients: u32) -> Result<Vec<Running>> {
    let mut holders = Vec::new();
    let mut left = clients;
    while left > 0 {
        let some = left.min(PER_PROCESS);
        let arguments = [COMMAND, &server.to_string(), &some.to_string()].map(str::to_owned);
        let mut holder = Running::own(arguments)?;
        holder.line().context("the clients do not connect")?;
        holders.push(holder);
        left -= some;
    }
    Ok(holders)
}
