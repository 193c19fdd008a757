//! Policies: what they find and close, by what both ends then see and have counted.

mod adaptive;
mod privileges;
mod webhooks;

use std::time::Duration;

use conn_trace_tests::{
    agent::Agent,
    config::Config,
    events::Reader,
    netns::Namespace,
    pair::{Pair, Two},
    protocol::{Command, Counts, Reply},
    skip::skip,
    slowness::longer,
    wait::{eventually, eventually_equal},
};
use jiff::Timestamp;
use nix::{errno::Errno, sys::signal::Signal};
use serde_json::Value;

fn service(agent: &Agent, name: &str) -> Value {
    let path = format!("/services/{name}");
    let answer = agent.get(&path);
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    serde_json::from_str(&answer.body).expect("JSON")
}

/// What the first policy of the service has done, by outcome.
fn outcome(agent: &Agent, name: &str, outcome: &str) -> u64 {
    let count = &service(agent, name)["policies"][0]["outcomes"][outcome];
    count.as_u64().expect("a count")
}

/// The last actions, the newest first.
fn actions(agent: &Agent, name: &str) -> Vec<Value> {
    let actions = &service(agent, name)["actions"];
    actions.as_array().expect("a list").clone()
}

/// A service of the server's ends, with one policy.
fn with_policy(two: &Two, name: &str, policy: &str) -> String {
    let port = two.address.port();
    format!(
        "[[service]]\nname = \"{name}\"\nlocal_port = {port}\ndirection = \"in\"\n\
         [[service.policy]]\n{policy}\n"
    )
}

fn time(value: &Value) -> Timestamp {
    value.as_str().expect("a time").parse().expect("a time")
}

/// How long after one time another one was.
fn between(earlier: &Value, later: &Value) -> Duration {
    let difference = time(later).duration_since(time(earlier));
    difference.try_into().expect("the order of both")
}

fn moved(row: &Value) -> [u64; 4] {
    ["in_bytes", "out_bytes", "in_msgs", "out_msgs"].map(|field| row[field].as_u64().expect(field))
}

/// What reading from a connection gives at the server's end and at the client's.
fn errors(two: &mut Two, pair: &Pair) -> [Errno; 2] {
    let Pair { client, server } = pair;
    let read = |id| Command::ReceiveToEnd { id };
    [
        two.server.failure(&read(server.id)),
        two.client.failure(&read(client.id)),
    ]
    .map(Errno::from_raw)
}

/// Sends a byte each way.
#[track_caller]
fn works(two: &mut Two, pair: &Pair) {
    two.forth(pair, 1, 1);
    two.back(pair, 1, 1);
}

#[test]
fn leaky_connections_are_closed_at_their_time_and_others_are_not() {
    let mut leaky = Two::start();
    let mut other = Two::start();
    let policy = "kind = \"leak\"\nidle = \"2s\"\naction = \"close\"\ndry_run = false";
    let dry = "kind = \"leak\"\nidle = \"1s\"\naction = \"close\"";
    let config = Config::new(&format!(
        "{}{}",
        with_policy(&leaky, "leaky", policy),
        with_policy(&other, "other", dry)
    ));
    let agent = config.agent(&[]);
    let mut events = Reader::open(&agent, None);
    let pairs = leaky.open_many(3);
    let spared = other.open();
    works(&mut other, &spared);
    let (idle, busy) = pairs.split_at(2);
    for (number, pair) in (1..).zip(idle) {
        leaky.forth(pair, 1000 * number, 100);
        leaky.back(pair, 70, 7);
    }
    // A program that waits for data hears of the end at once.
    let read = Command::ReceiveToEnd {
        id: idle[0].client.id,
    };
    leaky.client.tell(&read);
    eventually_equal("closed connections", &2, || {
        leaky.server.send(&busy[0].server, 1, 1);
        outcome(&agent, "leaky", "done")
    });
    match leaky.client.reply() {
        Reply::Failed { errno, .. } => assert_eq!(Errno::from_raw(errno), Errno::ECONNRESET),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        errors(&mut leaky, &idle[1]),
        [Errno::ECONNABORTED, Errno::ECONNRESET]
    );
    let reports: Vec<_> = idle
        .iter()
        .map(|pair| leaky.server.report(&pair.server).moved())
        .collect();
    leaky
        .server
        .close(&idle.iter().map(|pair| pair.server).collect::<Vec<_>>());
    let records = eventually("final records", || {
        let records = actions(&agent, "leaky");
        let are_final = records.iter().all(|record| record["final"] == true);
        (records.len() == 2 && are_final).then_some(records)
    });
    for record in &records {
        let row = &record["connection"];
        let [by, outcome, flag] = ["action", "outcome", "flag"].map(|field| record[field].clone());
        assert_eq!(
            [by, outcome, flag],
            ["close", "done", "idle_leak"].map(Value::from)
        );
        assert_eq!(row["close_cause"], "aborted", "{record}");
        assert_eq!(row["flags"], serde_json::json!(["idle_leak"]));
        assert!(reports.contains(&moved(row)), "{reports:?}: {record}");
        let waited = between(&row["last_activity"], &record["time"]);
        let latest = Duration::from_secs(2) + longer(Duration::from_millis(250));
        // The last activity is known to the tick.
        let earliest = Duration::from_millis(1990);
        assert!((earliest..latest).contains(&waited), "{waited:?}: {record}");
    }
    // The other one was found, and is as it was.
    eventually_equal("a dry run", &1, || outcome(&agent, "other", "dry_run"));
    assert_eq!(outcome(&agent, "other", "done"), 0);
    let record = &actions(&agent, "other")[0];
    assert_eq!(record["outcome"], "dry_run");
    let row = agent.open(&spared.server);
    assert_eq!(row.flags, ["idle_leak"]);
    let found = agent.rows("flag=idle_leak&service=other");
    assert_eq!(found.len(), 1);
    works(&mut other, &spared);
    eventually_equal("flags of one that is used", &0, || {
        agent.rows("flag=idle_leak").len()
    });
    assert_eq!(agent.open(&spared.client).flags, [""; 0]);
    works(&mut leaky, &busy[0]);
    let told = eventually("an event of the policy", || {
        let event = events.next_event();
        (event.event == "policy").then_some(event)
    });
    assert!(told.connection.is_some(), "{told:?}");
    assert!(agent.log().contains("idle for 2s, limit 2s"));
    agent.stop();
}

