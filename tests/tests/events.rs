//! What happens to connections, as it is told while it happens.

use std::{
    collections::HashMap,
    net::{SocketAddr, TcpStream},
};

use conn_trace_tests::{
    agent::{Agent, free_address},
    connz::Row,
    events::{Event, Reader},
    pair::{Pair, Two},
    protocol::{Counts, End},
};

type Tuple = (SocketAddr, SocketAddr);

/// Both ends of a connection that has ended, with what each of them counted.
type Lived = [(End, Counts); 2];

/// Connections of different lives: nothing sent, much sent, each way.
fn live(two: &mut Two, count: u32) -> Vec<Lived> {
    let pairs = two.open_many(count);
    for (number, pair) in (0..).zip(&pairs) {
        match number % 3 {
            0 => {}
            1 => two.forth(pair, 1000 + number, 100),
            _ => two.back(pair, 5000 + number, 1000),
        }
    }
    let end = |pair: Pair| {
        let (client, server) = two.reports(&pair);
        two.client.close(&[pair.client]);
        two.server.receive_to_end(&pair.server);
        two.server.close(&[pair.server]);
        [(pair.client, client), (pair.server, server)]
    };
    pairs.into_iter().map(end).collect()
}

/// Takes events of the connections of a listener, until as many have ended at both ends.
fn read(
    reader: &mut Reader,
    port: u16,
    ends: usize,
    told: &mut HashMap<Tuple, Vec<Event>>,
) -> String {
    let mut last = String::new();
    let mut ended = 0;
    while ended < ends {
        let event = reader.next_event();
        last.clone_from(&event.id);
        let row = event.connection.as_ref().expect("nothing is lost");
        if row.port == port || row.local_port == port {
            ended += usize::from(event.event == "closed");
            told.entry(row.tuple()).or_default().push(event);
        }
    }
    last
}

fn names(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| &*event.event).collect()
}

fn row(event: &Event) -> &Row {
    event.connection.as_ref().expect("a row")
}

#[track_caller]
fn assert_whole_lives(agent: &Agent, lived: &[Lived], told: &HashMap<Tuple, Vec<Event>>) {
    assert_eq!(told.len(), 2 * lived.len());
    for (end, counts) in lived.iter().flatten() {
        let events = &told[&(end.local, end.peer)];
        let [opened, established, closed] = &events[..] else {
            panic!("{events:#?}");
        };
        assert_eq!(names(events), ["opened", "established", "closed"]);
        assert_eq!(row(opened).cid, row(closed).cid, "{events:#?}");
        assert_eq!(row(established).cid, row(closed).cid, "{events:#?}");
        assert_eq!(row(closed).counts(), *counts);
        assert_eq!(closed.time, row(closed).stop);
        assert_eq!(*row(closed), agent.closed(end));
    }
}

#[test]
fn opening_and_end_of_each_connection_are_told_once_with_what_both_ends_counted() {
    let agent = Agent::start();
    let mut two = Two::start();
    let mut reader = Reader::open(&agent, None);
    let lived = live(&mut two, 60);
    let mut told = HashMap::new();
    read(&mut reader, two.address.port(), 2 * lived.len(), &mut told);
    assert_whole_lives(&agent, &lived, &told);
}

#[test]
fn reader_that_was_away_misses_nothing_and_hears_nothing_twice() {
    let agent = Agent::start();
    let mut two = Two::start();
    let mut reader = Reader::open(&agent, None);
    let mut lived = live(&mut two, 10);
    let mut told = HashMap::new();
    // It goes in the middle.
    let last = read(&mut reader, two.address.port(), lived.len(), &mut told);
    drop(reader);
    lived.extend(live(&mut two, 10));
    let mut reader = Reader::open(&agent, Some(&last));
    let left = 2 * lived.len() - 10;
    read(&mut reader, two.address.port(), left, &mut told);
    assert_whole_lives(&agent, &lived, &told);
}

#[test]
fn refused_connections_are_opened_and_closed() {
    let agent = Agent::start();
    let mut reader = Reader::open(&agent, None);
    let nobody = free_address();
    TcpStream::connect(nobody).expect_err("nobody listens");
    let mut told = HashMap::new();
    read(&mut reader, nobody.port(), 1, &mut told);
    let events = told.into_values().next().expect("events");
    assert_eq!(names(&events), ["opened", "closed"], "{events:#?}");
    let causes = events.iter().map(|event| row(event).close_cause.as_deref());
    assert_eq!(causes.collect::<Vec<_>>(), [None, Some("refused")]);
}

#[test]
fn events_of_an_earlier_agent_are_said_to_be_lost() {
    let agent = Agent::start();
    let mut two = Two::start();
    let mut reader = Reader::open(&agent, None);
    live(&mut two, 1);
    let last = read(&mut reader, two.address.port(), 1, &mut HashMap::new());
    agent.stop();
    let agent = Agent::start();
    let lost = Reader::open(&agent, Some(&last)).next_event();
    assert_eq!((&*lost.event, lost.lost), ("lost", None), "{lost:#?}");
    assert_ne!(lost.id, last);
}
