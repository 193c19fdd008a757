//! Answers that are not what was asked for.

use std::{error::Error, time::Duration};

use axum::response::{IntoResponse, Response};
use hyper::{
    StatusCode,
    header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};
use schemars::JsonSchema;
use serde::Serialize;

use super::shared::json;
use crate::{
    query::{Dialect, QueryError, Quoted},
    registry::Stopped,
};

/// Why a request is not answered. The text goes to the client.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// A parameter has a bad value.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// HTTP/1.1 demands the header.
    #[error("the Host header is missing")]
    NoHost,
    /// A name that may belong to somebody else's page.
    #[error("host {0} is not this one: use localhost or a loopback address")]
    ForeignHost(Quoted),
    /// There is nothing at this path.
    #[error("no such endpoint: {0}")]
    NotFound(Quoted),
    /// No connection has this number, or it is not one of those asked for.
    #[error("no such connection: {0}")]
    NoConnection(Quoted),
    /// No service is configured under this name, or it is not served here.
    #[error("no such service: {0}")]
    NoService(Quoted),
    /// The configuration is not sound; the one before stays.
    #[error("{0}")]
    Configuration(String),
    /// A page of some web site asks.
    #[error("not from a web page: the request has an Origin header")]
    Page,
    /// This is not only read.
    #[error("method not allowed: use POST")]
    NotPost,
    /// Everything here is only read.
    #[error("method not allowed: use GET or HEAD")]
    Method,
    /// The owner of the connections is gone.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The owner of the connections is stuck.
    #[error("the registry did not answer within {} s", .0.as_secs_f32())]
    NoAnswer(Duration),
    /// Others are being answered, or slow readers hold too many rows.
    #[error("too many pages at once: ask for a smaller one or try again")]
    Busy,
    /// As many readers of events as there may be.
    #[error("too many readers of events: {0} at most")]
    Streams(usize),
    /// `Last-Event-ID` is none that the agent has given.
    #[error("Last-Event-ID: expected the id of an event, got {0}")]
    EventId(Quoted),
    /// A fault of the agent; the log has the cause.
    #[error("the answer could not be made")]
    Internal,
}

impl ApiError {
    /// For what should not be possible.
    pub(super) fn internal(error: impl Error) -> Self {
        tracing::error!(%error, "an answer could not be made");
        Self::Internal
    }

    /// The answer to a request in `dialect`.
    pub(super) fn response(self, dialect: &Dialect) -> Response {
        let status = self.status();
        let msg = match &self {
            Self::Query(error) => (dialect.refusal)(error),
            _ => self.to_string(),
        };
        if status.is_server_error() {
            tracing::debug!(status = status.as_u16(), "request failed: {msg}");
        }
        // 5xx are always plain text: the NATS exporter reads any JSON body as figures, whatever
        // the status.
        let mut response = match status.is_server_error() || !dialect.has_json_refusals {
            true => text(status, &msg),
            false => json(status, &Refusal::new(status, msg)),
        };
        let header = match self {
            Self::Busy | Self::Streams(_) => Some((RETRY_AFTER, HeaderValue::from(1))),
            Self::Method => Some((ALLOW, HeaderValue::from_static("GET, HEAD"))),
            Self::NotPost => Some((ALLOW, HeaderValue::from_static("POST"))),
            _ => None,
        };
        response.headers_mut().extend(header);
        response
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Query(_) | Self::NoHost | Self::EventId(_) | Self::Configuration(_) => {
                StatusCode::BAD_REQUEST
            }
            Self::ForeignHost(_) | Self::Page => StatusCode::FORBIDDEN,
            Self::NotFound(_) | Self::NoConnection(_) | Self::NoService(_) => StatusCode::NOT_FOUND,
            Self::Method | Self::NotPost => StatusCode::METHOD_NOT_ALLOWED,
            Self::Stopped(_) | Self::NoAnswer(_) | Self::Busy | Self::Streams(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// Body of a 4xx answer: WuKongIM's clients read `msg`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Refusal {
    /// What is wrong, and with which parameter.
    msg: String,
    /// The status code again.
    status: u16,
}

impl Refusal {
    fn new(status: StatusCode, msg: String) -> Self {
        let status = status.as_u16();
        Self { msg, status }
    }
}

/// A plain answer, on a line of its own: nats-top panics where there is no end of line.
fn text(status: StatusCode, msg: &str) -> Response {
    let text = [(CONTENT_TYPE, "text/plain; charset=utf-8")];
    (status, text, format!("{msg}\n")).into_response()
}

impl IntoResponse for ApiError {
    /// For requests to nobody in particular.
    fn into_response(self) -> Response {
        self.response(&Dialect::ROOT)
    }
}
