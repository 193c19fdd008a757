//! `conn-trace watch`: the connections to one peer as they come and go, and the report at the end.

use std::{fs, net::SocketAddr, process::Command};

use conn_trace_tests::{
    agent::{Agent, program, run},
    pair::{Pair, Two},
    protocol::{Command as Do, Counts, Reply},
    slowness::fewer,
    wait::eventually,
    watch::{Ending, Watch, counts, id},
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const HISTORY: [&str; 2] = ["--closed-history", "300000"];

fn close(two: &mut Two, pair: &Pair) {
    two.client.close(&[pair.client]);
    two.server.receive_to_end(&pair.server);
    two.server.close(&[pair.server]);
}

fn connect_short(two: &mut Two, count: u32, write: usize, read: usize) -> Counts {
    two.server.tell(&Do::ServeShort {
        count,
        read: write,
        write: read,
    });
    let counts = two.client.counts(&Do::ConnectShort {
        addresses: vec![two.address],
        count,
        write,
        read,
    });
    two.server.counted();
    counts
}

/// The figures without the time of the peak.
fn stats(report: &Value) -> Value {
    let mut stats = report["stats"].clone();
    let object = stats.as_object_mut().expect("an object");
    object.remove("peak_time").expect("a time");
    stats
}

fn ids(list: &Value) -> Vec<&str> {
    let list = list.as_array().expect("a list");
    let id = |entry: &Value| entry["connection_id"].as_str().map(str::len);
    assert!(list.iter().all(|entry| id(entry).is_some()));
    list.iter()
        .filter_map(|entry| entry["connection_id"].as_str())
        .collect()
}

#[test]
fn what_is_told_and_reported_is_what_both_ends_counted() {
    let agent = Agent::start();
    let mut two = Two::start();
    let stays = two.open();
    two.forth(&stays, 100, 10);
    agent.open(&stays.client);
    let port = two.address.port().to_string();
    let log = tempfile::NamedTempFile::new().expect("a file");
    let path = log.path().to_str().expect("a text");
    let arguments = ["--ip=127.0.0.0/8", "--port", &port, "--log-file", path];
    let mut watch = Watch::start(&agent, &[&arguments[..], &["--interval=1"]].concat());
    let open = watch.told("open");
    assert_eq!(open["connection_id"], id(&stays.client));

    let short = connect_short(&mut two, 1, 7, 11);
    let came = watch.told("new");
    let went = watch.told("ended");
    assert_eq!(came["connection_id"], went["connection_id"]);
    assert_eq!((counts(&went), &went["owner"]), (short, &json!("exact")));

    // Nobody listens at this address.
    let nowhere = SocketAddr::from(([127, 0, 0, 2], two.address.port()));
    let refused = two.client.ask(&Do::ConnectRefused {
        address: nowhere,
        count: 3,
    });
    assert!(matches!(refused, Reply::Count(3)), "{refused:?}");
    for _ in 0..3 {
        let failed = watch.told("failed");
        assert_eq!(
            (&failed["close_cause"], &failed["remote_addr"]),
            (&json!("refused"), &json!(nowhere.to_string()))
        );
    }

    let leaves = two.open();
    assert_eq!(watch.told("new")["connection_id"], id(&leaves.client));
    two.forth(&leaves, 1000, 100);
    two.back(&leaves, 30, 10);
    let left = two.client.report(&leaves.client);
    close(&mut two, &leaves);
    let ended = watch.told("ended");
    assert_eq!(counts(&ended), left);
    assert_eq!(ended["close_cause"], "local_fin");
    let statistics = eventually("a block of statistics", || {
        let value: Value = serde_json::from_str(&watch.line()).expect("JSON");
        (value["event"] == "statistics").then_some(value)
    });
    let expected = json!({
        "total_connections": 3, "current_connections": 1, "peak_connections": 2, "open_at_start": 1,
        "opened": 2, "ended": 2, "failed_attempts": 3,
    });
    assert_eq!(stats(&statistics), expected);

    // Right before the end, with nothing told of it yet.
    two.back(&stays, 5, 5);
    let last = two.open();
    let (lines, report) = watch.end(Ending::Signal(Signal::SIGINT));
    assert_eq!(
        (&report["downstream_server"], &report["ended_by"]),
        (&json!("127.0.0.0/8"), &json!("SIGINT"))
    );
    assert_eq!(
        stats(&report),
        json!({
            "total_connections": 4, "current_connections": 2, "peak_connections": 2,
            "open_at_start": 1, "opened": 3, "ended": 2, "failed_attempts": 3,
        })
    );
    let active = &report["active_connections"];
    assert_eq!(ids(active), [id(&stays.client), id(&last.client)]);
    assert_eq!(counts(&active[0]), two.client.report(&stays.client));
    assert_eq!(
        (&active[0]["local_port"], &active[0]["remote_port"]),
        (
            &json!(stays.client.local.port()),
            &json!(two.address.port())
        )
    );
    let gone = &report["recent_disconnected"];
    assert_eq!(ids(gone)[1], id(&leaves.client));
    assert_eq!((counts(&gone[0]), counts(&gone[1])), (short, left));
    assert_eq!(report["recent_failed"].as_array().map(Vec::len), Some(3));
    assert_eq!(report["gaps"]["times"], 0);
    let text = fs::read_to_string(log.path()).expect("a text");
    assert_eq!(text.lines().collect::<Vec<_>>(), lines);
    let last = lines.last().expect("a line");
    assert!(
        last.contains("report") && last.contains("fix_connections_"),
        "{last}"
    );
}

#[test]
fn lines_for_people_name_both_ends_and_how_it_went() {
    let agent = Agent::start();
    let mut two = Two::start();
    let port = two.address.port().to_string();
    let arguments = ["--ip=127.0.0.1", "--port", &port, "--format=text"];
    let mut watch = Watch::start(&agent, &arguments);
    let pair = two.open();
    two.forth(&pair, 12, 12);
    close(&mut two, &pair);
    let both = id(&pair.client);
    let line = watch.line();
    let words: Vec<_> = line.split_whitespace().collect();
    let owner = format!("client[{}]", two.client.pid());
    assert_eq!(words[1..], ["new", &both, &owner], "{line}");
    let line = watch.line();
    assert!(
        line.contains(&format!(" ended  {both}  {owner}, after 00:00:0")),
        "{line}"
    );
    assert!(
        line.ends_with("local_fin, in 0 bytes #0, out 12 bytes #1"),
        "{line}"
    );
    let (lines, _) = watch.end(Ending::EndOfInput);
    let stats = lines
        .iter()
        .find(|line| line.contains(" stats "))
        .expect("a block");
    let expected = "0 now, 1 in total (0 open at the start, 1 opened since), peak 1 at ";
    assert!(stats.contains(expected), "{stats}");
}

#[test]
fn each_way_to_end_leaves_a_report() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = two.open();
    agent.open(&pair.client);
    for (ending, name) in [
        (Ending::Signal(Signal::SIGINT), "SIGINT"),
        (Ending::Signal(Signal::SIGTERM), "SIGTERM"),
        (Ending::EndOfInput, "end_of_input"),
    ] {
        let arguments = ["--ip=127.0.0.1", "--report=report.json"];
        let given = if name == "SIGINT" { 2 } else { 1 };
        let watch = Watch::start(&agent, &arguments[..given]);
        let pid = watch.pid();
        let (_, report) = watch.end(ending);
        assert_eq!(report["ended_by"], name);
        // And nothing by which the watch asks the agent.
        let active = report["active_connections"].as_array().expect("a list");
        assert!(
            active.iter().all(|entry| entry["pid"] != pid),
            "{active:#?}"
        );
        assert!(ids(&report["active_connections"]).contains(&&*id(&pair.client)));
    }
    let watch = Watch::start(&agent, &["--ip=127.0.0.1", "--patience=0"]);
    agent.stop();
    let (lines, report) = watch.end(Ending::ByItself);
    assert_eq!(report["ended_by"], "agent");
    assert!(
        lines.iter().any(|line| line.contains("agent_gone")),
        "{lines:#?}"
    );
    assert!(ids(&report["active_connections"]).contains(&&*id(&pair.client)));
}

