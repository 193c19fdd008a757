//! Limits that are tighter under pressure.

use std::fs;

use conn_trace_tests::{
    agent::Agent,
    config::Config,
    pair::{Pair, Two},
    protocol::End,
    skip::skip,
    wait::{eventually, eventually_equal},
};
use nix::{errno::Errno, sys::signal::Signal};
use serde_json::{Value, json};

use super::{actions, errors, moved, outcome, service, with_policy, works};

/// The service under pressure.
const NAME: &str = "pressed";
/// Its limit without.
const WIDE: u32 = 10;

/// A limit that closes, with `tight` from `high` on until the signal is below `low`.
fn policy(signal: &str, high: u32, low: u32, tight: u32) -> String {
    format!(
        "kind = \"limit\"\nconnections = {WIDE}\naction = \"close\"\ndry_run = false\n\
         [service.policy.adaptive]\n\
         signal = \"{signal}\"\nhigh = {high}\nlow = {low}\nconnections = {tight}"
    )
}

/// The limit that holds, and whether it is the tight one.
fn in_force(agent: &Agent, name: &str) -> Value {
    let policy = &service(agent, name)["policies"][0];
    json!([policy["connections"], policy["is_tight"]])
}

#[track_caller]
fn await_open(agent: &Agent, name: &str, count: u32) {
    eventually_equal("connections of the service", &json!(count), || {
        service(agent, name)["connections"].clone()
    });
}

/// Closes both ends.
fn close(two: &mut Two, pairs: &[Pair]) {
    let ends = |end: fn(&Pair) -> End| pairs.iter().map(end).collect::<Vec<_>>();
    two.client.close(&ends(|pair| pair.client));
    two.server.close(&ends(|pair| pair.server));
}

/// Waits until the policy has closed so many connections in all. The last of them are exactly these, for
/// this reason: both ends and the records say so. Then closes their sockets.
#[track_caller]
fn assert_closed(agent: &Agent, two: &mut Two, pairs: &[Pair], total: u64, reason: &str) {
    eventually_equal("closed connections", &total, || {
        outcome(agent, NAME, "done")
    });
    for pair in pairs {
        assert_eq!(errors(two, pair), [Errno::ECONNABORTED, Errno::ECONNRESET]);
    }
    close(two, pairs);
    let records = eventually("final records", || {
        let records = actions(agent, NAME);
        let are_final = records.iter().all(|record| record["final"] == true);
        (records.len() as u64 == total && are_final).then_some(records)
    });
    let records = &records[..pairs.len()];
    for record in records {
        let said = ["action", "outcome", "flag", "reason"].map(|field| record[field].clone());
        assert_eq!(
            said,
            ["close", "done", "over_limit", reason].map(Value::from)
        );
        let row = &record["connection"];
        assert_eq!(row["close_cause"], "aborted", "{record}");
        assert_eq!(moved(row), [0; 4], "{record}");
    }
    let mut recorded: Vec<_> = records
        .iter()
        .map(|record| record["connection"]["port"].as_u64().expect("a port"))
        .collect();
    let mut expected: Vec<_> = pairs
        .iter()
        .map(|pair| u64::from(pair.client.local.port()))
        .collect();
    recorded.sort_unstable();
    expected.sort_unstable();
    assert_eq!(recorded, expected);
}

