//! `/connections`: open connections in the shape of the FIX exporter, for what was made for that.

use axum::response::Response;
use hyper::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use super::{asked::Asked, connz::cut, error::ApiError, shared::json, source::Source};
use crate::{
    config::ServiceSection,
    query::{Integer, Query, SocketName},
    registry::connection::Connection,
};

/// Connections in the answer if `limit` does not say: that exporter had no pages.
const LIMIT: u64 = 1000;

/// Open connections.
#[derive(Serialize, JsonSchema)]
pub(super) struct Connections<'a> {
    /// Name of the host.
    hostname: &'a str,
    /// Addresses that the service selects, `*` for all.
    target: String,
    /// Connections that pass the conditions, on all pages.
    total: Integer,
    /// Those of this page, the oldest first unless `sort` says otherwise.
    connections: Vec<One>,
}

/// An open connection.
#[derive(Serialize, JsonSchema)]
struct One {
    /// Both ends: `10.0.0.5:51234->203.0.113.7:9878`.
    id: String,
    /// Number of the connection, as in `/connz`.
    cid: Integer,
    /// This end.
    local_addr: String,
    /// The peer.
    remote_addr: String,
    /// Age in seconds.
    duration_seconds: f64,
    /// Port of this end.
    local_port: u16,
    /// Port of the peer.
    remote_port: u16,
}

impl One {
    fn of(connection: &Connection, now_ns: u64) -> Self {
        let facts = &connection.facts;
        let local_addr = SocketName(&facts.local).to_string();
        let remote_addr = SocketName(&facts.peer).to_string();
        Self {
            id: format!("{local_addr}->{remote_addr}"),
            cid: Integer(facts.cid),
            local_addr,
            remote_addr,
            duration_seconds: now_ns.saturating_sub(facts.start_ns) as f64 / 1e9,
            local_port: facts.local.port,
            remote_port: facts.peer.port,
        }
    }
}

/// Answers with open connections; the parameters of `/connz` apply.
pub(super) async fn connections<S: Source>(asked: Asked<S>) -> Result<Response, ApiError> {
    let shared = asked.shared();
    let mut query = Query::parse_with_limit(asked.dialect(), asked.query(), LIMIT)?;
    shared.restrict(&mut query.filter);
    let configuration = shared.services.borrow().clone();
    let service = query.filter.service.as_deref();
    let target = service
        .and_then(|name| configuration.service(name))
        .map_or_else(|| "*".to_owned(), ServiceSection::target);
    let page = cut(shared, query).await?;
    let _share = shared.pages.share(page.rows.len())?;
    Ok(json(
        StatusCode::OK,
        &Connections {
            hostname: &shared.identity.server_name,
            target,
            total: Integer(page.total),
            connections: page
                .rows
                .iter()
                .map(|connection| One::of(connection, page.now_ns))
                .collect(),
        },
    ))
}
