//! What is turned away, and how.

use super::{
    client::{Answer, exchange, get, request},
    fake::{Fake, Running},
};
use crate::api::{Config, Server};

fn assert_refused(answer: &Answer, status: u16, msg: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    let body = answer.json();
    assert_eq!(body, serde_json::json!({"msg": msg, "status": status}));
}

#[tokio::test]
async fn bad_parameters() {
    let server = Running::start(&Fake::new(1)).await;
    let answer = get(server.address, "/connz?limit=abc").await;
    let body = "{\"msg\":\"limit: expected an integer, got \\\"abc\\\"\",\"status\":400}\n";
    assert_eq!((answer.status, answer.body.as_str()), (400, body));
    for parameter in [
        "offset",
        "limit",
        "subs",
        "sort",
        "order",
        "state",
        "cid",
        "ip",
        "local_ip",
        "port",
        "local_port",
        "direction",
        "pid",
        "comm",
        "uid",
        "cgroup",
        "netns",
        "service",
        "self",
        "tcp",
    ] {
        for value in [
            "",
            "%",
            "%FF",
            "%00%0A",
            "1&PARAMETER=1",
            "-99999999999999999999999999",
        ] {
            let value = value.replace("PARAMETER", parameter);
            let path = format!("/connz?{parameter}={value}");
            let answer = get(server.address, &path).await;
            // Names can be anything that is a text.
            let is_name = ["comm", "uid", "cgroup", "service"].contains(&parameter);
            if is_name && !["", "%", "%FF"].contains(&&*value) && !value.contains('&') {
                assert_eq!(answer.status, 200, "{path}");
                continue;
            }
            assert_eq!(answer.status, 400, "{path}");
            let msg = answer.json()["msg"].as_str().unwrap().to_owned();
            assert!(msg.starts_with(parameter), "{path}: {msg}");
        }
    }
}

#[tokio::test]
async fn unknown_paths() {
    let server = Running::start(&Fake::new(1)).await;
    for path in [
        "/nothing",
        "/connz/",
        "//connz",
        "/CONNZ",
        "/connz%2F",
        "/varz/x",
        "/connz/1/2",
        "/nats",
        "/nats/nothing",
    ] {
        let answer = get(server.address, path).await;
        assert_refused(&answer, 404, &format!("no such endpoint: \"{path}\""));
    }
    let answer = get(server.address, &format!("/{}", "a".repeat(1000))).await;
    assert_refused(
        &answer,
        404,
        &format!("no such endpoint: \"/{}\"…", "a".repeat(63)),
    );
}

#[tokio::test]
async fn other_methods() {
    let server = Running::start(&Fake::new(1)).await;
    for path in [
        "/",
        "/connz",
        "/connz/1",
        "/accstatz",
        "/gatewayz",
        "/leafz",
        "/openapi.json",
        "/routez",
        "/subsz",
        "/varz",
        "/health",
        "/healthz",
    ] {
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"] {
            let answer = request(server.address, method, path).await;
            assert_refused(&answer, 405, "method not allowed: use GET or HEAD");
            assert_eq!(answer.header("allow"), Some("GET, HEAD"));
        }
    }
}

#[tokio::test]
async fn names_that_are_not_this_host() {
    let server = Running::start(&Fake::new(1)).await;
    let ask = async |host: &str| {
        exchange(
            server.address,
            &format!("GET /connz HTTP/1.1\r\n{host}Connection: close\r\n\r\n"),
        )
        .await
    };
    for host in [
        "localhost",
        "localhost:8322",
        "127.0.0.1",
        "[::1]:1",
        "a.localhost",
    ] {
        assert_eq!(
            ask(&format!("Host: {host}\r\n")).await.status,
            200,
            "{host}"
        );
    }
    let answer = ask("Host: evil.example:8322\r\n").await;
    let msg = "host \"evil.example:8322\" is not this one: use localhost or a loopback address";
    assert_refused(&answer, 403, msg);
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert_eq!(
        ask("Host: localhost\r\nHost: evil.example\r\n")
            .await
            .status,
        403
    );
    assert_eq!(ask("Host: \r\n").await.status, 403);
    assert_refused(&ask("").await, 400, "the Host header is missing");
    let old = exchange(server.address, "GET /connz HTTP/1.0\r\n\r\n").await;
    assert_eq!(old.status, 200);
    let absolute =
        "GET http://evil.example/connz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(server.address, absolute).await.status, 403);
}

#[tokio::test]
async fn any_name_on_other_listeners() {
    let config = Config {
        listen: ([0, 0, 0, 0], 0).into(),
        ..Config::default()
    };
    let server = Running::with(&Fake::new(1), config).await;
    let address = ([127, 0, 0, 1], server.address.port()).into();
    let text = "GET /connz HTTP/1.1\r\nHost: agent.example\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(address, text).await.status, 200);
}

#[tokio::test]
async fn an_address_in_use() {
    let server = Running::start(&Fake::new(1)).await;
    let config = Config {
        listen: server.address,
        ..Config::default()
    };
    let error = Server::bind(config).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("--listen {}: address already in use", server.address)
    );
    let config = Config {
        listen: ([192, 0, 2, 1], 80).into(),
        ..Config::default()
    };
    let error = Server::bind(config).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "--listen 192.0.2.1:80: this host has no such address"
    );
}
