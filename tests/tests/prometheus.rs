//! A real Prometheus scrapes the agent: every expression of dashboards and rules works, and the
//! counters are what both ends have counted.

use std::{fs, net::SocketAddr, path::PathBuf};

use conn_trace_tests::{
    agent::{Agent, free_address},
    pair::{Pair, Two},
    prometheus::{Prometheus, Sample, promtool},
    protocol::{Command, Counts, End},
    skip::installed,
    wait::{eventually, eventually_equal},
};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

const DASHBOARD: &str = include_str!("../../deploy/grafana/conn-trace.json");
const RULES: &str = include_str!("../../deploy/prometheus/rules.yml");
const RULES_TEST: &str = include_str!("../../deploy/prometheus/rules_test.yml");

/// The dashboard that comes with the FIX exporter.
const FIX_DASHBOARD: [&str; 6] = [
    "sum(fix_connections_active)",
    "fix_connections_active",
    "increase(fix_connections_total[1h])",
    "fix_connection_duration_seconds",
    "fix_connections_by_port",
    "up{job=\"fix-connections\"}",
];

/// What there may be none of: this kernel lacks nothing, or no alert is due.
const MAY_BE_EMPTY: [&str; 1] = ["conntrace_degradations{instance=~\".*\"} > 0"];

/// Connections, by what becomes of them.
const JOINED: u32 = 2;
const OPENED: u32 = 12;
const CLOSED: usize = 3;
const RESET: usize = 2;
const REFUSED: u32 = 5;
/// The client will send no more, and the server has not closed.
const HALF_CLOSED: usize = 1;

fn expressions_of_dashboard() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("a dashboard");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    targets
        .map(|target| {
            let expression = target["expr"].as_str().expect("an expression");
            let filled = expression
                .replace("$instance", ".*")
                .replace("$service", ".*")
                .replace("$__rate_interval", "20s");
            assert!(!filled.contains('$'), "{filled}");
            filled
        })
        .collect()
}

/// A file with the configuration of three services: both ends, and what nobody answers.
fn configuration(two: &Two, refused: u16) -> (TempDir, PathBuf) {
    let port = two.address.port();
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("config.toml");
    let text = format!(
        r#"
        [[service]]
        name = "fix-clients"
        direction = "out"
        remote_ip = "127.0.0.1"
        remote_port = {port}
        metric_prefix = "fix"
        connection_limit = 20

        [[service]]
        name = "fix-server"
        direction = "in"
        local_port = {port}
        metric_prefix = "fix"
        identify = true

        [[service]]
        name = "refused"
        remote_port = {refused}
        "#
    );
    fs::write(&path, text).expect("a file");
    (directory, path)
}

