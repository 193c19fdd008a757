//! However many peers, ports and names there are, the number of series stays.

use std::{net::Ipv4Addr, sync::Arc};

use super::{exposition, series, strict::Series};
use crate::{
    query::tests::fixture,
    registry::{
        connection::{Connection, Direction, Owner, Process},
        services::{DURATIONS, SIZES},
        snapshot::Snapshot,
    },
};

const CONFIGURATION: &str = r#"
    [[service]]
    name = "fix"
    direction = "in"
    metric_prefix = "fix"
    top = 20

    [[service]]
    name = "rest"
    direction = ["out", "unknown"]
    connection_limit = 9
"#;

/// What a program may call itself.
const NAMES: [&str; 8] = [
    "\"",
    "\\",
    "a\nb",
    "a\",x=\"",
    "other",
    "",
    "\u{fffd}\u{fffd}",
    "}\r 1",
];

/// Each from a peer, at a port and of a process of its own.
fn flood(count: u32) -> Snapshot {
    let mut snapshot = fixture::snapshot(&[]);
    let open = (1..=count).map(|number| {
        let Connection { facts, .. } = fixture::plain(number.into());
        let mut facts = Arc::unwrap_or_clone(facts);
        facts.is_self = false;
        facts.direction = [Direction::In, Direction::Out][number as usize % 2];
        facts.peer.ip = Ipv4Addr::from_bits(number).into();
        for end in [&mut facts.local, &mut facts.peer] {
            end.port = 1 + (number % 60_000) as u16;
        }
        let name = NAMES[number as usize % NAMES.len()];
        let suffix = match number as usize <= NAMES.len() {
            true => String::new(),
            false => number.to_string(),
        };
        facts.owner = Owner::Exact(Process {
            pid: number,
            comm: format!("{name}{suffix}").into(),
        });
        Connection {
            facts: facts.into(),
            ..fixture::plain(number.into())
        }
    });
    snapshot.open = open.collect();
    snapshot
}

fn of_flood(count: u32) -> Series {
    let snapshot = flood(count);
    series(exposition(CONFIGURATION, &snapshot))
}

/// Of figures that the host and each service have.
fn figures() -> usize {
    let (states, causes) = (10, 12);
    let gauges = 6 + 2;
    let counters = 8 + 2 * causes;
    let histogram = |bounds: usize| bounds + 1 + 2;
    let histograms = histogram(DURATIONS.len()) + 2 * histogram(SIZES.len());
    states + gauges + counters + histograms
}

#[test]
fn the_number_of_series_follows_from_the_configuration() {
    let breakdowns = |top: usize| 3 * (top + 1) + 3;
    let idle = 1;
    let fix = figures() + idle + breakdowns(20);
    let of_prefix = 3 + 100 + 1 + 21;
    let rest = figures() + idle + breakdowns(10) + 1;
    let agent = 35;
    let most = figures() + agent + fix + of_prefix + rest;
    let (one, many) = (of_flood(9000), of_flood(10_000));
    assert_eq!(one.len(), many.len());
    assert!(many.len() <= most, "{} of {most}", many.len());
    assert!(many.len() + 5 > most, "{} of {most}", many.len());
}

#[test]
fn what_has_no_series_of_its_own_is_among_the_others() {
    let series = of_flood(10_000);
    let beginning = |name: &str| -> Vec<f64> {
        let all = series.iter();
        all.filter(|(key, _)| key.starts_with(name) && key.contains("\"fix\""))
            .map(|(_, value)| *value)
            .collect()
    };
    for family in ["peer", "endpoint", "owner"] {
        let connections = beginning(&format!("conntrace_service_{family}_connections{{"));
        assert_eq!(connections.len(), 21);
        assert_eq!(connections.iter().sum::<f64>(), 5000.0);
        let overflows = beginning(&format!("conntrace_service_{family}_overflows_total"));
        assert_eq!(overflows, [904.0], "{family}");
    }
    let shown = series
        .keys()
        .filter(|key| key.starts_with("fix_connection_duration"));
    assert_eq!(shown.count(), 100);
    let omitted = r#"fix_connections_omitted{"host"="host", "target"="*"}"#;
    assert_eq!(series[omitted], 4900.0);
}

/// Few enough that each has its own series.
#[test]
fn hostile_names_stay_values_of_their_label() {
    let series = of_flood(8);
    let named = |name: &str| {
        let service = if NAMES.iter().position(|other| *other == name).unwrap() % 2 == 0 {
            "fix"
        } else {
            "rest"
        };
        format!(
            "conntrace_service_owner_connections{{\"process\"={name:?}, \"service\"={service:?}}}"
        )
    };
    for name in NAMES {
        assert_eq!(series.get(&named(name)), Some(&1.0), "{}", named(name));
    }
}
