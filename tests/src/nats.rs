//! nats-server, and a poller of its monitoring that can be pointed at an agent as well.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    process::Command,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    agent::free_address,
    http::{Answer, Client},
    program::Server,
    slowness::longer,
    wait::eventually,
};

/// The server takes its stamps when it gets to run, the kernel when the packet comes.
const NEAR: Duration = Duration::from_millis(50);

/// A running nats-server with its monitoring.
#[derive(Debug)]
pub struct NatsServer {
    server: Server,
    address: SocketAddr,
    monitor: SocketAddr,
    /// Where it runs.
    _directory: TempDir,
}

impl NatsServer {
    /// Starts `program`.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start(program: &Path) -> Self {
        let (address, monitor) = (free_address(), free_address());
        let directory = tempfile::tempdir().expect("a directory");
        let mut command = Command::new(program);
        command.current_dir(directory.path());
        command.args(["-a", "127.0.0.1", "-p", &address.port().to_string()]);
        command.args(["-m", &monitor.port().to_string()]);
        Self {
            server: Server::start(&mut command, address),
            address,
            monitor,
            _directory: directory,
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Where it serves clients.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What its own monitoring says at this path.
    ///
    /// # Panics
    /// If that is no JSON.
    #[must_use]
    pub fn says(&self, path: &str) -> Value {
        let client = Client::new(self.monitor);
        let answer = eventually("an answer", || client.get(path).ok());
        serde_json::from_str(&answer.body).expect("JSON")
    }

    /// What asks its own monitoring.
    #[must_use]
    pub fn poller(&self) -> Poller {
        Poller::new(self.monitor, "", "")
    }
}

/// `/connz`, as far as nats-server and the agent mean the same by it.
#[derive(Debug, Deserialize)]
#[expect(missing_docs, reason = "the names are those of NATS")]
pub struct NatsPage {
    pub server_id: String,
    pub now: Timestamp,
    pub num_connections: u64,
    pub total: u64,
    pub offset: u64,
    pub limit: u64,
    pub connections: Vec<NatsRow>,
}

/// A connection in it.
#[derive(Debug, Deserialize)]
#[expect(missing_docs, reason = "the names are those of NATS")]
pub struct NatsRow {
    pub cid: u64,
    #[serde(default)]
    pub kind: String,
    pub ip: IpAddr,
    pub port: u16,
    pub start: Timestamp,
    pub last_activity: Timestamp,
    pub stop: Option<Timestamp>,
    pub reason: Option<String>,
    pub uptime: String,
    pub idle: String,
    pub pending_bytes: i64,
    pub in_msgs: i64,
    pub out_msgs: i64,
    pub in_bytes: i64,
    pub out_bytes: i64,
    pub subscriptions: u32,
}

/// Asks one monitoring again and again, as its clients do.
#[derive(Debug)]
pub struct Poller {
    client: Client,
    base: String,
    condition: String,
}

impl Poller {
    /// Asks at `address` below the path `base`; to every query `condition` is added.
    #[must_use]
    pub fn new(address: SocketAddr, base: &str, condition: &str) -> Self {
        Self {
            client: Client::new(address),
            base: base.to_owned(),
            condition: condition.to_owned(),
        }
    }

    /// `/connz` with this query, of whatever status.
    #[must_use]
    pub fn ask(&self, query: &str) -> Answer {
        let Self {
            client,
            base,
            condition,
        } = self;
        let path = format!("{base}/connz?{query}&{condition}");
        eventually("an answer", || client.get(&path).ok())
    }

    /// The page with this query.
    ///
    /// # Panics
    /// If it is no page that clients take.
    #[must_use]
    #[track_caller]
    pub fn page(&self, query: &str) -> NatsPage {
        let answer = self.ask(query);
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        let page: NatsPage = serde_json::from_str(&answer.body)
            .unwrap_or_else(|error| panic!("{query}: {error}: {answer:?}"));
        assert_eq!(page.num_connections, page.connections.len() as u64);
        assert!(!page.server_id.is_empty());
        page
    }
}

/// Asserts that two stamps of one moment agree.
///
/// # Panics
/// If they do not.
#[track_caller]
pub fn assert_near(ours: Timestamp, theirs: Timestamp, what: &str) {
    let difference = ours.duration_since(theirs).abs();
    let near = SignedDuration::try_from(longer(NEAR)).expect("a short time");
    assert!(difference <= near, "{what}: ours {ours}, theirs {theirs}");
}
