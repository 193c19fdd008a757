//! Rows as records of a table.

use serde_json::Value;

use super::row::Row;

/// The columns of every table: the fields of a row, in its order.
const COLUMNS: [&str; 51] = [
    "cid",
    "uid",
    "pid",
    "comm",
    "owner",
    "kind",
    "type",
    "direction",
    "ip",
    "port",
    "local_ip",
    "local_port",
    "state",
    "start",
    "start_estimated",
    "last_activity",
    "stop",
    "reason",
    "close_cause",
    "uptime",
    "idle",
    "rtt",
    "pending_bytes",
    "recv_queue_bytes",
    "in_msgs",
    "out_msgs",
    "in_bytes",
    "out_bytes",
    "preexisting",
    "counted_since",
    "subscriptions",
    "device_flag",
    "device_level",
    "protocol",
    "version",
    "name",
    "lang",
    "peer.software",
    "peer.server_name",
    "peer.alpn",
    "peer.sender_comp_id",
    "peer.target_comp_id",
    "peer.client_id",
    "peer.user",
    "peer.database",
    "peer.application",
    "netns",
    "cgroup",
    "container",
    "service",
    "flags",
];

/// The columns of rates.
const RATE_COLUMNS: [&str; 4] = [
    "in_bytes_rate",
    "out_bytes_rate",
    "in_msgs_rate",
    "out_msgs_rate",
];

/// The columns of TCP's own figures: the fields of `tcp`, in their order.
const TCP_COLUMNS: [&str; 18] = [
    "tcp.state",
    "tcp.retrans",
    "tcp.lost",
    "tcp.cwnd",
    "tcp.ssthresh",
    "tcp.rtt_us",
    "tcp.rttvar_us",
    "tcp.min_rtt_us",
    "tcp.mss",
    "tcp.delivery_rate",
    "tcp.rwnd_limited_ms",
    "tcp.sndbuf_limited_ms",
    "tcp.segs_in",
    "tcp.segs_out",
    "tcp.bytes_acked",
    "tcp.bytes_received",
    "tcp.bytes_retrans",
    "tcp.congestion",
];

/// Which columns a table has besides those of every table.
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    /// Those of TCP's own figures.
    pub tcp: bool,
    /// Those of rates.
    pub rates: bool,
}

impl Columns {
    /// Their names.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let rates = RATE_COLUMNS.iter().filter(move |_| self.rates);
        let tcp = TCP_COLUMNS.iter().filter(move |_| self.tcp);
        COLUMNS.iter().chain(rates).chain(tcp).copied()
    }
}

/// A row's record: a cell for each column, empty where the row leaves the field out; a boolean that
/// it leaves out is `false`, and words are separated by spaces.
///
/// # Errors
///
/// If the row cannot be written as JSON, which should not be possible.
pub fn record(row: &Row<'_>, columns: Columns) -> serde_json::Result<Vec<String>> {
    let row = serde_json::to_value(row)?;
    let cell = |column: &str| match column.split_once('.') {
        Some((object, field)) => text(row.get(object).and_then(|object| object.get(field))),
        None if FLAGS.contains(&column) && row.get(column).is_none() => false.to_string(),
        None => text(row.get(column)),
    };
    Ok(columns.names().map(cell).collect())
}

/// Rows leave these out where they are false.
const FLAGS: [&str; 2] = ["start_estimated", "preexisting"];

fn text(value: Option<&Value>) -> String {
    match value {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(words)) => {
            let words: Vec<_> = words.iter().filter_map(Value::as_str).collect();
            words.join(" ")
        }
        Some(other) => other.to_string(),
    }
}
