//! `/`: what there is.

use axum::response::Response;
use hyper::StatusCode;
use serde::Serialize;

use super::{requests::ENDPOINTS, shared::json};

#[derive(Serialize)]
struct Index {
    endpoints: [&'static str; ENDPOINTS.len()],
}

/// Answers with the list of endpoints.
pub(super) async fn index() -> Response {
    json(
        StatusCode::OK,
        &Index {
            endpoints: ENDPOINTS,
        },
    )
}
