//! Starting while connections come and go by the thousand, and others are in full use.

use std::{
    collections::HashSet,
    net::Ipv4Addr,
    process,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use conn_trace_tests::{
    agent::{Agent, free_address, program},
    connz::{Losses, Row},
    held::Held,
    pair::Two,
    protocol::{Command, Counts},
    slowness::fewer,
    wait::eventually_equal,
};

const STARTS: usize = 3;
/// How often the self-check is made.
const CHECKS: u32 = 5;
/// Pairs of processes that open and close.
const CHURNS: usize = 2;
/// Threads of long-lived connections, and how many each has.
const THREADS: usize = 2;
const LONG_LIVED: u32 = 150;
/// Ports: one address has no more than some 28,000 for as long as TIME_WAIT lasts.
const ADDRESSES: u8 = 40;
/// Between two looks at whether it is time to stop.
const ROUND: u32 = 100;

const SHORT_CLIENT: Counts = Counts {
    in_bytes: 5,
    out_bytes: 3,
    in_calls: 1,
    out_calls: 1,
};
const SHORT_SERVER: Counts = Counts {
    in_bytes: 3,
    out_bytes: 5,
    in_calls: 1,
    out_calls: 1,
};

/// Opens and closes one round of connections.
fn churn(two: &mut Two) {
    two.server.tell(&Command::ServeShort {
        count: ROUND,
        read: 3,
        write: 5,
    });
    let port = two.address.port();
    let addresses = (1..=ADDRESSES).map(|last| (Ipv4Addr::new(127, 7, 0, last), port).into());
    two.client.counts(&Command::ConnectShort {
        addresses: addresses.collect(),
        count: ROUND,
        write: 3,
        read: 5,
    });
    two.server.counted();
}

/// A connection that outlives every agent here.
struct Long {
    client: Held,
    server: Held,
}

impl Long {
    fn turn(&mut self) {
        self.client.send(7);
        self.server.receive(7);
        self.server.send(11);
        self.client.receive(11);
    }

    fn ends(&self) -> [&Held; 2] {
        [&self.client, &self.server]
    }
}

/// The one row of each end, in the order of the ends.
#[track_caller]
fn rows_of(rows: &[Row], ends: &[&Held]) -> Vec<Row> {
    let by_tuple: std::collections::HashMap<_, Vec<&Row>> =
        rows.iter().fold(Default::default(), |mut map, row| {
            map.entry(row.tuple()).or_insert_with(Vec::new).push(row);
            map
        });
    ends.iter()
        .map(|end| {
            let tuple = (end.end.local, end.end.peer);
            let found = by_tuple.get(&tuple).map_or(&[][..], |rows| &rows[..]);
            assert_eq!(found.len(), 1, "{tuple:?}: {found:#?}");
            found[0].clone()
        })
        .collect()
}

/// Every row of an agent, no number twice.
#[track_caller]
fn all_rows(agent: &Agent, state: &str) -> Vec<Row> {
    let rows = agent.rows(&format!("state={state}"));
    let cids: HashSet<u64> = rows.iter().map(|row| row.cid).collect();
    assert_eq!(cids.len(), rows.len(), "no number twice");
    rows
}

/// Short connections, once all have ended: exact, once each, whenever they began. Of those that
/// began after `agent` was up, `since` in number, none is missing.
#[track_caller]
fn assert_short(agent: &Agent, port: u16, since: u64, all: u64) {
    for (end, expected) in [("port", SHORT_CLIENT), ("local_port", SHORT_SERVER)] {
        eventually_equal("open rows", &0, || {
            agent
                .connz(&format!("state=open&{end}={port}&limit=1"))
                .total
        });
        let rows = agent.rows(&format!("state=closed&{end}={port}"));
        let mut seen = HashSet::new();
        for row in &rows {
            assert_eq!(
                (row.in_bytes, row.out_bytes),
                (expected.in_bytes, expected.out_bytes),
                "{row:#?}"
            );
            assert!(seen.insert((row.tuple(), row.start)), "twice: {row:#?}");
            if row.preexisting {
                assert!(row.in_msgs <= 1 && row.out_msgs <= 1, "{row:#?}");
                continue;
            }
            let cause = row.close_cause.as_deref().unwrap_or_default();
            assert!(cause.ends_with("_fin"), "{row:#?}");
        }
        let whole = rows.iter().filter(|row| !row.preexisting);
        let exact = whole.filter(|row| row.counts() == expected).count() as u64;
        assert!(exact >= since, "{end}: {exact} of {since}");
        assert!(rows.len() as u64 <= all, "{end}: {} of {all}", rows.len());
    }
}

#[test]
fn agent_that_starts_among_thousands_of_short_connections_misses_none() {
    let mut churns: Vec<_> = (0..CHURNS).map(|_| Two::start_on("0.0.0.0:0")).collect();
    let mut long: Vec<Vec<Long>> = (0..THREADS)
        .map(|_| {
            let open = || {
                let (client, server) = Held::pair();
                Long { client, server }
            };
            (0..fewer(LONG_LIVED, 20)).map(|_| open()).collect()
        })
        .collect();
    for _ in 0..STARTS {
        let (stop, is_up) = (AtomicBool::new(false), AtomicBool::new(false));
        let (all, since): (Vec<_>, Vec<_>) = (0..CHURNS)
            .map(|_| (AtomicU64::new(0), AtomicU64::new(0)))
            .unzip();
        let agent = thread::scope(|scope| {
            for part in &mut long {
                let stop = &stop;
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        part.iter_mut().for_each(Long::turn);
                    }
                });
            }
            for (two, (all, since)) in churns.iter_mut().zip(all.iter().zip(&since)) {
                let (stop, is_up) = (&stop, &is_up);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let was_up = is_up.load(Ordering::SeqCst);
                        churn(two);
                        all.fetch_add(ROUND.into(), Ordering::Relaxed);
                        if was_up {
                            since.fetch_add(ROUND.into(), Ordering::Relaxed);
                        }
                    }
                });
            }
            let started = thread::Builder::new()
                .spawn_scoped(scope, || {
                    let agent = Agent::start_unhealthy(&["--closed-history", "300000"]);
                    is_up.store(true, Ordering::SeqCst);
                    // Some rounds that it must have seen all of.
                    eventually_equal("rounds after the start", &true, || {
                        since
                            .iter()
                            .all(|count| count.load(Ordering::Relaxed) > u64::from(ROUND))
                    });
                    agent
                })
                .expect("a thread")
                .join();
            stop.store(true, Ordering::Relaxed);
            started.expect("the agent starts")
        });
        assert_eq!(agent.varz().conn_trace.losses, Losses::default());
        assert_eq!(agent.get("/healthz").status, 200);
        for (two, (all, since)) in churns.iter().zip(all.iter().zip(&since)) {
            let (all, since) = (all.load(Ordering::Relaxed), since.load(Ordering::Relaxed));
            assert_short(&agent, two.address.port(), since, all);
        }
        assert_long(&agent, &mut long);
        agent.stop();
    }
}

