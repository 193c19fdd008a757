//! An agent that does not get to run: what happens meanwhile is made up for.

use std::collections::HashSet;

use conn_trace_tests::{
    agent::Agent,
    connz::Row,
    opens::Others,
    pair::Two,
    protocol::{Command, Counts},
    skip::skip,
    wait::eventually_equal,
};

/// The table; the ring that comes with it has 1 MiB, which is the ends of about 4,600 connections.
const CAPACITY: &str = "1000";

/// Ends of other programs' connections that still leave the room that a test counts on.
const SPARE: u64 = 100;

/// Opens and closes connections while the agent stands still.
fn churn(two: &mut Two, count: u32) {
    two.server.tell(&Command::ServeShort {
        count,
        read: 30,
        write: 50,
    });
    let counts = two.client.counts(&Command::ConnectShort {
        addresses: vec![two.address],
        count,
        write: 30,
        read: 50,
    });
    two.server.counted();
    assert_eq!(
        (counts.out_bytes, counts.in_bytes),
        (30 * u64::from(count), 50 * u64::from(count))
    );
}

/// All closed rows of both ends, after the agent runs again and nothing is open.
fn closed(agent: &Agent, two: &Two) -> Vec<Row> {
    let port = two.address.port();
    eventually_equal("open rows", &0, || {
        let open = |end: &str| {
            agent
                .connz(&format!("state=open&{end}={port}&limit=1"))
                .total
        };
        open("port") + open("local_port")
    });
    let mut rows = agent.rows(&format!("state=closed&port={port}"));
    rows.extend(agent.rows(&format!("state=closed&local_port={port}")));
    rows
}

fn too_busy(foreign: u64) -> String {
    format!("other programs opened {foreign} ends of connections meanwhile, which takes the room")
}

/// Every row is whole, and none is there twice.
fn assert_whole(rows: &[Row]) {
    let mut tuples = HashSet::new();
    let mut cids = HashSet::new();
    for row in rows {
        let expected = match &*row.direction {
            "out" => Counts {
                in_bytes: 50,
                out_bytes: 30,
                in_calls: 1,
                out_calls: 1,
            },
            _ => Counts {
                in_bytes: 30,
                out_bytes: 50,
                in_calls: 1,
                out_calls: 1,
            },
        };
        assert_eq!(row.counts(), expected, "{row:#?}");
        assert!(row.start <= row.stop.expect("a stop"), "{row:#?}");
        assert!(
            row.close_cause
                .as_ref()
                .is_some_and(|cause| cause.ends_with("_fin")),
            "{row:#?}"
        );
        assert!(tuples.insert((row.tuple(), row.start)), "twice: {row:#?}");
        assert!(cids.insert(row.cid), "twice: {row:#?}");
    }
}

#[test]
fn full_ring_loses_no_connection() {
    // 3,850 ends fill the ring, with their openings; the others wait in the table.
    const COUNT: u32 = 2100;
    let mut agent =
        Agent::start_with(&["--max-connections", CAPACITY, "--closed-history", "50000"]);
    let mut two = Two::start();
    let others = Others::watch();
    agent.freeze();
    churn(&mut two, COUNT);
    let foreign = others.opened(COUNT);
    agent.thaw();
    if foreign > SPARE {
        return skip("full_ring_loses_no_connection", &too_busy(foreign));
    }
    let rows = closed(&agent, &two);
    assert_whole(&rows);
    assert_eq!(rows.len(), 2 * COUNT as usize, "opened = closed");
    let varz = agent.varz();
    assert!(
        varz.conn_trace.losses.ring_closed > 0,
        "the ring was meant to be full: {varz:?}"
    );
    assert_eq!(varz.conn_trace.losses.untracked, 0, "{varz:?}");
    assert_eq!(agent.get("/healthz").status, 503);
    // And goes on as before.
    let pair = two.open();
    two.forth(&pair, 99, 9);
    assert_eq!(
        agent.open(&pair.client).counts(),
        two.client.report(&pair.client)
    );
    agent.stop();
}

#[test]
fn full_ring_and_full_table_count_what_they_lose() {
    const COUNT: u32 = 5000;
    let mut agent =
        Agent::start_with(&["--max-connections", CAPACITY, "--closed-history", "50000"]);
    let mut two = Two::start();
    let others = Others::watch();
    agent.freeze();
    churn(&mut two, COUNT);
    agent.thaw();
    let rows = closed(&agent, &two);
    assert_whole(&rows);
    let lost = 2 * u64::from(COUNT) - rows.len() as u64;
    assert!(lost > 0, "more than ring and table take");
    let losses = agent.varz().conn_trace.losses;
    let foreign = others.opened(COUNT);
    assert!(
        (lost..=lost + foreign).contains(&losses.untracked),
        "{} untracked, {lost} of ours are not shown, {foreign} are foreign",
        losses.untracked
    );
    assert!(losses.ring_closed > 0);
    // Everything that was in the table has left it.
    let pairs = two.open_many(300);
    for pair in &pairs {
        assert!(!agent.open(&pair.client).preexisting);
        assert!(!agent.open(&pair.server).start_estimated);
    }
    agent.stop();
}

#[test]
fn connections_that_live_through_a_stall_are_exact() {
    const COUNT: u32 = 2100;
    let mut agent =
        Agent::start_with(&["--max-connections", CAPACITY, "--closed-history", "50000"]);
    let mut two = Two::start();
    let before = two.open();
    two.forth(&before, 100, 10);
    let others = Others::watch();
    agent.freeze();
    churn(&mut two, COUNT);
    // Opened while the ring is full: nobody told the agent of it.
    let during = two.open();
    two.forth(&before, 1000, 10);
    two.back(&during, 200, 20);
    let foreign = others.opened(COUNT + 1);
    agent.thaw();
    if foreign > SPARE {
        return skip(
            "connections_that_live_through_a_stall_are_exact",
            &too_busy(foreign),
        );
    }
    for pair in [&before, &during] {
        let (client, server) = two.reports(pair);
        let (client_row, server_row) = (agent.open(&pair.client), agent.open(&pair.server));
        assert_eq!((client_row.counts(), server_row.counts()), (client, server));
        assert_eq!(
            [&*client_row.direction, &*server_row.direction],
            ["out", "in"]
        );
        assert!(!client_row.start_estimated && !server_row.start_estimated);
        assert_eq!(client_row.pid, Some(two.client.pid()));
    }
}