#[test]
fn range_means_the_port_of_the_service_on_either_side() {
    let agent = Agent::start();
    let mut two = Two::start_on("[::1]:0");
    let port = two.address.port();
    let (low, high) = (format!("--min-port={port}"), format!("--max-port={port}"));
    let mut watch = Watch::start(&agent, &["--ip=::1", &low, &high]);
    let below = format!("--max-port={}", port - 1);
    let other = Watch::start(&agent, &["--ip=::1", "--min-port=1", &below]);
    let pair = two.open();
    two.forth(&pair, 50, 25);
    let (client, server) = two.reports(&pair);
    close(&mut two, &pair);
    // This host has both ends.
    let mut ended = Vec::new();
    while ended.len() < 2 {
        let value: Value = serde_json::from_str(&watch.line()).expect("JSON");
        if value["event"] == "ended" {
            ended.push(value);
        }
    }
    for (direction, end, moved) in [("out", pair.client, client), ("in", pair.server, server)] {
        let entry = ended.iter().find(|entry| entry["direction"] == direction);
        let entry = entry.expect("both ends");
        assert_eq!(
            (entry["connection_id"].as_str(), counts(entry)),
            (Some(&*id(&end)), moved)
        );
        assert!(id(&end).starts_with("[::1]:"), "{entry}");
    }
    for (watch, total) in [(watch, 2), (other, 0)] {
        let (_, report) = watch.end(Ending::Signal(Signal::SIGTERM));
        assert_eq!(report["stats"]["total_connections"], total);
    }
}

