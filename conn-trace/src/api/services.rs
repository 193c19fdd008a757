//! `/services`: what is known of each configured service as a whole, `/services/{name}/connz`: its
//! connections, and `/connz/{cid}/services`: why a connection belongs where it does.

use std::collections::BTreeMap;

use axum::response::Response;
use hyper::StatusCode;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    action::{PolicyAction, PolicyState},
    asked::Asked,
    connz::{answer, find},
    error::ApiError,
    shared::json,
    source::Source,
};
use crate::{
    query::{Integer, Query, Quoted},
    registry::services::{Figures, Histogram, Report, SampledSums, ServiceFigures, Share, Shares},
    services::Explained,
};

/// The host and its services.
#[derive(Serialize, JsonSchema)]
pub(super) struct Services<'a> {
    /// The moment of all figures.
    now: Timestamp,
    /// All connections but the agent's own. Left out where one service alone is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<Summary>,
    /// Each service, in the order of the configuration.
    services: Vec<Named<'a>>,
    /// Open connections of which it is not known yet where they belong; they count at the host alone.
    undecided: Integer,
}

/// A service and its counts.
#[derive(Serialize, JsonSchema)]
struct Named<'a> {
    /// Name of the service.
    name: &'a str,
    #[serde(flatten)]
    summary: Summary,
}

/// Counts of connections. Since the start of the agent; a new configuration keeps them.
#[derive(Serialize, JsonSchema)]
struct Summary {
    /// Connections open now.
    connections: Integer,
    /// Connections whose handshake has not ended.
    connecting: Integer,
    /// Connections that were opened.
    opened: Integer,
    /// Connections that were open already when they came to be counted here.
    joined: Integer,
    /// Connections that a new configuration has moved elsewhere.
    left: Integer,
    /// Connections that ended. `opened + joined - closed - left` is `connections`.
    closed: Integer,
    /// Connections whose handshake never ended.
    failed: Integer,
    /// The most that were open at the same time.
    peak: Integer,
    /// When they were so many for the first time.
    peak_at: Timestamp,
    /// Open connections without a message for as long as the service says, 10 minutes unless said.
    idle: Integer,
    /// Receive calls that moved data, of open and closed connections.
    in_msgs: Integer,
    /// Send calls that moved data, likewise.
    out_msgs: Integer,
    /// Bytes read, likewise. What no call has moved comes with the next message or the end.
    in_bytes: Integer,
    /// Bytes written, likewise.
    out_bytes: Integer,
}

impl Summary {
    fn of(figures: &Figures) -> Self {
        let tally = &figures.tally;
        let moved = figures.moved();
        let peak = tally.peak();
        Self {
            connections: Integer(figures.current()),
            connecting: Integer(tally.connecting),
            opened: Integer(tally.opened),
            joined: Integer(tally.joined),
            left: Integer(tally.left),
            closed: Integer(figures.closed()),
            failed: Integer(tally.failed.total()),
            peak: Integer(peak.connections),
            peak_at: peak.at,
            idle: Integer(figures.idle),
            in_msgs: Integer(moved.in_msgs),
            out_msgs: Integer(moved.out_msgs),
            in_bytes: Integer(moved.in_bytes),
            out_bytes: Integer(moved.out_bytes),
        }
    }
}

/// A service with all that is known of it.
#[derive(Serialize, JsonSchema)]
pub(super) struct Detail<'a> {
    /// The moment of all figures.
    now: Timestamp,
    #[serde(flatten)]
    named: Named<'a>,
    /// Connections that are all right, as configured. Left out where that is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_limit: Option<u32>,
    /// Connections by TCP state; `CLOSED` has those whose program has not closed the socket.
    states: BTreeMap<&'static str, Integer>,
    /// Ends by cause, of connections whose socket is gone.
    closed_by_cause: BTreeMap<&'static str, Integer>,
    /// Failed connects by cause.
    failed_by_cause: BTreeMap<&'static str, Integer>,
    /// Seconds that closed connections lived.
    duration_seconds: Distribution,
    /// Bytes that closed connections had read.
    received_bytes: Distribution,
    /// Bytes that closed connections had written.
    sent_bytes: Distribution,
    /// The sockets of open connections when they were last looked at.
    sockets: Sockets,
    /// By client address, or by prefix as configured.
    clients: Breakdown,
    /// By the port of the service: this end's of accepted connections, else the peer's.
    ports: Breakdown,
    /// By name of the process; connections without a known owner are under the empty name.
    processes: Breakdown,
    /// By what they speak, as `http/1.1`; the empty name has those of which it is not known. Left out
    /// where the service does not want to know (`identify`).
    #[serde(skip_serializing_if = "Option::is_none")]
    protocols: Option<Breakdown>,
    /// Its policies, in the order of the configuration.
    policies: Vec<PolicyState<'a>>,
    /// What they have done last, 100 records at most, the newest first.
    actions: Vec<PolicyAction<'a>>,
}

