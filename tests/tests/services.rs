//! Services: what is counted of them is what both ends have done.

use std::{net::SocketAddr, process::Command};

use conn_trace_tests::{
    agent::{Agent, free_address, program, run},
    config::Config,
    http::Client,
    pair::{Pair, Two},
    peer::Peer,
    protocol::{self, Counts},
    wait::{eventually, eventually_equal},
};
use nix::sys::signal::Signal;
use serde_json::Value;

fn json(agent: &Agent, path: &str) -> Value {
    let answer = agent.get(path);
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    serde_json::from_str(&answer.body).expect("JSON")
}

fn service(agent: &Agent, name: &str) -> Value {
    json(agent, &format!("/services/{name}"))
}

/// These fields of a service.
fn fields<const N: usize>(service: &Value, names: [&str; N]) -> [u64; N] {
    names.map(|name| service[name].as_u64().expect(name))
}

const COUNTS: [&str; 7] = [
    "connections",
    "opened",
    "joined",
    "left",
    "closed",
    "failed",
    "peak",
];
const MOVED: [&str; 4] = ["in_bytes", "out_bytes", "in_msgs", "out_msgs"];

/// One service for each end of the connections to this address.
fn both_ends(address: SocketAddr) -> String {
    let port = address.port();
    format!(
        "[[service]]\nname = \"clients\"\nremote_port = {port}\n\
         [[service]]\nname = \"server\"\nlocal_port = {port}\ndirection = \"in\"\n"
    )
}

/// What both processes have counted over all pairs.
fn sums(two: &mut Two, pairs: &[Pair]) -> (Counts, Counts) {
    let nothing = (Counts::default(), Counts::default());
    pairs.iter().fold(nothing, |(client, server), pair| {
        let (one, other) = two.reports(pair);
        (client.plus(one), server.plus(other))
    })
}

#[test]
fn openings_ends_failures_and_bytes_are_those_of_both_ends() {
    let mut two = Two::start();
    let before = two.open_many(5);
    for pair in &before {
        two.forth(pair, 1000, 100);
    }
    let (before_client, before_server) = sums(&mut two, &before);
    let config = Config::new(&both_ends(two.address));
    let agent = config.agent(&[]);
    let pairs = two.open_many(20);
    for (number, pair) in (1..).zip(&pairs) {
        two.forth(pair, 10 * number, number);
        two.back(pair, 7, 7);
    }
    let refused = free_address();
    two.client.ask(&protocol::Command::ConnectRefused {
        address: refused,
        count: 3,
    });
    let (client, server) = sums(&mut two, &pairs);
    let closing = &pairs[..7];
    two.client
        .close(&closing.iter().map(|pair| pair.client).collect::<Vec<_>>());
    two.server
        .close(&closing.iter().map(|pair| pair.server).collect::<Vec<_>>());

    // Messages before the agent are not known; bytes are.
    let without_calls = |counts: Counts| Counts {
        in_calls: 0,
        out_calls: 0,
        ..counts
    };
    for (name, counts, older) in [
        ("clients", client, before_client),
        ("server", server, before_server),
    ] {
        eventually_equal("counts", &[18, 20, 5, 0, 7, 0, 25], || {
            fields(&service(&agent, name), COUNTS)
        });
        let one = service(&agent, name);
        let expected = counts.plus(without_calls(older));
        assert_eq!(fields(&one, MOVED), expected.moved(), "{name}");
        assert_eq!(one["states"]["ESTABLISHED"], 18, "{name}");
        assert_eq!(one["duration_seconds"]["count"], 7);
        let [fin, peer] =
            ["local_fin", "peer_fin"].map(|cause| one["closed_by_cause"][cause].clone());
        let expected = if name == "clients" { (7, 0) } else { (0, 7) };
        assert_eq!(
            (fin, peer),
            (expected.0.into(), expected.1.into()),
            "{name}"
        );
        assert_eq!(one["clients"]["top"][0]["key"], "127.0.0.1/32");
        assert_eq!(one["clients"]["top"][0]["connections"], 18);
        assert_eq!(
            one["ports"]["top"][0]["key"],
            two.address.port().to_string()
        );
        let rows = json(
            &agent,
            &format!("/services/{name}/connz?state=any&limit=100"),
        );
        assert_eq!(rows["total"], 25);
        for row in rows["connections"].as_array().expect("rows") {
            assert_eq!(row["service"], name, "{row}");
        }
    }
    // Nobody has asked for those that failed.
    assert_eq!(
        agent
            .connz(&format!("state=closed&port={}", refused.port()))
            .total,
        3
    );
    agent.stop();
}

