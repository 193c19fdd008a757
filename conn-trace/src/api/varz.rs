//! `/varz`: the agent's own figures, under NATS's names.

use std::{net::IpAddr, thread::available_parallelism};

use axum::response::Response;
use hyper::StatusCode;
use jiff::Timestamp;
use serde::Serialize;

use super::{
    asked::Asked,
    error::ApiError,
    requests::Requests,
    shared::{Shared, json},
    source::Source,
    usage,
};
use crate::{
    kernel::{degradation::Degradation, hooks::Variant},
    query::{Integer, Seconds},
    registry::snapshot::{Losses, Status},
};

/// NATS's fields that its clients read, with the types they insist on, and one object of ours.
#[derive(Serialize)]
struct Varz<'a> {
    server_id: &'a str,
    server_name: &'a str,
    version: &'a str,
    /// Version of NATS's client protocol; a constant there as well.
    proto: u32,
    host: IpAddr,
    port: u16,
    max_connections: Integer,
    start: Timestamp,
    now: Timestamp,
    uptime: Seconds,
    /// 0 where it is not known: Datadog's check stops where it is missing.
    mem: Integer,
    cores: usize,
    cpu: f64,
    connections: Integer,
    total_connections: Integer,
    routes: u32,
    remotes: u32,
    leafnodes: u32,
    in_msgs: Integer,
    out_msgs: Integer,
    in_bytes: Integer,
    out_bytes: Integer,
    slow_consumers: u32,
    subscriptions: u32,
    http_req_stats: &'a Requests,
    conn_trace: ConnTrace<'a>,
}

/// What NATS has no name for.
#[derive(Serialize)]
struct ConnTrace<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<Variant>,
    attached: bool,
    degradations: &'a [Degradation],
    capacity: Integer,
    used: Integer,
    kernel_memory_bytes: Integer,
    history: Integer,
    history_capacity: Integer,
    closed_connections: Integer,
    messages_after_end: Integer,
    losses: NamedLosses,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_loss: Option<Timestamp>,
}

#[derive(Serialize)]
struct NamedLosses {
    untracked: Integer,
    untracked_messages: Integer,
    ring_records: Integer,
    ring_closed: Integer,
    missed_runs: Integer,
    missed_ends: Integer,
}

impl From<Losses> for NamedLosses {
    fn from(losses: Losses) -> Self {
        let Losses {
            untracked,
            untracked_messages,
            ring_records,
            ring_closed,
            missed_runs,
            missed_ends,
        } = losses;
        Self {
            untracked: Integer(untracked),
            untracked_messages: Integer(untracked_messages),
            ring_records: Integer(ring_records),
            ring_closed: Integer(ring_closed),
            missed_runs: Integer(missed_runs),
            missed_ends: Integer(missed_ends),
        }
    }
}

/// Answers with the figures of this moment.
pub(super) async fn varz<S: Source>(asked: Asked<S>) -> Result<Response, ApiError> {
    let status = asked.shared().status().await?;
    let figures = figures(asked.shared(), asked.requests(), &status);
    Ok(json(StatusCode::OK, &figures))
}

fn figures<'a, S>(shared: &'a Shared<S>, requests: &'a Requests, status: &'a Status) -> Varz<'a> {
    let identity = &shared.identity;
    let uptime = status.now.duration_since(identity.start).as_secs();
    Varz {
        server_id: &identity.server_id,
        server_name: &identity.server_name,
        version: &identity.version,
        proto: 1,
        host: shared.address.ip(),
        port: shared.address.port(),
        max_connections: Integer(status.capacity),
        start: identity.start,
        now: status.now,
        // Not below 0 when the clock is set back.
        uptime: Seconds(u64::try_from(uptime).unwrap_or(0)),
        mem: Integer(usage::resident_bytes().unwrap_or(0)),
        cores: available_parallelism().map_or(1, usize::from),
        cpu: shared.usage.cpu_percent(),
        connections: Integer(status.open),
        total_connections: Integer(status.total),
        routes: 0,
        remotes: 0,
        leafnodes: 0,
        in_msgs: Integer(status.totals.in_msgs),
        out_msgs: Integer(status.totals.out_msgs),
        in_bytes: Integer(status.totals.in_bytes),
        out_bytes: Integer(status.totals.out_bytes),
        slow_consumers: 0,
        subscriptions: 0,
        http_req_stats: requests,
        conn_trace: ConnTrace {
            variant: status.variant,
            attached: status.attached,
            degradations: &status.degradations,
            capacity: Integer(status.capacity),
            used: Integer(status.used),
            kernel_memory_bytes: Integer(status.kernel_memory_bytes),
            history: Integer(status.history),
            history_capacity: Integer(status.history_capacity),
            closed_connections: Integer(status.closed),
            messages_after_end: Integer(status.messages_after_end),
            losses: status.losses.into(),
            last_loss: status.last_loss,
        },
    }
}
