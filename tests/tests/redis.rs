//! redis-server under redis-benchmark, against its own `INFO`.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::TcpStream,
    process::Command,
};

use conn_trace_tests::{
    agent::{Agent, free_address},
    connz::Row,
    program::Server,
    skip::installed,
    wait::eventually_equal,
};

const REQUESTS: u64 = 20_000;
const CLIENTS: u64 = 20;
const INFO: &[u8] = b"INFO stats\r\n";

/// What the server says of itself over this connection: the figures, and the answer's length.
fn info(stream: &mut TcpStream) -> (HashMap<String, u64>, u64) {
    stream.write_all(INFO).expect("a request");
    let mut answer = Vec::new();
    let mut buffer = [0; 65536];
    // `$<length>\r\n<text>\r\n`
    let text = loop {
        let received = stream.read(&mut buffer).expect("an answer");
        assert_ne!(received, 0, "the server has closed");
        answer.extend_from_slice(&buffer[..received]);
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n")
            && let Some(length) = head
                .strip_prefix('$')
                .and_then(|length| length.parse::<usize>().ok())
            && body.len() == length + 2
        {
            break body.to_owned();
        }
    };
    let figures = text
        .lines()
        .filter_map(|line| {
            let (name, value) = line.trim_end().split_once(':')?;
            Some((name.to_owned(), value.parse().ok()?))
        })
        .collect();
    (figures, answer.len() as u64)
}

#[test]
fn redis_counts_the_same_bytes_and_requests() {
    let test = "redis_counts_the_same_bytes_and_requests";
    let Some([server, benchmark]) = installed(test, ["redis-server", "redis-benchmark"]) else {
        return;
    };
    let agent = Agent::start_with(&["--closed-history", "50000"]);
    let address = free_address();
    let port = address.port().to_string();
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(server);
    command.current_dir(directory.path());
    command.args([
        "--bind",
        "127.0.0.1",
        "--port",
        &port,
        "--save",
        "",
        "--appendonly",
        "no",
    ]);
    let server = Server::start(&mut command, address);

    let output = Command::new(benchmark)
        .args(["-p", &port, "-t", "set", "-d", "100", "-q"])
        .args(["-n", &REQUESTS.to_string(), "-c", &CLIENTS.to_string()])
        .output()
        .expect("redis-benchmark");
    assert!(output.status.success(), "{output:?}");
    eventually_equal("open connections of the benchmark", &0, || {
        agent.connz(&format!("local_port={port}")).total
    });
    let mut stream = TcpStream::connect(address).expect("the server");
    let (figures, answer_bytes) = info(&mut stream);

    let rows = agent.rows(&format!("state=all&local_port={port}"));
    assert_eq!(
        rows.len() as u64,
        figures["total_connections_received"],
        "connections"
    );
    let sum = |value: fn(&Row) -> u64| rows.iter().map(value).sum::<u64>();
    // It counts its answer after it has written it, this one not yet.
    assert_eq!(
        sum(|row| row.in_bytes),
        figures["total_net_input_bytes"],
        "bytes in"
    );
    assert_eq!(
        sum(|row| row.out_bytes),
        figures["total_net_output_bytes"] + answer_bytes,
        "bytes out"
    );
    // One request at a time on each connection: every read is a `SET`, every write its `+OK`. The
    // other connections are this one, and the one on which the benchmark asks for settings.
    let ok = "+OK\r\n".len() as u64;
    let is_of_requests = |row: &&Row| row.in_msgs > 1 && row.out_bytes == ok * row.out_msgs;
    let requests: Vec<&Row> = rows.iter().filter(is_of_requests).collect();
    assert_eq!(requests.len() as u64, CLIENTS);
    assert_eq!(
        requests.iter().map(|row| row.in_msgs).sum::<u64>(),
        REQUESTS
    );
    assert_eq!(
        requests.iter().map(|row| row.out_msgs).sum::<u64>(),
        REQUESTS
    );
    assert!(figures["total_commands_processed"] >= REQUESTS);
    for row in &rows {
        assert_eq!(row.pid, Some(server.pid()), "{row:#?}");
        assert_eq!(row.comm.as_deref(), Some("redis-server"), "{row:#?}");
        // The client's end, by itself.
        let other = agent.rows(&format!("state=all&port={port}&local_port={}", row.port));
        assert_eq!(other.len(), 1, "{other:#?}");
        assert_eq!(
            (other[0].in_bytes, other[0].out_bytes),
            (row.out_bytes, row.in_bytes)
        );
    }
}
