//! Connections that live for an instant: none is missed, none is shown twice.

use std::{
    collections::{HashMap, HashSet},
    net::{Ipv4Addr, SocketAddr},
    thread,
};

use conn_trace_tests::{
    agent::Agent,
    connz::{Losses, Row},
    pair::Two,
    protocol::{Command, Counts, Reply},
    slowness::fewer,
    wait::eventually_equal,
};

/// Bytes from client to server, and back.
const FORTH: usize = 3;
const BACK: usize = 5;

/// Opens and closes `count` connections in a row, to the addresses in turn. The processes' own
/// sums are checked, so that what is compared with them later is known to have happened.
fn churn(two: &mut Two, addresses: Vec<SocketAddr>, count: u32) {
    two.server.tell(&Command::ServeShort {
        count,
        read: FORTH,
        write: BACK,
    });
    let client = two.client.counts(&Command::ConnectShort {
        addresses,
        count,
        write: FORTH,
        read: BACK,
    });
    let server = two.server.counted();
    let n = u64::from(count);
    let expected = Counts {
        in_bytes: BACK as u64 * n,
        out_bytes: FORTH as u64 * n,
        in_calls: n,
        out_calls: n,
    };
    assert_eq!(client, expected);
    let expected = Counts {
        in_bytes: FORTH as u64 * n,
        out_bytes: BACK as u64 * n,
        ..expected
    };
    assert_eq!(server, expected);
}

fn wait_until_none_is_open(agent: &Agent, port: u16) {
    eventually_equal("open rows of both ends", &(0, 0), || {
        let open = |end: &str| {
            agent
                .connz(&format!("state=open&{end}={port}&limit=1"))
                .total
        };
        (open("port"), open("local_port"))
    });
}

#[test]
fn five_thousand_in_a_row_are_exact_one_by_one() {
    let count = fewer(5000, 1000);
    let agent = Agent::start_with(&["--closed-history", "20000"]);
    let mut two = Two::start();
    let (address, port) = (two.address, two.address.port());
    churn(&mut two, vec![address], count);
    wait_until_none_is_open(&agent, port);

    let clients = agent.rows(&format!("state=closed&port={port}"));
    let servers = agent.rows(&format!("state=closed&local_port={port}"));
    let own = |row: &Row| (row.counts(), row.pid, row.close_cause.clone());
    for row in &clients {
        let expected = Counts {
            in_bytes: 5,
            out_bytes: 3,
            in_calls: 1,
            out_calls: 1,
        };
        assert_eq!(
            own(row),
            (expected, Some(two.client.pid()), Some("local_fin".into())),
            "{row:#?}"
        );
        assert_eq!(row.direction, "out");
    }
    for row in &servers {
        let expected = Counts {
            in_bytes: 3,
            out_bytes: 5,
            in_calls: 1,
            out_calls: 1,
        };
        assert_eq!(
            own(row),
            (expected, Some(two.server.pid()), Some("peer_fin".into())),
            "{row:#?}"
        );
        assert_eq!(row.direction, "in");
    }
    assert_eq!(
        (clients.len(), servers.len()),
        (count as usize, count as usize)
    );
    let cids: HashSet<u64> = clients.iter().chain(&servers).map(|row| row.cid).collect();
    assert_eq!(
        cids.len(),
        2 * count as usize,
        "every connection has a number of its own"
    );
    // Each server row is the other end of one client row.
    let mut ends: Vec<_> = clients.iter().map(Row::tuple).collect();
    let mut others: Vec<_> = servers
        .iter()
        .map(|row| (row.peer(), row.local()))
        .collect();
    ends.sort_unstable();
    others.sort_unstable();
    assert_eq!(ends, others);
    assert_eq!(agent.varz().conn_trace.losses, Losses::default());
    agent.stop();
}

