//! Both processes' counts against both rows, live and closed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use conn_trace_tests::{
    agent::Agent,
    connz::Row,
    pair::{Pair, Two},
    protocol::{Command, Counts, ReceiveWay, Reply, Way},
    skip::skip,
    wait::eventually,
};

use crate::rules;

/// A byte, less than a segment, and a byte more than what a pipe passes on in 16 parts: a pipe
/// of a page more or less would need another number of parts.
const SIZES: [u64; 3] = [1, 5000, (1 << 20) + 1];

/// An address of a server that listens on all of them.
#[derive(Clone, Copy)]
pub(crate) struct Route {
    name: &'static str,
    ip: IpAddr,
}

impl Route {
    pub(crate) const IPV4: Self = Self {
        name: "",
        ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    pub(crate) const IPV6: Self = Self {
        name: " over IPv6",
        ip: IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    pub(crate) const MAPPED: Self = Self {
        name: " over a mapped address",
        ip: IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped()),
    };
}

/// Collects what differs, so that one path does not hide the others.
pub(crate) struct Differences {
    test: String,
    found: Vec<String>,
    has_uring: Option<bool>,
}

impl Differences {
    pub(crate) fn new(test: &str) -> Self {
        Self {
            test: test.to_owned(),
            found: Vec::new(),
            has_uring: None,
        }
    }

    /// Moves data over a new connection, and compares.
    #[track_caller]
    pub(crate) fn exchange(
        &mut self,
        agent: &Agent,
        two: &mut Two,
        route: Route,
        (way, receive_way): (Way, ReceiveWay),
    ) {
        let path = format!("{way:?} to {receive_way:?}{}", route.name);
        if let Some(reason) = self.missing(two, way, receive_way) {
            skip(&self.test, &format!("{path}: {reason}"));
            return;
        }
        let address = SocketAddr::new(route.ip, two.address.port());
        let pair = two.open_to(address, 1)[0];
        let mut expected = (Counts::default(), Counts::default());
        for bytes in SIZES {
            two.server.tell(&Command::ReceiveBy {
                id: pair.server.id,
                bytes,
                way: receive_way,
            });
            let mut sent = two.client.send_by(&pair.client, bytes, way);
            let received = match two.server.reply() {
                Reply::Moved(received) => received,
                other => panic!("{path}: server: {other:?}"),
            };
            assert_eq!(received.in_bytes, bytes, "{path}: the server's own count");
            sent.out_calls = rules::sent(way, bytes, sent.out_calls);
            expected = (expected.0.plus(sent), expected.1.plus(received));
        }
        self.compare(agent, two, &pair, expected, &path);
    }

    /// Live; then closes, and compares again.
    #[track_caller]
    pub(crate) fn compare(
        &mut self,
        agent: &Agent,
        two: &mut Two,
        pair: &Pair,
        expected: (Counts, Counts),
        path: &str,
    ) {
        let rows = (agent.open(&pair.client), agent.open(&pair.server));
        self.note(agent, path, &rows, expected);
        two.client.close(&[pair.client]);
        two.server.receive_to_end(&pair.server);
        two.server.close(&[pair.server]);
        let rows = (agent.closed(&pair.client), agent.closed(&pair.server));
        self.note(agent, &format!("{path}, closed"), &rows, expected);
    }

    fn note(&mut self, agent: &Agent, path: &str, rows: &(Row, Row), expected: (Counts, Counts)) {
        let (client, server) = (
            Difference::between(rows.0.counts(), expected.0),
            Difference::between(rows.1.counts(), expected.1),
        );
        let both = client.plus(server);
        let line = format!(
            "{path} | {},{} | {},{}",
            both.in_bytes, both.out_bytes, both.in_msgs, both.out_msgs
        );
        println!("{line}");
        if (client, server) != Default::default() && !is_said(agent, both) {
            self.found
                .push(format!("{line}: client {client:?}, server {server:?}"));
        }
    }

    /// Nothing differs that the agent does not say itself.
    #[track_caller]
    pub(crate) fn assert_none(&self) {
        assert!(self.found.is_empty(), "{:#?}", self.found);
    }

    fn missing(&mut self, two: &mut Two, way: Way, receive_way: ReceiveWay) -> Option<String> {
        let reason = rules::missing(way, receive_way);
        if reason.is_some() || !rules::uses_uring(way, receive_way) {
            return reason;
        }
        let has_uring = *self
            .has_uring
            .get_or_insert_with(|| matches!(two.client.ask(&Command::ProbeUring), Reply::Done));
        (!has_uring).then(|| "the kernel gives no io_uring".to_owned())
    }
}

/// What a row shows less what it should.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Difference {
    in_bytes: i128,
    out_bytes: i128,
    in_msgs: i128,
    out_msgs: i128,
}

impl Difference {
    fn between(shown: Counts, expected: Counts) -> Self {
        let difference = |shown: u64, expected: u64| i128::from(shown) - i128::from(expected);
        Self {
            in_bytes: difference(shown.in_bytes, expected.in_bytes),
            out_bytes: difference(shown.out_bytes, expected.out_bytes),
            in_msgs: difference(shown.in_calls, expected.in_calls),
            out_msgs: difference(shown.out_calls, expected.out_calls),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            in_bytes: self.in_bytes + other.in_bytes,
            out_bytes: self.out_bytes + other.out_bytes,
            in_msgs: self.in_msgs + other.in_msgs,
            out_msgs: self.out_msgs + other.out_msgs,
        }
    }
}

/// Whether only messages are missing, and the agent says that so many were (`missed_runs`): where
/// tasks are preempted inside of tracepoints, since 6.19, more of them may be held up there than a
/// hook has programs.
fn is_said(agent: &Agent, both: Difference) -> bool {
    let Difference {
        in_bytes: 0,
        out_bytes: 0,
        in_msgs: in_msgs @ ..=0,
        out_msgs: out_msgs @ ..=0,
    } = both
    else {
        return false;
    };
    let missing = (in_msgs + out_msgs).unsigned_abs();
    eventually("as many missed runs as messages are missing", || {
        let missed = agent.varz().conn_trace.losses.missed_runs;
        (u128::from(missed) >= missing)
            .then(|| println!("of {missed} runs that the agent says were missed"))
    });
    true
}
