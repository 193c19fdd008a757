//! More connections than the table takes.

use std::{collections::HashMap, net::SocketAddr};

use conn_trace_tests::{
    agent::Agent,
    connz::Row,
    opens::Others,
    pair::{Pair, Two},
    protocol::{Counts, End},
    wait::{eventually, eventually_equal},
};

/// Connections that the table takes besides those that the host has anyway.
const ROOM: u64 = 100;
/// Twice as many ends.
const PAIRS: u32 = 150;
/// Of so many other connections none is expected to close meanwhile.
const FEW: u64 = 10;

/// `--max-connections` for so many more than there are now.
fn capacity(room: u64) -> u64 {
    let agent = Agent::start();
    let used = agent.varz().conn_trace.used;
    agent.stop();
    used + room
}

/// Open rows of both ends of the server's connections, by end.
fn ours(agent: &Agent, two: &Two) -> HashMap<(SocketAddr, SocketAddr), Row> {
    let port = two.address.port();
    let mut rows = agent.rows(&format!("port={port}"));
    rows.extend(agent.rows(&format!("local_port={port}")));
    rows.into_iter().map(|row| (row.tuple(), row)).collect()
}

fn ends(pairs: &[Pair]) -> Vec<End> {
    pairs
        .iter()
        .flat_map(|pair| [pair.client, pair.server])
        .collect()
}

#[test]
fn connections_beyond_the_capacity_are_counted_and_none_is_evicted() {
    let capacity = capacity(ROOM);
    let agent = Agent::start_with(&["--max-connections", &capacity.to_string()]);
    let mut two = Two::start();
    let others = Others::watch();
    let first = two.open_many(20);
    let kept = ours(&agent, &two);
    assert_eq!(kept.len(), 40);
    let rest = two.open_many(PAIRS - 20);
    let page = agent.connz("self=1&limit=1");
    let tracked = ours(&agent, &two);
    let varz = agent.varz().conn_trace;
    // Connections of other programs take room and are counted as well.
    let foreign = others.opened(PAIRS);
    let missing = 2 * u64::from(PAIRS) - tracked.len() as u64;
    assert_eq!(varz.capacity, capacity);
    if foreign == 0 && capacity <= ROOM + FEW {
        assert_eq!(page.total, capacity, "the table is full");
        assert_eq!(varz.used, capacity);
        assert_eq!(page.untracked, missing);
        assert_eq!(varz.losses.untracked, missing);
    } else {
        assert!(page.total <= capacity && varz.used <= capacity, "{varz:?}");
        for untracked in [page.untracked, varz.losses.untracked] {
            assert!(
                untracked >= missing,
                "{untracked} untracked, {missing} of ours are not shown, {foreign} are foreign"
            );
        }
    }

    // What was there first is still there, and counted.
    for pair in &first {
        two.forth(pair, 10, 5);
    }
    let now = ours(&agent, &two);
    for (tuple, row) in &kept {
        assert_eq!(now.get(tuple).map(|row| row.cid), Some(row.cid));
    }
    for pair in &first {
        let (client, server) = two.reports(pair);
        assert_eq!(now[&(pair.client.local, pair.client.peer)].counts(), client);
        assert_eq!(now[&(pair.server.local, pair.server.peer)].counts(), server);
    }

    // It says so, with the cause, as long as it is fresh.
    let health = agent.get("/healthz");
    assert_eq!(health.status, 503, "{}", health.body);
    assert!(health.body.contains("untracked"), "{}", health.body);
    assert!(health.body.contains("unavailable"), "{}", health.body);

    // Freed slots are used again: first by those that were not tracked and now move data.
    let lost: Vec<Pair> = rest
        .iter()
        .filter(|pair| {
            !ends(&[**pair])
                .iter()
                .any(|end| tracked.contains_key(&(end.local, end.peer)))
        })
        .copied()
        .collect();
    assert!(lost.len() >= 50, "{} pairs without any row", lost.len());
    close(&mut two, &first);
    eventually_equal("ends that are gone", &0, || {
        let rows = ours(&agent, &two);
        ends(&first)
            .iter()
            .filter(|end| rows.contains_key(&(end.local, end.peer)))
            .count()
    });
    let late = lost[0];
    two.forth(&late, 500, 100);
    let row = agent.open(&late.client);
    assert!(
        row.start_estimated && row.counted_since.is_some(),
        "{row:#?}"
    );
    assert!(!row.preexisting, "{row:#?}");
    assert_eq!(row.out_bytes, 500, "{row:#?}");

    close(&mut two, &rest);
    eventually_equal("rows of closed connections", &0, || {
        ours(&agent, &two).len()
    });
    let again = two.open_many(20);
    for pair in &again {
        two.back(pair, 3, 1);
        let expected = Counts {
            in_bytes: 3,
            in_calls: two.client.report(&pair.client).in_calls,
            ..Counts::default()
        };
        assert_eq!(agent.open(&pair.client).counts(), expected);
        assert_eq!(agent.open(&pair.server).out_bytes, 3);
    }
    agent.stop();
}

fn close(two: &mut Two, pairs: &[Pair]) {
    two.client
        .close(&pairs.iter().map(|pair| pair.client).collect::<Vec<_>>());
    two.server
        .close(&pairs.iter().map(|pair| pair.server).collect::<Vec<_>>());
}

#[test]
fn agent_starts_where_more_connections_exist_than_it_takes() {
    let capacity = capacity(ROOM);
    let mut two = Two::start();
    let pairs = two.open_many(PAIRS);
    // It is not healthy, so that is not waited for.
    let agent = Agent::start_unhealthy(&["--max-connections", &capacity.to_string()]);
    let page = agent.connz("self=1&limit=1");
    assert!(page.total <= capacity, "{page:?}");
    let shown = ours(&agent, &two).len() as u64;
    assert!(shown > 0);
    let missing = 2 * u64::from(PAIRS) - shown;
    assert!(
        page.untracked >= missing,
        "{page:?}, {missing} of ours are not shown"
    );
    // And takes up what comes when there is room again.
    close(&mut two, &pairs);
    eventually_equal("rows of closed connections", &0, || {
        ours(&agent, &two).len()
    });
    let pair = two.open();
    two.forth(&pair, 10, 10);
    assert_eq!(
        agent.open(&pair.client).counts(),
        two.client.report(&pair.client)
    );
    agent.stop();
}

#[test]
fn health_is_bad_for_a_minute_after_a_loss_and_good_before() {
    let capacity = capacity(16);
    let agent = Agent::start_with(&["--max-connections", &capacity.to_string()]);
    assert_eq!(agent.get("/healthz").status, 200);
    let mut two = Two::start();
    let _pairs = two.open_many(20);
    let answer = eventually("a bad health", || {
        let answer = agent.get("/healthz");
        (answer.status == 503).then_some(answer)
    });
    let body: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
    assert_ne!(body["status"], "ok");
    assert!(
        body["error"]
            .as_str()
            .is_some_and(|text| text.contains("untracked")),
        "{body}"
    );
    assert_eq!(agent.get("/connz").status, 200, "the rest is answered");
}