#[test]
fn many_connections_tighten_the_limit_until_they_are_few() {
    const HIGH: u32 = 8;
    const TIGHT: u32 = 5;
    const LOW: u32 = 3;
    let mut two = Two::start();
    let mut other = Two::start();
    let policy = policy("connections", HIGH, LOW, TIGHT);
    let config = Config::new(&format!(
        "{}{}",
        with_policy(&two, NAME, &policy),
        with_policy(&other, "other", &policy)
    ));
    let agent = config.agent(&[]);
    // The pressure on a service is that of its own connections: here it never is high.
    let spared = other.open_many(HIGH - 1);
    let mut open = two.open_many(HIGH - 1);
    await_open(&agent, "other", HIGH - 1);
    await_open(&agent, NAME, HIGH - 1);
    assert_eq!(in_force(&agent, NAME), json!([WIDE, false]));
    assert_eq!(outcome(&agent, NAME, "done"), 0);

    // One more, and of eight there may be five.
    open.push(two.open());
    let beyond = open.split_off(TIGHT as usize);
    assert_closed(&agent, &mut two, &beyond, 3, "8 connections, limit 5");
    assert_eq!(in_force(&agent, NAME), json!([TIGHT, true]));
    let tight = format!("conntrace_policy_tight{{service=\"{NAME}\",policy=\"limit\"}} 1\n");
    assert!(agent.get("/metrics").body.contains(&tight));
    for pair in &open {
        works(&mut two, pair);
        assert_eq!(agent.open(&pair.server).flags, [""; 0]);
    }

    // It stays tight as long as the pressure is not low.
    close(&mut two, &open.split_off(LOW as usize));
    await_open(&agent, NAME, LOW);
    open.extend(two.open_many(TIGHT - LOW + 1));
    let beyond = open.split_off(TIGHT as usize);
    assert_closed(&agent, &mut two, &beyond, 4, "6 connections, limit 5");
    assert_eq!(in_force(&agent, NAME), json!([TIGHT, true]));

    close(&mut two, &open.split_off(LOW as usize - 1));
    eventually_equal("a limit that is wide", &json!([WIDE, false]), || {
        in_force(&agent, NAME)
    });
    assert_eq!(service(&agent, NAME)["policies"][0]["flagged"], 0);
    open.extend(two.open_many(HIGH - LOW));
    await_open(&agent, NAME, HIGH - 1);
    for pair in &open {
        assert_eq!(agent.open(&pair.server).flags, [""; 0]);
    }
    assert_eq!(in_force(&agent, NAME), json!([WIDE, false]));
    assert_eq!(outcome(&agent, NAME, "done"), 4);

    // There would not be eight if one of the seven had been closed.
    open.push(two.open());
    let beyond = open.split_off(TIGHT as usize);
    assert_closed(&agent, &mut two, &beyond, 7, "8 connections, limit 5");
    for pair in &open {
        works(&mut two, pair);
    }

    assert_eq!(in_force(&agent, "other"), json!([WIDE, false]));
    assert!(actions(&agent, "other").is_empty());
    for pair in &spared {
        works(&mut other, pair);
        assert_eq!(agent.open(&pair.server).flags, [""; 0]);
    }
    agent.stop();
}

/// What is not available of the host's memory.
fn memory_used_percent() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").expect("/proc/meminfo");
    let of = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.and_then(|number| number.parse().ok()).expect(name)
    };
    let total = of("MemTotal:");
    (total - of("MemAvailable:")) * 100 / total
}

#[test]
fn memory_of_the_host_tightens_the_limit() {
    const TIGHT: u32 = 2;
    // Of a large host that does nothing it may be less than what can be asked for.
    if memory_used_percent() < 1 {
        skip(
            "memory_of_the_host_tightens_the_limit",
            "less than 1 % of the host's memory is in use",
        );
        return;
    }
    let mut two = Two::start();
    let no_pressure = with_policy(&two, NAME, &policy("memory", 100, 100, TIGHT));
    let pressure = with_policy(&two, NAME, &policy("memory", 1, 1, TIGHT));
    let config = Config::new(&no_pressure);
    let agent = config.agent(&[]);
    let mut open = two.open_many(4);
    await_open(&agent, NAME, 4);
    assert_eq!(in_force(&agent, NAME), json!([WIDE, false]));

    config.write(&pressure);
    agent.signal(Signal::SIGHUP);
    let beyond = open.split_off(TIGHT as usize);
    assert_closed(&agent, &mut two, &beyond, 2, "4 connections, limit 2");
    assert_eq!(in_force(&agent, NAME), json!([TIGHT, true]));

    config.write(&no_pressure);
    agent.signal(Signal::SIGHUP);
    eventually_equal("a limit that is wide", &json!([WIDE, false]), || {
        in_force(&agent, NAME)
    });
    open.extend(two.open_many(WIDE - TIGHT));
    await_open(&agent, NAME, WIDE);
    // One more than there may be shows that those before it were left alone.
    let newest = two.open();
    assert_closed(&agent, &mut two, &[newest], 3, "11 connections, limit 10");
    for pair in &open {
        works(&mut two, pair);
        assert_eq!(agent.open(&pair.server).flags, [""; 0]);
    }
    agent.stop();
}
