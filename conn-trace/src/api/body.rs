//! What clients send behind the headers, which nothing here has a use for.

use std::time::Duration;

use axum::{
    body::{Body, HttpBody as _, to_bytes},
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use hyper::header::{CONNECTION, HeaderValue};
use tokio::time::timeout;

/// Of a body that is thrown away.
const MOST_BYTES: usize = 16 * 1024;

/// Throws a request's body away before it is answered, if it is short and comes soon. Otherwise the answer
/// says that the connection ends with it: hyper closes one whose request was not read to its end, and a
/// client that is not told sends its next request on it.
pub(super) async fn discard(
    State(patience): State<Duration>,
    request: Request,
    next: Next,
) -> Response {
    let (parts, body) = request.into_parts();
    let is_read = body.is_end_stream()
        || matches!(
            timeout(patience, to_bytes(body, MOST_BYTES)).await,
            Ok(Ok(_))
        );
    let mut response = next.run(Request::from_parts(parts, Body::empty())).await;
    if !is_read {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    response
}
