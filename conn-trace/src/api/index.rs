//! `/`: what there is.

use axum::response::Response;
use hyper::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    asked::{Asked, ENDPOINTS},
    error::ApiError,
    shared::json,
};
use crate::query::Dialect;

/// What there is.
#[derive(Serialize, JsonSchema)]
pub(super) struct Index {
    /// The paths of all endpoints.
    endpoints: Vec<String>,
}

/// Answers with the list of endpoints, those of all dialects.
pub(super) async fn index<S>(_: Asked<S>) -> Result<Response, ApiError> {
    let endpoints = Dialect::ALL
        .iter()
        .flat_map(|dialect| ENDPOINTS.map(|endpoint| format!("{}{endpoint}", dialect.prefix)))
        .collect();
    Ok(json(StatusCode::OK, &Index { endpoints }))
}
