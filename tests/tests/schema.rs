//! `/openapi.json` against what the agent answers: schemathesis asks all that the document allows,
//! and much that it does not.

use std::{
    collections::BTreeSet,
    env,
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command as Process,
};

use conn_trace_tests::{
    agent::{Agent, free_address, run},
    pair::Two,
    peer::Peer,
    protocol::Command,
    skip::skip,
    wait::eventually,
};
use serde_json::Value;

/// `cargo xtask test` names the program in it.
const PROGRAM: &str = "CONN_TRACE_SCHEMATHESIS";
/// What it cannot learn from the document, and how much it asks.
const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/schemathesis");
/// `hooks.py` asks for connections by the first numbers.
const CONNECTIONS: u32 = 30;
/// Of more than 2000 questions, those for a page of the agent's own dialect.
const LEAST_ASKED: u64 = 200;

fn program() -> Option<PathBuf> {
    env::var_os(PROGRAM)
        .map(PathBuf::from)
        .filter(|path| path.is_file())
}

/// Connections in all states that last, and some that have ended.
struct Connections {
    _all: [Peer; 3],
}

impl Connections {
    fn open() -> Self {
        let mut two = Two::start();
        let pairs = two.open_many(CONNECTIONS);
        two.forth(&pairs[0], 10_000, 1_000);
        two.client.done(&Command::ShutdownWrite {
            id: pairs[1].client.id,
        });
        two.client.close(&[pairs[2].client]);
        two.server.receive_to_end(&pairs[2].server);
        two.server.close(&[pairs[2].server]);
        two.client.reset(&pairs[3].client);
        two.client.send(&pairs[4].client, 5_000, 100);

        // Whoever is second in a queue for one is not answered.
        let mut alone = Peer::start("alone");
        let address = alone.listen_for_one();
        two.client.connect(address, 1);
        two.client.ends(&Command::ConnectWithoutWaiting { address });

        let mut killed = Peer::start("killed");
        killed.connect(two.address, 1);
        two.server.accept(1);
        killed.kill();
        TcpStream::connect(free_address()).expect_err("nobody listens");
        let Two { client, server, .. } = two;
        Self {
            _all: [client, server, alone],
        }
    }
}

#[test]
fn every_answer_is_as_the_document_says() {
    let test = "every_answer_is_as_the_document_says";
    let Some(program) = program() else {
        skip(
            test,
            "schemathesis is not installed: `cargo xtask setup` does it or says why not",
        );
        return;
    };
    let agent = Agent::start();
    let _connections = Connections::open();
    eventually("connections in these states", || {
        let rows = agent.rows("state=all");
        let states: BTreeSet<_> = rows.iter().map(|row| &*row.state).collect();
        [
            "CLOSED",
            "CLOSE_WAIT",
            "ESTABLISHED",
            "FIN_WAIT2",
            "SYN_SENT",
        ]
        .iter()
        .all(|state| states.contains(state))
        .then_some(())
    });

    let directory = tempfile::tempdir().expect("a directory");
    let files = Path::new(FILES);
    let config = files.join("schemathesis.toml").display().to_string();
    let document = format!("http://{}/openapi.json", agent.address);
    let mut process = Process::new(program);
    process
        .current_dir(directory.path())
        .env("SCHEMATHESIS_HOOKS", files.join("hooks.py"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        // The agent is not behind one.
        .env("NO_PROXY", "*");
    let (status, output, errors) = run(
        process,
        &[
            "--config-file",
            &config,
            "run",
            // These do not end.
            "--exclude-path-regex",
            "/events$",
            &document,
        ],
    );
    assert!(status.success(), "{output}{errors}");

    let figures: Value = serde_json::from_str(&agent.get("/varz").body).expect("JSON");
    let asked = &figures["http_req_stats"]["/connz"];
    assert!(
        asked.as_u64() >= Some(LEAST_ASKED),
        "{asked} questions: {output}"
    );
    assert_eq!(agent.get("/healthz").status, 200);
    agent.stop();
}