#[test]
fn a_hundred_thousand_in_a_row_open_and_close_exactly_once() {
    let count = fewer(100_000, 10_000);
    // Ports: one address has no more than some 28,000 for as long as TIME_WAIT lasts.
    const ADDRESSES: u8 = 10;
    let agent = Agent::start_with(&["--closed-history", "250000"]);
    let before = agent.varz();
    let mut two = Two::start_on("0.0.0.0:0");
    let port = two.address.port();
    let addresses = (1..=ADDRESSES)
        .map(|last| (Ipv4Addr::new(127, 0, 0, last), port).into())
        .collect();
    churn(&mut two, addresses, count);
    wait_until_none_is_open(&agent, port);

    let closed = |end: &str| {
        agent
            .connz(&format!("state=closed&{end}={port}&limit=1"))
            .total
    };
    assert_eq!(closed("port"), u64::from(count), "closed client ends");
    assert_eq!(closed("local_port"), u64::from(count), "closed server ends");
    let after = agent.varz();
    let opened = after.total_connections - before.total_connections;
    let ended = after.conn_trace.closed_connections - before.conn_trace.closed_connections;
    assert!(opened >= 2 * u64::from(count), "opened {opened}");
    assert!(ended >= 2 * u64::from(count), "closed {ended}");
    assert_eq!(after.conn_trace.losses, Losses::default());
    // What was moved is in the sums: nothing was lost on the way to the history.
    let bytes = u64::from(count) * (FORTH + BACK) as u64;
    assert!(after.in_bytes - before.in_bytes >= bytes);
    assert!(after.out_bytes - before.out_bytes >= bytes);
    agent.stop();
}

#[test]
fn table_read_while_it_churns_has_everything_once() {
    const LONG_LIVED: u32 = 50;
    let count = fewer(30_000, 3000);
    let agent = Agent::start();
    let mut steady = Two::start();
    let pairs = steady.open_many(LONG_LIVED);
    for (number, pair) in (1..).zip(&pairs) {
        steady.forth(pair, 10 * number, 10);
    }
    let expected: Vec<_> = pairs
        .iter()
        .flat_map(|pair| {
            let (client, server) = steady.reports(pair);
            [(pair.client, client), (pair.server, server)]
        })
        .collect();

    let mut two = Two::start();
    let addresses = vec![two.address];
    let churning = thread::spawn(move || churn(&mut two, addresses, count));
    let mut looks = 0;
    while !churning.is_finished() {
        let rows = agent.rows("state=all&self=1");
        let cids: HashSet<u64> = rows.iter().map(|row| row.cid).collect();
        assert_eq!(cids.len(), rows.len(), "no connection is shown twice");
        let by_end: HashMap<_, _> = rows
            .iter()
            .filter(|row| row.stop.is_none())
            .map(|row| (row.tuple(), row))
            .collect();
        for (end, counts) in &expected {
            let row = by_end.get(&(end.local, end.peer));
            assert_eq!(row.map(|row| row.counts()), Some(*counts), "{end:?}");
        }
        looks += 1;
    }
    churning.join().expect("the churn");
    assert!(looks > 3, "{looks} looks");
    assert_eq!(agent.varz().conn_trace.losses, Losses::default());
}

#[test]
fn ten_thousand_refused_connects_leave_nothing_behind() {
    let count = fewer(10_000, 1000);
    let agent = Agent::start_with(&["--closed-history", "20000"]);
    let mut two = Two::start();
    two.server.done(&Command::StopListening);
    let (address, port) = (two.address, two.address.port());
    let used = agent.varz().conn_trace.used;
    let refused = two.client.ask(&Command::ConnectRefused { address, count });
    assert!(
        matches!(refused, Reply::Count(n) if n == u64::from(count)),
        "{refused:?}"
    );
    wait_until_none_is_open(&agent, port);

    let rows = agent.rows(&format!("state=closed&port={port}"));
    assert_eq!(rows.len(), count as usize);
    for row in &rows {
        assert_eq!(row.close_cause.as_deref(), Some("refused"), "{row:#?}");
        assert_eq!(
            row.reason.as_deref(),
            Some("Connection Refused"),
            "{row:#?}"
        );
        assert_eq!(row.counts(), Counts::default(), "{row:#?}");
        assert_eq!(
            (&*row.direction, row.pid),
            ("out", Some(two.client.pid())),
            "{row:#?}"
        );
        assert_ne!(row.local_port, 0, "{row:#?}");
    }
    // Other programs of the host come and go meanwhile, but not by the thousand.
    let grown = agent.varz().conn_trace.used.saturating_sub(used);
    assert!(grown < u64::from(count) / 100, "{grown} more slots in use");
}