#[test]
fn connections_that_a_program_does_not_close_are_found() {
    let mut two = Two::start();
    let policy = "kind = \"leak\"\nclose_wait = \"1s\"\naction = \"log\"\ndry_run = false";
    let config = Config::new(&with_policy(&two, "server", policy));
    let agent = config.agent(&[]);
    let pairs = two.open_many(2);
    two.client.close(&[pairs[0].client]);
    eventually_equal("connections found", &1, || {
        outcome(&agent, "server", "done")
    });
    let record = &actions(&agent, "server")[0];
    assert_eq!(record["flag"], "close_wait_leak");
    assert_eq!(record["connection"]["state"], "CLOSE_WAIT");
    assert_eq!(agent.open(&pairs[0].server).flags, ["close_wait_leak"]);
    // It goes on as it likes.
    assert_eq!(
        two.server.receive_to_end(&pairs[0].server),
        Counts::default()
    );
    works(&mut two, &pairs[1]);
    two.server.close(&[pairs[0].server]);
    let row = agent.closed(&pairs[0].server);
    assert_eq!(row.flags, ["close_wait_leak"]);
    assert_eq!(service(&agent, "server")["policies"][0]["flagged"], 0);
    agent.stop();
}

#[test]
fn a_flood_is_held_at_the_limit() {
    const LIMIT: u32 = 10;
    const FLOOD: u32 = 200;
    let mut flooded = Two::start();
    let mut other = Two::start();
    let policy =
        format!("kind = \"limit\"\nconnections = {LIMIT}\naction = \"close\"\ndry_run = false");
    let dry = "kind = \"limit\"\nconnections = 1\naction = \"close\"";
    let config = Config::new(&format!(
        "{}{}",
        with_policy(&flooded, "flooded", &policy),
        with_policy(&other, "other", dry)
    ));
    let agent = config.agent(&["--closed-history", "300000"]);
    let spared = other.open_many(3);
    let first = flooded.open_many(LIMIT);
    for pair in &first {
        works(&mut flooded, pair);
    }
    eventually_equal("connections of the service", &u64::from(LIMIT), || {
        let connections = &service(&agent, "flooded")["connections"];
        connections.as_u64().expect("a count")
    });
    let flood = flooded.open_many(FLOOD);
    eventually_equal("closed connections", &u64::from(FLOOD), || {
        outcome(&agent, "flooded", "done")
    });
    for pair in &first {
        works(&mut flooded, pair);
    }
    for pair in flood.iter().take(3) {
        assert_eq!(
            errors(&mut flooded, pair),
            [Errno::ECONNABORTED, Errno::ECONNRESET]
        );
    }
    flooded
        .server
        .close(&flood.iter().map(|pair| pair.server).collect::<Vec<_>>());
    let records = eventually("final records", || {
        let records = actions(&agent, "flooded");
        let are_final = records.iter().all(|record| record["final"] == true);
        (records.len() == 100 && are_final).then_some(records)
    });
    for record in &records {
        assert_eq!(record["flag"], "over_limit");
        assert_eq!(moved(&record["connection"]), [0; 4], "{record}");
        let took = between(&record["connection"]["start"], &record["time"]);
        assert!(
            took < longer(Duration::from_millis(50)),
            "{took:?}: {record}"
        );
    }
    // One goes, one may come.
    flooded.client.close(&[first[0].client]);
    flooded.server.close(&[first[0].server]);
    eventually_equal("connections of the service", &u64::from(LIMIT - 1), || {
        let connections = &service(&agent, "flooded")["connections"];
        connections.as_u64().expect("a count")
    });
    let next = flooded.open();
    works(&mut flooded, &next);
    assert_eq!(agent.open(&next.server).flags, [""; 0]);
    assert_eq!(outcome(&agent, "flooded", "done"), u64::from(FLOOD));
    // The dry run has found the newest two and closed none.
    assert_eq!(outcome(&agent, "other", "dry_run"), 2);
    for (pair, is_beyond) in spared.iter().zip([false, true, true]) {
        works(&mut other, pair);
        assert_eq!(!agent.open(&pair.server).flags.is_empty(), is_beyond);
        assert_eq!(agent.open(&pair.client).flags, [""; 0]);
    }
    agent.stop();
}