#[test]
fn agent_that_comes_back_is_followed_and_the_gap_is_told() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pairs = two.open_many(2);
    agent.open(&pairs[1].client);
    let port = two.address.port().to_string();
    let arguments = ["--ip=127.0.0.1", "--port", &port, "--patience=600"];
    let mut watch = Watch::start(&agent, &arguments);
    watch.told("open");
    watch.told("open");
    let mut unseen = None;
    let _agent = agent.restart(
        || {
            close(&mut two, &pairs[0]);
            unseen = Some(two.open());
        },
        &HISTORY,
    );
    let unseen = unseen.expect("a connection");
    watch.told("agent_gone");
    watch.told("agent_back");
    assert_eq!(watch.told("lost")["lost"], Value::Null);
    assert_eq!(watch.told("new")["connection_id"], id(&unseen.client));
    let vanished = watch.told("ended");
    assert_eq!(
        (&vanished["connection_id"], &vanished["end_unseen"]),
        (&json!(id(&pairs[0].client)), &json!(true))
    );
    let later = two.open();
    assert_eq!(watch.told("new")["connection_id"], id(&later.client));
    close(&mut two, &pairs[1]);
    let ended = watch.told("ended");
    assert_eq!(ended["connection_id"], id(&pairs[1].client));
    let (_, report) = watch.end(Ending::Signal(Signal::SIGTERM));
    assert_eq!(
        stats(&report),
        json!({
            "total_connections": 4, "current_connections": 2, "peak_connections": 3,
            "open_at_start": 2, "opened": 2, "ended": 2, "failed_attempts": 0,
        })
    );
    assert_eq!(
        report["gaps"],
        json!({"times": 1, "lost_events": 0, "unknown": 1})
    );
}

#[test]
fn events_that_are_lost_are_counted_and_made_up_for() {
    let agent = Agent::start();
    let mut two = Two::start();
    let port = two.address.port().to_string();
    let arguments = ["--ip=127.0.0.1", "--port", &port, "--interval=3600"];
    let mut watch = Watch::start(&agent, &arguments);
    // More events than the agent remembers and the connection to it holds.
    let count = fewer(15_000, 12_000);
    watch.signal(Signal::SIGSTOP);
    connect_short(&mut two, count, 1, 1);
    watch.signal(Signal::SIGCONT);
    let mut ended = 0;
    let lost = loop {
        let line = watch.line();
        let value: Value = serde_json::from_str(&line).expect(&line);
        if value["event"] == "lost" {
            break value["lost"].as_u64().expect("a number");
        }
        ended += u32::from(value["event"] == "ended");
        assert!(ended < count, "nothing was lost");
    };
    let after = connect_short(&mut two, 1, 3, 5);
    let (_, report) = watch.end(Ending::Signal(Signal::SIGINT));
    let stats = &report["stats"];
    for (name, expected) in [
        ("total_connections", u64::from(count) + 1),
        ("ended", u64::from(count) + 1),
        ("current_connections", 0),
        ("failed_attempts", 0),
    ] {
        assert_eq!(stats[name].as_u64(), Some(expected), "{name}: {stats}");
    }
    assert!(
        report["gaps"]["lost_events"].as_u64() >= Some(lost),
        "{report}"
    );
    let last = report["recent_disconnected"]
        .as_array()
        .and_then(|list| list.last());
    assert_eq!(counts(last.expect("an end")), after);
}

#[test]
fn what_cannot_be_watched_is_said() {
    let config = tempfile::NamedTempFile::new().expect("a file");
    fs::write(config.path(), "{").expect("a file");
    let config = config.path().display().to_string();
    for (arguments, variable, parts) in [
        (
            &["--config=/nonexistent/fix.json"][..],
            "",
            &["--ip", "DOWNSTREAM_IP", "/nonexistent/fix.json"][..],
        ),
        (&["--config", &config], "", &[&*config, "EOF while parsing"]),
        (
            &["--config", &config],
            "fix.example",
            &["DOWNSTREAM_IP", "fix.example"],
        ),
        (
            &["--ip=::1", "--min-port=9", "--max-port=8"],
            "",
            &["--min-port 9", "--max-port 8"],
        ),
        (
            &["--ip=::1", "--log-file=/nonexistent/log"],
            "",
            &["cannot open the log file /nonexistent/log"],
        ),
        (
            &["--ip=::1", "--report=/nonexistent/r.json"],
            "",
            &["/nonexistent/r.json"],
        ),
    ] {
        let mut command = Command::new(program());
        command.env("DOWNSTREAM_IP", variable);
        let all = [&["watch", "--url=http://127.0.0.1:1"], arguments].concat();
        let (status, output, errors) = run(command, &all);
        assert_eq!((status.code(), &*output), (Some(1), ""), "{errors}");
        for part in parts {
            assert!(errors.contains(part), "{part}: {errors}");
        }
    }
}
