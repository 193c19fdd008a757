//! Real servers and their clients: what each really speaks, and what it says of itself.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use conn_trace_tests::{
    agent::{Agent, free_address},
    config::Config,
    connz::Row,
    nats::NatsServer,
    program::Server,
    skip::{installed, skip},
    wait::eventually,
};
use nix::unistd::{User, chown};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// An agent that wants to know what is spoken to these addresses, at both ends.
fn agent(addresses: &[SocketAddr]) -> Agent {
    let ports: Vec<_> = addresses.iter().map(|it| it.port().to_string()).collect();
    let ports = ports.join(", ");
    Config::new(&format!(
        "[[service]]\nname = \"server\"\nlocal_port = [{ports}]\nidentify = true\n\
         [[service]]\nname = \"client\"\nremote_port = [{ports}]\nidentify = true\n"
    ))
    .agent(&[])
}

/// Runs a client; whatever it says.
fn run(command: &mut Command) -> String {
    let output = command
        .stdin(Stdio::null())
        .output()
        .expect("the client starts");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// The last connection to that address, at the server's end.
#[track_caller]
fn last(agent: &Agent, address: SocketAddr) -> Row {
    let query = format!("state=all&direction=in&local_port={}", address.port());
    eventually("a connection that is known", || {
        let mut rows = agent.rows(&query);
        rows.sort_by_key(|row| row.cid);
        rows.pop().filter(|row| row.protocol.is_some())
    })
}

/// The other end of it.
#[track_caller]
fn other_end(agent: &Agent, row: &Row) -> Row {
    let (port, local_port) = (row.local_port, row.port);
    let query = format!("state=all&direction=out&port={port}&local_port={local_port}");
    let mut rows = agent.rows(&query);
    assert_eq!(rows.len(), 1, "{rows:#?}");
    rows.remove(0)
}

fn said(row: &Row) -> (&str, &str, Value) {
    (
        row.protocol.as_deref().unwrap_or_default(),
        &row.version,
        row.peer.clone().unwrap_or(Value::Null),
    )
}

/// Prints a line of the table of what was found.
fn show(what: &str, row: &Row) {
    let (protocol, version, peer) = said(row);
    println!("{what}: {protocol} {version} {peer}");
}

fn certificate(openssl: &Path, directory: &Path) {
    let key = directory.join("key.pem");
    let certificate = directory.join("certificate.pem");
    run(Command::new(openssl)
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        ])
        .args(["-subj", "/CN=web.example", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate));
    assert!(certificate.exists(), "a certificate");
}

