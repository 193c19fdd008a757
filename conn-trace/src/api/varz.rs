//! `/varz`: the agent's own figures, under NATS's names.

use std::{net::IpAddr, thread::available_parallelism};

use axum::response::Response;
use hyper::StatusCode;
use jiff::Timestamp;
use schemars::JsonSchema;
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
    registry::snapshot::{FirstBytesStatus, Losses, Status, Tracing},
};

/// NATS's fields that its clients read, with the types they insist on, and one object of ours.
#[derive(Serialize, JsonSchema)]
pub(super) struct Varz<'a> {
    /// Stable per host.
    server_id: &'a str,
    /// Name of the host.
    server_name: &'a str,
    /// Version of the agent.
    version: &'a str,
    /// Version of NATS's client protocol; a constant there as well.
    proto: u32,
    /// Address that the agent listens on.
    host: IpAddr,
    /// Port that it listens on.
    port: u16,
    /// Connections that the table takes.
    max_connections: Integer,
    /// When the agent started.
    start: Timestamp,
    /// The moment of all figures.
    now: Timestamp,
    /// Age of the agent in whole seconds.
    uptime: Seconds,
    /// Memory of the agent, in bytes. 0 where it is not known: Datadog's check stops where it is missing.
    mem: Integer,
    /// CPUs that the agent may use.
    cores: usize,
    /// Of one CPU, in percent, since it was last asked.
    cpu: f64,
    /// Connections open now.
    connections: Integer,
    /// Connections ever seen.
    total_connections: Integer,
    /// 0: not known to the kernel, as the next two.
    routes: u32,
    /// 0.
    remotes: u32,
    /// 0.
    leafnodes: u32,
    /// Receive calls that moved data, over all connections ever seen.
    in_msgs: Integer,
    /// Send calls that moved data, likewise.
    out_msgs: Integer,
    /// Bytes read, likewise.
    in_bytes: Integer,
    /// Bytes written, likewise.
    out_bytes: Integer,
    /// 0: not known to the kernel, as the next.
    slow_consumers: u32,
    /// 0.
    subscriptions: u32,
    /// How often each endpoint of this dialect was asked.
    http_req_stats: &'a Requests,
    /// What NATS has no name for.
    conn_trace: ConnTrace<'a>,
}

/// What NATS has no name for.
#[derive(Serialize, JsonSchema)]
struct ConnTrace<'a> {
    /// How messages are seen. Left out where they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<Variant>,
    /// Whether all hooks are attached.
    attached: bool,
    /// What is not known on this kernel.
    degradations: &'a [Degradation],
    /// Connections that the table takes.
    capacity: Integer,
    /// Of these, taken.
    used: Integer,
    /// Memory of the maps in the kernel, in bytes.
    kernel_memory_bytes: Integer,
    /// Closed connections that are remembered.
    history: Integer,
    /// Of these, at most.
    history_capacity: Integer,
    /// Connections that ended since the start.
    closed_connections: Integer,
    /// Messages that belong to no row and are no loss.
    messages_after_end: Integer,
    /// What was lost since the start.
    losses: NamedLosses,
    /// When something was last lost. Left out if nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_loss: Option<Timestamp>,
    /// Messages that readers of events have asked for.
    trace: NamedTracing,
    /// What is read to say what connections speak.
    first_bytes: NamedFirstBytes,
}

/// First bytes of connections.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FirstBytes")]
struct NamedFirstBytes {
    /// Connections of which more bytes are needed.
    waiting: Integer,
    /// Records that found no room in the ring: what these connections speak stays unknown.
    lost: Integer,
    /// Receive calls whose bytes could not be found, likewise.
    unseen: Integer,
}

impl From<FirstBytesStatus> for NamedFirstBytes {
    fn from(status: FirstBytesStatus) -> Self {
        Self {
            waiting: Integer(status.waiting),
            lost: Integer(status.lost),
            unseen: Integer(status.unseen),
        }
    }
}

/// Messages of single connections.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Tracing")]
struct NamedTracing {
    /// Readers now.
    readers: Integer,
    /// Connections whose messages they get.
    connections: Integer,
    /// Messages that the kernel has told of, since the start.
    messages: Integer,
    /// Messages that had no room in the ring, or in front of a reader: one for each such reader.
    lost: Integer,
}

impl From<Tracing> for NamedTracing {
    fn from(tracing: Tracing) -> Self {
        let Tracing {
            readers,
            connections,
            messages,
            lost,
        } = tracing;
        Self {
            readers: Integer(readers),
            connections: Integer(connections),
            messages: Integer(messages),
            lost: Integer(lost),
        }
    }
}

/// What was lost, in events since the start.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Losses")]
struct NamedLosses {
    /// Connections without a slot in the table.
    untracked: Integer,
    /// Messages on such connections.
    untracked_messages: Integer,
    /// Records of openings that found no room in the ring; made up for from the table.
    ring_records: Integer,
    /// Records of ends that found no room in the ring; made up for from the table.
    ring_closed: Integer,
    /// Events that the kernel did not show, and that no other program made up for.
    missed_runs: Integer,
    /// Connections whose end the kernel did not show.
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
    let mut status = asked.shared().status().await?;
    if let Some(scope) = &asked.shared().scope {
        let report = asked.shared().report().await?;
        if let Some(service) = report.service(scope) {
            let figures = &service.figures;
            status.open = figures.current();
            status.total = figures.tally.opened + figures.tally.joined;
            status.closed = figures.closed();
            status.totals = figures.moved();
        }
    }
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
            trace: status.tracing.into(),
            first_bytes: status.first_bytes.into(),
        },
    }
}
