//! `/openapi.json`: what there is, for programs.
//!
//! The document follows from the code: rows and other answers from the types that are serialized,
//! parameters from those that the dialects take, paths from the list of endpoints.

mod answers;
mod document;
mod operations;
mod schemas;

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use hyper::{
    HeaderMap, StatusCode,
    body::Bytes,
    header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH},
};
use uuid::Uuid;

pub(super) use self::document::document;
use super::{asked::Asked, error::ApiError};

/// Answers with the document, or that the client has it. It changes with the agent's version
/// only, so it may be kept, and is to be asked for again.
pub(super) async fn openapi<S>(asked: Asked<S>) -> Result<Response, ApiError> {
    let text = TEXT.as_ref().map_err(|_| ApiError::Internal)?;
    let same = [
        (ETAG, text.etag.clone()),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    Ok(match is_known(asked.headers(), &text.etag) {
        true => (StatusCode::NOT_MODIFIED, same).into_response(),
        false => {
            let kind = [(CONTENT_TYPE, "application/json")];
            (same, kind, text.body.clone()).into_response()
        }
    })
}

/// The document as it is sent.
struct Text {
    body: Bytes,
    etag: HeaderValue,
}

static TEXT: LazyLock<Result<Text, ApiError>> = LazyLock::new(|| {
    let mut body = serde_json::to_vec(&document()).map_err(ApiError::internal)?;
    body.push(b'\n');
    let hash = Uuid::new_v5(&Uuid::NAMESPACE_URL, &body);
    let etag = HeaderValue::try_from(format!("\"{hash}\"")).map_err(ApiError::internal)?;
    Ok(Text {
        body: body.into(),
        etag,
    })
});

/// Whether `If-None-Match` names the tag. It compares weakly (RFC 9110, 13.1.2): proxies that
/// compress an answer make its tag weak.
fn is_known(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .any(|tag| tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == etag.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::{HeaderMap, HeaderValue, IF_NONE_MATCH, is_known};

    #[test]
    fn tags_that_clients_have() {
        let etag = HeaderValue::from_static("\"a\"");
        let has = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(IF_NONE_MATCH, HeaderValue::from_static(value));
            }
            is_known(&headers, &etag)
        };
        for values in [
            &["\"a\""][..],
            &["*"],
            &["W/\"a\""],
            &["\"b\", \"a\""],
            &["\"b\"", "\"a\""],
        ] {
            assert!(has(values), "{values:?}");
        }
        for values in [&[][..], &[""], &["a"], &["\"b\""], &["W/a"], &["\"b,a\""]] {
            assert!(!has(values), "{values:?}");
        }
    }
}
