//! `conn-trace watch`, the FIX exporter's series and its dashboard in a real Prometheus over FIX sessions,
//! against what QuickFIX has logged of them.

use std::{
    fs,
    io::Write,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use conn_trace_tests::{
    agent::{Agent, free_address},
    prometheus::{Prometheus, Sample},
    skip::{installed, skip},
    sockets::is_listening,
    wait::{eventually, eventually_equal},
    watch::{Ending, Watch, counts},
};
use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fix/session.cpp");
/// Orders of each session.
const SESSIONS: [u32; 3] = [3, 0, 40];
/// The log has microseconds, of a clock that the agent does not read each time.
const TOLERANCE: SignedDuration = SignedDuration::from_millis(5);

/// The program with either end, if QuickFIX is there to build it with.
fn program(test: &str, directory: &Path) -> Option<PathBuf> {
    let [compiler] = installed(test, ["c++"])?;
    let mut check = Command::new(&compiler)
        .args(["-E", "-x", "c++", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the compiler starts");
    let mut input = check.stdin.take().expect("a pipe");
    writeln!(input, "#include <quickfix/Session.h>").expect("the compiler reads");
    drop(input);
    if !check.wait().expect("a child").success() {
        skip(test, "libquickfix-dev is not installed");
        return None;
    }
    let program = directory.join("session");
    // It declares what may be thrown, as C++17 does not allow any more.
    let output = Command::new(&compiler)
        .args(["-std=c++14", "-w", SOURCE, "-o"])
        .arg(&program)
        .args(["-lquickfix", "-pthread"])
        .output()
        .expect("the compiler starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    Some(program)
}

/// One end, with a directory of its own for its logs.
struct End {
    directory: TempDir,
    child: Child,
}

impl End {
    fn start(program: &Path, role: &str, port: u16, orders: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().display();
        let (own, other, specific) = match role {
            "accept" => (
                "VENUE",
                "CLIENT",
                format!("ConnectionType=acceptor\nSocketAcceptPort={port}"),
            ),
            _ => (
                "CLIENT",
                "VENUE",
                format!(
                    "ConnectionType=initiator\nSocketConnectHost=127.0.0.1\nSocketConnectPort={port}"
                ),
            ),
        };
        let settings = format!(
            "[DEFAULT]\n{specific}\nFileStorePath={path}\nFileLogPath={path}\nStartTime=00:00:00\n\
             EndTime=00:00:00\nHeartBtInt=3600\nUseDataDictionary=N\nResetOnLogon=Y\n\
             [SESSION]\nBeginString=FIX.4.2\nSenderCompID={own}\nTargetCompID={other}\n"
        );
        let file = directory.path().join("settings");
        fs::write(&file, settings).expect("a file");
        let child = Command::new(program)
            .arg(role)
            .arg(&file)
            .args(orders)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("the program starts");
        Self { directory, child }
    }

    fn wait(&mut self) {
        drop(self.child.stdin.take());
        let status = eventually("the end of the session", || {
            self.child.try_wait().expect("a child")
        });
        assert!(status.success(), "{status}");
    }

    /// The lines of one of its logs: when, and what.
    fn log(&self, kind: &str) -> Vec<(Timestamp, String)> {
        let files = fs::read_dir(&self.directory).expect("a directory");
        let ending = format!(".{kind}.current.log");
        files
            .map(|file| file.expect("a file").path())
            .filter(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                name.starts_with("FIX") && name.ends_with(&ending)
            })
            .flat_map(|path| {
                let text = fs::read_to_string(path).expect("a text");
                text.lines().map(parsed).collect::<Vec<_>>()
            })
            .collect()
    }

    fn messages(&self) -> Vec<(Timestamp, String)> {
        self.log("messages")
    }
}

impl Drop for End {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `20261201-02:18:22.762794000 : 8=FIX.4.2…`
fn parsed(line: &str) -> (Timestamp, String) {
    let (time, rest) = line.split_once(" : ").expect("a time");
    let time = DateTime::strptime("%Y%m%d-%H:%M:%S%.f", time).expect("a time");
    let time = time.to_zoned(TimeZone::UTC).expect("a time").timestamp();
    (time, rest.to_owned())
}

fn field<'a>(message: &'a str, tag: &str) -> &'a str {
    let mut fields = message
        .split('\u{1}')
        .filter_map(|field| field.split_once('='));
    let found = fields.find(|(name, _)| *name == tag);
    found.unwrap_or_else(|| panic!("{tag}: {message}")).1
}

/// How many messages somebody has sent, of how many bytes.
fn sent_by(messages: &[(Timestamp, String)], sender: &str) -> (u64, u64) {
    let sent = messages
        .iter()
        .filter(|(_, message)| field(message, "49") == sender);
    sent.fold((0, 0), |(count, bytes), (_, message)| {
        (count + 1, bytes + message.len() as u64)
    })
}

/// The same over the logs of all sessions.
fn sum_of(sessions: &[End], sender: &str) -> (u64, u64) {
    let sent = sessions.iter().map(|one| sent_by(&one.messages(), sender));
    sent.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

/// The value of the only series of this name.
#[track_caller]
fn series(metrics: &str, name: &str) -> u64 {
    let mut found = metrics.lines().filter(|line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('{'))
    });
    let line = found
        .next()
        .unwrap_or_else(|| panic!("no {name}: {metrics}"));
    assert!(found.next().is_none(), "{name} twice: {metrics}");
    let (_, value) = line.rsplit_once(' ').expect("a value");
    value.parse().expect("a number")
}

#[track_caller]
fn assert_agrees(entry: &Value, session: &End) {
    let messages = session.messages();
    let (sent, sent_bytes) = sent_by(&messages, "CLIENT");
    let (received, received_bytes) = sent_by(&messages, "VENUE");
    let moved = counts(entry);
    // Each message is one call of send, and waits for the one before it to be answered.
    assert_eq!((moved.out_calls, moved.out_bytes), (sent, sent_bytes));
    assert_eq!((moved.in_calls, moved.in_bytes), (received, received_bytes));

    let time = |name: &str| -> Timestamp {
        let text = entry[name].as_str().expect("a time");
        text.parse().expect("a time")
    };
    let events = session.log("event");
    let at = |what: &str| {
        let event = events.iter().find(|(_, event)| event.starts_with(what));
        event.unwrap_or_else(|| panic!("{what}: {events:?}")).0
    };
    let (start, end) = (time("start_time"), time("end_time"));
    let logons: Vec<_> = messages
        .iter()
        .filter(|(_, message)| ["A", "5"].contains(&field(message, "35")))
        .collect();
    let [(logon, _), _, _, (logout, _)] = logons[..] else {
        panic!("{logons:?}");
    };
    assert!(
        start + TOLERANCE >= at("Connecting to"),
        "{entry}: {events:?}"
    );
    assert!(start <= *logon + TOLERANCE, "{entry}: {events:?}");
    assert!(end + TOLERANCE >= *logout, "{entry}: {events:?}");
    assert!(
        end + TOLERANCE >= at("Disconnecting"),
        "{entry}: {events:?}"
    );
    let lived = entry["duration_seconds"].as_f64().expect("a number");
    let between = logout.duration_since(*logon).as_secs_f64();
    assert!(
        lived + TOLERANCE.as_secs_f64() >= between,
        "{entry}: {events:?}"
    );
}

/// The values that an expression of the dashboard gives.
#[track_caller]
fn values(prometheus: &Prometheus, expression: &str) -> Vec<f64> {
    let samples = prometheus.query(expression).expect(expression);
    samples.iter().map(Sample::value).collect()
}

/// Waits until the dashboard shows so many sessions, each in all its panels.
#[track_caller]
fn assert_shown(prometheus: &Prometheus, active: usize, since: Timestamp) {
    for expression in ["sum(fix_connections_active)", "fix_connections_active"] {
        eventually_equal(expression, &vec![active as f64], || {
            values(prometheus, expression)
        });
    }
    for expression in [
        "count(fix_connection_duration_seconds) or vector(0)",
        "sum(fix_connections_by_port) or vector(0)",
    ] {
        eventually_equal(expression, &vec![active as f64], || {
            values(prometheus, expression)
        });
    }
    for lived in values(prometheus, "fix_connection_duration_seconds") {
        let most = Timestamp::now().duration_since(since).as_secs_f64();
        assert!((0.0..=most).contains(&lived), "{lived} s of {most}");
    }
}

/// The end that connected says who has logged on at the other, as the settings name them.
#[track_caller]
fn assert_identified(agent: &Agent, port: u16) {
    let rows = agent.rows(&format!("state=closed&protocol=fix&port={port}"));
    assert_eq!(rows.len(), SESSIONS.len(), "{rows:#?}");
    let says = json!({"sender_comp_id": "VENUE", "target_comp_id": "CLIENT"});
    for row in &rows {
        assert_eq!(row.version, "FIX.4.2");
        assert_eq!(row.peer.as_ref(), Some(&says));
    }
}

#[test]
fn sessions_are_those_that_the_engine_has_logged() {
    let test = "sessions_are_those_that_the_engine_has_logged";
    let build = tempfile::tempdir().expect("a directory");
    let Some(program) = program(test, build.path()) else {
        return;
    };
    let Some([prometheus]) = installed(test, ["prometheus"]) else {
        return;
    };
    let port = free_address().port();
    let config = build.path().join("config.toml");
    fs::write(
        &config,
        format!(
            "[[service]]\nname = \"fix\"\nremote_ip = \"127.0.0.1\"\nremote_port = {port}\n\
             metric_prefix = \"fix\"\nidentify = true\n"
        ),
    )
    .expect("a file");
    let agent = Agent::start_with(&["--config", config.to_str().expect("a plain path")]);
    let mut venue = End::start(&program, "accept", port, &[]);
    // On all addresses.
    let listener = (Ipv4Addr::UNSPECIFIED, port).into();
    eventually("the acceptor listens", || {
        is_listening(listener).then_some(())
    });
    let range = [format!("--min-port={port}"), format!("--max-port={port}")];
    let mut watch = Watch::start(&agent, &["--ip=127.0.0.1", &range[0], &range[1]]);

    let prometheus = Prometheus::start(&prometheus, agent.address, &["fix-connections"], "");
    // What has increased is seen by who was there before.
    eventually_equal("a scrape before the sessions", &vec![0.0], || {
        values(&prometheus, "fix_connections_total")
    });
    let sessions = SESSIONS.map(|orders| {
        let since = Timestamp::now();
        let mut session = End::start(&program, "initiate", port, &[&orders.to_string()]);
        assert_shown(&prometheus, 1, since);
        session.wait();
        assert_shown(&prometheus, 0, since);
        session
    });
    venue.wait();
    for (expression, expected) in [
        ("fix_connections_total", SESSIONS.len()),
        ("fix_connections_peak", 1),
        ("up{job=\"fix-connections\"}", 1),
    ] {
        eventually_equal(expression, &vec![expected as f64], || {
            values(&prometheus, expression)
        });
    }
    // Prometheus extrapolates.
    let increase = values(&prometheus, "increase(fix_connections_total[1h])");
    assert!(
        matches!(increase[..], [sessions] if sessions >= SESSIONS.len() as f64),
        "{increase:?}"
    );
    let mut ended = Vec::new();
    while ended.len() < 2 * SESSIONS.len() {
        let line = watch.line();
        let value: Value = serde_json::from_str(&line).expect(&line);
        if value["event"] == "ended" {
            ended.push(value);
        }
    }
    let of = |direction: &str| -> Vec<_> {
        let mut chosen: Vec<_> = ended
            .iter()
            .filter(|entry| entry["direction"] == direction)
            .cloned()
            .collect();
        chosen.sort_by_key(|entry| entry["cid"].as_u64());
        chosen
    };
    let (initiated, accepted) = (of("out"), of("in"));
    assert_eq!(
        (initiated.len(), accepted.len()),
        (SESSIONS.len(), SESSIONS.len())
    );
    for (entry, session) in initiated.iter().zip(&sessions) {
        assert_agrees(entry, session);
    }
    assert_identified(&agent, port);
    // The acceptor has one log for all sessions.
    let messages = venue.messages();
    let logons = messages
        .iter()
        .filter(|(_, message)| field(message, "35") == "A" && field(message, "49") == "CLIENT");
    assert_eq!(logons.count(), SESSIONS.len());
    let sum = |get: fn(&Value) -> (u64, u64)| {
        accepted
            .iter()
            .map(get)
            .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    };
    let sent = sum(|entry| (counts(entry).out_calls, counts(entry).out_bytes));
    let received = sum(|entry| (counts(entry).in_calls, counts(entry).in_bytes));
    assert_eq!(sent, sent_by(&messages, "VENUE"));
    assert_eq!(received, sent_by(&messages, "CLIENT"));

    let sent = sum_of(&sessions, "CLIENT");
    let received = sum_of(&sessions, "VENUE");
    let metrics = agent.get("/metrics").body;
    for (name, expected) in [
        ("fix_connections_total", SESSIONS.len() as u64),
        ("fix_connections_active", 0),
        ("fix_connections_peak", 1),
        ("conntrace_service_transmit_messages_total", sent.0),
        ("conntrace_service_transmit_bytes_total", sent.1),
        ("conntrace_service_receive_messages_total", received.0),
        ("conntrace_service_receive_bytes_total", received.1),
    ] {
        assert_eq!(series(&metrics, name), expected, "{name}");
    }

    let (_, report) = watch.end(Ending::Signal(Signal::SIGTERM));
    let stats = &report["stats"];
    for (name, expected) in [
        ("total_connections", 2 * SESSIONS.len()),
        ("opened", 2 * SESSIONS.len()),
        ("ended", 2 * SESSIONS.len()),
        ("current_connections", 0),
        ("peak_connections", 2),
        ("failed_attempts", 0),
    ] {
        assert_eq!(
            stats[name].as_u64(),
            Some(expected as u64),
            "{name}: {stats}"
        );
    }
    assert_eq!(
        report["recent_disconnected"].as_array().map(Vec::len),
        Some(ended.len())
    );
}