#[test]
fn failed_connects_are_counted_by_cause_and_are_no_connections() {
    let refused = free_address();
    let config = Config::new(&format!(
        "[[service]]\nname = \"venue\"\nremote_ip = \"127.0.0.1\"\nremote_port = {}\n",
        refused.port()
    ));
    let agent = config.agent(&[]);
    let mut two = Two::start();
    two.client.ask(&protocol::Command::ConnectRefused {
        address: refused,
        count: 100,
    });
    eventually_equal("counts", &[0, 0, 0, 0, 0, 100, 0], || {
        fields(&service(&agent, "venue"), COUNTS)
    });
    let venue = service(&agent, "venue");
    assert_eq!(venue["failed_by_cause"]["refused"], 100);
    assert_eq!(venue["connecting"], 0);
    agent.stop();
}

/// Nobody has used an accepted connection yet; its process is found all the same.
#[test]
fn connections_of_a_process_belong_to_it_before_it_uses_them() {
    let config = Config::new("[[service]]\nname = \"peers\"\ncomm = \"watched-*\"\n");
    let agent = config.agent(&[]);
    let peers = ["watched-one", "watched-two"].map(Peer::start);
    let [client, server] = peers;
    let mut two = Two::of(client, server, "127.0.0.1:0");
    let pairs = two.open_many(4);
    eventually_equal("connections of the peers", &8, || {
        service(&agent, "peers")["connections"]
            .as_u64()
            .expect("a count")
    });
    let one = service(&agent, "peers");
    assert_eq!(fields(&one, ["opened", "peak"]), [8, 8]);
    let processes = one["processes"]["top"].as_array().expect("a list");
    let names: Vec<_> = processes
        .iter()
        .map(|part| (&part["key"], &part["connections"]))
        .collect();
    let expected = [
        (&"watched-one".into(), &4.into()),
        (&"watched-two".into(), &4.into()),
    ];
    assert_eq!(names, expected);
    two.client.close(&[pairs[0].client]);
    two.server.close(&[pairs[0].server]);
    eventually_equal("closed ones", &2, || {
        service(&agent, "peers")["closed"]
            .as_u64()
            .expect("a count")
    });
    agent.stop();
}

/// Waits for the agent's log to have this line since it was `before` long.
fn logged(agent: &Agent, before: usize, text: &str) {
    eventually("a line of the log", || {
        agent.log()[before..].contains(text).then_some(())
    });
}

