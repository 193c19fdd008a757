//! `/metrics`: which form it has, and whose series.

use std::sync::Arc;

use super::{
    client::{Answer, exchange, get},
    fake::{Fake, Running},
};
use crate::api::Config;

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

async fn scrape(server: &Running, accept: &str) -> Answer {
    let address = server.address;
    let text = format!(
        "GET /metrics HTTP/1.1\r\nHost: {address}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
    );
    exchange(address, &text).await
}

#[tokio::test]
async fn the_form_is_the_one_that_the_client_takes() {
    let server = Running::start(&Fake::of_all_kinds()).await;
    for (accept, kind) in [
        ("*/*", TEXT),
        ("text/html, application/xhtml+xml, */*;q=0.8", TEXT),
        ("text/plain;version=0.0.4", TEXT),
        ("application/openmetrics-text", OPEN),
        ("application/json", TEXT),
        // Prometheus 2.42.
        (
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            OPEN,
        ),
        // Prometheus 3.
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            OPEN,
        ),
        // The same with the classic form preferred.
        (
            "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,*/*;q=0.2",
            TEXT,
        ),
    ] {
        let answer = scrape(&server, accept).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some(kind), "{accept}");
        assert_eq!(answer.body.ends_with("# EOF\n"), kind == OPEN, "{accept}");
        assert_eq!(answer.body.contains("# UNIT "), kind == OPEN, "{accept}");
    }
    let plain = get(server.address, "/metrics").await;
    assert_eq!(plain.header("content-type"), Some(TEXT));
}

#[tokio::test]
async fn a_listener_of_one_service_shows_its_series_alone() {
    let fake = Fake::of_all_kinds();
    let config = Config {
        scope: Some(Arc::from("fix")),
        ..Config::default()
    };
    let server = Running::with(&fake, config).await;
    let answer = get(server.address, "/metrics").await;
    let samples = answer.body.lines().filter(|line| !line.starts_with('#'));
    assert!(samples.clone().count() > 10);
    for sample in samples {
        assert!(sample.contains("{service=\"fix\""), "{sample}");
    }
}

#[tokio::test]
async fn each_answer_says_how_long_the_one_before_took() {
    let server = Running::start(&Fake::new(3)).await;
    let took = "\nconntrace_scrape_duration_seconds ";
    assert!(!get(server.address, "/metrics").await.body.contains(took));
    assert!(get(server.address, "/metrics").await.body.contains(took));
}

#[tokio::test]
async fn without_a_registry_there_is_nothing_to_scrape() {
    let fake = Fake::new(3);
    let server = Running::start(&fake).await;
    fake.stop();
    assert_eq!(get(server.address, "/metrics").await.status, 503);
}
