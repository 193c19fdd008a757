//! A connection in the report, and in lines for programs.

use jiff::Timestamp;
use serde::Serialize;

use super::{row::Row, state::Ended};

/// A connection. `counted_since`, if given, is from when on its messages count.
#[derive(Debug, Serialize)]
pub(super) struct Entry<'a> {
    connection_id: String,
    cid: u64,
    direction: &'a str,
    start_time: Timestamp,
    #[serde(skip_serializing_if = "is_false")]
    start_estimated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<Timestamp>,
    /// The end was not seen: it is not later than `end_time`.
    #[serde(skip_serializing_if = "is_false")]
    end_unseen: bool,
    duration_seconds: f64,
    local_addr: String,
    remote_addr: String,
    local_port: u16,
    remote_port: u16,
    in_bytes: u64,
    out_bytes: u64,
    in_msgs: u64,
    out_msgs: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    counted_since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    close_cause: Option<&'a str>,
    owner: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comm: Option<&'a str>,
}

impl<'a> Entry<'a> {
    /// Of one that is active at that time.
    pub(super) fn active(row: &'a Row, now: Timestamp) -> Self {
        Self::new(row, now)
    }

    /// Of one that has ended, or an attempt that came to nothing.
    pub(super) fn ended(ended: &'a Ended) -> Self {
        Self {
            end_time: Some(ended.stop),
            end_unseen: ended.is_unseen,
            ..Self::new(&ended.row, ended.stop)
        }
    }

    fn new(row: &'a Row, until: Timestamp) -> Self {
        Self {
            connection_id: row.id(),
            cid: row.cid,
            direction: &row.direction,
            start_time: row.start,
            start_estimated: row.start_estimated,
            end_time: None,
            end_unseen: false,
            duration_seconds: until.duration_since(row.start).as_secs_f64(),
            local_addr: row.local(),
            remote_addr: row.remote(),
            local_port: row.local_port,
            remote_port: row.port,
            in_bytes: row.in_bytes,
            out_bytes: row.out_bytes,
            in_msgs: row.in_msgs,
            out_msgs: row.out_msgs,
            counted_since: row.counted_since,
            close_cause: row.close_cause.as_deref(),
            owner: &row.owner,
            pid: row.pid,
            comm: row.comm.as_deref(),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}
