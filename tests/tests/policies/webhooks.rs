//! Records that are sent to a program that takes them, fails, or hangs.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc::{Receiver, channel},
    thread,
};

use conn_trace_tests::{
    agent::Agent,
    config::Config,
    pair::Two,
    wait::{eventually_equal, patience},
};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{outcome, service, with_policy};

/// A receiver that answers with these statuses in turn, the last one again and again, and gives out
/// what it was sent.
fn receiver(statuses: &'static [u16]) -> (SocketAddr, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
    let address = listener.local_addr().expect("an address");
    let (bodies, received) = channel();
    thread::spawn(move || {
        let mut statuses = statuses.iter().copied();
        let mut last = 200;
        for stream in listener.incoming().flatten() {
            last = statuses.next().unwrap_or(last);
            if bodies.send(answer(stream, last)).is_err() {
                break;
            }
        }
    });
    (address, received)
}

/// Reads a request and answers it; gives its body.
fn answer(stream: TcpStream, status: u16) -> Value {
    let mut stream = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).expect("a line");
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("a body");
    let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    // The agent may have gone.
    let _ = stream.get_mut().write_all(answer.as_bytes());
    serde_json::from_slice(&body).expect("JSON")
}

fn policy(url: &str) -> String {
    format!(
        "kind = \"limit\"\nconnections = 1\naction = \"webhook\"\nurl = \"{url}\"\ndry_run = false"
    )
}

/// The value of a series without labels but `host`.
fn series(agent: &Agent, name: &str) -> u64 {
    let text = agent.get("/metrics").body;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|line| line.rsplit(' ').next());
    value.map_or(0, |value| value.parse().expect("a number"))
}

#[test]
fn a_record_is_sent_again_until_it_is_taken() {
    let (address, received) = receiver(&[500, 200]);
    let mut two = Two::start();
    let url = format!("http://{address}/hook?token=secret");
    let config = Config::new(&with_policy(&two, "server", &policy(&url)));
    let agent = config.agent(&[]);
    let pairs = two.open_many(2);
    let first = received.recv_timeout(patience()).expect("a record");
    let again = received.recv_timeout(patience()).expect("the same");
    assert_eq!(first, again);
    assert_eq!(first["service"], "server");
    assert_eq!(first["reason"], "2 connections, limit 1");
    assert_eq!(first["outcome"], "done");
    let row = agent.open(&pairs[1].server);
    assert_eq!(first["connection"]["cid"], row.cid);
    eventually_equal("records that were taken", &1, || {
        series(&agent, "conntrace_webhook_delivered_records_total")
    });
    assert_eq!(series(&agent, "conntrace_webhook_failures_total"), 1);
    assert_eq!(series(&agent, "conntrace_webhook_dropped_records_total"), 0);
    let metrics = agent.get("/metrics").body;
    assert!(
        metrics.contains(&format!("{{host=\"{address}\"}}")),
        "{metrics}"
    );
    assert!(!metrics.contains("secret") && !agent.log().contains("secret"));
    agent.stop();
}

#[test]
fn a_receiver_that_hangs_costs_records_and_nothing_else() {
    const FLOOD: u32 = 400;
    /// Those that wait, and the one that is being sent.
    const TAKEN: u64 = 257;
    // The kernel takes the connections, and nobody answers.
    let hanging = TcpListener::bind("127.0.0.1:0").expect("an address");
    let url = format!("http://{}/", hanging.local_addr().expect("an address"));
    let mut two = Two::start();
    let config = Config::new(&with_policy(&two, "server", &policy(&url)));
    let agent = config.agent(&[]);
    let pairs = two.open_many(FLOOD + 1);
    eventually_equal("actions", &u64::from(FLOOD), || {
        outcome(&agent, "server", "done") + outcome(&agent, "server", "failed")
    });
    let failed = outcome(&agent, "server", "failed");
    // The first may not have been taken out of the queue when the others came.
    let least = u64::from(FLOOD) - TAKEN;
    assert!((least..=least + 1).contains(&failed), "{failed}");
    let last = &service(&agent, "server")["actions"][0];
    assert_eq!(last["error"], "256 records wait for the URL");
    assert_eq!(
        series(&agent, "conntrace_webhook_dropped_records_total"),
        failed
    );
    let waiting = series(&agent, "conntrace_webhook_waiting_records");
    assert_eq!(waiting, u64::from(FLOOD) - failed);
    assert_eq!(agent.get("/healthz").status, 200);
    two.forth(&pairs[400], 1, 1);
    // A URL that is used no more is given up, with all that waits for it.
    let is_listed = || {
        agent
            .get("/metrics")
            .body
            .contains("conntrace_webhook_waiting_records{")
    };
    assert!(is_listed());
    config.write(&with_policy(
        &two,
        "server",
        "kind = \"leak\"\nidle = \"1h\"\naction = \"log\"",
    ));
    agent.signal(Signal::SIGHUP);
    eventually_equal("a webhook", &false, is_listed);
    agent.stop();
}
