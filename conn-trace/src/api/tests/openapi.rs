//! `/openapi.json`, and whether it tells the truth.

use std::collections::BTreeSet;

use jsonschema::Validator;
use serde_json::{Value, json};

use super::{
    client::{Answer, connect, exchange, get, read_until, request},
    fake::{Fake, Running},
};
use crate::{
    api::{asked::ENDPOINTS, openapi::document},
    query::{Dialect, tests::fixture},
    registry::{
        connection::{CloseCause, Counters, TcpInfo, TcpState},
        events::What,
        flags::Flag,
        messages::{Item, Message},
        policies::{Action, Outcome, Record},
    },
};

/// What a value of the document refers to, or itself.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(place) => document
            .pointer(place.strip_prefix('#').unwrap())
            .expect(place),
        None => value,
    }
}

/// Every value of the document with the path to it.
fn walk<'a>(path: &str, value: &'a Value, visit: &mut impl FnMut(&str, &'a Value)) {
    visit(path, value);
    match value {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(name, value)| walk(&format!("{path}/{name}"), value, visit)),
        Value::Array(values) => values
            .iter()
            .for_each(|value| walk(&format!("{path}/-"), value, visit)),
        _ => {}
    }
}

#[test]
fn every_endpoint_of_every_dialect_and_no_other() {
    let document = document();
    let said: BTreeSet<_> = document["paths"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    let there: BTreeSet<_> = Dialect::ALL
        .iter()
        .flat_map(|dialect| ENDPOINTS.map(|path| format!("{}{path}", dialect.prefix)))
        .collect();
    assert_eq!(said, there);
    let ids: BTreeSet<_> = said
        .iter()
        .map(|path| {
            document["paths"][path]["get"]["operationId"]
                .as_str()
                .unwrap()
        })
        .collect();
    assert_eq!(ids.len(), said.len());
}

#[test]
fn every_parameter_of_every_dialect_and_no_other() {
    let document = document();
    for dialect in Dialect::ALL {
        let names = |path: &str, place: &str| -> Vec<String> {
            let operation = &document["paths"][format!("{}{path}", dialect.prefix)]["get"];
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            parameters
                .map(|parameter| resolved(&document, parameter))
                .filter(|parameter| parameter["in"] == place)
                .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
                .collect()
        };
        let known: Vec<_> = dialect
            .described()
            .map(|described| described.name)
            .collect();
        for path in ENDPOINTS {
            let of_events: Vec<_> = known
                .iter()
                .copied()
                .chain(
                    dialect
                        .described_of_events()
                        .map(|described| described.name),
                )
                .collect();
            let (query, number) = match path {
                "/connz" => (&known[..], 0),
                "/connz/events" => (&of_events[..], 0),
                "/connz/{cid}" | "/connz/{cid}/services" | "/services/{name}/connz" => {
                    (&known[..], 1)
                }
                "/services/{name}" => (&[][..], 1),
                "/connections" => (&known[..], 0),
                _ => (&[][..], 0),
            };
            assert_eq!(names(path, "query"), query, "{path}");
            assert_eq!(names(path, "path").len(), number, "{path}");
        }
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_field_has_a_meaning() {
    let document = document();
    walk("", &document, &mut |path, value| {
        resolved(&document, value);
        assert_ne!(value["type"], "null", "{path}");
        assert!(!value["type"].is_array(), "{path}");
        let parent = path.rsplit('/').nth(1);
        if matches!(parent, Some("properties" | "parameters" | "responses"))
            && value.get("$ref").is_none()
        {
            // What counts by endpoint is named by the endpoint.
            let has_meaning = value["description"].is_string() || path.contains("/Requests/");
            assert!(has_meaning, "{path}: {value}");
        }
    });
}

/// Validates answers by what the document says of them.
struct Truth {
    document: Value,
}

impl Truth {
    fn assert_is_told(&self, endpoint: &str, answer: &Answer) {
        let responses = &self.document["paths"][endpoint]["get"]["responses"];
        let said = resolved(&self.document, &responses[answer.status.to_string()]);
        assert!(said.is_object(), "{endpoint}: {answer:?}");
        for (name, header) in said["headers"].as_object().into_iter().flatten() {
            let is_there = answer.header(&name.to_lowercase()).is_some();
            assert!(
                is_there || header["required"] == false,
                "{endpoint}: {name}"
            );
        }
        let kind = answer
            .header("content-type")
            .map(|kind| kind.split(';').next().unwrap());
        let Some(kind) = kind else {
            assert!(said.get("content").is_none(), "{endpoint}: {answer:?}");
            return;
        };
        let schema = &said["content"][kind]["schema"];
        assert!(schema.is_object(), "{endpoint}: {kind} of {answer:?}");
        let body = match kind {
            "application/json" => answer.json(),
            _ => answer.body.as_str().into(),
        };
        let errors: Vec<_> = self
            .validator(schema)
            .iter_errors(&body)
            .map(|error| format!("{} at {}", error, error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{endpoint}: {errors:#?}");
    }

    fn validator(&self, schema: &Value) -> Validator {
        let mut schema = schema.clone();
        schema["components"] = self.document["components"].clone();
        jsonschema::options()
            .should_validate_formats(true)
            .build(&schema)
            .unwrap()
    }
}

/// Besides, a connection of which everything is known, and one of which little is.
fn complete(fake: Fake) -> Fake {
    let (mut all, mut little) = (fixture::connection(9_000, [1; 24]), fixture::plain(9_001));
    little.recv_queue_bytes = None;
    little.tcp = Some(Box::default());
    all.rtt_us = Some(1);
    all.tcp = Some(Box::new(TcpInfo {
        rttvar_us: Some(u32::MAX),
        min_rtt_us: Some(1),
        retrans: Some(0),
        lost: Some(0),
        cwnd: Some(10),
        ssthresh: Some(u32::MAX),
        mss: Some(1448),
        delivery_rate: Some(u64::MAX),
        rwnd_limited_ms: Some(0),
        sndbuf_limited_ms: Some(0),
        segs_in: Some(u32::MAX),
        segs_out: Some(0),
        bytes_acked: u64::MAX,
        bytes_received: 0,
        bytes_retrans: 0,
        congestion: Some("cubic".to_owned()),
    }));
    fake.open(vec![all, little])
}

fn is_endless(path: &str) -> bool {
    path.ends_with("/events")
}

/// Events as they are told.
#[tokio::test]
async fn events_are_as_the_document_says() {
    let truth = Truth {
        document: document(),
    };
    let validator = truth.validator(&json!({"$ref": "#/components/schemas/Event"}));
    let fake = Fake::new(0);
    let server = Running::start(&fake).await;
    let text = "GET /connz/events?messages=1&format=ndjson HTTP/1.0\r\nHost: localhost\r\nLast-Event-ID: 1-1\r\n\r\n";
    let mut stream = connect(server.address, text).await;
    let mut seed = [0; 24];
    let head = read_until(&mut stream, "\r\n\r\n").await;
    let (_, first) = head.split_once("\r\n\r\n").unwrap();
    let connection = fixture::connection(1, seed);
    fake.happens(What::Opened, connection.clone());
    for is_received in [false, true] {
        let message = Message {
            cid: 1,
            time: fixture::NOW,
            is_received,
            bytes: u32::MAX,
            number: 1,
            flags: u32::MAX,
        };
        fake.moves(&connection, Item::Message(message));
    }
    fake.moves(&connection, Item::Lost(1));
    fake.acts(Record {
        time: fixture::NOW,
        service: "fix".into(),
        policy: "limit".into(),
        kind: "limit",
        action: Action::Close,
        outcome: Outcome::Failed("no reason".to_owned()),
        flag: Flag::OverLimit,
        reason: "2 connections, limit 1".to_owned(),
        connection: connection.clone(),
        seen: fixture::NOW,
        seen_ns: fixture::NOW_NS,
    });
    seed[0] = 5;
    fake.happens(What::Closed, fixture::connection(1, seed));
    let told = read_until(&mut stream, "\"close_cause\"").await;
    let told = format!("{first}{told}");
    let told: Vec<Value> = told
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let names: Vec<_> = told
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .collect();
    let expected = [
        "lost",
        "opened",
        "message",
        "message",
        "lost_messages",
        "policy",
        "closed",
    ];
    assert_eq!(names, expected);
    for event in told {
        assert!(validator.is_valid(&event), "{event}");
        let mut other = event;
        other["more"] = 1.into();
        assert!(!validator.is_valid(&other), "{other}");
    }
}

#[tokio::test]
async fn answers_are_as_the_document_says() {
    let truth = Truth {
        document: document(),
    };
    let fake = complete(Fake::of_all_kinds()).moving(Counters::default());
    let server = Running::start(&fake).await;
    for dialect in Dialect::ALL {
        for endpoint in ENDPOINTS {
            let endpoint = format!("{}{endpoint}", dialect.prefix);
            let path = endpoint.replace("{cid}", "9000").replace("{name}", "fix");
            // Events do not end.
            let method = if is_endless(&path) { "HEAD" } else { "GET" };
            let ask = async |path: &str| request(server.address, method, path).await;
            let mut answers = vec![
                ask(&path).await,
                ask(&format!(
                    "{path}?state=any&limit=1000&tcp=1&self=1&direction=in"
                ))
                .await,
                ask(&format!(
                    "{path}?state=any&limit=1000&tcp=1&rates=1&self=1&direction=out"
                ))
                .await,
                ask(&format!("{path}?limit=1&cursor=start")).await,
                ask(&format!("{path}?format=ndjson")).await,
                request(server.address, "POST", &path).await,
                exchange(
                    server.address,
                    &format!("GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n"),
                )
                .await,
                exchange(
                    server.address,
                    &format!(
                        "GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
                    ),
                )
                .await,
            ];
            let long = "x".repeat(20_000);
            answers.push(
                exchange(
                    server.address,
                    &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nLong: {long}\r\n\r\n"),
                )
                .await,
            );
            if endpoint.ends_with("connz") {
                answers.push(ask(&format!("{path}?format=csv")).await);
            }
            if endpoint.contains("connz") {
                answers.push(get(server.address, &format!("{path}?limit=x")).await);
            }
            if endpoint.contains("{name}") {
                answers.push(ask(&path.replace("fix", "nobody")).await);
            }
            if endpoint.contains("{cid}") {
                answers.push(ask(&path.replace("9000", "8999")).await);
                answers.push(ask(&path.replace("9000", "x")).await);
            }
            for answer in &answers {
                truth.assert_is_told(&endpoint, answer);
            }
        }
    }
    fake.stop();
    let paths = truth.document["paths"].as_object().unwrap().keys();
    for path in paths.filter(|path| !is_endless(path)) {
        let path_of_one = path.replace("{cid}", "1").replace("{name}", "fix");
        let answer = get(server.address, &path_of_one).await;
        truth.assert_is_told(path, &answer);
    }
}

/// Every field is in some row, and what is not required is not in every one.
#[tokio::test]
async fn fields_are_those_of_rows() {
    let document = document();
    let fake = complete(Fake::of_all_kinds()).moving(Counters::default());
    let server = Running::start(&fake).await;
    let path = "/connz?state=any&limit=1000&tcp=1&rates=1&self=1";
    let page = get(server.address, path).await.json();
    let rows = page["connections"].as_array().unwrap();
    let tcp: Vec<_> = rows
        .iter()
        .filter_map(|row| row.get("tcp"))
        .cloned()
        .collect();
    for (name, objects) in [("Row", rows), ("Tcp", &tcp)] {
        let schema = &document["components"]["schemas"][name];
        let required = schema["required"].as_array().unwrap();
        for field in schema["properties"].as_object().unwrap().keys() {
            let count = objects
                .iter()
                .filter(|row| row.get(field).is_some())
                .count();
            assert!(count > 0, "{name}.{field} is nowhere");
            let is_required = required.contains(&json!(field));
            assert_eq!(count == objects.len(), is_required, "{name}.{field}");
        }
    }
}

/// Rows with what the made-up connections do not have.
#[test]
fn every_word_is_one_of_those_said() {
    let truth = Truth {
        document: document(),
    };
    let validator = truth.validator(&json!({"$ref": "#/components/schemas/Row"}));
    for cause in CloseCause::ALL {
        for state in TcpState::ALL {
            let mut seed = [0; 24];
            seed[0] = 5;
            let mut closed = fixture::connection(1, seed);
            closed.state = state;
            closed.end.as_mut().unwrap().cause = cause;
            let row = crate::query::Row::new(&closed, fixture::NOW, fixture::NOW_NS, true);
            let row = serde_json::to_value(row).unwrap();
            assert!(validator.is_valid(&row), "{row}");
        }
    }
}

#[tokio::test]
async fn who_has_it_is_not_sent_it_again() {
    let server = Running::start(&Fake::new(0)).await;
    let first = get(server.address, "/openapi.json").await;
    assert_eq!((first.status, first.json()), (200, document()));
    assert_eq!(first.header("cache-control"), Some("no-cache"));
    let etag = first.header("etag").unwrap();
    let ask = async |method: &str, path: &str, tags: &str| {
        let text = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: {tags}\r\nConnection: close\r\n\r\n"
        );
        exchange(server.address, &text).await
    };
    for (method, path) in [
        ("GET", "/openapi.json"),
        ("HEAD", "/openapi.json"),
        ("GET", "/nats/openapi.json"),
    ] {
        let again = ask(method, path, etag).await;
        assert_eq!((again.status, &*again.body), (304, ""));
        assert_eq!(again.header("etag"), Some(etag));
        assert_eq!(again.header("cache-control"), Some("no-cache"));
        assert_eq!(again.header("content-type"), None);
        let other = ask(method, path, "\"other\"").await;
        assert_eq!((other.status, other.header("etag")), (200, Some(etag)));
    }
}