#[test]
fn peers_that_are_not_wanted_are_closed_and_a_new_configuration_holds_at_once() {
    let mut two = Two::start_on("0.0.0.0:0");
    let address = (std::net::Ipv4Addr::LOCALHOST, two.address.port()).into();
    let policy = "kind = \"watchlist\"\ndeny = [\"127.0.0.2\"]\naction = \"close\"\ndry_run = true";
    let config = Config::new(&with_policy(&two, "server", policy));
    let agent = config.agent(&[]);
    let from = |two: &mut Two, from: &str| {
        let from = format!("{from}:0").parse().expect("an address");
        let client = two.client.connect_from(from, address);
        let server = two.server.accept(1)[0];
        Pair { client, server }
    };
    let denied = from(&mut two, "127.0.0.2");
    let wanted = from(&mut two, "127.0.0.3");
    eventually_equal("a dry run", &1, || outcome(&agent, "server", "dry_run"));
    works(&mut two, &denied);
    assert_eq!(agent.open(&denied.server).flags, ["watchlist"]);
    // One that is found keeps its flag; a policy that is another one finds it anew.
    config.write(&with_policy(
        &two,
        "server",
        &policy.replace("true", "false"),
    ));
    agent.signal(Signal::SIGHUP);
    eventually_equal("closed connections", &1, || {
        outcome(&agent, "server", "done")
    });
    assert_eq!(outcome(&agent, "server", "dry_run"), 1);
    assert_eq!(
        errors(&mut two, &denied),
        [Errno::ECONNABORTED, Errno::ECONNRESET]
    );
    works(&mut two, &wanted);
    // A configuration that would close everything is not taken.
    config.write(&with_policy(
        &two,
        "server",
        &policy.replace("127.0.0.2", "0.0.0.0/0"),
    ));
    agent.signal(Signal::SIGHUP);
    eventually("a line of the log", || {
        let refusal = "service \"server\": policy \"watchlist\": deny: every peer would be closed";
        agent.log().contains(refusal).then_some(())
    });
    works(&mut two, &wanted);
    agent.stop();
}

#[test]
fn sockets_of_other_networks_are_closed_by_way_of_their_owner() {
    let Some(namespace) = Namespace::new("policies") else {
        skip(
            "sockets_of_other_networks_are_closed_by_way_of_their_owner",
            "no network namespace",
        );
        return;
    };
    let mut two = Two::of(
        namespace.peer("client"),
        namespace.peer("server"),
        "127.0.0.1:0",
    );
    let policy = "kind = \"limit\"\nconnections = 1\naction = \"close\"\ndry_run = false";
    let config = Config::new(&with_policy(&two, "server", policy));
    let agent = config.agent(&[]);
    let first = two.open();
    works(&mut two, &first);
    let second = two.open();
    // Nobody has used it yet: the owner of the first shows the way.
    eventually_equal("a closed connection", &1, || {
        outcome(&agent, "server", "done")
    });
    works(&mut two, &first);
    assert_eq!(
        errors(&mut two, &second),
        [Errno::ECONNABORTED, Errno::ECONNRESET]
    );
    agent.stop();
}