/// How many values there are up to each bound.
#[derive(Serialize, JsonSchema)]
struct Distribution {
    /// Values.
    count: Integer,
    /// Their sum.
    sum: f64,
    /// Values above the bound before and up to this one. Larger ones are in `count` alone.
    buckets: Vec<Bucket>,
}

/// One part of a distribution.
#[derive(Serialize, JsonSchema)]
struct Bucket {
    /// Upper bound.
    le: f64,
    /// Values in it.
    count: Integer,
}

impl Distribution {
    fn of<const N: usize>(histogram: &Histogram<N>) -> Self {
        let buckets = histogram.buckets().map(|(le, count)| Bucket {
            le,
            count: Integer(count),
        });
        Self {
            count: Integer(histogram.count()),
            sum: histogram.sum(),
            buckets: buckets.collect(),
        }
    }
}

/// What sockets said.
#[derive(Serialize, JsonSchema)]
struct Sockets {
    /// Sockets that were looked at: 1024 by each answer, in turn, and all by the agent every 5 s.
    sampled: Integer,
    /// Mean of the smoothed round trip times, in µs. Left out without a sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    mean_rtt_us: Option<f64>,
    /// Bytes written and not acknowledged.
    pending_bytes: Integer,
    /// Bytes that arrived and were not read.
    recv_queue_bytes: Integer,
    /// Segments sent again, of closed connections too.
    retransmitted: Integer,
}

impl Sockets {
    fn of(sums: &SampledSums, closed: u64) -> Self {
        let has_rtt = sums.with_rtt != 0;
        Self {
            sampled: Integer(sums.sockets),
            mean_rtt_us: has_rtt.then(|| sums.rtt_us as f64 / sums.with_rtt as f64),
            pending_bytes: Integer(sums.pending_bytes),
            recv_queue_bytes: Integer(sums.recv_queue_bytes),
            retransmitted: Integer(sums.retransmitted + closed),
        }
    }
}

/// Connections by one property.
#[derive(Serialize, JsonSchema)]
struct Breakdown {
    /// The largest, as many as the service says (`top`, 10).
    top: Vec<Part>,
    /// All others together.
    other: Counts,
    /// Connections that are among the others because there were too many different ones.
    overflow: Integer,
}

/// One value of the property.
#[derive(Serialize, JsonSchema)]
struct Part {
    /// The value.
    key: String,
    #[serde(flatten)]
    counts: Counts,
}

/// Connections of one value, or of all others.
#[derive(Serialize, JsonSchema)]
struct Counts {
    /// Open now.
    connections: Integer,
    /// Ever counted.
    total: Integer,
    /// Bytes that those have read that ended.
    ended_in_bytes: Integer,
    /// Bytes that those have written that ended.
    ended_out_bytes: Integer,
}

impl From<Share> for Counts {
    fn from(share: Share) -> Self {
        Self {
            connections: Integer(share.current),
            total: Integer(share.total),
            ended_in_bytes: Integer(share.ended.in_bytes),
            ended_out_bytes: Integer(share.ended.out_bytes),
        }
    }
}

impl Breakdown {
    fn of<K>(shares: &Shares<K>, name: impl Fn(&K) -> String) -> Self {
        Self {
            top: shares
                .top
                .iter()
                .map(|(key, share)| Part {
                    key: name(key),
                    counts: (*share).into(),
                })
                .collect(),
            other: shares.other.into(),
            overflow: Integer(shares.overflow),
        }
    }
}

impl<'a> Named<'a> {
    fn of(service: &'a ServiceFigures) -> Self {
        Self {
            name: &service.service.name,
            summary: Summary::of(&service.figures),
        }
    }
}

