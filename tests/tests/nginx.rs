//! nginx under wrk, against nginx's own log and wrk's own sums.

use std::{collections::HashMap, fs, path::Path, process::Command};

use conn_trace_tests::{
    agent::{Agent, free_address},
    connz::Row,
    program::Server,
    skip::installed,
    wait::eventually_equal,
};
use nix::sys::signal::Signal;

const FILE_BYTES: usize = 10_000;
/// Says exactly what wrk otherwise rounds.
const SCRIPT: &str = "\
done = function(summary, latency, requests)
    print(string.format('EXACT %d %d', summary.requests, summary.bytes))
end
";

/// What nginx wrote of one connection.
#[derive(Clone, Copy, Debug, Default)]
struct Logged {
    requests: u64,
    in_bytes: u64,
    out_bytes: u64,
}

fn configuration(directory: &Path, address: &str) -> String {
    let directory = directory.display();
    format!(
        "daemon off;
worker_processes 1;
pid {directory}/pid;
error_log {directory}/error.log;
events {{ worker_connections 256; }}
http {{
    log_format exact '$remote_port $request_length $bytes_sent';
    access_log {directory}/access.log exact;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    sendfile on;
    keepalive_requests 1000000;
    server {{ listen {address}; root {directory}; }}
}}
"
    )
}

fn logged(directory: &Path) -> HashMap<u16, Logged> {
    let text = fs::read_to_string(directory.join("access.log")).expect("nginx's log");
    let mut connections: HashMap<u16, Logged> = HashMap::new();
    for line in text.lines() {
        let mut numbers = line
            .split(' ')
            .map(|number| number.parse::<u64>().expect("a number"));
        let mut next = || numbers.next().expect("three numbers");
        let port = u16::try_from(next()).expect("a port");
        let connection = connections.entry(port).or_default();
        connection.requests += 1;
        connection.in_bytes += next();
        connection.out_bytes += next();
    }
    connections
}

#[test]
fn nginx_and_wrk_count_the_same_bytes() {
    let test = "nginx_and_wrk_count_the_same_bytes";
    let Some([nginx, wrk]) = installed(test, ["nginx", "wrk"]) else {
        return;
    };
    let agent = Agent::start();
    let address = free_address();
    let port = address.port();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    // Its worker is another user.
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(path, everybody).expect("permissions");
    fs::write(path.join("file"), vec![b'n'; FILE_BYTES]).expect("a file");
    fs::write(
        path.join("nginx.conf"),
        configuration(path, &address.to_string()),
    )
    .expect("a file");
    fs::write(path.join("exact.lua"), SCRIPT).expect("a file");
    let mut command = Command::new(nginx);
    command
        .arg("-p")
        .arg(path)
        .arg("-c")
        .arg(path.join("nginx.conf"));
    command.arg("-e").arg(path.join("error.log"));
    let server = Server::start(&mut command, address);

    let output = Command::new(wrk)
        .args([
            "--threads",
            "1",
            "--connections",
            "10",
            "--duration",
            "2s",
            "--script",
        ])
        .arg(path.join("exact.lua"))
        .arg(format!("http://{address}/file"))
        .output()
        .expect("wrk");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let exact = text
        .lines()
        .find_map(|line| line.strip_prefix("EXACT "))
        .unwrap_or_else(|| panic!("{text}"));
    let (requests, bytes) = exact.split_once(' ').expect("two numbers");
    let (requests, bytes): (u64, u64) = (
        requests.parse().expect("a number"),
        bytes.parse().expect("a number"),
    );
    assert!(requests > 100, "{text}");

    eventually_equal("open ends", &(0, 0), || {
        let open = |end: &str| agent.connz(&format!("{end}={port}&limit=1")).total;
        (open("port"), open("local_port"))
    });
    let clients = agent.rows(&format!("state=closed&port={port}"));
    let servers = agent.rows(&format!("state=closed&local_port={port}"));
    // wrk connects once more than asked for, to see whether somebody is there.
    assert_eq!((clients.len(), servers.len()), (11, 11), "{clients:#?}");

    // wrk adds up what its reads return.
    let read: u64 = clients.iter().map(|row| row.in_bytes).sum();
    assert_eq!(read, bytes, "bytes that wrk read");

    // nginx writes its log when a request is done, and all of it before it ends.
    server.signal(Signal::SIGQUIT);
    drop(server);
    let logged = logged(path);
    assert!(
        logged
            .values()
            .map(|connection| connection.requests)
            .sum::<u64>()
            >= requests
    );
    for row in &servers {
        let expected = logged.get(&row.port).copied().unwrap_or_default();
        assert_eq!(row.in_bytes, expected.in_bytes, "{row:#?}");
        assert_eq!(row.out_bytes, expected.out_bytes, "{row:#?}");
        if expected.requests > 0 {
            assert_eq!(row.comm.as_deref(), Some("nginx"), "{row:#?}");
        }
    }
    // What was sent was read, but for what was on its way when wrk closed.
    let others: HashMap<_, &Row> = clients.iter().map(|row| (row.local_port, row)).collect();
    for row in &servers {
        let client = others[&row.port];
        assert!(row.in_bytes <= client.out_bytes, "{row:#?} {client:#?}");
        assert!(row.out_bytes >= client.in_bytes, "{row:#?} {client:#?}");
    }
}
