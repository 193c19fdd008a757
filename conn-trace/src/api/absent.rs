//! `/subsz` and `/routez`: what NATS's monitoring tells and the kernel has none of. Clients ask all
//! the same, and some stop where an answer or a field of it is missing.

use axum::response::Response;
use hyper::StatusCode;
use jiff::Timestamp;
use serde::Serialize;

use super::{asked::Asked, error::ApiError, shared::json, source::Source};

/// Subscriptions, under the names of NATS's `/subsz`.
#[derive(Serialize)]
struct Subscriptions<'a> {
    server_id: &'a str,
    server_name: &'a str,
    now: Timestamp,
    num_subscriptions: u32,
    num_cache: u32,
    num_inserts: u64,
    num_removes: u64,
    num_matches: u64,
    cache_hit_rate: f64,
    max_fanout: u32,
    avg_fanout: f64,
    total: u32,
    offset: u32,
    limit: u32,
}

/// Routes to other servers, under the names of NATS's `/routez`.
#[derive(Serialize)]
struct Routes<'a> {
    server_id: &'a str,
    server_name: &'a str,
    now: Timestamp,
    num_routes: u32,
    routes: [(); 0],
}

/// Answers that there are no subscriptions.
pub(super) async fn subsz<S: Source>(asked: Asked<S>) -> Result<Response, ApiError> {
    let shared = asked.shared();
    let subscriptions = Subscriptions {
        server_id: &shared.identity.server_id,
        server_name: &shared.identity.server_name,
        now: shared.status().await?.now,
        num_subscriptions: 0,
        num_cache: 0,
        num_inserts: 0,
        num_removes: 0,
        num_matches: 0,
        cache_hit_rate: 0.0,
        max_fanout: 0,
        avg_fanout: 0.0,
        total: 0,
        offset: 0,
        // NATS's default.
        limit: 1024,
    };
    Ok(json(StatusCode::OK, &subscriptions))
}

/// Answers that there are no routes.
pub(super) async fn routez<S: Source>(asked: Asked<S>) -> Result<Response, ApiError> {
    let shared = asked.shared();
    let routes = Routes {
        server_id: &shared.identity.server_id,
        server_name: &shared.identity.server_name,
        now: shared.status().await?.now,
        num_routes: 0,
        routes: [],
    };
    Ok(json(StatusCode::OK, &routes))
}
