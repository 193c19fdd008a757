//! Engines without a kernel: connections out of thin air, and a clock that is told.

mod random;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{
    Action, Adaptive, Bounds, Leak, Limit, Outcome, Policy, Rule, Signal, Watchlist,
    engine::{Engine, Finding, Seen},
};
use crate::{
    query::tests::fixture::{NOW, SECOND, plain},
    registry::{
        connection::{CloseCause, Connection, Counters, End, Facts, TcpState},
        flags::{Flag, Flags},
    },
};

fn policy(rule: Rule, action: Action) -> Policy {
    Policy {
        name: rule.kind().into(),
        rule,
        action,
        dry_run: false,
    }
}

fn leak(idle: Option<u64>, close_wait: Option<u64>) -> Rule {
    Rule::Leak(Leak {
        idle: idle.map(Duration::from_secs),
        close_wait: close_wait.map(Duration::from_secs),
    })
}

fn limit(bounds: Bounds) -> Rule {
    Rule::Limit(Limit {
        bounds,
        client_prefix: (24, 64),
        adaptive: None,
    })
}

/// A connection of 10.0.0.`client`, in a network of 256 each.
fn connection(cid: u64, client: u8) -> Connection {
    let mut connection = plain(cid);
    let facts = Arc::make_mut(&mut connection.facts);
    facts.peer.ip = [10, 0, client, 7].into();
    connection
}

/// An engine, and what the table says of its connections.
struct World {
    engine: Engine,
    now_ns: u64,
    memory: Option<u64>,
    table: BTreeMap<u64, Seen>,
}

impl World {
    fn new(policies: &[Policy]) -> Self {
        Self {
            engine: Engine::new(policies),
            now_ns: 1000 * SECOND,
            memory: None,
            table: BTreeMap::new(),
        }
    }

    fn facts(cid: u64, client: u8) -> Facts {
        (*connection(cid, client).facts).clone()
    }

    fn open(&mut self, cid: u64, client: u8) {
        let seen = Seen {
            state: TcpState::Established,
            active_ns: self.now_ns,
        };
        self.table.insert(cid, seen);
        self.engine
            .enter(&Self::facts(cid, client), self.now_ns, true);
    }

    fn end(&mut self, cid: u64) {
        self.table.remove(&cid);
        self.engine.leave(cid);
    }

    fn state(&mut self, cid: u64, state: TcpState) {
        self.table.get_mut(&cid).unwrap().state = state;
    }

    fn pass(&mut self, milliseconds: u64) {
        self.now_ns += milliseconds * 1_000_000;
    }

    /// Where nobody has to look, there is nothing to be found.
    fn look(&mut self) -> Vec<Finding> {
        let table = &self.table;
        let look = |cid| table.get(&cid).copied();
        let is_due = self.engine.is_due(self.now_ns) || self.memory.is_some();
        let (findings, passed) = self.engine.look(self.now_ns, self.memory, look);
        assert!(is_due || (findings.is_empty() && passed.is_empty()));
        findings
    }

    /// The numbers of those that are found.
    fn found(&mut self) -> Vec<u64> {
        self.look().into_iter().map(|finding| finding.cid).collect()
    }

    fn act(&mut self, finding: &Finding, outcome: Outcome) {
        let at = (NOW, self.now_ns);
        let found = connection(finding.cid, 0);
        let record = self
            .engine
            .record(&"service".into(), finding, outcome, found, at);
        self.engine.acted(finding, record, self.now_ns + SECOND);
    }

    fn flagged(&self) -> BTreeSet<u64> {
        let all = self.table.keys().copied();
        all.filter(|cid| !self.engine.flags(*cid).is_empty())
            .collect()
    }
}

