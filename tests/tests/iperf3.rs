//! iperf3, which reports the bytes of each of its streams.

use std::{collections::HashMap, net::SocketAddr, process::Command};

use conn_trace_tests::{
    agent::{Agent, free_address},
    connz::Row,
    program::Server,
    skip::installed,
    wait::eventually,
};
use serde_json::Value;

/// Every connection begins with the test's cookie (`COOKIE_SIZE` in iperf3's `iperf.h`).
const COOKIE_BYTES: u64 = 37;
const STREAMS: u64 = 3;

/// Who sends the data.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sender {
    Client,
    Server,
}

fn measured(test: &str, arguments: &[&str], sender: Sender) {
    let Some([program]) = installed(test, ["iperf3"]) else {
        return;
    };
    let agent = Agent::start();
    let address = free_address();
    let port = address.port().to_string();
    let mut command = Command::new(&program);
    command.args(["--server", "--bind", "127.0.0.1", "--port", &port]);
    let server = Server::start(&mut command, address);
    let output = Command::new(program)
        .args(["--client", "127.0.0.1", "--port", &port, "--json"])
        .args(["--parallel", &STREAMS.to_string()])
        .args(arguments)
        .output()
        .expect("iperf3");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(output.status.success(), "{report:#}");

    // The data streams and the one for control.
    let rows = eventually("both ends of all connections are closed", || {
        let mut rows = agent.rows(&format!("state=closed&port={port}"));
        rows.extend(agent.rows(&format!("state=closed&local_port={port}")));
        (rows.len() as u64 == 2 * (STREAMS + 1)).then_some(rows)
    });
    let rows: HashMap<_, Row> = rows.into_iter().map(|row| (row.tuple(), row)).collect();
    let connected = report["start"]["connected"].as_array().expect("streams");
    let streams = report["end"]["streams"].as_array().expect("streams");
    assert_eq!(
        (connected.len() as u64, streams.len() as u64),
        (STREAMS, STREAMS)
    );
    for (stream, result) in connected.iter().zip(streams) {
        assert_eq!(stream["socket"], result["sender"]["socket"]);
        let number = |value: &Value| value.as_u64().expect("a number");
        let local_port = u16::try_from(number(&stream["local_port"])).expect("a port");
        let local = SocketAddr::new(address.ip(), local_port);
        let (client, server_row) = (&rows[&(local, address)], &rows[&(address, local)]);
        let sent = number(&result["sender"]["bytes"]);
        let received = number(&result["receiver"]["bytes"]);
        // The client's end: written, read; then the server's.
        let seen = [
            [client.out_bytes, client.in_bytes],
            [server_row.out_bytes, server_row.in_bytes],
        ];
        let expected = match sender {
            Sender::Client => [[COOKIE_BYTES + sent, 0], [0, COOKIE_BYTES + received]],
            Sender::Server => {
                // The client ends the test, and what it reads then is not in its report
                // (iperf_tcp_recv() in iperf_tcp.c); that it read all of it, the server knows.
                assert!(received <= sent, "{result:#}");
                [[COOKIE_BYTES, sent], [sent, COOKIE_BYTES]]
            }
        };
        assert_eq!(seen, expected, "{client:#?} {server_row:#?}");
        assert_eq!(server_row.pid, Some(server.pid()), "{server_row:#?}");
        assert_eq!(client.comm.as_deref(), Some("iperf3"), "{client:#?}");
    }
}

#[test]
fn iperf3_reports_the_same_bytes() {
    let test = "iperf3_reports_the_same_bytes";
    measured(test, &["--bytes", "256M"], Sender::Client);
}

#[test]
fn iperf3_with_sendfile_reports_the_same_bytes() {
    let test = "iperf3_with_sendfile_reports_the_same_bytes";
    measured(test, &["--bytes", "256M", "--zerocopy"], Sender::Client);
}

#[test]
fn iperf3_from_server_to_client_reports_the_same_bytes() {
    let test = "iperf3_from_server_to_client_reports_the_same_bytes";
    measured(test, &["--bytes", "256M", "--reverse"], Sender::Server);
}