/// Answers with all services.
pub(super) async fn services<S: Source>(asked: Asked<S>) -> Result<Response, ApiError> {
    let report = asked.shared().report().await?;
    let scope = asked.shared().scope.as_deref();
    let shown = report
        .services
        .iter()
        .filter(|one| scope.is_none_or(|scope| *one.service.name == *scope));
    Ok(json(
        StatusCode::OK,
        &Services {
            now: report.now,
            host: scope.is_none().then(|| Summary::of(&report.host)),
            services: shown.map(Named::of).collect(),
            undecided: Integer(report.undecided),
        },
    ))
}

/// Answers with the service that the path names.
pub(super) async fn service<S: Source>(asked: Asked<S>) -> Result<Response, ApiError> {
    let name = known(&asked, asked.last_segment())?;
    let report = asked.shared().report().await?;
    // A new configuration may have come between the two.
    let found = report
        .service(name)
        .ok_or_else(|| ApiError::NoService(Quoted::new(name)))?;
    let configuration = asked.shared().services.borrow().clone();
    let limit = configuration
        .service(name)
        .and_then(|section| section.connection_limit);
    Ok(json(StatusCode::OK, &detail(&report, found, limit)))
}

fn detail<'a>(report: &Report, found: &'a ServiceFigures, limit: Option<u32>) -> Detail<'a> {
    let ServiceFigures {
        figures, sampled, ..
    } = found;
    let tally = &figures.tally;
    let states = figures.states.iter();
    Detail {
        now: report.now,
        named: Named::of(found),
        connection_limit: limit,
        states: states
            .map(|(state, count)| (state.name(), Integer(count)))
            .collect(),
        closed_by_cause: tally
            .closed
            .iter()
            .map(|(cause, count)| (cause.name(), Integer(count)))
            .collect(),
        failed_by_cause: tally
            .failed
            .iter()
            .map(|(cause, count)| (cause.name(), Integer(count)))
            .collect(),
        duration_seconds: Distribution::of(&tally.durations),
        received_bytes: Distribution::of(&tally.received),
        sent_bytes: Distribution::of(&tally.sent),
        sockets: Sockets::of(sampled, tally.retransmitted),
        clients: Breakdown::of(&found.clients, ToString::to_string),
        ports: Breakdown::of(&found.ports, ToString::to_string),
        processes: Breakdown::of(&found.processes, |name| {
            name.as_deref().unwrap_or_default().to_owned()
        }),
        protocols: found.protocols.as_ref().map(|shares| {
            Breakdown::of(shares, |spoken| match spoken {
                Some((protocol, "")) => protocol.name().to_owned(),
                Some((protocol, version)) => format!("{}/{version}", protocol.name()),
                None => String::new(),
            })
        }),
        policies: found.policies.iter().map(PolicyState::of).collect(),
        actions: found
            .actions
            .iter()
            .map(|record| PolicyAction::of(record))
            .collect(),
    }
}

/// Answers with a page of the service's connections.
pub(super) async fn connz_of<S: Source>(asked: Asked<S>) -> Result<Response, ApiError> {
    let name = known(&asked, asked.segment_before_last())?;
    let mut query = Query::parse(asked.dialect(), asked.query())?;
    query.filter.restrict_to(name);
    answer(&asked, query).await
}

/// The name, if there is such a service and it is served here.
fn known<'a, S>(asked: &Asked<S>, name: &'a str) -> Result<&'a str, ApiError> {
    let shared = asked.shared();
    let is_served = shared.scope.as_deref().is_none_or(|scope| scope == name);
    if is_served && shared.services.borrow().service(name).is_some() {
        Ok(name)
    } else {
        Err(ApiError::NoService(Quoted::new(name)))
    }
}

/// Why a connection belongs where it does.
#[derive(Serialize, JsonSchema)]
pub(super) struct Explanation {
    /// Number of the connection.
    cid: Integer,
    /// The service that it is counted at. Left out where there is none, or none yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    /// What each service says to it, in the order of the configuration.
    services: Vec<Explained>,
}

/// Answers with what each service says to a connection.
pub(super) async fn explain<S: Source>(asked: Asked<S>) -> Result<Response, ApiError> {
    let page = find(&asked, asked.segment_before_last()).await?;
    let Some(connection) = page.rows.first() else {
        return Err(ApiError::NoConnection(Quoted::new(
            asked.segment_before_last(),
        )));
    };
    let facts = &connection.facts;
    let matcher = asked.shared().services.borrow().matcher();
    Ok(json(
        StatusCode::OK,
        &Explanation {
            cid: Integer(facts.cid),
            service: facts.service.as_deref().map(str::to_owned),
            services: matcher.explain(facts),
        },
    ))
}
