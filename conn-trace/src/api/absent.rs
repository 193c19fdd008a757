//! `/subsz`, `/routez` and their like: what NATS's monitoring tells and the kernel has none of.
//! Clients ask all the same, and some stop where an answer or a field of it is missing.

use axum::response::Response;
use hyper::StatusCode;
use jiff::Timestamp;
use schemars::JsonSchema;
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

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "{T}", description = "That there are none of NATS's.")]
pub(super) struct Absent<'a, T> {
    /// Stable per host.
    server_id: &'a str,
    /// Name of the host.
    server_name: &'a str,
    /// The moment of the answer.
    now: Timestamp,
    #[serde(flatten)]
    nothing: T,
}

/// An empty list.
type List = [(); 0];

/// An empty map.
#[derive(Default, Serialize, JsonSchema)]
struct Map {}

/// `/subsz`, under NATS's names as those below.
#[derive(Serialize, JsonSchema)]
pub(super) struct Subscriptions {
    /// Subscriptions: 0.
    num_subscriptions: u32,
    /// Cached results: 0.
    num_cache: u32,
    /// Subscriptions made: 0.
    num_inserts: u64,
    /// Subscriptions ended: 0.
    num_removes: u64,
    /// Lookups: 0.
    num_matches: u64,
    /// Part of lookups that the cache answered: 0.
    cache_hit_rate: f64,
    /// Most receivers of a message: 0.
    max_fanout: u32,
    /// Receivers of a message, on average: 0.
    avg_fanout: f64,
    /// Subscriptions on all pages: 0.
    total: u32,
    /// Rows skipped: 0.
    offset: u32,
    /// Rows in a page: NATS's default.
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
#[derive(Default, Serialize, JsonSchema)]
pub(super) struct Routes {
    /// Routes: 0.
    num_routes: u32,
    /// None.
    routes: List,
}

/// `/gatewayz`: to other clusters.
#[derive(Default, Serialize, JsonSchema)]
pub(super) struct Gateways {
    /// None.
    outbound_gateways: Map,
    /// None.
    inbound_gateways: Map,
}

/// `/leafz`: servers that extend this one.
#[derive(Default, Serialize, JsonSchema)]
pub(super) struct LeafNodes {
    /// Leaf nodes: 0.
    leafnodes: u32,
    /// None.
    leafs: List,
}

/// `/accstatz`: figures by account.
#[derive(Default, Serialize, JsonSchema)]
pub(super) struct Accounts {
    /// None.
    account_statz: List,
}
