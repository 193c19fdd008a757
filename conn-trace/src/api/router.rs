//! Which handler answers what, and what every answer carries.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::{
    Uri,
    header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, HeaderValue, X_CONTENT_TYPE_OPTIONS},
};
use tower_http::set_header::SetResponseHeaderLayer;

use super::{
    connz::connz, error::ApiError, health::healthz, host, index::index, shared::Shared,
    source::Source, varz::varz,
};
use crate::query::Quoted;

/// All endpoints. `cors` lets pages of other origins read them, as NATS and WuKongIM do.
pub(super) fn router<S: Source>(shared: Arc<Shared<S>>, cors: bool) -> Router {
    let any_origin = cors.then_some(HeaderValue::from_static("*"));
    let endpoints = Router::new()
        .route("/", get(index))
        .route("/connz", get(connz::<S>))
        .route("/health", get(healthz::<S>))
        .route("/healthz", get(healthz::<S>))
        .route("/varz", get(varz::<S>))
        .method_not_allowed_fallback(async || ApiError::Method)
        .layer(SetResponseHeaderLayer::overriding(
            ACCESS_CONTROL_ALLOW_ORIGIN,
            any_origin,
        ));
    endpoints
        .fallback(async |uri: Uri| ApiError::NotFound(Quoted::new(uri.path())))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&shared),
            admit::<S>,
        ))
        .layer(SetResponseHeaderLayer::overriding(
            X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ))
        // Every answer is of this moment.
        .layer(SetResponseHeaderLayer::overriding(
            CACHE_CONTROL,
            HeaderValue::from_static("no-store"),
        ))
        .with_state(shared)
}

/// Turns away what is not meant for this host and counts the rest.
async fn admit<S: Source>(
    State(shared): State<Arc<Shared<S>>>,
    request: Request,
    next: Next,
) -> Response {
    // Whoever listens elsewhere has decided to be reached by other names.
    if shared.address.ip().to_canonical().is_loopback()
        && let Err(error) = host::check_loopback(&request)
    {
        return error.into_response();
    }
    shared.requests.count(request.uri().path());
    next.run(request).await
}
