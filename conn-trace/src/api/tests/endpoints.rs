//! What each endpoint answers.

use std::{collections::BTreeMap, time::Duration};

use jiff::SignedDuration;
use serde_json::json;

use super::{
    client::{get, request},
    fake::{Fake, Running},
};
use crate::{
    api::{Config, Limits, asked::ENDPOINTS},
    query::tests::fixture::{self, NOW},
};

#[tokio::test]
async fn connz() {
    let mut closed = [0; 24];
    closed[0] = 5;
    let fake = Fake::new(45).closed(vec![fixture::connection(46, closed)]);
    let server = Running::start(&fake).await;
    let answer = get(server.address, "/connz").await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("content-length"),
        Some(&*answer.body.len().to_string())
    );
    let page = answer.json();
    assert_eq!(page["connections"].as_array().unwrap().len(), 20);
    assert_eq!(page["connections"][0]["cid"], 1);
    let mut rest = page;
    rest["connections"] = json!([]);
    assert_eq!(
        rest,
        json!({
            "server_id": "id", "server_name": "host", "now": "2026-11-20T12:00:00Z",
            "num_connections": 45, "total": 45, "offset": 0, "limit": 20, "untracked": 3,
            "connections": [],
        })
    );
    for (query, effective, first, rows) in [
        ("offset=40&limit=10", (40, 10), Some(41), 5),
        ("limit=-3&sort=id&order=desc", (0, 20), Some(45), 20),
        ("offset=45", (45, 20), None, 0),
        ("state=closed&sort=stop", (0, 20), Some(46), 1),
        (
            "limit=1024&sort=bytes_to&subs=1&auth=true",
            (0, 1024),
            Some(1),
            45,
        ),
    ] {
        let page = get(server.address, &format!("/connz?{query}")).await.json();
        assert_eq!(
            (page["offset"].as_u64(), page["limit"].as_u64()),
            (Some(effective.0), Some(effective.1))
        );
        assert_eq!(
            page["connections"].as_array().unwrap().len(),
            rows,
            "{query}"
        );
        assert_eq!(page["connections"][0]["cid"].as_u64(), first, "{query}");
        assert_eq!(page["total"], page["num_connections"]);
    }
}

#[tokio::test]
async fn varz() {
    let server = Running::start(&Fake::new(2)).await;
    get(server.address, "/connz?limit=x").await;
    get(server.address, "/not-counted").await;
    let mut figures = get(server.address, "/varz").await.json();
    assert!(figures["mem"].as_u64().unwrap() > 100_000);
    assert!(figures["cores"].as_u64().unwrap() >= 1);
    assert!(figures["cpu"].is_f64());
    for measured in ["mem", "cores", "cpu"] {
        figures.as_object_mut().unwrap().remove(measured);
    }
    let mut requests: BTreeMap<_, _> = ENDPOINTS.map(|path| (path, 0)).into();
    requests.extend([("/connz", 1), ("/varz", 1)]);
    assert_eq!(
        figures,
        json!({
            "server_id": "id", "server_name": "host", "version": "0.1.0", "proto": 1,
            "host": "127.0.0.1", "port": server.address.port(), "max_connections": 65536,
            "start": "2026-11-20T10:45:45Z", "now": "2026-11-20T12:00:00Z",
            "uptime": "1h14m15s", "connections": 2, "total_connections": 7, "routes": 0,
            "remotes": 0, "leafnodes": 0, "in_msgs": 3, "out_msgs": i64::MAX, "in_bytes": 1,
            "out_bytes": 2, "slow_consumers": 0, "subscriptions": 0,
            "http_req_stats": requests,
            "conn_trace": {
                "variant": "tp_btf", "attached": true,
                "degradations": [{
                    "code": "sendfile_uncounted",
                    "detail": "sendfile and splice count no messages: refused",
                }],
                "capacity": 65536, "used": 2,
                "kernel_memory_bytes": 1_048_576, "history": 5, "history_capacity": 10000,
                "closed_connections": 5, "messages_after_end": 0,
                "losses": {
                    "untracked": 0, "untracked_messages": 0, "ring_records": 0, "ring_closed": 0,
                    "missed_runs": 0,
                    "missed_ends": 0,
                },
                "trace": {"readers": 1, "connections": 2, "messages": 3, "lost": 4},
                "first_bytes": {"waiting": 5, "lost": 6, "unseen": 7},
            },
        })
    );
}

#[tokio::test]
async fn health() {
    let fake = Fake::new(0);
    let server = Running::start(&fake).await;
    for path in ["/health", "/healthz"] {
        let answer = get(server.address, path).await;
        let expected = json!({
            "status": "ok", "timestamp": "2026-11-20T12:00:00Z", "hostname": "host",
            "active_connections": 0,
        });
        assert_eq!((answer.status, answer.json()), (200, expected));
    }
    let unhealthy = async |cause: &str| {
        let answer = get(server.address, "/healthz").await;
        assert_eq!(answer.status, 503, "{cause}");
        assert_eq!(answer.json()["status"], "unavailable");
        assert!(
            answer.json()["error"].as_str().unwrap().contains(cause),
            "{answer:?}"
        );
    };
    fake.change_status(|status| status.last_loss = Some(NOW - SignedDuration::from_secs(60)));
    unhealthy("lost at 2026-11-20T11:59:00Z").await;
    fake.change_status(|status| status.last_loss = Some(NOW + SignedDuration::from_secs(60)));
    unhealthy("lost at 2026-11-20T12:01:00Z").await;
    fake.change_status(|status| status.last_loss = Some(NOW - SignedDuration::from_millis(60_001)));
    assert_eq!(get(server.address, "/healthz").await.status, 200);
    fake.change_status(|status| status.attached = false);
    unhealthy("not all hooks are attached").await;
    fake.stop();
    unhealthy("the registry has stopped").await;
}

