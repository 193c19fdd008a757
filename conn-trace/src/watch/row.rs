//! A connection as the agent tells of it.

use jiff::Timestamp;
use serde::Deserialize;

use crate::terminal::endpoint;

/// What of a row is used.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Row {
    pub(super) cid: u64,
    pub(super) direction: String,
    pub(super) ip: String,
    pub(super) port: u16,
    pub(super) local_ip: String,
    pub(super) local_port: u16,
    pub(super) netns: u64,
    pub(super) state: String,
    pub(super) start: Timestamp,
    #[serde(default)]
    pub(super) start_estimated: bool,
    pub(super) stop: Option<Timestamp>,
    pub(super) close_cause: Option<String>,
    pub(super) owner: String,
    pub(super) pid: Option<u32>,
    pub(super) comm: Option<String>,
    pub(super) in_msgs: u64,
    pub(super) out_msgs: u64,
    pub(super) in_bytes: u64,
    pub(super) out_bytes: u64,
    #[serde(default)]
    pub(super) preexisting: bool,
    pub(super) counted_since: Option<Timestamp>,
}

impl Row {
    /// This end.
    pub(super) fn local(&self) -> String {
        endpoint(&self.local_ip, self.local_port)
    }

    /// The other end.
    pub(super) fn remote(&self) -> String {
        endpoint(&self.ip, self.port)
    }

    /// Both.
    pub(super) fn id(&self) -> String {
        format!("{}->{}", self.local(), self.remote())
    }

    /// Whether its handshake has not ended; of an open one.
    pub(super) fn is_attempt(&self) -> bool {
        matches!(&*self.state, "SYN_SENT" | "SYN_RECV")
    }

    /// Whether its handshake never ended, as far as the row of a closed one tells: what has moved
    /// data was established, and what one end has closed or reset was too, or it is `cancelled`.
    pub(super) fn has_failed(&self) -> bool {
        let cause = self.close_cause.as_deref().unwrap_or_default();
        let is_idle = self.in_bytes == 0 && self.out_bytes == 0;
        match cause {
            "refused" | "cancelled" => true,
            "timeout" | "unreachable" | "error" => is_idle && self.direction == "out",
            _ => false,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::Row;

    /// An open connection made from here, that has moved nothing, from second 0 on.
    pub(in crate::watch) fn row(cid: u64) -> Row {
        serde_json::from_value(value(cid)).expect("a row")
    }

    pub(in crate::watch) fn value(cid: u64) -> Value {
        json!({
            "cid": cid, "direction": "out", "ip": "10.0.0.1", "port": 9878, "local_ip": "10.0.0.5",
            "local_port": 40_000 + cid, "netns": 7, "state": "ESTABLISHED",
            "start": "2026-11-21T12:00:00Z", "owner": "exact", "pid": 812, "comm": "gateway",
            "in_msgs": 0, "out_msgs": 0, "in_bytes": 0, "out_bytes": 0,
        })
    }

    #[test]
    fn ends_have_brackets_where_they_need_them() {
        assert_eq!(row(1).id(), "10.0.0.5:40001->10.0.0.1:9878");
        let six = Row {
            ip: "2001:db8::1".to_owned(),
            local_ip: "::1".to_owned(),
            ..row(1)
        };
        assert_eq!(six.id(), "[::1]:40001->[2001:db8::1]:9878");
    }

    #[test]
    fn attempts_are_known_by_their_end() {
        for (cause, bytes, has_failed) in [
            ("refused", 0, true),
            ("cancelled", 0, true),
            ("timeout", 0, true),
            ("timeout", 1, false),
            ("unreachable", 0, true),
            ("local_reset", 0, false),
            ("peer_fin", 0, false),
            ("killed", 0, false),
        ] {
            let closed = Row {
                close_cause: Some(cause.to_owned()),
                out_bytes: bytes,
                ..row(1)
            };
            assert_eq!(closed.has_failed(), has_failed, "{cause}");
        }
    }
}
