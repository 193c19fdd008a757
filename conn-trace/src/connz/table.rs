//! A page as a table for people.

use std::fmt::Write as _;

use serde::Deserialize;

use crate::terminal::{endpoint, printable};

/// What of a page is shown.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    now: String,
    total: u64,
    untracked: u64,
    rates_window_ms: Option<u64>,
    connections: Vec<Row>,
}

/// What of a row is shown. Figures are exact, as in the API.
#[derive(Debug, Deserialize)]
struct Row {
    cid: u64,
    state: String,
    direction: String,
    ip: String,
    port: u16,
    local_ip: String,
    local_port: u16,
    comm: Option<String>,
    pid: Option<u32>,
    uptime: String,
    idle: String,
    in_msgs: u64,
    out_msgs: u64,
    in_bytes: u64,
    out_bytes: u64,
    pending_bytes: u64,
    rtt: Option<String>,
    in_bytes_rate: Option<f64>,
    out_bytes_rate: Option<f64>,
    in_msgs_rate: Option<f64>,
    out_msgs_rate: Option<f64>,
    close_cause: Option<String>,
}

/// How a column is called, whether it holds numbers, and what is in it.
type Column = (&'static str, bool, fn(&Row) -> String);

/// Stands for what is not known.
const UNKNOWN: &str = "-";

const COLUMNS: [Column; 15] = [
    ("CID", true, |row| row.cid.to_string()),
    ("STATE", false, |row| row.state.clone()),
    ("DIR", false, |row| row.direction.clone()),
    ("PEER", false, |row| endpoint(&row.ip, row.port)),
    ("LOCAL", false, |row| {
        endpoint(&row.local_ip, row.local_port)
    }),
    ("PID", true, |row| known(row.pid.as_ref())),
    ("COMMAND", false, |row| {
        known(row.comm.as_deref().map(printable).as_ref())
    }),
    ("UPTIME", true, |row| row.uptime.clone()),
    ("IDLE", true, |row| row.idle.clone()),
    ("IN MSGS", true, |row| row.in_msgs.to_string()),
    ("IN BYTES", true, |row| row.in_bytes.to_string()),
    ("OUT MSGS", true, |row| row.out_msgs.to_string()),
    ("OUT BYTES", true, |row| row.out_bytes.to_string()),
    ("PENDING", true, |row| row.pending_bytes.to_string()),
    ("RTT", true, |row| known(row.rtt.as_ref())),
];

/// Behind the others, where rates were asked for.
const RATES: [Column; 4] = [
    ("IN MSGS/s", true, |row| known(row.in_msgs_rate.as_ref())),
    ("IN BYTES/s", true, |row| known(row.in_bytes_rate.as_ref())),
    ("OUT MSGS/s", true, |row| known(row.out_msgs_rate.as_ref())),
    ("OUT BYTES/s", true, |row| {
        known(row.out_bytes_rate.as_ref())
    }),
];

/// Behind the others, where a row has ended.
const CAUSE: Column = ("CAUSE", false, |row| known(row.close_cause.as_ref()));

/// The table, and below it what the page is of.
pub(super) fn of(page: &Page) -> String {
    let has_ended = page.connections.iter().any(|row| row.close_cause.is_some());
    let columns: Vec<Column> = COLUMNS
        .into_iter()
        .chain(RATES.into_iter().filter(|_| page.rates_window_ms.is_some()))
        .chain(has_ended.then_some(CAUSE))
        .collect();
    let rows: Vec<Vec<String>> = page
        .connections
        .iter()
        .map(|row| columns.iter().map(|(_, _, cell)| cell(row)).collect())
        .collect();
    let head = columns.iter().map(|(name, _, _)| (*name).to_owned());
    let lines: Vec<Vec<String>> = std::iter::once(head.collect()).chain(rows).collect();
    let width = |column: usize| {
        let cells = lines.iter().map(|line| line[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let mut written = String::new();
        for ((cell, width), (_, is_number, _)) in line.iter().zip(&widths).zip(&columns) {
            let gap = if written.is_empty() { "" } else { "  " };
            // Writing to a string cannot fail.
            let _ = if *is_number {
                write!(written, "{gap}{cell:>width$}")
            } else {
                write!(written, "{gap}{cell:width$}")
            };
        }
        text.push_str(written.trim_end());
        text.push('\n');
    }
    let shown = page.connections.len();
    let _ = writeln!(
        text,
        "\n{shown} of {} connections at {}",
        page.total, page.now
    );
    if page.untracked > 0 {
        let _ = writeln!(text, "{} more had no room in the table", page.untracked);
    }
    text
}

fn known<T: ToString>(value: Option<&T>) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::of;

    #[test]
    fn columns_are_aligned_and_what_is_unknown_is_a_dash() {
        let page = json!({
            "now": "2026-11-21T12:00:00Z", "total": 3, "untracked": 0,
            "connections": [
                {"cid": 7, "state": "ESTABLISHED", "direction": "in", "ip": "::1", "port": 80,
                 "local_ip": "127.0.0.1", "local_port": 4222, "comm": "nats", "pid": 12,
                 "uptime": "1m2s", "idle": "0s", "in_msgs": 1, "out_msgs": 22, "in_bytes": 333,
                 "out_bytes": 4, "pending_bytes": 0, "rtt": "41µs"},
                {"cid": 11, "state": "SYN_SENT", "direction": "out", "ip": "10.0.0.1", "port": 9,
                 "local_ip": "10.0.0.2", "local_port": 1, "uptime": "0s", "idle": "0s",
                 "in_msgs": 0, "out_msgs": 0, "in_bytes": 0, "out_bytes": 0, "pending_bytes": 5},
            ],
        });
        let expected = "\
CID  STATE        DIR  PEER        LOCAL           PID  COMMAND  UPTIME  IDLE  IN MSGS  IN BYTES  OUT MSGS  OUT BYTES  PENDING   RTT
  7  ESTABLISHED  in   [::1]:80    127.0.0.1:4222   12  nats       1m2s    0s        1       333        22          4        0  41µs
 11  SYN_SENT     out  10.0.0.1:9  10.0.0.2:1        -  -            0s    0s        0         0         0          0        5     -

2 of 3 connections at 2026-11-21T12:00:00Z
";
        let page = serde_json::from_value(page).expect("a page");
        assert_eq!(of(&page), expected);
    }

    #[test]
    fn ends_have_a_cause_and_what_is_not_tracked_is_said() {
        let page = json!({
            "now": "2026-11-21T12:00:00Z", "total": 1, "untracked": 6,
            "connections": [
                {"cid": 1, "state": "CLOSED", "direction": "in", "ip": "::1", "port": 1,
                 "local_ip": "::1", "local_port": 2, "uptime": "0s", "idle": "0s",
                 "in_msgs": 0, "out_msgs": 0, "in_bytes": 0, "out_bytes": 0, "pending_bytes": 0,
                 "close_cause": "peer_fin"},
            ],
        });
        let text = of(&serde_json::from_value(page).expect("a page"));
        assert!(
            text.lines()
                .next()
                .is_some_and(|head| head.ends_with("CAUSE")),
            "{text}"
        );
        assert!(text.contains("  peer_fin\n"), "{text}");
        assert!(
            text.ends_with("\n6 more had no room in the table\n"),
            "{text}"
        );
    }
}
