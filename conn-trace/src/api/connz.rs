//! `/connz`: the connections, and `/connz/{cid}`: one of them.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use hyper::{
    StatusCode,
    header::{CONTENT_TYPE, VARY},
};
use tokio::{task::spawn_blocking, time::sleep};

use super::{
    accept::negotiate,
    asked::Asked,
    baselines::{Baselines, SHORTEST_WINDOW},
    error::ApiError,
    shared::{Shared, json},
    source::Source,
    stream,
};
use crate::{
    query::{Format, Page, Query, Quoted},
    registry::{
        rates::Baseline,
        snapshot::{Scope, Snapshot},
    },
};

/// Answers with the page that the query string asks for.
pub(super) async fn connz<S: Source>(asked: Asked<S>) -> Result<Response, ApiError> {
    let query = Query::parse(asked.dialect(), asked.query())?;
    answer(&asked, query).await
}

/// The page that `query` asks for, in the form that the client wants.
pub(super) async fn answer<S: Source>(
    asked: &Asked<S>,
    mut query: Query,
) -> Result<Response, ApiError> {
    let shared = asked.shared();
    shared.restrict(&mut query.filter);
    let format = query
        .format
        .or_else(|| negotiate(asked.headers(), &Format::MEDIA_TYPES))
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
    let page = find(&asked, cid).await?;
    match page.rows.first() {
        Some(connection) => Ok(json(StatusCode::OK, &page.row(connection))),
        None => Err(ApiError::NoConnection(Quoted::new(cid))),
    }
}

/// A page of the connection of this number, or of none.
pub(super) async fn find<S: Source>(asked: &Asked<S>, cid: &str) -> Result<Page, ApiError> {
    let mut query = Query::parse_one(asked.dialect(), cid, asked.query())?;
    asked.shared().restrict(&mut query.filter);
    cut(asked.shared(), query).await
}

pub(super) async fn cut<S: Source>(
    shared: &Arc<Shared<S>>,
    query: Query,
) -> Result<Page, ApiError> {
    if query.rates && query.scope() != Scope::Closed {
        return cut_with_rates(shared, query).await;
    }
    let _turn = shared.pages.turn(shared.source_timeout).await?;
    shared.page(query).await
}

/// Waits for an earlier look to compare with, if there is none.
async fn cut_with_rates<S: Source>(
    shared: &Arc<Shared<S>>,
    query: Query,
) -> Result<Page, ApiError> {
    loop {
        let turn = shared.pages.turn(shared.source_timeout).await?;
        let snapshot = shared.snapshot(query.scope()).await?;
        // Milliseconds of work on a large host, which must not hold up other requests. The turn
        // goes along: the work is done even when the client has gone.
        let (sharing, query) = (Arc::clone(shared), query.clone());
        let page = spawn_blocking(move || {
            let page = rated(snapshot, &query, &sharing.baselines);
            drop(turn);
            page
        });
        if let Some(page) = page.await.map_err(ApiError::internal)? {
            return Ok(page);
        }
        sleep(SHORTEST_WINDOW).await;
    }
}

/// The page, if the rates that it is to have are known: there has to be an earlier look.
fn rated(mut snapshot: Snapshot, query: &Query, baselines: &Baselines) -> Option<Page> {
    let now_ns = snapshot.now_ns;
    let before = baselines.before(now_ns);
    baselines.keep(now_ns, || Baseline::of(&snapshot));
    let before = before?;
    before.rate(&mut snapshot);
    let mut page = query.page(&snapshot);
    page.rates_window_ms = Some(before.age_ns(now_ns) / 1_000_000);
    Some(page)
}