#[test]
fn nginx_speaks_http_and_tls() {
    let test = "nginx_speaks_http_and_tls";
    let Some([nginx, curl, openssl]) = installed(test, ["nginx", "curl", "openssl"]) else {
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().display().to_string();
    certificate(&openssl, directory.path());
    let addresses @ [plain, two, tls] = [free_address(), free_address(), free_address()];
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {path}/{kind};\n"))
        .concat();
    let servers = [
        format!("{plain}"),
        format!("{two} http2"),
        format!("{tls} ssl http2"),
    ]
    .map(|listen| format!("server {{ listen {listen}; location / {{ return 204; }} }}\n"))
    .concat();
    let configuration = format!(
        "daemon off;\nmaster_process off;\npid {path}/pid;\nerror_log {path}/error.log;\nevents {{}}\n\
         http {{\n{temporary}access_log off;\nssl_protocols TLSv1.2 TLSv1.3;\nssl_certificate {path}/certificate.pem;\n\
         ssl_certificate_key {path}/key.pem;\n{servers}}}\n"
    );
    let file = directory.path().join("nginx.conf");
    fs::write(&file, configuration).expect("a file");
    let agent = agent(&addresses);
    let mut command = Command::new(nginx);
    command.arg("-c").arg(&file).args(["-p", &path, "-e"]);
    command.arg(directory.path().join("error.log"));
    let _server = Server::start(&mut command, tls);
    let version = run(Command::new(&curl).arg("--version"));
    let version = version.split(' ').nth(1).expect("a version");
    let software = json!({"software": format!("curl/{version}")});

    let url = format!("http://{plain}/");
    run(Command::new(&curl).args(["-s", &url]));
    let row = last(&agent, plain);
    show("nginx, curl", &row);
    assert_eq!(said(&row), ("http", "1.1", software.clone()));
    let (protocol, spoken, server) = (
        row.protocol.clone(),
        row.version.clone(),
        other_end(&agent, &row),
    );
    assert_eq!(
        (protocol, spoken),
        (server.protocol.clone(), server.version.clone())
    );
    let name = server.peer.expect("what nginx says")["software"].clone();
    assert!(
        name.as_str().is_some_and(|name| name.starts_with("nginx/")),
        "{name}"
    );

    run(Command::new(&curl).args(["-s", "-0", &url]));
    assert_eq!(
        said(&last(&agent, plain)),
        ("http", "1.0", software.clone())
    );

    let url = format!("http://{two}/");
    run(Command::new(&curl).args(["-s", "--http2-prior-knowledge", &url]));
    let row = last(&agent, two);
    show("nginx, curl --http2-prior-knowledge", &row);
    assert_eq!(said(&row), ("http", "2", software));
    let client = other_end(&agent, &row);
    assert_eq!(said(&client), ("http", "2", Value::Null));

    for (most, spoken) in [("1.2", "1.2"), ("1.3", "1.3")] {
        let port = tls.port();
        let resolve = format!("web.example:{port}:127.0.0.1");
        let url = format!("https://web.example:{port}/");
        run(Command::new(&curl).args(["-sk", "--tls-max", most, "--resolve", &resolve, &url]));
        let row = last(&agent, tls);
        show(&format!("nginx, curl --tls-max {most}"), &row);
        let wants = json!({"server_name": "web.example", "alpn": "h2,http/1.1"});
        assert_eq!(said(&row), ("tls", spoken, wants));
        // Of TLS 1.3 the server's choice is encrypted.
        let chosen = match spoken {
            "1.2" => json!({"alpn": "h2"}),
            _ => Value::Null,
        };
        assert_eq!(said(&other_end(&agent, &row)), ("tls", spoken, chosen));
    }
}

/// A server of gRPC that answers what it was asked, and a client that asks once.
const GRPC: &str = "
import sys, grpc
from concurrent import futures
address = sys.argv[2]
if sys.argv[1] == 'serve':
    class Echo(grpc.GenericRpcHandler):
        def service(self, details):
            return grpc.unary_unary_rpc_method_handler(lambda request, context: request)
    server = grpc.server(futures.ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((Echo(),))
    server.add_insecure_port(address)
    server.start()
    server.wait_for_termination()
else:
    with grpc.insecure_channel(address) as channel:
        print(channel.unary_unary('/echo.Echo/Say')(b'x', wait_for_ready=True))
        print(grpc.__version__)
";

#[test]
fn a_grpc_server_speaks_grpc() {
    let test = "a_grpc_server_speaks_grpc";
    // Debian's package is for Debian's Python; another may come before it on the path.
    let python = ["/usr/bin/python3", "python3"].into_iter().find(|python| {
        let mut check = Command::new(python);
        let check = check.args(["-c", "import grpc"]).stderr(Stdio::null());
        check.status().is_ok_and(|status| status.success())
    });
    let Some(python) = python else {
        skip(test, "python3-grpcio is not installed");
        return;
    };
    let address = free_address();
    let agent = agent(&[address]);
    let text = address.to_string();
    let mut command = Command::new(python);
    let _server = Server::start(command.args(["-c", GRPC, "serve", &text]), address);
    let answer = run(Command::new(python).args(["-c", GRPC, "ask", &text]));
    let version = answer.lines().nth(1).expect("a version");
    assert!(answer.starts_with("b'x'"), "{answer}");
    let row = last(&agent, address);
    show("grpcio", &row);
    let (protocol, spoken, peer) = said(&row);
    assert_eq!((protocol, spoken), ("grpc", "2"));
    let software = peer["software"].as_str().expect("a name");
    assert!(
        software.starts_with(&format!("grpc-python/{version} ")),
        "{software}"
    );
}

#[test]
fn nats_clients_are_named_as_nats_server_names_them() {
    let test = "nats_clients_are_named_as_nats_server_names_them";
    let Some([program]) = installed(test, ["nats-server"]) else {
        return;
    };
    let server = NatsServer::start(&program);
    let address = server.address();
    let agent = agent(&[address]);
    let runtime = Runtime::new().expect("a runtime");
    let options = async_nats::ConnectOptions::new().name("orders-1");
    let client = runtime
        .block_on(options.connect(address.to_string()))
        .expect("a client");
    let row = last(&agent, address);
    show("nats-server, async-nats", &row);
    let page = server.says("/connz");
    let theirs = &page["connections"][0];
    let ours = json!({"name": row.name, "lang": row.lang, "version": row.version});
    for field in ["name", "lang", "version"] {
        assert_eq!(ours[field], theirs[field], "{field}: {theirs}");
    }
    assert_eq!(row.protocol.as_deref(), Some("nats"));
    let answer = agent.get("/nats/connz");
    let dialect: Value = serde_json::from_str(&answer.body).expect("JSON");
    let found = dialect["connections"].as_array().expect("a list").iter();
    let mut found = found.filter(|one| one["cid"] == row.cid);
    assert_eq!(found.next().expect("the row")["name"], theirs["name"]);
    // The client's end has read what the server says of itself.
    let end = other_end(&agent, &row);
    let varz = server.says("/varz");
    assert_eq!(end.protocol.as_deref(), Some("nats"));
    assert_eq!(varz["version"], *end.version);
    assert_eq!(varz["server_name"], end.name.as_deref().unwrap_or_default());
    drop(client);
}

#[test]
fn redis_speaks_what_the_client_asks_for() {
    let test = "redis_speaks_what_the_client_asks_for";
    let Some([program, client]) = installed(test, ["redis-server", "redis-cli"]) else {
        return;
    };
    let address = free_address();
    let directory = tempfile::tempdir().expect("a directory");
    let port = address.port().to_string();
    let mut command = Command::new(program);
    command.current_dir(directory.path());
    command.args(["--bind", "127.0.0.1", "--port", &port, "--save", ""]);
    let agent = agent(&[address]);
    let _server = Server::start(&mut command, address);
    for (flags, version) in [(&["-p"][..], "2"), (&["-3", "-p"], "3")] {
        let list = run(Command::new(&client)
            .args(flags)
            .args([&port, "CLIENT", "LIST"]));
        let row = last(&agent, address);
        show(&format!("redis-server, redis-cli {}", flags.concat()), &row);
        // As the server says.
        assert!(list.contains(&format!("resp={version}")), "{list}");
        assert_eq!(said(&row), ("redis", version, Value::Null));
    }
}

#[test]
fn mosquitto_speaks_each_version_of_mqtt() {
    let test = "mosquitto_speaks_each_version_of_mqtt";
    let Some([program, client]) = installed(test, ["mosquitto", "mosquitto_pub"]) else {
        return;
    };
    let address = free_address();
    let port = address.port().to_string();
    let agent = agent(&[address]);
    let _server = Server::start(Command::new(program).args(["-p", &port]), address);
    for (name, version) in [("mqttv31", "3.1"), ("mqttv311", "3.1.1"), ("mqttv5", "5.0")] {
        let id = format!("sensor-{name}");
        let said_by_client = run(Command::new(&client)
            .args(["-h", "127.0.0.1", "-p", &port, "-V", name, "-i", &id])
            .args(["-t", "a", "-m", "b", "-q", "1"]));
        assert_eq!(said_by_client, "", "published");
        let row = last(&agent, address);
        show(&format!("mosquitto, mosquitto_pub -V {name}"), &row);
        assert_eq!(said(&row), ("mqtt", version, json!({"client_id": id})));
        let end = other_end(&agent, &row);
        assert_eq!(end.protocol.as_deref(), Some("mqtt"));
    }
}

#[test]
fn openssh_says_its_version_at_both_ends() {
    let test = "openssh_says_its_version_at_both_ends";
    let Some([sshd, ssh, keygen]) = installed(test, ["sshd", "ssh", "ssh-keygen"]) else {
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let key = directory.path().join("key");
    run(Command::new(keygen)
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key));
    fs::create_dir_all("/run/sshd").expect("where sshd wants to be");
    let address = free_address();
    let port = address.port().to_string();
    let agent = agent(&[address]);
    let mut command = Command::new(sshd);
    command.args([
        "-D",
        "-e",
        "-f",
        "/dev/null",
        "-o",
        "ListenAddress=127.0.0.1",
    ]);
    command.args(["-p", &port, "-h"]).arg(&key);
    let _server = Server::start(&mut command, address);
    let version = run(Command::new(&ssh).arg("-V"));
    let version = version
        .split([',', ' '])
        .next()
        .expect("a version")
        .to_owned();
    run(Command::new(&ssh)
        .args([
            "-F",
            "/dev/null",
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=no",
        ])
        .args([
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-p",
            &port,
            "127.0.0.1",
            "true",
        ]));
    let row = last(&agent, address);
    show("sshd, ssh", &row);
    for end in [&row, &other_end(&agent, &row)] {
        let (protocol, spoken, peer) = said(end);
        assert_eq!((protocol, spoken), ("ssh", "2.0"));
        let software = peer["software"].as_str().expect("a name");
        assert!(software.starts_with(&version), "{software}, not {version}");
    }
}

/// The programs of PostgreSQL's server are on no path.
fn postgresql() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found = versions.filter_map(|version| {
        let programs = version.ok()?.path().join("bin");
        programs.join("postgres").is_file().then_some(programs)
    });
    found.next()
}

#[test]
fn postgresql_is_told_who_wants_what() {
    let test = "postgresql_is_told_who_wants_what";
    let Some([psql, runuser]) = installed(test, ["psql", "runuser"]) else {
        return;
    };
    let (Some(programs), Ok(Some(user))) = (postgresql(), User::from_name("postgres")) else {
        skip(test, "postgresql is not installed");
        return;
    };
    // It does not run as root.
    let directory = TempDir::new_in("/var/tmp").expect("a directory");
    chown(directory.path(), Some(user.uid), Some(user.gid)).expect("a directory of its own");
    let data = directory.path().join("data");
    let as_user = |program: &str| {
        let mut command = Command::new(&runuser);
        command
            .current_dir("/")
            .args(["-u", "postgres", "--"])
            .arg(programs.join(program));
        command
    };
    let made = run(as_user("initdb")
        .args(["-A", "trust", "-N", "-D"])
        .arg(&data));
    assert!(data.join("PG_VERSION").exists(), "{made}");
    let address = free_address();
    let port = address.port().to_string();
    let agent = agent(&[address]);
    let mut command = as_user("postgres");
    command
        .arg("-D")
        .arg(&data)
        .args(["-h", "127.0.0.1", "-p", &port, "-k"]);
    command.arg(directory.path());
    let _server = Server::start(&mut command, address);
    let target = |more: &str| {
        format!(
            "host=127.0.0.1 port={port} user=postgres dbname=template1 gssencmode=disable {more}"
        )
    };
    let wants = json!({"user": "postgres", "database": "template1", "application": "psql"});
    // The second asks for TLS first, which this server has not.
    for more in ["sslmode=disable", "sslmode=prefer"] {
        let answer = eventually("an answer of PostgreSQL", || {
            let answer = run(Command::new(&psql).args([&target(more), "-Atc", "SELECT 7"]));
            (answer == "7\n").then_some(answer)
        });
        assert_eq!(answer, "7\n");
        let row = last(&agent, address);
        show(&format!("postgres, psql {more}"), &row);
        assert_eq!(said(&row), ("postgresql", "3.0", wants.clone()));
    }
}