/// The long-lived ones: each end once, bytes of its whole life, and each message from now on.
#[track_caller]
fn assert_long(agent: &Agent, long: &mut [Vec<Long>]) {
    let ends = |long: &[Vec<Long>]| -> Vec<Row> {
        let ends: Vec<_> = long.iter().flatten().flat_map(Long::ends).collect();
        rows_of(&all_rows(agent, "open"), &ends)
    };
    let before = ends(long);
    long.iter_mut().flatten().for_each(Long::turn);
    let after = ends(long);
    let held = long.iter().flatten().flat_map(Long::ends);
    for ((end, before), after) in held.zip(&before).zip(&after) {
        assert!(after.preexisting, "{after:#?}");
        assert_eq!(before.cid, after.cid);
        let counts = end.counts;
        assert_eq!(
            (after.in_bytes, after.out_bytes),
            (counts.in_bytes, counts.out_bytes),
            "{after:#?}"
        );
        assert!(after.in_msgs <= counts.in_calls, "{after:#?}");
        assert_eq!(after.in_msgs, before.in_msgs + 1, "{after:#?}");
        assert_eq!(after.out_msgs, before.out_msgs + 1, "{after:#?}");
    }
    // Told from the other end, each sent as often as it received.
    for pair in after.chunks(2) {
        assert_eq!(pair[0].direction, "out", "{pair:#?}");
        assert_eq!(pair[1].direction, "in", "{pair:#?}");
    }
}

/// The self-check's own connections share the programs and the table with everything else; the
/// table of a doctor has room for a thousand.
#[test]
fn self_check_passes_among_thousands_of_short_connections() {
    let mut churns: Vec<_> = (0..CHURNS).map(|_| Two::start_on("0.0.0.0:0")).collect();
    let stop = AtomicBool::new(false);
    let failed = thread::scope(|scope| {
        for two in &mut churns {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    churn(two);
                }
            });
        }
        let doctors = scope.spawn(|| -> Vec<_> {
            let listen = free_address().to_string();
            let doctor = || {
                process::Command::new(program())
                    .args(["doctor", "--listen", &listen])
                    .output()
                    .expect("the doctor runs")
            };
            (0..fewer(CHECKS, 2))
                .map(|_| doctor())
                .filter(|done| !done.status.success())
                .collect()
        });
        let failed = doctors.join();
        stop.store(true, Ordering::Relaxed);
        failed.expect("the doctors")
    });
    assert!(failed.is_empty(), "{failed:#?}");
}
