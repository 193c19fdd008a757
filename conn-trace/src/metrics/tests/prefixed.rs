//! The FIX exporter's series.

use super::{exposition, series};
use crate::{query::tests::fixture, registry::snapshot::Snapshot};

/// Two of them with the same labels.
const CONFIGURATION: &str = r#"
    [[service]]
    name = "out"
    direction = "out"
    metric_prefix = "fix"

    [[service]]
    name = "in"
    direction = "in"
    metric_prefix = "fix"

    [[service]]
    name = "rest"
    remote_ip = ["0.0.0.0/0", "::/0"]
    metric_prefix = "web"
"#;

fn snapshot() -> Snapshot {
    fixture::snapshot(&fixture::seeds(300))
}

#[test]
fn services_of_one_prefix_are_in_one_family() {
    let series = series(exposition(CONFIGURATION, &snapshot()));
    let of = |service: &str, name: &str| {
        series[&format!(r#"conntrace_service_{name}{{"service"="{service}"}}"#)]
    };
    let both = |name: &str| of("in", name) + of("out", name);
    let labels = r#"{"host"="host", "ip"="10.0.0.5", "target"="*"}"#;
    let came = both("connections_opened_total") + both("connections_joined_total");
    assert_eq!(series[&format!("fix_connections_total{labels}")], came);
    let active = series[&format!("fix_connections_active{labels}")];
    assert_eq!(active, both("open_connections"));
    assert_eq!(
        series[&format!("fix_connections_peak{labels}")],
        both("peak_connections")
    );
    let labels = r#"{"host"="host", "ip"="10.0.0.5", "target"="0.0.0.0/0, ::/0"}"#;
    assert_eq!(
        series[&format!("web_connections_active{labels}")],
        of("rest", "open_connections")
    );
    let of_ports = series
        .iter()
        .filter(|(key, _)| key.starts_with("fix_connections_by_port{"));
    assert_eq!(of_ports.map(|(_, value)| value).sum::<f64>(), active);
}

#[test]
fn durations_are_the_ages_of_the_oldest() {
    let series = series(exposition(CONFIGURATION, &snapshot()));
    let ages: Vec<_> = series
        .iter()
        .filter(|(key, _)| key.starts_with("web_connection_duration_seconds{"))
        .collect();
    assert!(!ages.is_empty());
    for (key, age) in &ages {
        // Those of the fixture began 10 to 15 seconds ago.
        assert!((10.0..=15.0).contains(*age), "{key} {age}");
        for label in ["host", "local_addr", "remote_addr", "target"] {
            assert!(key.contains(&format!("\"{label}\"=")), "{key}");
        }
    }
}
