//! The agent's answers, typed as the contract has them.

use std::net::{IpAddr, SocketAddr};

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use crate::protocol::Counts;

/// `/connz`.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the contract")]
pub struct Page {
    pub server_id: String,
    pub server_name: String,
    pub now: Timestamp,
    pub num_connections: u64,
    pub total: u64,
    pub offset: u64,
    pub limit: u64,
    pub untracked: u64,
    pub connections: Vec<Row>,
}

/// A connection in `/connz`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the contract")]
pub struct Row {
    pub cid: u64,
    pub uid: String,
    pub pid: Option<u32>,
    pub comm: Option<String>,
    pub owner: String,
    pub kind: String,
    #[serde(rename = "type")]
    pub transport: String,
    pub direction: String,
    pub ip: IpAddr,
    pub port: u16,
    pub local_ip: IpAddr,
    pub local_port: u16,
    pub state: String,
    pub start: Timestamp,
    #[serde(default)]
    pub start_estimated: bool,
    pub last_activity: Timestamp,
    pub stop: Option<Timestamp>,
    pub reason: Option<String>,
    pub close_cause: Option<String>,
    pub uptime: String,
    pub idle: String,
    pub rtt: Option<String>,
    pub pending_bytes: u64,
    /// Left out where it is not known.
    #[serde(default)]
    pub recv_queue_bytes: u64,
    pub in_msgs: u64,
    pub out_msgs: u64,
    pub in_bytes: u64,
    pub out_bytes: u64,
    #[serde(default)]
    pub preexisting: bool,
    pub counted_since: Option<Timestamp>,
    pub subscriptions: u64,
    pub device_flag: u64,
    pub device_level: u64,
    pub protocol: Option<String>,
    pub version: String,
    pub name: Option<String>,
    pub lang: Option<String>,
    pub peer: Option<Value>,
    pub netns: u64,
    pub cgroup: Option<String>,
    pub container: Option<String>,
    #[serde(default)]
    pub flags: Vec<String>,
    pub tcp: Option<Tcp>,
}

/// The `tcp` object of a row.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the contract")]
pub struct Tcp {
    pub state: String,
    pub retrans: u64,
    pub cwnd: u64,
    pub ssthresh: u64,
    pub rtt_us: Option<u64>,
    pub mss: u64,
    pub segs_in: u64,
    pub segs_out: u64,
    pub bytes_acked: u64,
    pub bytes_received: u64,
    pub bytes_retrans: u64,
    pub congestion: String,
}

impl Row {
    /// This end.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        SocketAddr::new(self.local_ip, self.local_port)
    }

    /// The other end.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.port)
    }

    /// Both.
    #[must_use]
    pub fn tuple(&self) -> (SocketAddr, SocketAddr) {
        (self.local(), self.peer())
    }

    /// Whether nothing was moved since an earlier look at the row. Times of messages are exact to
    /// the kernel's tick, the longest of which is 10 ms.
    #[must_use]
    pub fn was_idle_since(&self, earlier: &Self) -> bool {
        const TICK: SignedDuration = SignedDuration::from_millis(10);
        let apart = self.last_activity.duration_since(earlier.last_activity);
        apart.abs() <= TICK && self.counts() == earlier.counts()
    }

    /// What it says was moved.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            in_bytes: self.in_bytes,
            out_bytes: self.out_bytes,
            in_calls: self.in_msgs,
            out_calls: self.out_msgs,
        }
    }
}

/// `/varz`, as far as tests look at it.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the contract")]
pub struct Varz {
    pub connections: u64,
    pub total_connections: u64,
    pub in_msgs: u64,
    pub out_msgs: u64,
    pub in_bytes: u64,
    pub out_bytes: u64,
    pub conn_trace: Own,
}

/// What `/varz` says beyond NATS.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the contract")]
pub struct Own {
    pub attached: bool,
    pub capacity: u64,
    pub used: u64,
    pub history: u64,
    pub variant: String,
    pub closed_connections: u64,
    pub messages_after_end: u64,
    pub losses: Losses,
    pub trace: Tracing,
    pub first_bytes: FirstBytes,
}

/// What is read to say what connections speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the contract")]
pub struct FirstBytes {
    pub waiting: u64,
    pub lost: u64,
    pub unseen: u64,
}

/// Messages that readers of events have asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the contract")]
pub struct Tracing {
    pub readers: u64,
    pub connections: u64,
    pub messages: u64,
    pub lost: u64,
}

/// What could not be counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the contract")]
pub struct Losses {
    pub untracked: u64,
    pub untracked_messages: u64,
    pub ring_records: u64,
    pub ring_closed: u64,
    #[serde(default)]
    pub missed_runs: u64,
    /// Ends that no program saw.
    pub missed_ends: u64,
}
