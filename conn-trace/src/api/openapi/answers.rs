//! The answers of every operation that are not what was asked for.

use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};

use super::{
    operations::{Fails, of},
    schemas::finished,
};
use crate::{
    api::{error::Refusal, health::Health},
    query::Dialect,
};

/// Media type of 5xx answers and of the refusals of some dialects.
const TEXT: &str = "text/plain";
const JSON: &str = "application/json";

/// Answers that operations refer to. Whatever is turned away before its path is looked at is
/// answered in JSON in every dialect.
pub(super) fn shared(dialect: &Dialect, generator: &mut SchemaGenerator) -> Map<String, Value> {
    let refusal = match dialect.has_json_refusals {
        true => in_json::<Refusal>(generator),
        false => in_text(),
    };
    let early = in_json::<Refusal>(generator);
    let mut bad_request = refusal.clone();
    bad_request.extend(early.clone());
    let allow = json!({"Allow": header("GET, HEAD", true)});
    let answers = [
        (
            "BadRequest",
            "A parameter has a bad value, or HTTP/1.1's Host header is missing.",
            bad_request,
            None,
        ),
        (
            "Forbidden",
            "On a loopback listener: the Host header does not name a loopback host.",
            early,
            None,
        ),
        (
            "NotFound",
            "No such connection or service, or it is not one of those asked for.",
            refusal.clone(),
            None,
        ),
        (
            "MethodNotAllowed",
            "A method other than GET and HEAD.",
            refusal,
            Some(allow),
        ),
        (
            "TooLarge",
            "The request line and the headers are more than 16 KiB, or more than 64 headers.",
            Map::new(),
            None,
        ),
        (
            "Internal",
            "A fault of the agent; its log has the cause.",
            in_text(),
            None,
        ),
        (
            "Unavailable",
            "The connections are not to be had now. With Retry-After: too many pages at once.",
            in_text(),
            Some(json!({"Retry-After": header("Seconds to wait.", false)})),
        ),
        (
            "Unhealthy",
            "Figures are not complete; `error` has the cause.",
            in_json::<Health>(generator),
            None,
        ),
    ];
    let named = answers.map(|(name, text, content, headers)| {
        let mut answer = json!({"description": text});
        if !content.is_empty() {
            answer["content"] = content.into();
        }
        if let Some(headers) = headers {
            answer["headers"] = headers;
        }
        (name_in(dialect, name), answer)
    });
    named.into_iter().collect()
}

/// References to those that an operation can answer with, by status.
pub(super) fn of_operation(
    dialect: &Dialect,
    fails: Fails,
    can_be_missing: bool,
) -> Map<String, Value> {
    let unavailable = match fails {
        Fails::Never => None,
        Fails::InText => Some(("503", "Unavailable")),
        Fails::InJson => Some(("503", "Unhealthy")),
    };
    let missing = can_be_missing.then_some(("404", "NotFound"));
    [
        ("400", "BadRequest"),
        ("403", "Forbidden"),
        ("405", "MethodNotAllowed"),
        ("431", "TooLarge"),
        ("500", "Internal"),
    ]
    .into_iter()
    .chain(missing)
    .chain(unavailable)
    .map(|(status, name)| {
        let place = format!("#/components/responses/{}", name_in(dialect, name));
        (status.to_owned(), json!({"$ref": place}))
    })
    .collect()
}

/// The name of something that differs by dialect.
pub(super) fn name_in(dialect: &Dialect, name: &str) -> String {
    match dialect.prefix.strip_prefix('/') {
        Some(prefix) => format!("{prefix}_{name}"),
        None => name.to_owned(),
    }
}

/// A body of JSON with this schema.
pub(super) fn json_body(schema: &Value) -> Map<String, Value> {
    Map::from_iter([(JSON.to_owned(), json!({"schema": schema}))])
}

/// A header of an answer.
pub(super) fn header(text: &str, is_always_there: bool) -> Value {
    json!({"description": text, "required": is_always_there, "schema": {"type": "string"}})
}

fn in_json<T: schemars::JsonSchema>(generator: &mut SchemaGenerator) -> Map<String, Value> {
    json_body(&finished(of::<T>(generator)))
}

fn in_text() -> Map<String, Value> {
    Map::from_iter([(TEXT.to_owned(), json!({"schema": {"type": "string"}}))])
}
