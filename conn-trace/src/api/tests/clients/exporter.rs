//! prometheus-nats-exporter 0.20 (`collector/*.go`). It looks at no status, asks `/connz` without a
//! limit, and asserts the type of each field of a row: another type, or null, ends it in a panic.

use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::Value;

use super::{
    super::{
        client::get,
        fake::{Fake, Running},
    },
    BASES,
    go::parse_duration,
};
use crate::query::tests::fixture;

const SUMMED: [&str; 6] = [
    "pending_bytes",
    "subscriptions",
    "in_bytes",
    "out_bytes",
    "in_msgs",
    "out_msgs",
];

#[tokio::test]
async fn exporter_sums_up_the_rows_of_the_default_page() {
    let server = Running::start(&Fake::new(500)).await;
    let page = get(server.address, "/nats/connz").await.json();
    for (field, value) in [
        ("num_connections", 500),
        ("total", 500),
        ("offset", 0),
        ("limit", 1024),
    ] {
        assert_eq!(page[field], value, "{field}");
    }
    let sums = SUMMED.map(|field| {
        let rows = page["connections"].as_array().unwrap().iter();
        rows.map(|row| row[field].as_f64().unwrap()).sum::<f64>()
    });
    assert_eq!(sums, [0.0, 0.0, 0.0, 150_000.0, 0.0, 1_500.0]);
}

#[tokio::test]
async fn exporter_asserts_the_types_of_details() {
    let server = Running::start(&Fake::of_all_kinds()).await;
    for state in ["", "&state=closed"] {
        let path = format!("/nats/connz?auth=true{state}");
        let page = get(server.address, &path).await.json();
        let rows = page["connections"].as_array().unwrap();
        assert!(rows.len() > 20, "{}", rows.len());
        for row in rows {
            for field in [
                "kind",
                "type",
                "ip",
                "name",
                "name_tag",
                "account",
                "lang",
                "version",
                "tls_version",
                "tls_cipher_suite",
                "start",
                "last_activity",
                "rtt",
                "uptime",
                "idle",
            ] {
                assert!(row.get(field).is_none_or(Value::is_string), "{row}");
            }
            for field in SUMMED {
                assert!(row[field].is_number(), "{row}");
            }
            for time in ["start", "last_activity"] {
                let time: Result<Timestamp, _> = row[time].as_str().unwrap().parse();
                assert!(time.is_ok(), "{row}");
            }
            for duration in ["uptime", "idle"] {
                assert!(
                    milliseconds(row[duration].as_str().unwrap()).is_some(),
                    "{row}"
                );
            }
            if let Some(rtt) = row.get("rtt") {
                let nanos = parse_duration(rtt.as_str().unwrap()).expect("a Go duration");
                assert!((500_000.0..=2_500_000.0).contains(&nanos), "{row}");
            }
        }
    }
}

/// Two series of one name with the same labels fail the whole scrape.
#[tokio::test]
async fn exporter_tells_rows_apart_by_their_labels() {
    let server = Running::start(&Fake::of_all_kinds()).await;
    let page = get(server.address, "/nats/connz?auth=true").await.json();
    let rows = page["connections"].as_array().unwrap();
    let labels: HashSet<String> = rows
        .iter()
        .map(|row| {
            ["cid", "kind", "type", "ip", "port", "version"]
                .map(|label| row[label].to_string())
                .join(" ")
        })
        .collect();
    assert_eq!(labels.len(), rows.len());
}

/// Its way of reading `uptime` and `idle`: years and days become hours, the rest is Go's.
fn milliseconds(text: &str) -> Option<f64> {
    let (years, rest) = text.split_once('y').unwrap_or(("0", text));
    let (days, rest) = rest.split_once('d').unwrap_or(("0", rest));
    let (hours, rest) = rest.split_once('h').unwrap_or(("0", rest));
    let number = |text: &str| text.parse::<u32>().ok();
    let hours = number(years)? * 365 * 24 + number(days)? * 24 + number(hours)?;
    Some(parse_duration(&format!("{hours}h{rest}"))? / 1e6)
}

#[tokio::test]
async fn exporter_reads_times_of_years() {
    let mut connection = fixture::plain(1);
    std::sync::Arc::make_mut(&mut connection.facts).start_ns = 0;
    connection.last_activity_ns = 0;
    let server = Running::start(&Fake::new(0).open(vec![connection])).await;
    let page = get(server.address, "/nats/connz?auth=true").await.json();
    let uptime = page["connections"][0]["uptime"].as_str().unwrap();
    assert_eq!(uptime, "1d3h46m40s");
    assert_eq!(milliseconds(uptime), Some(100_000_000.0));
    assert_eq!(milliseconds("1y20d22h3m30s"), Some(33_343_410_000.0));
}

/// It learns the figures of these from the first answer, and exports every number in it.
#[tokio::test]
async fn exporter_finds_figures_in_the_other_endpoints() {
    let server = Running::start(&Fake::new(2)).await;
    for base in BASES {
        for (endpoint, figure, value) in [
            ("/varz", "connections", 2),
            ("/subsz", "num_subscriptions", 0),
            ("/routez", "num_routes", 0),
            ("/leafz", "leafnodes", 0),
        ] {
            let answer = get(server.address, &format!("{base}{endpoint}")).await;
            let figures = answer.json();
            assert_eq!(figures[figure], value, "{endpoint}");
            // Without these strings it does not start, where it is to label by them.
            assert!(figures["server_id"].is_string() && figures["server_name"].is_string());
        }
    }
}

#[tokio::test]
async fn exporter_takes_health_from_the_body() {
    let fake = Fake::new(2);
    let server = Running::start(&fake).await;
    for base in BASES {
        fake.change_status(|status| status.attached = true);
        let path = format!("{base}/healthz");
        assert_eq!(get(server.address, &path).await.json()["status"], "ok");
        fake.change_status(|status| status.attached = false);
        assert_ne!(get(server.address, &path).await.json()["status"], "ok");
    }
}

/// JSON would be exported as no connections at all.
#[tokio::test]
async fn exporter_must_not_read_figures_from_a_failure() {
    let fake = Fake::new(2);
    let server = Running::start(&fake).await;
    fake.stop();
    for base in BASES {
        for endpoint in ["/varz", "/connz", "/subsz", "/routez"] {
            let answer = get(server.address, &format!("{base}{endpoint}")).await;
            assert_eq!(answer.status, 503);
            let json = serde_json::from_str::<Value>(&answer.body);
            assert!(json.is_err(), "{answer:?}");
        }
    }
}
