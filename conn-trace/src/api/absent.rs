//! `/subsz`, `/routez` and their like: what NATS's monitoring tells and the kernel has none of.
//! Clients ask all the same, and some stop where an answer or a field of it is missing.

use axum::response::Response;
use hyper::StatusCode;
use jiff::Timestamp;
use serde::Serialize;

use super::{asked::Asked, error::ApiError, shared::json, source::Source};

/// Answers that there is nothing of what `T` lists.
pub(super) async fn absent<S, T>(asked: Asked<S>) -> Result<Response, ApiError>
where
    S: Source,
    T: Default + Serialize,
{
    let shared = asked.shared();
    let answer = Absent {
        server_id: &shared.identity.server_id,
        server_name: &shared.identity.server_name,
        now: shared.status().await?.now,
        nothing: T::default(),
    };
    Ok(json(StatusCode::OK, &answer))
}

#[derive(Serialize)]
struct Absent<'a, T> {
    server_id: &'a str,
    server_name: &'a str,
    now: Timestamp,
    #[serde(flatten)]
    nothing: T,
}

/// An empty list.
type List = [(); 0];

/// An empty map.
#[derive(Default, Serialize)]
struct Map {}

/// `/subsz`, under NATS's names as those below.
#[derive(Serialize)]
pub(super) struct Subscriptions {
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

impl Default for Subscriptions {
    fn default() -> Self {
        Self {
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
        }
    }
}

/// `/routez`: to other servers of a cluster.
#[derive(Default, Serialize)]
pub(super) struct Routes {
    num_routes: u32,
    routes: List,
}

/// `/gatewayz`: to other clusters.
#[derive(Default, Serialize)]
pub(super) struct Gateways {
    outbound_gateways: Map,
    inbound_gateways: Map,
}

/// `/leafz`: servers that extend this one.
#[derive(Default, Serialize)]
pub(super) struct LeafNodes {
    leafnodes: u32,
    leafs: List,
}

/// `/accstatz`: figures by account.
#[derive(Default, Serialize)]
pub(super) struct Accounts {
    account_statz: List,
}
