//! What each endpoint does, for people, and the type of its answer.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::{
    api::{
        absent::{Absent, Accounts, Gateways, LeafNodes, Routes, Subscriptions},
        connections::Connections,
        events::Told,
        health::Health,
        index::Index,
        services::{Detail, Explanation, Services},
        stream::Head,
        varz::Varz,
    },
    query::Row,
};

/// The operation at one path, in every dialect.
pub(super) struct Operation {
    /// One of [`ENDPOINTS`](crate::api::asked::ENDPOINTS).
    pub(super) path: &'static str,
    /// A name for generated clients.
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) takes: Takes,
    /// The answer if all is well.
    pub(super) answer: fn(&mut SchemaGenerator) -> Schema,
    pub(super) fails: Fails,
    /// Whether the answer is JSON, if nothing else is asked for.
    pub(super) is_json: bool,
    /// Media types of answers that are text, of which the schema tells the lines or events.
    pub(super) texts: &'static [&'static str],
}

impl Operation {
    /// With other forms of the same.
    const fn also(self, texts: &'static [&'static str]) -> Self {
        Self { texts, ..self }
    }

    /// In these forms alone.
    const fn only(self, texts: &'static [&'static str]) -> Self {
        Self {
            texts,
            is_json: false,
            ..self
        }
    }
}

/// What a request says besides its path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    /// The parameters of the dialect.
    Query,
    /// These, and a number in the path.
    NumberAndQuery,
    /// The name of a service in the path.
    Name,
    /// That, and the parameters of the dialect.
    NameAndQuery,
    /// Those, and the event that the client has read last.
    EventAndQuery,
    /// The tag of an answer that the client has.
    Tag,
}

/// What a 503 says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fails {
    /// There is none: the answer is a constant.
    Never,
    /// Plain text: the connections are not to be had now.
    InText,
    /// The same JSON.
    InJson,
}

#[rustfmt::skip]
pub(super) const OPERATIONS: [Operation; 19] = [
    operation("/", "index", "The paths of all endpoints", Takes::Nothing, of::<Index>, Fails::Never),
    operation("/accstatz", "accounts", "NATS's accounts: none", Takes::Nothing, of::<Absent<'_, Accounts>>, Fails::InText),
    operation("/connections", "exported", "Open connections in the shape of the FIX exporter", Takes::Query, of::<Connections<'_>>, Fails::InText),
    operation("/connz", "connections", "A page of connections", Takes::Query, of::<Head<'_>>, Fails::InText).also(&["application/x-ndjson", "text/csv"]),
    operation("/connz/events", "events", "What happens to connections, as it happens", Takes::EventAndQuery, of::<Told<'_>>, Fails::InText).only(&["text/event-stream", "application/x-ndjson"]),
    operation("/connz/{cid}", "connection", "One connection, open or closed", Takes::NumberAndQuery, of::<Row<'_>>, Fails::InText),
    operation("/connz/{cid}/services", "explanation", "Why a connection belongs to its service", Takes::NumberAndQuery, of::<Explanation>, Fails::InText),
    operation("/gatewayz", "gateways", "NATS's gateways: none", Takes::Nothing, of::<Absent<'_, Gateways>>, Fails::InText),
    operation("/health", "health", "Whether every figure is complete", Takes::Nothing, of::<Health>, Fails::InJson),
    operation("/healthz", "healthz", "The same as /health", Takes::Nothing, of::<Health>, Fails::InJson),
    operation("/leafz", "leafnodes", "NATS's leaf nodes: none", Takes::Nothing, of::<Absent<'_, LeafNodes>>, Fails::InText),
    operation("/metrics", "metrics", "All figures for Prometheus", Takes::Nothing, metrics, Fails::InText).only(&["text/plain", "application/openmetrics-text"]),
    operation("/openapi.json", "openapi", "This document", Takes::Tag, document, Fails::Never),
    operation("/routez", "routes", "NATS's routes: none", Takes::Nothing, of::<Absent<'_, Routes>>, Fails::InText),
    operation("/services", "services", "The configured services and the host, each as a whole", Takes::Nothing, of::<Services<'_>>, Fails::InText),
    operation("/services/{name}", "service", "A configured service as a whole", Takes::Name, of::<Detail<'_>>, Fails::InText),
    operation("/services/{name}/connz", "service_connections", "A page of the connections of a service", Takes::NameAndQuery, of::<Head<'_>>, Fails::InText).also(&["application/x-ndjson", "text/csv"]),
    operation("/subsz", "subscriptions", "NATS's subscriptions: none", Takes::Nothing, of::<Absent<'_, Subscriptions>>, Fails::InText),
    operation("/varz", "figures", "Figures of the agent", Takes::Nothing, of::<Varz<'_>>, Fails::InText),
];

const fn operation(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    takes: Takes,
    answer: fn(&mut SchemaGenerator) -> Schema,
    fails: Fails,
) -> Operation {
    Operation {
        path,
        id,
        summary,
        takes,
        answer,
        fails,
        is_json: true,
        texts: &[],
    }
}

/// The schema of a type.
pub(super) fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

fn document(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "A document of OpenAPI 3.1.",
        "type": "object",
        "additionalProperties": true,
    })
}

fn metrics(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "Series in the format of Prometheus (0.0.4) or OpenMetrics (1.0.0).",
        "type": "string",
    })
}
