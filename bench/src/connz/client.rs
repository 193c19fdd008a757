//! A client of HTTP that keeps its connection, and forgets what it reads.

use std::{
    io::Read as _,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    time::{ClockId, clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};
use serde::{Deserialize, de::IgnoredAny};

/// A large page of a busy machine still comes within this.
const PATIENCE: Duration = Duration::from_secs(60);

/// The agent closes connections that are idle for five seconds: those are not to be used then.
const IDLE: Duration = Duration::from_secs(2);

/// What is read at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// How an answer came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    /// From the request to the last byte.
    pub(super) took: Duration,
    /// CPU time of whoever answered.
    pub(super) cpu: Duration,
    pub(super) bytes: u64,
}

/// What all pages of `/connz` say.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    pub(super) total: u64,
    pub(super) connections: Vec<IgnoredAny>,
}

/// A client of one server.
pub(super) struct Client {
    agent: ureq::Agent,
    base: String,
    /// Of the server.
    cpu_clock: ClockId,
    buffer: Vec<u8>,
}

impl Client {
    /// `pid` is the server's.
    pub(super) fn new(server: SocketAddr, pid: u32) -> Result<Self> {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .max_idle_age(IDLE)
            .build();
        Ok(Self {
            agent: config.into(),
            base: format!("http://{server}"),
            cpu_clock: clock_getcpuclockid(Pid::from_raw(pid.cast_signed()))?,
            buffer: vec![0; BUFFER_BYTES],
        })
    }

    /// Reads the answer to its end and keeps nothing.
    pub(super) fn time(&mut self, path: &str) -> Result<Answered> {
        let cpu = self.cpu()?;
        let start = Instant::now();
        let mut response = self.agent.get(format!("{}{path}", self.base)).call()?;
        let mut body = response.body_mut().as_reader();
        let mut bytes = 0;
        loop {
            match body.read(&mut self.buffer)? {
                0 => break,
                read => bytes += read as u64,
            }
        }
        Ok(Answered {
            took: start.elapsed(),
            cpu: self.cpu()? - cpu,
            bytes,
        })
    }

    /// CPU time of the server since its start.
    pub(super) fn cpu(&self) -> Result<Duration> {
        Ok(clock_gettime(self.cpu_clock)?.into())
    }

    /// Reads the answer.
    pub(super) fn text(&self, path: &str) -> Result<String> {
        let mut response = self.agent.get(format!("{}{path}", self.base)).call()?;
        let body = response.body_mut().with_config().limit(u64::MAX);
        body.read_to_string()
            .with_context(|| format!("cannot read {path}"))
    }

    /// Makes sure that a page has `rows` rows out of `total`.
    pub(super) fn check(&self, path: &str, rows: u64, total: u64) -> Result<()> {
        let page: Page = serde_json::from_str(&self.text(path)?)?;
        let found = (page.connections.len() as u64, page.total);
        ensure!(
            found == (rows, total),
            "{path}: {rows} rows of {total} expected, got {found:?}"
        );
        Ok(())
    }
}