#[test]
fn idle_connections_are_found_when_they_are_due_and_once() {
    let mut world = World::new(&[policy(leak(Some(600), None), Action::Event)]);
    world.open(1, 1);
    world.pass(60_000);
    world.open(2, 1);
    world.pass(539_999);
    assert_eq!(world.found(), [0; 0]);
    world.pass(1);
    let found = world.look();
    assert_eq!((found[0].cid, found[0].flag), (1, Flag::IdleLeak));
    assert_eq!(found[0].reason, "idle for 600s, limit 600s");
    world.pass(59_000);
    assert_eq!(world.found(), [0; 0]);
    // The second has moved something meanwhile, which puts it off.
    world.table.get_mut(&2).unwrap().active_ns = world.now_ns;
    world.pass(30_000);
    assert_eq!(world.found(), [0; 0]);
    assert_eq!(world.flagged(), BTreeSet::from([1]));
    // So does the first: it is no leak any more, and may be one again.
    world.table.get_mut(&1).unwrap().active_ns = world.now_ns;
    world.pass(10_000);
    assert_eq!(world.found(), [0; 0]);
    assert_eq!(world.flagged(), BTreeSet::new());
    world.pass(600_000);
    assert_eq!(world.found(), [2, 1]);
    world.end(1);
    assert!(world.engine.flags(1).is_empty());
}

#[test]
fn what_the_socket_knows_better_is_no_leak() {
    let mut world = World::new(&[policy(leak(Some(10), None), Action::Close)]);
    world.open(1, 1);
    world.pass(10_000);
    let found = world.look();
    world.engine.moved(&found[0], world.now_ns - 3 * SECOND);
    assert_eq!(world.flagged(), BTreeSet::new());
    world.pass(6_999);
    assert_eq!(world.found(), [0; 0]);
    world.pass(1);
    assert_eq!(world.found(), [1]);
}

#[test]
fn half_closed_connections_are_found_within_a_tenth_of_the_time() {
    let mut world = World::new(&[policy(leak(None, Some(100)), Action::Event)]);
    world.open(1, 1);
    world.open(2, 1);
    assert_eq!(world.found(), [0; 0]);
    world.pass(2_000);
    world.state(1, TcpState::CloseWait);
    let began = world.now_ns;
    let found = loop {
        world.pass(100);
        let found = world.look();
        if !found.is_empty() {
            break found;
        }
        assert!(world.now_ns < began + 111 * SECOND);
    };
    assert!(world.now_ns >= began + 100 * SECOND);
    assert_eq!((found[0].cid, found[0].flag), (1, Flag::CloseWaitLeak));
    world.state(1, TcpState::LastAck);
    world.pass(10_000);
    assert_eq!(world.found(), [0; 0]);
    assert_eq!(world.flagged(), BTreeSet::new());
}

#[test]
fn the_newest_beyond_the_limit_are_found() {
    let most = Bounds {
        connections: Some(2),
        ..Bounds::default()
    };
    let mut world = World::new(&[policy(limit(most), Action::Close)]);
    for cid in 1..=4 {
        world.pass(1);
        world.open(cid, 1);
    }
    let found = world.look();
    let numbers: Vec<_> = found.iter().map(|finding| finding.cid).collect();
    assert_eq!(numbers, [3, 4]);
    assert_eq!(found[0].reason, "4 connections, limit 2");
    // What is closed counts no longer, though its program has not noticed.
    world.act(&found[0], Outcome::Done);
    world.act(&found[1], Outcome::Failed("no".to_owned()));
    assert_eq!(world.found(), [0; 0]);
    assert_eq!(world.flagged(), BTreeSet::from([3, 4]));
    world.end(1);
    assert_eq!(world.found(), [0; 0]);
    assert_eq!(world.flagged(), BTreeSet::from([3]));
    world.open(5, 1);
    assert_eq!(world.found(), [5]);
    // Neither does what has ended by itself and is still held.
    world.state(2, TcpState::Close);
    world.open(6, 1);
    assert_eq!(world.found(), [6]);
    assert_eq!(world.flagged(), BTreeSet::from([3, 6]));
}

