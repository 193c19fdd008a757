//! `/connz`: the connections, and `/connz/{cid}`: one of them.

use axum::response::{IntoResponse, Response};
use hyper::{StatusCode, header::CONTENT_TYPE};

use super::{
    asked::Asked,
    error::ApiError,
    shared::{Shared, json},
    source::Source,
    stream,
};
use crate::query::{Page, Query, Quoted};

/// Answers with the page that the query string asks for.
pub(super) async fn connz<S: Source>(asked: Asked<S>) -> Result<Response, ApiError> {
    let query = Query::parse(asked.dialect(), asked.query())?;
    let shared = asked.shared();
    let page = cut(shared, query).await?;
    let share = shared.pages.share(page.rows.len())?;
    let body = stream::body(&shared.identity, page, share).map_err(ApiError::internal)?;
    Ok((StatusCode::OK, [(CONTENT_TYPE, "application/json")], body).into_response())
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
    let _turn = shared.pages.turn(shared.source_timeout).await?;
    shared.page(query).await
}
