//! What changes something: `POST /-/reload` and `POST /-/services/{name}/reset-peak`. Only where the
//! operator has asked for it.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::post,
};
use hyper::{HeaderMap, StatusCode, header::ORIGIN};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::{
    error::ApiError,
    shared::{Shared, json},
    source::Source,
};
use crate::query::Quoted;

/// Asks for the configuration to be read anew; answered with what was wrong with it, if anything.
pub type Reload = oneshot::Sender<Result<(), String>>;

/// What has been done.
#[derive(Serialize, JsonSchema)]
struct Done {
    status: &'static str,
}

/// The endpoints.
pub(super) fn router<S: Source>(shared: &Arc<Shared<S>>, reloads: mpsc::Sender<Reload>) -> Router {
    let state = Arc::clone(shared);
    let reload = async move |headers: HeaderMap| {
        let answer = async {
            refuse_pages(&headers)?;
            let (reply, outcome) = oneshot::channel();
            let gone = || ApiError::Stopped(crate::registry::Stopped);
            reloads.send(reply).await.map_err(|_| gone())?;
            let outcome = outcome.await.map_err(|_| gone())?;
            outcome.map_err(ApiError::Configuration)
        };
        answered(answer.await)
    };
    Router::new()
        .route("/-/reload", post(reload))
        .route("/-/services/{name}/reset-peak", post(reset_peak::<S>))
        .method_not_allowed_fallback(async || ApiError::NotPost.into_response())
        .with_state(state)
}

async fn reset_peak<S: Source>(
    State(shared): State<Arc<Shared<S>>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    let answer = async {
        refuse_pages(&headers)?;
        match shared.source.reset_peak(name.clone()).await? {
            true => Ok(()),
            false => Err(ApiError::NoService(Quoted::new(&name))),
        }
    };
    answered(answer.await)
}

fn answered(outcome: Result<(), ApiError>) -> Response {
    match outcome {
        Ok(()) => json(StatusCode::OK, &Done { status: "ok" }),
        Err(error) => error.into_response(),
    }
}

/// A browser names the page that asks; no page is to change anything here.
fn refuse_pages(headers: &HeaderMap) -> Result<(), ApiError> {
    match headers.contains_key(ORIGIN) {
        true => Err(ApiError::Page),
        false => Ok(()),
    }
}
