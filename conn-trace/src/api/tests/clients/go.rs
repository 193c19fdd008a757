//! nats-server's own types of `/varz` and `/connz`, as far as answers have their fields, and Go's
//! rules of decoding: a field may be missing, but what is there has its type.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::Deserialize;

/// `server.Varz`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Varz {
    pub(super) server_id: String,
    pub(super) server_name: String,
    pub(super) version: String,
    pub(super) proto: i64,
    pub(super) host: String,
    pub(super) port: i64,
    pub(super) max_connections: i64,
    pub(super) start: Timestamp,
    pub(super) now: Timestamp,
    pub(super) uptime: String,
    pub(super) mem: i64,
    pub(super) cores: i64,
    pub(super) cpu: f64,
    pub(super) connections: i64,
    pub(super) total_connections: u64,
    pub(super) routes: i64,
    pub(super) remotes: i64,
    pub(super) leafnodes: i64,
    pub(super) in_msgs: i64,
    pub(super) out_msgs: i64,
    pub(super) in_bytes: i64,
    pub(super) out_bytes: i64,
    pub(super) slow_consumers: i64,
    pub(super) subscriptions: u32,
    pub(super) http_req_stats: HashMap<String, u64>,
}

/// `server.Connz`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Connz {
    pub(super) server_id: String,
    pub(super) now: Timestamp,
    pub(super) num_connections: i64,
    pub(super) total: i64,
    pub(super) offset: i64,
    pub(super) limit: i64,
    pub(super) connections: Vec<ConnInfo>,
}

/// `server.ConnInfo`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ConnInfo {
    pub(super) cid: u64,
    pub(super) kind: String,
    #[serde(rename = "type")]
    pub(super) transport: String,
    pub(super) ip: String,
    pub(super) port: i64,
    pub(super) start: Timestamp,
    pub(super) last_activity: Timestamp,
    pub(super) stop: Option<Timestamp>,
    pub(super) reason: String,
    pub(super) rtt: String,
    pub(super) uptime: String,
    pub(super) idle: String,
    pub(super) pending_bytes: i64,
    pub(super) in_msgs: i64,
    pub(super) out_msgs: i64,
    pub(super) in_bytes: i64,
    pub(super) out_bytes: i64,
    pub(super) subscriptions: u32,
    pub(super) name: String,
    pub(super) lang: String,
    pub(super) version: String,
    pub(super) subscriptions_list: Vec<String>,
}

/// `time.ParseDuration`, in nanoseconds, of the forms that are not negative.
pub(super) fn parse_duration(text: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 7] = [
        ("ns", 1.0),
        ("us", 1e3),
        ("µs", 1e3),
        ("ms", 1e6),
        ("s", 1e9),
        ("m", 60e9),
        ("h", 3600e9),
    ];
    let mut rest = text;
    let mut nanos = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| c != '.' && !c.is_ascii_digit())?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c == '.' || c.is_ascii_digit());
        let (unit, after) = rest.split_at(end.unwrap_or(rest.len()));
        nanos += number * UNITS.iter().find(|(name, _)| *name == unit)?.1;
        rest = after;
    }
    (!text.is_empty()).then_some(nanos)
}
