//! The endpoints of one dialect, and a request to one of them.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use hyper::{HeaderMap, Uri};

use super::{error::ApiError, requests::Requests, shared::Shared};
use crate::query::Dialect;

/// Every path there is, below the prefix of each dialect.
pub(super) const ENDPOINTS: [&str; 19] = [
    "/",
    "/accstatz",
    "/connections",
    "/connz",
    "/connz/events",
    "/connz/{cid}",
    "/connz/{cid}/services",
    "/gatewayz",
    "/health",
    "/healthz",
    "/leafz",
    "/metrics",
    "/openapi.json",
    "/routez",
    "/services",
    "/services/{name}",
    "/services/{name}/connz",
    "/subsz",
    "/varz",
];

/// What the endpoints of one dialect share.
pub(super) struct Endpoints<S> {
    pub(super) shared: Arc<Shared<S>>,
    pub(super) dialect: &'static Dialect,
    /// How often each of them was asked.
    pub(super) requests: Requests,
}

/// A request: which dialect it speaks, and what it asks for.
pub(super) struct Asked<S> {
    endpoints: Arc<Endpoints<S>>,
    uri: Uri,
    headers: HeaderMap,
}

impl<S> Asked<S> {
    pub(super) fn shared(&self) -> &Arc<Shared<S>> {
        &self.endpoints.shared
    }

    pub(super) fn dialect(&self) -> &'static Dialect {
        self.endpoints.dialect
    }

    pub(super) fn requests(&self) -> &Requests {
        &self.endpoints.requests
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// What follows the `?`.
    pub(super) fn query(&self) -> &str {
        self.uri.query().unwrap_or_default()
    }

    /// What follows the last `/`.
    pub(super) fn last_segment(&self) -> &str {
        self.segment_from_end(0)
    }

    /// What stands between the last two of them.
    pub(super) fn segment_before_last(&self) -> &str {
        self.segment_from_end(1)
    }

    fn segment_from_end(&self, before: usize) -> &str {
        self.uri.path().rsplit('/').nth(before).unwrap_or_default()
    }
}

/// A handler as a route; what it refuses is said in the dialect of the request.
pub(super) fn endpoint<S, H, A>(handler: H) -> MethodRouter<Arc<Endpoints<S>>>
where
    S: Send + Sync + 'static,
    H: Fn(Asked<S>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Result<Response, ApiError>> + Send,
{
    get(
        move |State(endpoints): State<Arc<Endpoints<S>>>, uri: Uri, headers: HeaderMap| {
            let dialect = endpoints.dialect;
            let answer = handler(Asked {
                endpoints,
                uri,
                headers,
            });
            async move { answer.await.unwrap_or_else(|error| error.response(dialect)) }
        },
    )
}

/// Counts a request, whatever becomes of it.
pub(super) async fn count<S: Send + Sync + 'static>(
    State(endpoints): State<Arc<Endpoints<S>>>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    if let Some(path) = path.strip_prefix(endpoints.dialect.prefix) {
        endpoints.requests.count(path);
    }
    next.run(request).await.into_response()
}
