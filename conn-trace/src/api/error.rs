//! Answers that are not what was asked for.

use std::{error::Error, time::Duration};

use axum::response::{IntoResponse, Response};
use hyper::{
    StatusCode,
    header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};
use serde::Serialize;

use super::shared::json;
use crate::{
    query::{QueryError, Quoted},
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

    fn status(&self) -> StatusCode {
        match self {
            Self::Query(_) | Self::NoHost => StatusCode::BAD_REQUEST,
            Self::ForeignHost(_) => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Stopped(_) | Self::NoAnswer(_) | Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// Body of a 4xx answer: WuKongIM's clients read `msg`.
#[derive(Serialize)]
struct Refusal {
    msg: String,
    status: u16,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        let msg = self.to_string();
        if status.is_server_error() {
            // Plain text: the NATS exporter reads any JSON body as figures, whatever the status.
            // The newline is needed too: nats-top panics without one.
            tracing::debug!(status = status.as_u16(), "request failed: {msg}");
            let text = [(CONTENT_TYPE, "text/plain; charset=utf-8")];
            let mut response = (status, text, format!("{msg}\n")).into_response();
            if matches!(self, Self::Busy) {
                response.headers_mut().insert(RETRY_AFTER, 1.into());
            }
            return response;
        }
        let mut response = json(
            status,
            &Refusal {
                msg,
                status: status.as_u16(),
            },
        );
        if matches!(self, Self::Method) {
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }
}
