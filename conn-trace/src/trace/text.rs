//! An event as a line for people.

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::Deserialize;

use crate::terminal::{endpoint, printable};

/// What of an event is shown.
#[derive(Deserialize)]
struct Event {
    event: String,
    time: Option<Timestamp>,
    connection: Option<Row>,
    #[serde(flatten)]
    message: Option<Message>,
    lost: Option<u64>,
}

#[derive(Deserialize)]
struct Row {
    cid: u64,
    direction: String,
    ip: String,
    port: u16,
    local_ip: String,
    local_port: u16,
    comm: Option<String>,
    pid: Option<u32>,
    in_msgs: u64,
    out_msgs: u64,
    in_bytes: u64,
    out_bytes: u64,
    close_cause: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    cid: u64,
    direction: String,
    bytes: u64,
    number: u64,
    flags: Vec<String>,
}

/// The line of an event, from its JSON.
pub(super) fn line(json: &str) -> Result<String> {
    let event: Event = serde_json::from_str(json).context("what answers is no conn-trace agent")?;
    let time = event.time.map(|time| time.strftime("%H:%M:%S%.6fZ"));
    let time = time.map_or_else(String::new, |time| time.to_string());
    let name = &event.event;
    Ok(match event {
        Event {
            message: Some(message),
            ..
        } => {
            let Message {
                cid,
                direction,
                bytes,
                number,
                flags,
            } = message;
            let text = format!(
                "{time:<16} {cid:>8}  {direction:<11} {bytes:>10} bytes  #{number}  {}",
                flags.join(" ")
            );
            text.trim_end().to_owned()
        }
        Event {
            connection: Some(row),
            ..
        } => format!(
            "{time:<16} {:>8}  {:<11} {}",
            row.cid,
            event.event,
            about(&row)
        ),
        Event { lost, .. } => {
            let count = lost.map_or_else(|| "some".to_owned(), |lost| lost.to_string());
            let what = match name.as_str() {
                "lost_messages" => "messages",
                _ => "events",
            };
            format!("{:<16} {:>8}  {:<11} {count} {what}", "", "", "lost")
        }
    })
}

fn about(row: &Row) -> String {
    let arrow = match &*row.direction {
        "in" => "<-",
        "out" => "->",
        _ => "--",
    };
    let program = match (&row.comm, row.pid) {
        (Some(comm), Some(pid)) => format!("  {}[{pid}]", printable(comm)),
        _ => String::new(),
    };
    let end = row.close_cause.as_ref().map(|cause| {
        format!(
            "  in {} bytes #{}, out {} bytes #{}, {cause}",
            row.in_bytes, row.in_msgs, row.out_bytes, row.out_msgs
        )
    });
    format!(
        "{} {arrow} {}{program}{}",
        endpoint(&row.local_ip, row.local_port),
        endpoint(&row.ip, row.port),
        end.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::line;

    #[test]
    fn lines_are_aligned() {
        let row = json!({
            "cid": 7, "direction": "out", "ip": "::1", "port": 80, "local_ip": "::1",
            "local_port": 4222, "comm": "na\x1bts", "pid": 12, "in_msgs": 0, "out_msgs": 2,
            "in_bytes": 0, "out_bytes": 44,
        });
        let mut ended = row.clone();
        ended["close_cause"] = "local_fin".into();
        let time = "2026-11-21T12:00:00.5Z";
        let events = [
            json!({"id": "1-1", "event": "opened", "time": time, "connection": row}),
            json!({"event": "message", "time": "2026-11-21T12:00:00.123456789Z", "cid": 7,
                "direction": "out", "bytes": 40, "number": 1, "flags": []}),
            json!({"event": "message", "time": time, "cid": 7, "direction": "in", "bytes": 4,
                "number": 123, "flags": ["MSG_PEEK", "0x8"]}),
            json!({"event": "lost_messages", "lost": 5}),
            json!({"id": "1-2", "event": "lost"}),
            json!({"id": "1-3", "event": "closed", "time": time, "connection": ended}),
        ];
        let lines = events.map(|event| line(&event.to_string()).expect("a line"));
        let expected = "\
12:00:00.500000Z        7  opened      [::1]:4222 -> [::1]:80  na\\u{1b}ts[12]
12:00:00.123456Z        7  out                 40 bytes  #1
12:00:00.500000Z        7  in                   4 bytes  #123  MSG_PEEK 0x8
                           lost        5 messages
                           lost        some events
12:00:00.500000Z        7  closed      [::1]:4222 -> [::1]:80  na\\u{1b}ts[12]  in 0 bytes #0, out 44 bytes #2, local_fin";
        assert_eq!(lines.join("\n"), expected);
        assert!(line("[]").is_err());
    }
}
