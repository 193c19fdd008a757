//! The forms of a page, and its compression.

use std::{io::Read, sync::Arc};

use serde_json::{Value, json};

use super::{
    client::{Answer, connect, exchange, get, read_to_end},
    fake::{Fake, Running},
};
use crate::{
    query::tests::fixture,
    registry::connection::{Connection, Owner, Process},
};

async fn accepting(server: &Running, accept: &str, path: &str) -> Answer {
    let text = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
    );
    exchange(server.address, &text).await
}

/// With names that no form may be broken by.
fn hostile() -> Vec<Connection> {
    let names = [
        "a,b",
        "say \"no\"",
        "two\r\nlines",
        "=1+1",
        "]}",
        "\u{0}\u{1}\t",
        "\u{2028}é\u{fffd}",
        "",
        " ",
        "'",
    ];
    (1..)
        .zip(names)
        .map(|(cid, name)| {
            let mut connection = fixture::plain(cid);
            let facts = Arc::make_mut(&mut connection.facts);
            facts.owner = Owner::Exact(Process {
                pid: 7,
                comm: name.into(),
            });
            facts.cgroup = Some(format!("/{name}").into());
            connection
        })
        .collect()
}

fn fakes() -> [Fake; 4] {
    [
        Fake::new(0),
        Fake::of_all_kinds(),
        Fake::new(0).open(hostile()),
        Fake::new(5000),
    ]
}

#[tokio::test]
async fn lines_are_the_rows_of_the_page() {
    for fake in fakes() {
        let server = Running::start(&fake).await;
        let query = "limit=9999&state=any&self=1&tcp=1&sort=bytes_to";
        let page = get(server.address, &format!("/connz?{query}")).await.json();
        let answer = get(server.address, &format!("/connz?{query}&format=ndjson")).await;
        assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
        assert!(answer.body.is_empty() || answer.body.ends_with('\n'));
        let lines = answer.body.split_terminator('\n');
        let rows: Vec<Value> = lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(Value::Array(rows), page["connections"]);
    }
}

#[tokio::test]
async fn records_are_the_rows_of_the_page() {
    for fake in fakes() {
        let server = Running::start(&fake).await;
        let query = "limit=9999&state=any&self=1&tcp=1&sort=bytes_to";
        let page = get(server.address, &format!("/connz?{query}")).await.json();
        let answer = get(server.address, &format!("/connz?{query}&format=csv")).await;
        assert_eq!(
            answer.header("content-type"),
            Some("text/csv; charset=utf-8; header=present")
        );
        assert!(answer.body.ends_with("\r\n"));
        let mut table = csv::Reader::from_reader(answer.body.as_bytes());
        let names = table.headers().unwrap().clone();
        let rows = page["connections"].as_array().unwrap();
        let records: Vec<_> = table.records().map(Result::unwrap).collect();
        assert_eq!(records.len(), rows.len());
        for (record, row) in records.iter().zip(rows) {
            for (name, cell) in names.iter().zip(record) {
                let value = match name.split_once('.') {
                    Some((object, field)) => &row[object][field],
                    None => &row[name],
                };
                match value {
                    Value::Null => assert!(["", "false"].contains(&cell), "{name}: {cell}"),
                    Value::String(text) => assert_eq!(cell, text, "{name}"),
                    Value::Array(words) => {
                        let words = words.iter().map(|word| word.as_str().unwrap());
                        assert!(cell.split(' ').eq(words), "{name}: {cell}");
                    }
                    other => assert_eq!(cell, other.to_string(), "{name}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn accept_chooses_and_format_overrules_it() {
    let server = Running::start(&Fake::new(1)).await;
    for (accept, path, content_type) in [
        (
            "text/csv",
            "/connz",
            "text/csv; charset=utf-8; header=present",
        ),
        (
            "text/csv",
            "/nats/connz",
            "text/csv; charset=utf-8; header=present",
        ),
        ("application/x-ndjson", "/connz", "application/x-ndjson"),
        ("text/csv", "/connz?format=JSON", "application/json"),
        ("*/*", "/connz?format=ndjson", "application/x-ndjson"),
        ("text/html, */*;q=0.1", "/connz", "application/json"),
        ("image/png", "/connz", "application/json"),
        ("text/csv", "/varz", "application/json"),
    ] {
        let answer = accepting(&server, accept, path).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some(content_type), "{path}");
    }
    let answer = get(server.address, "/connz?format=xml").await;
    let msg = r#"format: expected json, ndjson or csv, got "xml""#;
    assert_eq!(answer.json(), json!({"msg": msg, "status": 400}));
}

#[tokio::test]
async fn pages_are_compressed_as_the_client_can() {
    let server = Running::start(&Fake::new(2000)).await;
    for format in ["json", "ndjson", "csv"] {
        let path = format!("/connz?limit=2000&format={format}");
        let plain = get(server.address, &path).await;
        assert_eq!(plain.header("content-encoding"), None);
        for encoding in ["gzip", "zstd"] {
            // Without chunks.
            let text = format!(
                "GET {path} HTTP/1.0\r\nHost: localhost\r\nAccept-Encoding: {encoding}\r\n\r\n"
            );
            let mut stream = connect(server.address, &text).await;
            let answer = read_to_end(&mut stream).await;
            let end = answer
                .windows(4)
                .position(|part| part == b"\r\n\r\n")
                .unwrap()
                + 4;
            let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
            assert!(
                head.contains(&format!("content-encoding: {encoding}\r\n")),
                "{head}"
            );
            assert!(head.contains("vary: accept-encoding"), "{head}");
            let body = &answer[end..];
            assert!(body.len() * 4 < plain.body.len(), "{}", body.len());
            let mut text = String::new();
            match encoding {
                "gzip" => flate2::read::GzDecoder::new(body).read_to_string(&mut text),
                _ => zstd::Decoder::new(body).unwrap().read_to_string(&mut text),
            }
            .unwrap();
            assert_eq!(text, plain.body);
        }
    }
}