#[tokio::test]
async fn index() {
    let server = Running::start(&Fake::new(1)).await;
    let answer = get(server.address, "/").await;
    assert_eq!(answer.status, 200);
    let listed = answer.json()["endpoints"].to_string();
    for path in [
        "/",
        "/accstatz",
        "/connz",
        "/connz/events",
        "/connz/{cid}",
        "/gatewayz",
        "/health",
        "/healthz",
        "/leafz",
        "/openapi.json",
        "/routez",
        "/subsz",
        "/varz",
    ] {
        assert!(listed.contains(&format!("\"{path}\"")), "{listed}");
        assert!(listed.contains(&format!("\"/nats{path}\"")), "{listed}");
    }
    for endpoint in answer.json()["endpoints"].as_array().unwrap() {
        let path = endpoint.as_str().unwrap();
        let path = path.replace("{cid}", "1").replace("{name}", "fix");
        // Events do not end.
        let answer = request(server.address, "HEAD", &path).await;
        assert_eq!(answer.status, 200, "{path}");
    }
}

#[tokio::test]
async fn what_there_is_none_of() {
    let server = Running::start(&Fake::new(1)).await;
    for (path, nothing) in [
        ("/accstatz", json!({"account_statz": []})),
        (
            "/gatewayz",
            json!({"outbound_gateways": {}, "inbound_gateways": {}}),
        ),
        ("/leafz", json!({"leafnodes": 0, "leafs": []})),
        ("/routez", json!({"num_routes": 0, "routes": []})),
        (
            "/subsz",
            json!({
                "num_subscriptions": 0, "num_cache": 0, "num_inserts": 0, "num_removes": 0,
                "num_matches": 0, "cache_hit_rate": 0.0, "max_fanout": 0, "avg_fanout": 0.0,
                "total": 0, "offset": 0, "limit": 1024,
            }),
        ),
    ] {
        let mut answer = get(server.address, path).await.json();
        let fields = answer.as_object_mut().unwrap();
        for (field, value) in [
            ("server_id", "id"),
            ("server_name", "host"),
            ("now", "2026-11-20T12:00:00Z"),
        ] {
            assert_eq!(fields.remove(field), Some(value.into()), "{path}");
        }
        assert_eq!(answer, nothing, "{path}");
    }
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let server = Running::start(&Fake::new(30)).await;
    for path in [
        "/",
        "/connz",
        "/connz/1",
        "/connz/x",
        "/varz",
        "/healthz",
        "/subsz",
        "/routez",
        "/openapi.json",
        "/connz?limit=x",
        "/nats/",
        "/nats/connz",
        "/nats/connz?limit=x",
        "/nothing",
    ] {
        let head = request(server.address, "HEAD", path).await;
        let get = get(server.address, path).await;
        assert_eq!(
            (head.status, head.body.as_str()),
            (get.status, ""),
            "{path}"
        );
        for header in ["content-type", "x-content-type-options", "cache-control"] {
            assert_eq!(head.header(header), get.header(header), "{path}");
        }
        // The length of /varz changes with its own counters.
        if path != "/varz" {
            assert_eq!(
                head.header("content-length"),
                get.header("content-length"),
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn every_answer_forbids_guessing_and_storing() {
    let fake = Fake::new(0);
    for cors in [true, false] {
        let server = Running::with(
            &fake,
            Config {
                cors,
                ..Config::default()
            },
        )
        .await;
        for (path, is_endpoint) in [
            ("/", true),
            ("/connz", true),
            ("/connz?limit=x", true),
            ("/connz/1", true),
            ("/nats/connz", true),
            ("/nats/connz?limit=x", true),
            ("/nats/varz", true),
            ("/subsz", true),
            ("/routez", true),
            ("/varz", true),
            ("/healthz", true),
            ("/nothing", false),
        ] {
            let answer = get(server.address, path).await;
            assert_eq!(
                answer.header("x-content-type-options"),
                Some("nosniff"),
                "{path}"
            );
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
            let origin = (cors && is_endpoint).then_some("*");
            assert_eq!(
                answer.header("access-control-allow-origin"),
                origin,
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn without_a_registry_the_answer_is_plain_text() {
    let fake = Fake::new(1);
    let server = Running::start(&fake).await;
    fake.stop();
    for path in ["/connz", "/varz"] {
        let answer = get(server.address, path).await;
        assert_eq!(answer.status, 503);
        assert_eq!(
            answer.header("content-type"),
            Some("text/plain; charset=utf-8")
        );
        assert_eq!(answer.body, "the registry has stopped\n");
    }
}

#[tokio::test]
async fn a_stuck_registry_is_not_waited_for() {
    let limits = Limits {
        source_timeout: Duration::from_millis(50),
        ..Limits::default()
    };
    let fake = Fake::new(1).delay(Duration::from_secs(60));
    let server = Running::limited(&fake, limits).await;
    for path in ["/connz", "/varz", "/healthz"] {
        let answer = get(server.address, path).await;
        assert_eq!(answer.status, 503);
        assert!(
            answer
                .body
                .contains("the registry did not answer within 0.05 s"),
            "{answer:?}"
        );
    }
}
