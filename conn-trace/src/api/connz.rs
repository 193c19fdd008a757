//! `/connz`: the connections, and `/connz/{cid}`: one of them.

use axum::response::{IntoResponse, Response};
use hyper::{
    StatusCode,
    header::{CONTENT_TYPE, VARY},
};
use tokio::task::spawn_blocking;

use super::{
    accept::negotiate,
    asked::Asked,
    error::ApiError,
    shared::{Shared, json},
    source::Source,
    stream,
};
use crate::query::{Format, Page, Query, Quoted};

/// Answers with the page that the query string asks for.
pub(super) async fn connz<S: Source>(asked: Asked<S>) -> Result<Response, ApiError> {
    let query = Query::parse(asked.dialect(), asked.query())?;
    let shared = asked.shared();
    let format = query
        .format
        .or_else(|| negotiate(asked.headers(), &Format::ALL))
        .unwrap_or(Format::Json);
    let page = cut(shared, query).await?;
    let share = shared.pages.share(page.rows.len())?;
    let body = stream::body(&shared.identity, page, format, share).map_err(ApiError::internal)?;
    let headers = [(CONTENT_TYPE, format.content_type()), (VARY, "accept")];
    Ok((StatusCode::OK, headers, body).into_response())
}

/// Answers with the row of the connection whose number ends the path, open or closed.
pub(super) async fn one<S: Source>(asked: Asked<S>) -> Result<Response, ApiError> {
    let cid = asked.last_segment();
    let query = Query::parse_one(asked.dialect(), cid, asked.query())?;
    let page = cut(asked.shared(), query).await?;
    match page.rows.first() {
        Some(connection) => Ok(json(StatusCode::OK, &page.row(connection))),
        None => Err(ApiError::NoConnection(Quoted::new(cid))),
    }
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
