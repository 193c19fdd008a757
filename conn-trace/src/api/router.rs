//! Which handler answers what, and what every answer carries.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use hyper::{
    Uri,
    header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, HeaderValue, X_CONTENT_TYPE_OPTIONS},
};
use tokio::sync::mpsc;
use tower_http::{
    CompressionLevel, compression::CompressionLayer, set_header::SetResponseHeaderLayer,
};

use super::{
    absent::{Accounts, Gateways, LeafNodes, Routes, Subscriptions, absent},
    admin::{self, Reload},
    asked::{Endpoints, count, endpoint},
    body,
    connections::connections,
    connz::{connz, one},
    error::ApiError,
    events::events,
    health::healthz,
    host,
    index::index,
    metrics::metrics,
    openapi::openapi,
    requests::Requests,
    services::{connz_of, explain, service, services},
    shared::Shared,
    source::Source,
    varz::varz,
};
use crate::query::{Dialect, Quoted};

/// All endpoints. `cors` lets pages of other origins read them, as NATS and WuKongIM do.
pub(super) fn router<S: Source>(
    shared: &Arc<Shared<S>>,
    cors: bool,
    reloads: Option<mpsc::Sender<Reload>>,
) -> Router {
    let any_origin = cors.then_some(HeaderValue::from_static("*"));
    let endpoints = Dialect::ALL
        .into_iter()
        .fold(Router::new(), |all, dialect| {
            all.merge(endpoints(shared, dialect))
        })
        .layer(SetResponseHeaderLayer::overriding(
            ACCESS_CONTROL_ALLOW_ORIGIN,
            any_origin,
        ));
    let endpoints = match reloads {
        Some(reloads) => endpoints.merge(admin::router(shared, reloads)),
        None => endpoints,
    };
    endpoints
        .fallback(async |uri: Uri| ApiError::NotFound(Quoted::new(uri.path())))
        .layer(middleware::from_fn_with_state(
            Arc::clone(shared),
            admit::<S>,
        ))
        .layer(middleware::from_fn_with_state(
            shared.body_timeout,
            body::discard,
        ))
        .layer(SetResponseHeaderLayer::overriding(
            X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ))
        // Every answer that does not say otherwise is of this moment.
        .layer(SetResponseHeaderLayer::if_not_present(
            CACHE_CONTROL,
            HeaderValue::from_static("no-store"),
        ))
}

/// Those of one dialect.
fn endpoints<S: Source>(shared: &Arc<Shared<S>>, dialect: &'static Dialect) -> Router {
    let state = Arc::new(Endpoints {
        shared: Arc::clone(shared),
        dialect,
        requests: Requests::default(),
    });
    // Rows are much alike: the least effort takes nine tenths of a page away.
    let compression = CompressionLayer::new().quality(CompressionLevel::Fastest);
    let at = |endpoint: &str| format!("{}{endpoint}", dialect.prefix);
    Router::new()
        .route(&at("/"), endpoint(index::<S>))
        .route(&at("/connections"), endpoint(connections::<S>))
        .route(&at("/connz"), endpoint(connz::<S>))
        .route(&at("/connz/{cid}"), endpoint(one::<S>))
        .route(&at("/connz/{cid}/services"), endpoint(explain::<S>))
        .route(&at("/metrics"), endpoint(metrics::<S>))
        .route(&at("/services"), endpoint(services::<S>))
        .route(&at("/services/{name}"), endpoint(service::<S>))
        .route(&at("/services/{name}/connz"), endpoint(connz_of::<S>))
        .route(&at("/varz"), endpoint(varz::<S>))
        .route(&at("/health"), endpoint(healthz::<S>))
        .route(&at("/healthz"), endpoint(healthz::<S>))
        .route(&at("/openapi.json"), endpoint(openapi::<S>))
        .route(&at("/accstatz"), endpoint(absent::<S, Accounts>))
        .route(&at("/gatewayz"), endpoint(absent::<S, Gateways>))
        .route(&at("/leafz"), endpoint(absent::<S, LeafNodes>))
        .route(&at("/routez"), endpoint(absent::<S, Routes>))
        .route(&at("/subsz"), endpoint(absent::<S, Subscriptions>))
        .layer(compression)
        // An event is not to wait for others to be compressed with.
        .route(&at("/connz/events"), endpoint(events::<S>))
        .method_not_allowed_fallback(async move || ApiError::Method.response(dialect))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&state),
            count::<S>,
        ))
        .with_state(state)
}

/// Turns away what is not meant for this host.
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
    next.run(request).await
}
