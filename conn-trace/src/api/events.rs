//! `/connz/events`: what happens to connections, as it happens.

use std::{convert::Infallible, future::ready, sync::Arc};

use axum::{
    body::Body,
    response::{
        IntoResponse, Response, Sse,
        sse::{self, KeepAlive},
    },
};
use futures_util::{StreamExt as _, stream};
use hyper::{
    HeaderMap,
    body::Bytes,
    header::{CONTENT_TYPE, VARY},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(super) use self::told::Told;
use self::{id::EventId, reader::Reader};
use super::{accept::negotiate, asked::Asked, error::ApiError, source::Source};
use crate::query::{Format, Query, Quoted};

mod id;
mod message;
mod reader;
mod told;

/// Readers at the same time; each keeps one of the server's connections for itself.
const READERS: usize = 64;

/// How a browser calls what it has read last.
const LAST_EVENT_ID: &str = "last-event-id";

/// Places for readers.
pub(super) struct Streams(Arc<Semaphore>);

impl Streams {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(READERS)))
    }

    fn place(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let place = Arc::clone(&self.0).try_acquire_owned();
        place.map_err(|_| ApiError::Streams(READERS))
    }
}

/// The form of a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As browsers read it: <https://html.spec.whatwg.org/multipage/server-sent-events.html>.
    ServerSent,
    Lines,
}

const FORMS: [(Form, &str); 2] = [
    (Form::ServerSent, "text/event-stream"),
    (Form::Lines, Format::Ndjson.media_type()),
];

/// Answers with events until the client goes, or the agent ends.
pub(super) async fn events<S: Source>(asked: Asked<S>) -> Result<Response, ApiError> {
    let mut query = Query::parse_events(asked.dialect(), asked.query())?;
    asked.shared().restrict(&mut query.filter);
    let form = match query.format {
        Some(_) => Form::Lines,
        None => negotiate(asked.headers(), &FORMS).unwrap_or(Form::ServerSent),
    };
    let shared = asked.shared();
    let seen = last_seen(asked.headers())?;
    let place = shared.streams.place()?;
    let reader = Reader::new(Arc::clone(shared), query, seen, place).await?;
    let said = stream::unfold(reader, |mut reader| async {
        let said = reader.next().await?;
        Some((said, reader))
    });
    let headers = [(VARY, "accept")];
    Ok(match form {
        Form::ServerSent => {
            let said = said.filter_map(|said| ready(said.ok())).map(|said| {
                let event = sse::Event::default().event(said.name).data(said.json);
                // What has no id leaves the client with that of the event before it.
                Ok::<_, Infallible>(match said.id {
                    Some(id) => event.id(id.to_string()),
                    None => event,
                })
            });
            let body = Sse::new(said).keep_alive(KeepAlive::default());
            (headers, body).into_response()
        }
        Form::Lines => {
            let lines = said.map(|said| said.map(|said| Bytes::from(said.json + "\n")));
            let content_type = [(CONTENT_TYPE, Format::Ndjson.content_type())];
            (headers, content_type, Body::from_stream(lines)).into_response()
        }
    })
}

/// What the client has read last, if it says so.
fn last_seen(headers: &HeaderMap) -> Result<Option<EventId>, ApiError> {
    let Some(value) = headers.get(LAST_EVENT_ID) else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(value.as_bytes());
    match EventId::parse(&text) {
        Some(id) => Ok(Some(id)),
        None => Err(ApiError::EventId(Quoted::new(&text))),
    }
}
