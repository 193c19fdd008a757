//! The whole document.

use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};

use super::{
    answers::{self, header, json_body, name_in},
    operations::{OPERATIONS, Operation, Takes},
    schemas::{definitions, finished, generator},
};
use crate::query::{Described, Dialect};

/// The release whose rules it follows; clients know 3.1.0 best.
const OPENAPI: &str = "3.1.0";

const ABOUT: &str = "TCP connections of this host, as its kernel sees them. HEAD is answered like \
    GET, without the body. Unknown parameters are ignored, unknown paths answered with 404. A \
    field without a value is left out: nothing is null.";

/// Everything that the agent answers.
pub(in crate::api) fn document() -> Value {
    let mut generator = generator();
    let mut paths = Map::new();
    let mut parameters = Map::new();
    let mut responses = Map::new();
    for dialect in Dialect::ALL {
        for operation in &OPERATIONS {
            let path = format!("{}{}", dialect.prefix, operation.path);
            let get = describe(operation, dialect, &mut generator);
            paths.insert(path, json!({"get": get}));
        }
        let described = dialect.described().chain(dialect.described_of_events());
        parameters.extend(described.map(|described| {
            (
                name_in(dialect, described.name),
                parameter(&described, dialect),
            )
        }));
        responses.extend(answers::shared(dialect, &mut generator));
    }
    json!({
        "openapi": OPENAPI,
        "info": {
            "title": "conn-trace",
            "summary": "TCP connections of a host",
            "description": ABOUT,
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": env!("CARGO_PKG_LICENSE"), "identifier": env!("CARGO_PKG_LICENSE")},
        },
        "servers": [{"url": "/"}],
        "tags": Dialect::ALL.map(|dialect| json!({
            "name": tag(dialect),
            "description": format!("Paths that begin with {}/.", dialect.prefix),
        })),
        "paths": paths,
        "components": {
            "parameters": parameters,
            "responses": responses,
            "schemas": definitions(generator),
        },
    })
}

fn describe(operation: &Operation, dialect: &Dialect, generator: &mut SchemaGenerator) -> Value {
    let &Operation {
        id,
        summary,
        takes,
        answer,
        fails,
        is_json,
        texts,
        ..
    } = operation;
    let takes_number = takes == Takes::NumberAndQuery;
    let takes_name = matches!(takes, Takes::Name | Takes::NameAndQuery);
    let mut responses = answers::of_operation(dialect, fails, takes_number || takes_name);
    let schema = finished(answer(generator));
    let mut content = match is_json {
        true => json_body(&schema),
        false => Map::new(),
    };
    content.extend(
        texts
            .iter()
            .map(|&name| (name.to_owned(), text_of(&schema))),
    );
    let mut success = json!({"description": format!("{summary}."), "content": content});
    if takes == Takes::Tag {
        let headers = json!({"ETag": header("Changes with the document.", true)});
        success["headers"] = headers.clone();
        let unchanged = json!({"description": "The client has it.", "headers": headers});
        responses.insert("304".to_owned(), unchanged);
    }
    responses.insert("200".to_owned(), success);
    let mut description = json!({
        "operationId": name_in(dialect, id),
        "summary": summary,
        "tags": [tag(dialect)],
        "responses": responses,
    });
    let parameters = taken(takes, dialect);
    if !parameters.is_empty() {
        description["parameters"] = parameters.into();
    }
    if takes_number {
        description["description"] =
            "`tcp`, `rates` and the conditions apply; the other parameters are checked and have no effect."
                .into();
    }
    if takes == Takes::EventAndQuery {
        description["description"] =
            "Does not end. `messages` and the conditions apply; the other parameters are checked and have no effect."
                .into();
    }
    description
}

fn taken(takes: Takes, dialect: &Dialect) -> Vec<Value> {
    let refer = |described: Described| {
        let place = format!(
            "#/components/parameters/{}",
            name_in(dialect, described.name)
        );
        json!({"$ref": place})
    };
    let query = dialect.described().map(refer);
    match takes {
        Takes::Nothing => Vec::new(),
        Takes::Query => query.collect(),
        Takes::NumberAndQuery => [number()].into_iter().chain(query).collect(),
        Takes::Name => vec![name()],
        Takes::NameAndQuery => [name()].into_iter().chain(query).collect(),
        Takes::Tag => vec![said_in(
            "If-None-Match",
            "Tags of the documents that the client has.",
        )],
        Takes::EventAndQuery => [said_in(
            "Last-Event-ID",
            "The `id` of the last event that was read: goes on behind it.",
        )]
        .into_iter()
        .chain(query)
        .chain(dialect.described_of_events().map(refer))
        .collect(),
    }
}

fn said_in(header: &str, text: &str) -> Value {
    json!({"name": header, "in": "header", "description": text, "schema": {"type": "string"}})
}

/// Text whose parts, lines or events, follow a schema; of a table, the names of its columns do.
fn text_of(schema: &Value) -> Value {
    let about = match schema["$ref"].as_str() {
        Some(place) => format!("See {place}."),
        None => String::new(),
    };
    json!({"schema": {"type": "string", "description": about}})
}

fn number() -> Value {
    json!({
        "name": "cid",
        "in": "path",
        "required": true,
        "description": "Number of the connection.",
        "schema": {"type": "integer", "minimum": 0, "maximum": u64::MAX},
    })
}

fn name() -> Value {
    json!({
        "name": "name",
        "in": "path",
        "required": true,
        "description": "Name of the service.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,64}$"},
    })
}

fn parameter(described: &Described, dialect: &Dialect) -> Value {
    let Described { name, text, schema } = described;
    let mut parameter = json!({"name": name, "in": "query", "description": text, "schema": schema});
    if dialect.is_lenient {
        // Which is as if it were not there.
        parameter["allowEmptyValue"] = true.into();
    }
    parameter
}

fn tag(dialect: &Dialect) -> &'static str {
    match dialect.prefix.strip_prefix('/') {
        Some(prefix) => prefix,
        None => "conn-trace",
    }
}
