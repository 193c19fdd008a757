//! `/healthz`: whether what the other endpoints say can be trusted.

use axum::response::Response;
use hyper::StatusCode;
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

use super::{asked::Asked, error::ApiError, shared::json, source::Source};
use crate::{query::Integer, registry::snapshot::Status};

/// How long a loss counts as present.
const LOSS_WINDOW: SignedDuration = SignedDuration::from_mins(1);

const OK: &str = "ok";
const UNAVAILABLE: &str = "unavailable";

/// NATS's answer, JSON even when it is a 503: its clients read `status` and not the status code.
/// It is the one exception to the rule that 5xx bodies are plain text.
#[derive(Serialize, JsonSchema)]
pub(super) struct Health {
    /// Whether every figure is complete.
    #[schemars(extend("enum" = [OK, UNAVAILABLE]))]
    status: &'static str,
    /// Why it is not. Else left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The moment.
    timestamp: Timestamp,
    /// Name of the host.
    hostname: String,
    /// Connections open now, those of the service where one alone is served. Left out when they are
    /// not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    active_connections: Option<Integer>,
}

/// Answers 200 only while every figure is complete.
pub(super) async fn healthz<S: Source>(asked: Asked<S>) -> Result<Response, ApiError> {
    let shared = asked.shared();
    let status = shared.status().await;
    let error = match &status {
        Ok(status) => fault(status),
        Err(error) => Some(error.to_string()),
    };
    let now = status
        .as_ref()
        .map_or_else(|_| Timestamp::now(), |status| status.now);
    let active_connections = match (&shared.scope, &status) {
        (_, Err(_)) => None,
        (None, Ok(status)) => Some(status.open),
        (Some(scope), Ok(_)) => shared
            .report()
            .await
            .ok()
            .and_then(|report| Some(report.service(scope)?.figures.current())),
    };
    let (code, status) = match error {
        None => (StatusCode::OK, OK),
        Some(_) => (StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE),
    };
    let health = Health {
        status,
        error,
        timestamp: now,
        hostname: shared.identity.server_name.clone(),
        active_connections: active_connections.map(Integer),
    };
    Ok(json(code, &health))
}

/// What is wrong, if anything.
fn fault(status: &Status) -> Option<String> {
    if !status.attached {
        return Some("not all hooks are attached".to_owned());
    }
    // A loss after `now` is one too: the clock was set back.
    let loss = status
        .last_loss
        .filter(|loss| status.now.duration_since(*loss) <= LOSS_WINDOW)?;
    let losses = &status.losses;
    Some(format!(
        "events were lost at {loss} (since the start: {} connections untracked, {} messages on \
         them, {} + {} records that found no room in the ring, {} runs skipped, {} ends not seen)",
        losses.untracked,
        losses.untracked_messages,
        losses.ring_records,
        losses.ring_closed,
        losses.missed_runs,
        losses.missed_ends,
    ))
}
