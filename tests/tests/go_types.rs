//! Our answers in the hands of nats-server's own types: Go decodes them, and writes out what it has
//! understood.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use conn_trace_tests::{
    agent::Agent,
    pair::Two,
    skip::{installed, skip},
    wait::eventually_equal,
};
use jiff::Timestamp;
use serde_json::Value;

const TEST: &str = "nats_servers_own_types_understand_every_answer";
/// Where Debian's golang-github-nats-io-nats-server-dev has it.
const GO_PATH: &str = "/usr/share/gocode";
const LIBRARY: &str = "src/github.com/nats-io/nats-server/server/monitor.go";
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/go/decode.go");

/// Compiles the program, which takes the library with it.
fn build(go: &Path, directory: &Path) -> PathBuf {
    let program = directory.join("decode");
    let output = Command::new(go)
        .args(["build", "-o"])
        .args([&program, Path::new(PROGRAM)])
        .current_dir(directory)
        .env("GO111MODULE", "off")
        .env("GOPATH", GO_PATH)
        .env("GOCACHE", directory.join("cache"))
        .env("CGO_ENABLED", "0")
        .output()
        .expect("go runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    program
}

/// What Go makes of these answers.
fn understood(program: &Path, answers: &[Value]) -> Vec<Value> {
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut input = child.stdin.take().expect("a pipe");
    for answer in answers {
        write!(input, "{answer}").expect("the program reads");
    }
    drop(input);
    let output = child.wait_with_output().expect("the program ends");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let lines = String::from_utf8(output.stdout).expect("UTF-8");
    lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// Whether Go has read what we have written; it writes fields that we do not have as empty ones.
#[track_caller]
fn assert_understood(ours: &Value, go: &Value, place: &str) {
    match (ours, go) {
        (Value::Object(ours), Value::Object(go)) => {
            for (name, go) in go {
                match ours.get(name) {
                    Some(ours) => assert_understood(ours, go, &format!("{place}.{name}")),
                    None => assert!(is_empty(go), "{place}.{name}: {go} of nothing"),
                }
            }
        }
        (Value::Array(ours), Value::Array(go)) => {
            assert_eq!(ours.len(), go.len(), "{place}");
            for (index, (ours, go)) in ours.iter().zip(go).enumerate() {
                assert_understood(ours, go, &format!("{place}[{index}]"));
            }
        }
        (Value::String(ours), Value::String(go)) if ours != go => {
            // Go leaves out zeros at the end of a fraction.
            let time = |text: &str| text.parse::<Timestamp>().ok();
            assert_eq!(time(ours), time(go), "{place}");
            assert!(time(ours).is_some(), "{place}: {ours} is {go}");
        }
        (Value::Number(ours), Value::Number(go)) => {
            assert_eq!(ours.as_f64(), go.as_f64(), "{place}");
        }
        (ours, go) => assert_eq!(ours, go, "{place}"),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(is_set) => !is_set,
        Value::Number(number) => number.as_f64() == Some(0.0),
        // The time before all others is Go's empty time.
        Value::String(text) => matches!(text.as_str(), "" | "0s" | "0001-01-01T00:00:00Z"),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
    }
}

#[test]
fn nats_servers_own_types_understand_every_answer() {
    let Some([go]) = installed(TEST, ["go"]) else {
        return;
    };
    if fs::metadata(Path::new(GO_PATH).join(LIBRARY)).is_err() {
        return skip(
            TEST,
            "golang-github-nats-io-nats-server-dev is not installed",
        );
    }
    let directory = tempfile::tempdir().expect("a directory");
    let program = build(&go, directory.path());
    let agent = Agent::start();
    let mut two = Two::start();
    let pairs = two.open_many(3);
    two.forth(&pairs[0], 1000, 10);
    two.back(&pairs[1], 70, 7);
    two.client.close(&[pairs[2].client]);
    two.server.close(&[pairs[2].server]);
    let port = two.address.port();
    eventually_equal("closed rows", &2, || {
        let closed = |end| agent.connz(&format!("state=closed&{end}={port}")).total;
        closed("port") + closed("local_port")
    });
    for query in [
        "",
        "state=closed",
        "state=any&sort=start&subs=1",
        "limit=1&offset=1",
    ] {
        let paths = [
            "/nats/varz".to_owned(),
            format!("/nats/connz?local_port={port}&{query}"),
            "/nats/subsz".to_owned(),
            "/nats/routez".to_owned(),
        ];
        let answers: [Value; 4] =
            paths.map(|path| serde_json::from_str(&agent.get(&path).body).expect("JSON"));
        let rows = answers[1]["connections"].as_array().map_or(0, Vec::len);
        assert!(rows > 0, "{query}");
        let go = understood(&program, &answers);
        for ((name, ours), go) in ["varz", "connz", "subsz", "routez"]
            .iter()
            .zip(&answers)
            .zip(&go)
        {
            assert_understood(ours, go, name);
        }
    }
    agent.stop();
}
