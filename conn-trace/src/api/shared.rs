//! What all requests share.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::response::{IntoResponse, Response};
use hyper::{StatusCode, header::CONTENT_TYPE};
use serde::Serialize;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use super::{
    baselines::Baselines,
    error::ApiError,
    events::Streams,
    metrics::Scrapes,
    pages::Pages,
    source::{ServerIdentity, Source},
    usage::Usage,
};
use crate::{
    config::Configuration,
    query::{Filter, Page, Query},
    registry::{
        Stopped,
        messages::{Choice, Told},
        services::Report,
        snapshot::{Scope, Snapshot, Status},
    },
};

/// The server's state, one per listener.
pub(super) struct Shared<S> {
    pub(super) source: S,
    pub(super) identity: ServerIdentity,
    /// The listener's own address.
    pub(super) address: SocketAddr,
    pub(super) pages: Pages,
    pub(super) baselines: Baselines,
    pub(super) streams: Streams,
    pub(super) usage: Usage,
    pub(super) scrapes: Scrapes,
    /// The configuration in force.
    pub(super) services: watch::Receiver<Arc<Configuration>>,
    /// The only service that is served here, if it is not all connections.
    pub(super) scope: Option<Arc<str>>,
    /// Loses its sender when the server is to end.
    pub(super) stopped: watch::Receiver<()>,
    /// How long the source may take.
    pub(super) source_timeout: Duration,
    /// How long a request's body may take.
    pub(super) body_timeout: Duration,
}

impl<S: Source> Shared<S> {
    pub(super) async fn page(&self, query: Query) -> Result<Page, ApiError> {
        self.in_time(self.source.page(query)).await
    }

    pub(super) async fn snapshot(&self, scope: Scope) -> Result<Snapshot, ApiError> {
        self.in_time(self.source.snapshot(scope)).await
    }

    pub(super) async fn status(&self) -> Result<Status, ApiError> {
        self.in_time(self.source.status()).await
    }

    pub(super) async fn report(&self) -> Result<Report, ApiError> {
        self.in_time(self.source.report()).await
    }

    /// Leaves only what is served here.
    pub(super) fn restrict(&self, filter: &mut Filter) {
        if let Some(scope) = &self.scope {
            filter.restrict_to(scope);
        }
    }

    pub(super) async fn trace(&self, choice: Choice) -> Result<mpsc::Receiver<Told>, ApiError> {
        self.in_time(self.source.trace(choice)).await
    }

    /// A stuck source must not leave clients hanging, least of all those of `/healthz`.
    async fn in_time<T>(
        &self,
        answer: impl Future<Output = Result<T, Stopped>>,
    ) -> Result<T, ApiError> {
        match timeout(self.source_timeout, answer).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(ApiError::NoAnswer(self.source_timeout)),
        }
    }
}

/// A JSON answer on one line.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let mut body = match serde_json::to_vec(value) {
        Ok(body) => body,
        Err(error) => return ApiError::internal(error).into_response(),
    };
    body.push(b'\n');
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}