/// What one end of all connections has done.
struct OneEnd {
    service: &'static str,
    moved: Counts,
    closed: [(&'static str, usize); 2],
    open: u32,
}

/// Traffic of known size, and what both ends say of it.
fn traffic(two: &mut Two, joined: &[Pair], refused: SocketAddr) -> [OneEnd; 2] {
    let opened = two.open_many(OPENED);
    let all: Vec<_> = joined.iter().chain(&opened).copied().collect();
    for (number, pair) in (1..).zip(&all) {
        two.forth(pair, 100_000 * number, 1000);
        two.back(pair, 777 * number, 77);
    }
    let mut client = Counts::default();
    let mut server = Counts::default();
    for pair in &all {
        let (one, other) = two.reports(pair);
        client = client.plus(one);
        server = server.plus(other);
    }
    two.client.ask(&Command::ConnectRefused {
        address: refused,
        count: REFUSED,
    });
    let ends = |pairs: &[Pair], end: fn(&Pair) -> End| pairs.iter().map(end).collect::<Vec<_>>();
    let (closed, rest) = opened.split_at(CLOSED);
    let (reset, rest) = rest.split_at(RESET);
    let half_closed = &rest[..HALF_CLOSED];
    two.client.close(&ends(closed, |pair| pair.client));
    two.server.close(&ends(closed, |pair| pair.server));
    for pair in reset {
        two.client.reset(&pair.client);
    }
    two.server.close(&ends(reset, |pair| pair.server));
    for Pair { client, .. } in half_closed {
        two.client.done(&Command::ShutdownWrite { id: client.id });
    }
    let left = JOINED + OPENED - u32::try_from(CLOSED + RESET).expect("a small number");
    [
        OneEnd {
            service: "fix-clients",
            moved: client,
            closed: [("local_fin", CLOSED), ("local_reset", RESET)],
            open: left,
        },
        OneEnd {
            service: "fix-server",
            moved: server,
            closed: [("peer_fin", CLOSED), ("peer_reset", RESET)],
            open: left,
        },
    ]
}

/// The only value that an expression gives.
#[track_caller]
fn value(prometheus: &Prometheus, expression: &str) -> Option<f64> {
    let samples = prometheus.query(expression).expect(expression);
    assert!(samples.len() <= 1, "{expression}: {samples:?}");
    samples.first().map(Sample::value)
}

/// Waits until the scraped counters are exactly those of the ends.
#[track_caller]
fn assert_counted(prometheus: &Prometheus, end: &OneEnd) {
    let OneEnd {
        service,
        moved,
        closed,
        open,
    } = end;
    let of = |name: &str, more: &str| {
        format!("conntrace_service_{name}{{job=\"conn-trace\",service=\"{service}\"{more}}}")
    };
    let mut expected = vec![
        (of("connections_joined_total", ""), u64::from(JOINED)),
        (of("connections_opened_total", ""), u64::from(OPENED)),
        (of("peak_connections", ""), u64::from(JOINED + OPENED)),
        (of("open_connections", ""), u64::from(*open)),
        (of("receive_bytes_total", ""), moved.in_bytes),
        (of("transmit_bytes_total", ""), moved.out_bytes),
        (of("receive_messages_total", ""), moved.in_calls),
        (of("transmit_messages_total", ""), moved.out_calls),
        (
            format!("sum({})", of("connections_closed_total", "")),
            (CLOSED + RESET) as u64,
        ),
        (
            of("connection_duration_seconds_count", ""),
            (CLOSED + RESET) as u64,
        ),
    ];
    for (cause, count) in closed {
        let more = format!(",cause=\"{cause}\"");
        expected.push((of("connections_closed_total", &more), *count as u64));
    }
    for (expression, expected) in expected {
        eventually_equal(&expression, &Some(expected as f64), || {
            value(prometheus, &expression)
        });
        println!("{expression:<100} {expected}");
    }
}

fn shown(samples: &[Sample]) -> String {
    let mut values: Vec<_> = samples
        .iter()
        .take(4)
        .map(|sample| sample.value().to_string())
        .collect();
    if samples.len() > values.len() {
        values.push(format!("… ({} series)", samples.len()));
    }
    values.join(" ")
}

/// Waits until the expression gives something, and shows it.
#[track_caller]
fn assert_gives_something(prometheus: &Prometheus, expression: &str) {
    let samples = eventually(expression, || {
        let samples = prometheus.query(expression).expect(expression);
        let is_enough = !samples.is_empty() || MAY_BE_EMPTY.contains(&expression);
        is_enough.then_some(samples)
    });
    println!("{expression:<100} {}", shown(&samples));
}

#[test]
fn dashboards_and_rules_work_on_what_prometheus_has_scraped() {
    let test = "dashboards_and_rules_work_on_what_prometheus_has_scraped";
    let Some([program]) = installed(test, ["prometheus"]) else {
        return;
    };
    let mut two = Two::start();
    let joined = two.open_many(JOINED);
    let refused = free_address();
    let (_directory, path) = configuration(&two, refused.port());
    let agent = Agent::start_with(&["--config", path.to_str().expect("a plain path")]);
    let jobs = ["conn-trace", "fix-connections"];
    let prometheus = Prometheus::start(&program, agent.address, &jobs, RULES);
    // Rates see the first of each only if its series was there before.
    let open = "sum(conntrace_service_open_connections{service=\"fix-clients\"})";
    let of_both_jobs = f64::from(2 * JOINED);
    eventually_equal("scrapes before the traffic", &Some(of_both_jobs), || {
        value(&prometheus, open)
    });
    let ends = traffic(&mut two, &joined, refused);
    for end in &ends {
        assert_counted(&prometheus, end);
    }
    for (expression, expected) in [
        (
            "conntrace_service_connect_failures_total{job=\"conn-trace\",service=\"refused\",cause=\"refused\"}",
            REFUSED,
        ),
        (
            "conntrace_service_connections{job=\"conn-trace\",service=\"fix-server\",state=\"CLOSE_WAIT\"}",
            HALF_CLOSED as u32,
        ),
        (
            "sum(conntrace_service_protocol_connections{job=\"conn-trace\",service=\"fix-server\"})",
            ends[1].open,
        ),
        (
            "sum(conntrace_service_protocol_ended_connections_total{job=\"conn-trace\",service=\"fix-server\"})",
            (CLOSED + RESET) as u32,
        ),
        // The same by the names of the FIX exporter, where the closed ones count as well.
        (
            "fix_connections_total{job=\"conn-trace\",target=\"127.0.0.1\",ip=\"127.0.0.1\"}",
            JOINED + OPENED,
        ),
        (
            "fix_connections_active{job=\"conn-trace\",target=\"*\"}",
            ends[1].open,
        ),
        (
            "fix_connections_peak{job=\"conn-trace\",target=\"*\"}",
            JOINED + OPENED,
        ),
        (
            "sum(fix_connections_active{job=\"conn-trace\"})",
            ends[0].open + ends[1].open,
        ),
        (
            "count(fix_connection_duration_seconds{job=\"conn-trace\",target=\"127.0.0.1\"})",
            ends[0].open,
        ),
        ("sum(fix_connections_omitted{job=\"conn-trace\"})", 0),
        ("sum(up)", 2),
    ] {
        eventually_equal(expression, &Some(f64::from(expected)), || {
            value(&prometheus, expression)
        });
        println!("{expression:<100} {expected}");
    }
    println!("dashboard:");
    for expression in expressions_of_dashboard() {
        assert_gives_something(&prometheus, &expression);
    }
    println!("dashboard of the FIX exporter:");
    for expression in FIX_DASHBOARD {
        assert_gives_something(&prometheus, expression);
    }
    println!("rules:");
    eventually("all rules are evaluated", || {
        let rules = prometheus.rules();
        rules.iter().all(|rule| rule.health == "ok").then_some(())
    });
    for rule in prometheus.rules() {
        match &*rule.kind {
            "recording" => assert_gives_something(&prometheus, &rule.name),
            _ => {
                let samples = prometheus.query(&rule.query).expect(&rule.name);
                println!("{:<100} {}", rule.name, shown(&samples));
            }
        }
    }
    agent.stop();
}

#[test]
fn counters_go_on_over_a_new_configuration() {
    let mut two = Two::start();
    let (directory, path) = configuration(&two, free_address().port());
    let agent = Agent::start_with(&["--config", path.to_str().expect("a plain path")]);
    let pairs = two.open_many(3);
    two.forth(&pairs[0], 5000, 100);
    let counters = || -> Vec<(String, f64)> {
        let text = agent.get("/metrics").body;
        let samples = text.lines().filter(|line| line.contains("_total"));
        samples
            .filter(|line| line.starts_with("conntrace_") || line.starts_with("fix_"))
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                let (name, value) = line.rsplit_once(' ').expect(line);
                (name.to_owned(), value.parse().expect(line))
            })
            .collect()
    };
    let before = counters();
    // The services of both ends change their places, and one loses all its connections.
    let text = fs::read_to_string(&path).expect("a text");
    let (first, second) = text
        .split_once("[[service]]\n        name = \"fix-server\"")
        .expect("two");
    let text = format!(
        "[[service]]\nname = \"fix-server\"{second}\n{}",
        first.replace("127.0.0.1", "127.0.0.2")
    );
    fs::write(&path, text).expect("a file");
    agent.signal(Signal::SIGHUP);
    let left = "conntrace_service_connections_left_total{service=\"fix-clients\"}";
    eventually("the new configuration", || {
        counters()
            .iter()
            .find(|(name, value)| name == left && *value == 3.0)
            .map(|_| ())
    });
    two.forth(&pairs[0], 5000, 100);
    let after = counters();
    for (name, value) in before {
        // The new configuration names another target.
        if name.contains("target=\"127.0.0.1\"") {
            continue;
        }
        let now = after
            .iter()
            .find(|(other, _)| *other == name)
            .unwrap_or_else(|| panic!("{name} has gone"));
        assert!(now.1 >= value, "{name}: {value}, then {}", now.1);
    }
    drop(directory);
    agent.stop();
}

#[test]
fn promtool_finds_no_fault() {
    let Some([program]) = installed("promtool_finds_no_fault", ["promtool"]) else {
        return;
    };
    let mut two = Two::start();
    two.open_many(3);
    let (_directory, path) = configuration(&two, free_address().port());
    let agent = Agent::start_with(&["--config", path.to_str().expect("a plain path")]);
    for _ in 0..2 {
        let answer = agent.get("/metrics");
        let said = promtool(&program, &["check", "metrics"], &[], &answer.body);
        assert_eq!(said, (true, String::new()));
    }
    let files = [("rules.yml", RULES), ("rules_test.yml", RULES_TEST)];
    for arguments in [
        ["check", "rules", "rules.yml"],
        ["test", "rules", "rules_test.yml"],
    ] {
        let (is_sound, said) = promtool(&program, &arguments, &files, "");
        assert!(is_sound, "{arguments:?}: {said}");
    }
    agent.stop();
}
