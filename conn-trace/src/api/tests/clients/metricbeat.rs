//! Metricbeat's nats module (`metricbeat/module/nats`): required fields with their types, and times
//! in words whose parts have to be integers.

use serde_json::Value;

use super::super::{
    client::get,
    fake::{Fake, Running},
};

/// Text, integer, or any number.
enum Kind {
    Str,
    Int,
    Float,
}

use Kind::{Float, Int, Str};

fn assert_schema(object: &Value, schema: &[(&str, Kind)]) {
    for (field, kind) in schema {
        let value = &object[field];
        let is_kind = match kind {
            Str => value.is_string(),
            Int => value.is_i64(),
            Float => value.is_number(),
        };
        assert!(is_kind, "{field}: {object}");
    }
}

/// Its way of reading `uptime` and `idle`: it splits at each unit in turn.
fn seconds(text: &str) -> i64 {
    let mut rest = text;
    let mut seconds = 0;
    for (unit, of_unit) in [
        ('y', 31_536_000),
        ('d', 86_400),
        ('h', 3_600),
        ('m', 60),
        ('s', 1),
    ] {
        if let Some((number, after)) = rest.split_once(unit) {
            seconds += number.parse::<i64>().expect(text) * of_unit;
            rest = after;
        }
    }
    assert_eq!(rest, "", "{text}");
    seconds
}

async fn ask(server: &Running, path: &str) -> Value {
    get(server.address, &format!("/nats{path}")).await.json()
}

#[tokio::test]
async fn metricbeat_reads_connections() {
    let server = Running::start(&Fake::of_all_kinds()).await;
    let page = ask(&server, "/connz").await;
    assert_schema(&page, &[("server_id", Str), ("now", Str), ("total", Int)]);
    let rows = page["connections"].as_array().unwrap();
    assert!(rows.len() > 20);
    for row in rows {
        assert_schema(
            row,
            &[
                ("subscriptions", Int),
                ("in_msgs", Int),
                ("in_bytes", Int),
                ("out_msgs", Int),
                ("out_bytes", Int),
                ("pending_bytes", Int),
                ("uptime", Str),
                ("idle", Str),
            ],
        );
        let uptime = seconds(row["uptime"].as_str().unwrap());
        assert!((10..=15).contains(&uptime), "{row}");
        assert!((0..=9).contains(&seconds(row["idle"].as_str().unwrap())));
        assert!(row.get("name").is_none_or(Value::is_string));
    }
}

#[tokio::test]
async fn metricbeat_reads_stats() {
    let server = Running::start(&Fake::new(2)).await;
    let varz = ask(&server, "/varz").await;
    assert_schema(
        &varz,
        &[
            ("server_id", Str),
            ("now", Str),
            ("uptime", Str),
            ("mem", Int),
            ("cores", Int),
            ("cpu", Float),
            ("total_connections", Int),
            ("remotes", Int),
            ("in_msgs", Int),
            ("in_bytes", Int),
            ("out_msgs", Int),
            ("out_bytes", Int),
            ("slow_consumers", Int),
        ],
    );
    assert_eq!(seconds(varz["uptime"].as_str().unwrap()), 4_455);
    assert_schema(
        &varz["http_req_stats"],
        &[
            ("/", Int),
            ("/connz", Int),
            ("/routez", Int),
            ("/subsz", Int),
            ("/varz", Int),
        ],
    );
}

#[tokio::test]
async fn metricbeat_reads_routes_and_subscriptions() {
    let server = Running::start(&Fake::new(2)).await;
    let routes = ask(&server, "/routez").await;
    assert_schema(
        &routes,
        &[("server_id", Str), ("now", Str), ("num_routes", Int)],
    );
    let subscriptions = ask(&server, "/subsz").await;
    assert_schema(
        &subscriptions,
        &[
            ("num_subscriptions", Int),
            ("num_cache", Int),
            ("cache_hit_rate", Float),
            ("max_fanout", Int),
            ("avg_fanout", Float),
            ("num_inserts", Int),
            ("num_removes", Int),
            ("num_matches", Int),
        ],
    );
}
