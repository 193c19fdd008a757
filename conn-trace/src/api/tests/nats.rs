//! NATS's dialect, below `/nats`.

use super::{
    client::{get, request},
    fake::{Fake, Running},
};
use crate::query::tests::fixture;

/// Inbound connections from 1 to `count`, then one outbound, one of unknown direction.
fn fake(count: u64) -> Fake {
    let (mut out, mut unknown) = ([0; 24], [0; 24]);
    out[2] = 1;
    unknown[2] = 2;
    Fake::new(count).open(vec![
        fixture::connection(count + 1, out),
        fixture::connection(count + 2, unknown),
    ])
}

#[tokio::test]
async fn defaults_of_nats() {
    let server = Running::start(&fake(1100)).await;
    for (query, num_connections, total, offset, limit) in [
        ("", 1024, 1100, 0, 1024),
        ("?offset=1000", 100, 1100, 1000, 1024),
        ("?limit=10", 10, 1100, 0, 10),
        ("?limit=-1&offset=-1", 1024, 1100, 0, 1024),
        ("?offset=5000", 0, 1100, 5000, 1024),
        ("?limit=5000", 1100, 1100, 0, 5000),
        ("?cid=7&limit=50", 1, 1, 0, 1),
        ("?cid=1101", 0, 0, 0, 1),
        ("?direction=out", 1, 1, 0, 1024),
    ] {
        let answer = get(server.address, &format!("/nats/connz{query}")).await;
        let page = answer.json();
        for (field, value) in [
            ("num_connections", num_connections),
            ("total", total),
            ("offset", offset),
            ("limit", limit),
        ] {
            assert_eq!(page[field], value, "{query}: {field}");
        }
        let rows = page["connections"].as_array().unwrap();
        assert_eq!(rows.len(), num_connections, "{query}");
    }
}

#[tokio::test]
async fn inbound_connections_with_the_same_rows() {
    let server = Running::start(&fake(3)).await;
    let ours = get(server.address, "/connz?limit=1024").await.json();
    let theirs = get(server.address, "/nats/connz").await.json();
    let ours = ours["connections"].as_array().unwrap();
    assert_eq!(ours.len(), 5);
    assert_eq!(theirs["connections"].as_array().unwrap(), &ours[..3]);
}

#[tokio::test]
async fn refusals_are_text() {
    let server = Running::start(&fake(1)).await;
    for (path, status, body) in [
        ("/connz?sort=bogus", 400, "invalid sorting option: bogus\n"),
        (
            "/connz?limit=abc",
            400,
            "Error decoding int for 'limit': strconv.Atoi: parsing \"abc\": invalid syntax\n",
        ),
        (
            "/connz/x",
            400,
            "Error decoding uint64 for 'cid': strconv.ParseUint: parsing \"x\": invalid syntax\n",
        ),
        ("/connz/9", 404, "no such connection: \"9\"\n"),
    ] {
        let answer = get(server.address, &format!("/nats{path}")).await;
        assert_eq!((answer.status, answer.body.as_str()), (status, body));
        let text = Some("text/plain; charset=utf-8");
        assert_eq!(answer.header("content-type"), text, "{path}");
    }
    let answer = request(server.address, "POST", "/nats/connz").await;
    assert_eq!(
        (answer.status, answer.header("allow")),
        (405, Some("GET, HEAD"))
    );
    assert_eq!(get(server.address, "/nats/nothing").await.status, 404);
    assert_eq!(get(server.address, "/natsconnz").await.status, 404);
}

/// As `http_base_path` of nats-server has it, paths are counted without the prefix.
#[tokio::test]
async fn requests_are_counted_by_dialect() {
    let server = Running::start(&fake(1)).await;
    for path in ["/connz", "/nats/connz", "/nats/connz?limit=x", "/nats/"] {
        get(server.address, path).await;
    }
    let stats = async |path: &str| get(server.address, path).await.json()["http_req_stats"].clone();
    let (ours, theirs) = (stats("/varz").await, stats("/nats/varz").await);
    for (path, of_ours, of_theirs) in [("/", 0, 1), ("/connz", 1, 2), ("/varz", 1, 1)] {
        assert_eq!(
            (&ours[path], &theirs[path]),
            (&of_ours.into(), &of_theirs.into())
        );
    }
}

#[tokio::test]
async fn the_other_endpoints_are_the_same() {
    let server = Running::start(&fake(1)).await;
    for path in [
        "/",
        "/accstatz",
        "/gatewayz",
        "/health",
        "/healthz",
        "/leafz",
        "/routez",
        "/subsz",
    ] {
        let (ours, theirs) = (
            get(server.address, path).await,
            get(server.address, &format!("/nats{path}")).await,
        );
        assert_eq!(theirs.status, 200, "{path}");
        assert_eq!(ours.json(), theirs.json(), "{path}");
        assert_eq!(theirs.header("access-control-allow-origin"), Some("*"));
    }
}