#[test]
fn each_client_and_each_second_by_itself() {
    let bounds = Bounds {
        connections: None,
        connections_per_client: Some(2),
        new_per_second: Some(3),
    };
    let mut world = World::new(&[policy(limit(bounds), Action::Event)]);
    for (cid, client) in [(1, 1), (2, 1), (3, 2)] {
        world.open(cid, client);
    }
    assert_eq!(world.found(), [0; 0]);
    world.pass(999);
    world.open(4, 3);
    let found = world.look();
    assert_eq!(found[0].reason, "more than 3 new connections in a second");
    world.pass(1);
    world.open(5, 1);
    world.open(6, 2);
    let found = world.look();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].reason, "3 connections of 10.0.1.0/24, limit 2");
    assert_eq!(world.flagged(), BTreeSet::from([4, 5]));
    world.end(1);
    assert_eq!(world.found(), [0; 0]);
    assert_eq!(world.flagged(), BTreeSet::from([4]));
}

#[test]
fn pressure_tightens_the_limit_until_it_is_low() {
    let tight = |signal, high, low| {
        policy(
            Rule::Limit(Limit {
                bounds: Bounds {
                    connections: Some(4),
                    ..Bounds::default()
                },
                client_prefix: (32, 128),
                adaptive: Some(Adaptive {
                    signal,
                    high,
                    low,
                    bounds: Bounds {
                        connections: Some(1),
                        ..Bounds::default()
                    },
                }),
            }),
            Action::Event,
        )
    };
    let mut world = World::new(&[tight(Signal::Memory, 90, 80)]);
    assert!(world.engine.has_signal(Signal::Memory));
    (1..=3).for_each(|cid| world.open(cid, 1));
    let bounds = |world: &World| {
        let figures = world.engine.figures().remove(0);
        (figures.is_tight, figures.bounds.unwrap().connections)
    };
    for (memory, expected, is_tight) in [
        (None, vec![], false),
        (Some(89), vec![], false),
        (Some(90), vec![2, 3], true),
        (Some(80), vec![], true),
        (None, vec![], true),
        (Some(79), vec![], false),
        (Some(95), vec![2, 3], true),
    ] {
        world.memory = memory;
        assert_eq!(world.found(), expected, "{memory:?}");
        let most = if is_tight { 1 } else { 4 };
        assert_eq!(bounds(&world), (is_tight, Some(most)), "{memory:?}");
        assert_eq!(world.flagged().len(), if is_tight { 2 } else { 0 });
    }
    let mut world = World::new(&[tight(Signal::Connections, 3, 2)]);
    (1..=2).for_each(|cid| world.open(cid, 1));
    assert_eq!(world.found(), [0; 0]);
    world.open(3, 1);
    assert_eq!(world.found(), [2, 3]);
    world.end(1);
    assert_eq!(world.found(), [0; 0]);
    assert_eq!(world.flagged(), BTreeSet::from([3]));
    world.end(2);
    assert_eq!(world.found(), [0; 0]);
    assert_eq!(bounds(&world), (false, Some(4)));
}

#[test]
fn peers_are_watched() {
    let net = |text: &str| vec![text.parse().unwrap()];
    let list = |deny: &str, allow: &str| {
        let watchlist = Watchlist {
            deny: net(deny),
            allow: net(allow),
        };
        policy(Rule::Watchlist(watchlist), Action::Event)
    };
    let mut world = World::new(&[list("10.0.2.0/24", "10.0.0.0/22")]);
    assert!(world.engine.is_prompt());
    for client in 1..=4 {
        world.open(client.into(), client);
    }
    let reasons: Vec<_> = world
        .look()
        .into_iter()
        .map(|finding| (finding.cid, finding.reason))
        .collect();
    let expected = [
        (2, "peer is in 10.0.2.0/24, which is denied".to_owned()),
        (4, "peer is in no network that is allowed".to_owned()),
    ];
    assert_eq!(reasons, expected);
    // One that has ended before anybody looked is nobody's concern.
    world.open(5, 2);
    world.end(5);
    assert_eq!(world.found(), [0; 0]);
}

