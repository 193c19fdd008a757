//! `/connz`: the connections.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use hyper::{StatusCode, Uri, header::CONTENT_TYPE};
use tokio::task::spawn_blocking;

use super::{error::ApiError, shared::Shared, source::Source, stream};
use crate::query::{Dialect, Page, Query};

/// Answers with the page that the query string asks for.
pub(super) async fn connz<S: Source>(
    State(shared): State<Arc<Shared<S>>>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let query = Query::parse(&Dialect::ROOT, uri.query().unwrap_or_default())?;
    let page = cut(&shared, query).await?;
    let share = shared.pages.share(page.rows.len())?;
    let body = stream::body(&shared.identity, page, share).map_err(ApiError::internal)?;
    Ok((StatusCode::OK, [(CONTENT_TYPE, "application/json")], body).into_response())
}

async fn cut<S: Source>(shared: &Shared<S>, query: Query) -> Result<Page, ApiError> {
    let turn = shared.pages.turn(shared.source_timeout).await?;
    let snapshot = shared.snapshot(query.scope()).await?;
    // Milliseconds of work on a large host, which must not hold up other requests. The turn goes
    // along: the work is done even when the client has gone.
    let cut = spawn_blocking(move || {
        let page = query.page(snapshot);
        drop(turn);
        page
    });
    cut.await.map_err(ApiError::internal)
}
