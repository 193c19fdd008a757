//! What the series of single connections add up to.

use std::sync::Arc;

use super::{exposition, series, strict::Series};
use crate::{
    query::tests::fixture,
    registry::connection::{CloseCause, Connection, Direction, TcpState},
};

const CONFIGURATION: &str = r#"
    [[service]]
    name = "none"
    remote_port = 1

    [[service]]
    name = "out"
    direction = "out"
    connection_limit = 100
"#;

fn all() -> Series {
    let snapshot = fixture::snapshot(&fixture::seeds(300));
    series(exposition(CONFIGURATION, &snapshot))
}

#[test]
fn counters_are_those_of_the_connections() {
    let series = all();
    let snapshot = fixture::snapshot(&fixture::seeds(300));
    let out = |direction: bool| {
        snapshot
            .open
            .iter()
            .chain(&snapshot.closed)
            .filter(move |one| !one.facts.is_self)
            .filter(move |one| !direction || one.facts.direction == Direction::Out)
    };
    for (labels, of_service, prefix) in [
        ("{}", false, "conntrace"),
        (r#"{"service"="out"}"#, true, "conntrace_service"),
    ] {
        let value = |name: &str| series[&format!("{prefix}_{name}{labels}")];
        let sum = |figure: fn(&Connection) -> u64| out(of_service).map(figure).sum::<u64>() as f64;
        assert_eq!(
            value("receive_bytes_total"),
            sum(|one| one.counters.in_bytes)
        );
        assert_eq!(
            value("transmit_bytes_total"),
            sum(|one| one.counters.out_bytes)
        );
        assert_eq!(
            value("receive_messages_total"),
            sum(|one| one.counters.in_msgs)
        );
        assert_eq!(
            value("transmit_messages_total"),
            sum(|one| one.counters.out_msgs)
        );
        let came = value("connections_opened_total") + value("connections_joined_total");
        assert_eq!(came, out(of_service).count() as f64);
        let open = out(of_service).filter(|one| one.end.is_none() && one.state != TcpState::Close);
        assert_eq!(value("open_connections"), open.count() as f64);
        assert!(value("rtt_seconds") > 0.0);
    }
}

/// From the first scrape on, so that rates see the first of each.
#[test]
fn what_has_not_happened_is_0() {
    let series = all();
    for cause in CloseCause::ALL {
        for family in ["connections_closed", "connect_failures"] {
            let key = format!(
                r#"conntrace_service_{family}_total{{"cause"="{}", "service"="none"}}"#,
                cause.name()
            );
            assert_eq!(series[&key], 0.0, "{key}");
        }
    }
    for state in TcpState::ALL {
        let key = format!(
            r#"conntrace_service_connections{{"service"="none", "state"="{}"}}"#,
            state.name()
        );
        assert_eq!(series[&key], 0.0, "{key}");
    }
    assert!(!series.contains_key(r#"conntrace_service_rtt_seconds{"service"="none"}"#));
    assert!(!series.contains_key(r#"conntrace_service_connection_limit{"service"="none"}"#));
    assert_eq!(
        series[r#"conntrace_service_connection_limit{"service"="out"}"#],
        100.0
    );
}

#[test]
fn one_service_alone() {
    let snapshot = fixture::snapshot(&fixture::seeds(300));
    let mut exposition = exposition(CONFIGURATION, &snapshot);
    exposition.only = Some(Arc::from("out"));
    let series = series(exposition);
    assert!(!series.is_empty());
    for key in series.keys() {
        assert!(key.contains(r#""service"="out""#), "{key}");
    }
}

#[test]
fn what_is_not_known_is_left_out() {
    let snapshot = fixture::snapshot(&[]);
    let mut exposition = exposition("", &snapshot);
    exposition.process.resident_bytes = None;
    exposition.last_scrape = None;
    exposition.report.programs.clear();
    let series = series(exposition);
    for name in [
        "process_resident_memory_bytes",
        "conntrace_scrape_duration_seconds",
        "conntrace_program_runs_total",
        "conntrace_last_loss_timestamp_seconds",
        "conntrace_service_",
        "conntrace_rtt_seconds",
    ] {
        assert!(!series.keys().any(|key| key.starts_with(name)), "{name}");
    }
    assert_eq!(series[r#"conntrace_build_info{"version"="0.1.0"}"#], 1.0);
    assert_eq!(
        series[r#"conntrace_degradations{"code"="sendfile_uncounted"}"#],
        1.0
    );
    assert_eq!(
        series[r#"conntrace_degradations{"code"="field_missing"}"#],
        0.0
    );
}