#[test]
fn a_policy_that_stays_the_same_loses_nothing() {
    let watchlist = policy(
        Rule::Watchlist(Watchlist {
            deny: vec!["10.0.1.0/24".parse().unwrap()],
            allow: Vec::new(),
        }),
        Action::Event,
    );
    let mut world = World::new(&[
        policy(leak(Some(5), None), Action::Event),
        watchlist.clone(),
    ]);
    world.open(1, 1);
    world.pass(5_000);
    let found = world.look();
    assert_eq!(found.len(), 2);
    for finding in &found {
        world.act(finding, Outcome::Done);
    }
    let both = Flags::default().with(Flag::IdleLeak).with(Flag::Watchlist);
    assert_eq!(world.engine.flags(1), both);
    let facts = World::facts(1, 1);
    // The leak is another one now, and finds it anew; the watchlist has found it already.
    world.engine.replace(&[
        watchlist.clone(),
        policy(leak(Some(4), None), Action::Event),
    ]);
    world.engine.enter(&facts, world.now_ns, false);
    assert_eq!(
        world.engine.flags(1),
        Flags::default().with(Flag::Watchlist)
    );
    world.pass(5_000);
    let found = world.look();
    assert_eq!((found.len(), found[0].flag), (1, Flag::IdleLeak));
    let counts: Vec<_> = world
        .engine
        .figures()
        .iter()
        .map(|figures| (figures.flagged, figures.outcomes.total()))
        .collect();
    assert_eq!(counts, [(1, 1), (1, 1)]);
    world.engine.replace(&[]);
    assert!(world.engine.flags(1).is_empty() && world.engine.is_empty());
}

/// A connection as it ended, having read so much.
fn ended(cid: u64, in_bytes: u64) -> Connection {
    Connection {
        counters: Counters {
            in_bytes,
            ..Counters::default()
        },
        end: Some(End {
            stop: NOW,
            stop_ns: 5,
            cause: CloseCause::Aborted,
            retrans: None,
        }),
        ..connection(cid, 1)
    }
}

#[test]
fn the_record_of_a_close_waits_for_the_last_figures() {
    let most = Bounds {
        connections: Some(1),
        ..Bounds::default()
    };
    let mut world = World::new(&[policy(limit(most), Action::Close)]);
    (1..=3).for_each(|cid| world.open(cid, 1));
    for finding in world.look() {
        world.act(&finding, Outcome::Done);
    }
    assert!(world.engine.due_records(world.now_ns).is_empty());
    world.engine.ended(&ended(2, 17));
    let told = world.engine.due_records(world.now_ns);
    assert_eq!(told.len(), 1);
    assert!(told[0].is_final());
    assert_eq!(told[0].connection.counters.in_bytes, 17);
    // The other program does not close its socket.
    world.pass(1000);
    let told = world.engine.due_records(world.now_ns);
    assert_eq!((told.len(), told[0].is_final()), (1, false));
    world.engine.ended(&ended(3, 5));
    let kept = world.engine.newest_records();
    let figures: Vec<_> = kept
        .iter()
        .map(|record| (record.connection.facts.cid, record.is_final()))
        .collect();
    assert_eq!(figures, [(3, true), (2, true)]);
    assert_eq!(kept[0].connection.counters.in_bytes, 5);
}

#[test]
fn records_are_bounded_and_all_are_told() {
    let mut world = World::new(&[policy(leak(Some(1), None), Action::Event)]);
    (1..=250).for_each(|cid| world.open(cid, 1));
    world.pass(1000);
    for finding in world.look() {
        world.act(&finding, Outcome::DryRun);
    }
    assert_eq!(world.engine.due_records(world.now_ns).len(), 250);
    let kept = world.engine.newest_records();
    assert_eq!(kept.len(), 100);
    assert_eq!(kept[0].connection.facts.cid, 250);
    assert_eq!(world.engine.figures()[0].outcomes.total(), 250);
}