#[test]
fn a_new_configuration_moves_connections_and_loses_none() {
    let mut two = Two::start();
    let port = two.address.port();
    let listen = free_address();
    let one = format!("[[service]]\nname = \"a\"\nremote_port = {port}\nlisten = \"{listen}\"\n");
    let config = Config::new(&one);
    let agent = config.agent(&["--reload", "true"]);
    let pairs = two.open_many(3);
    for pair in &pairs {
        two.forth(pair, 500, 50);
    }
    let (client, _) = sums(&mut two, &pairs);
    let of_service = Client::new(listen);
    let page = of_service.get("/connz").expect("an answer");
    let page: Value = serde_json::from_str(&page.body).expect("JSON");
    assert_eq!(page["total"], 3);

    // Nothing of a configuration that is not sound holds.
    config.write("[[service]]\nname = \"b\"\nremote_port = 99999\n");
    let before = agent.log().len();
    agent.signal(Signal::SIGHUP);
    logged(
        &agent,
        before,
        "config.toml:3: expected a port from 0 to 65535",
    );
    let names = |agent: &Agent| -> Vec<String> {
        let all = json(agent, "/services");
        let services = all["services"].as_array().expect("a list");
        services
            .iter()
            .map(|service| service["name"].as_str().expect("a name").to_owned())
            .collect()
    };
    assert_eq!(names(&agent), ["a"]);
    assert_eq!(
        fields(&service(&agent, "a"), ["opened", "connections"]),
        [3, 3]
    );

    // The server's ends were nowhere; the clients' ends stay where they are counted.
    config.write(&format!(
        "[[service]]\nname = \"b\"\nlocal_port = {port}\ndirection = \"in\"\n\
         [[service]]\nname = \"a\"\nremote_port = {port}\n"
    ));
    let before = agent.log().len();
    agent.signal(Signal::SIGHUP);
    logged(&agent, before, "configuration read");
    assert_eq!(names(&agent), ["b", "a"]);
    assert_eq!(fields(&service(&agent, "a"), COUNTS), [3, 3, 0, 0, 0, 0, 3]);
    assert_eq!(fields(&service(&agent, "b"), COUNTS), [3, 0, 3, 0, 0, 0, 3]);
    assert_eq!(fields(&service(&agent, "a"), MOVED), client.moved());
    // What was moved before they came to it is not its own.
    assert_eq!(fields(&service(&agent, "b"), MOVED), [0; 4]);
    assert!(of_service.get("/connz").is_err(), "the listener is gone");

    // Now all of them are of one service: those of `a` leave it.
    two.forth(&pairs[0], 100, 100);
    config.write(&format!(
        "[[service]]\nname = \"b\"\nremote_ip = \"127.0.0.1\"\nremote_port = {port}\n\
         [[service]]\nname = \"a\"\nremote_port = 1\n"
    ));
    let answer = agent
        .client()
        .request(ureq::http::Method::POST, "/-/reload")
        .expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(fields(&service(&agent, "a"), COUNTS), [0, 3, 0, 3, 0, 0, 3]);
    let (now, _) = sums(&mut two, &pairs);
    assert_eq!(fields(&service(&agent, "a"), MOVED), now.moved());
    assert_eq!(fields(&service(&agent, "b"), COUNTS), [3, 0, 6, 3, 0, 0, 3]);
    // What the server's end has read since `b` was made.
    assert_eq!(
        fields(&service(&agent, "b"), ["in_bytes", "in_msgs"]),
        [100, 1]
    );

    let reset = agent
        .client()
        .request(ureq::http::Method::POST, "/-/services/b/reset-peak")
        .expect("an answer");
    assert_eq!(reset.status, 200, "{}", reset.body);
    assert_eq!(fields(&service(&agent, "b"), ["peak"]), [3]);
    agent.stop();
}

#[test]
fn the_configuration_is_checked_shown_and_explained() {
    let mut two = Two::start();
    let config = Config::new(&both_ends(two.address));
    let path = config.path();
    let path = path.to_str().expect("a plain path");
    let command = |arguments: &[&str]| run(Command::new(program()), arguments);
    let (status, out, _) = command(&["config", "check", "--config", path]);
    assert!(status.success());
    assert_eq!(out, format!("{path}: sound, 2 services\n"));
    let (_, out, _) = command(&["config", "show", "--config", path]);
    let wanted = format!("service clients\n  remote_port = {}\n", two.address.port());
    assert!(out.contains(&wanted), "{out}");
    assert!(
        out.contains("max_connections = 65536    # default"),
        "{out}"
    );

    let agent = config.agent(&[]);
    let pair = two.open();
    let cid = agent.open(&pair.server).cid.to_string();
    let url = format!("http://{}", agent.address);
    let (status, out, error) = command(&["config", "explain", &cid, "--url", &url]);
    assert!(status.success(), "{error}");
    let port = two.address.port();
    let expected = format!(
        "connection {cid}: service server\n  clients: no\n    remote_port = {port}: no\n  \
         server: yes, the first that matches\n    local_port = {port}: yes\n    direction = in: yes\n"
    );
    assert_eq!(out, expected);

    config.write("[agent]\nmax_connections = 0\n");
    let (status, _, error) = command(&["agent", "--config", path]);
    assert!(!status.success());
    assert!(
        error.contains("config.toml: [agent]: ") && error.contains("max-connections"),
        "{error}"
    );
    config.write("[[service]]\nname = \"x\"\nport = 1\n");
    let (status, _, error) = command(&["config", "check", "--config", path]);
    assert!(!status.success());
    assert!(
        error.contains("config.toml:3: unknown field `port`"),
        "{error}"
    );
    agent.stop();
}
