//! Messages of single connections, told while they are moved.

use std::{
    collections::{BTreeSet, HashMap},
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use conn_trace_tests::{
    agent::{Agent, program},
    events::{Message, Reader, Told},
    pair::{Pair, Two},
    protocol::{Command as Do, Counts, ReceiveWay, Way},
    slowness::fewer,
    wait::{eventually, eventually_equal},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// More than the ring (4,681) and what waits for a reader (8,192) take together.
const MANY: u32 = 40_000;

/// Bytes of each message of one connection in one direction, in order; their numbers follow.
#[derive(Debug, Default, PartialEq)]
struct Moved {
    received: Vec<u64>,
    sent: Vec<u64>,
}

impl Moved {
    #[track_caller]
    fn add(&mut self, message: &Message) {
        let list = match &*message.direction {
            "in" => &mut self.received,
            "out" => &mut self.sent,
            other => panic!("{other}"),
        };
        list.push(message.bytes);
        assert_eq!(message.number, list.len() as u64, "{message:?}");
    }

    fn counts(&self) -> Counts {
        Counts {
            in_bytes: self.received.iter().sum(),
            out_bytes: self.sent.iter().sum(),
            in_calls: self.received.len() as u64,
            out_calls: self.sent.len() as u64,
        }
    }
}

/// Takes what is told, until so many connections have ended. Gives what each has moved by its messages
/// and by its final row.
#[track_caller]
fn read_to_ends(reader: &mut Reader, ends: usize) -> HashMap<u64, (Moved, Counts)> {
    let mut moving: HashMap<u64, Moved> = HashMap::new();
    let mut ended = HashMap::new();
    while ended.len() < ends {
        match reader.next_told() {
            Told::Opened { connection } => {
                let before = moving.insert(connection.cid, Moved::default());
                assert_eq!(before, None, "messages before the opening: {connection:?}");
            }
            Told::Established { .. } => {}
            Told::Message(message) => {
                assert!(
                    !ended.contains_key(&message.cid),
                    "after the end: {message:?}"
                );
                moving.entry(message.cid).or_default().add(&message);
            }
            Told::Closed { connection } => {
                let moved = moving.remove(&connection.cid).unwrap_or_default();
                ended.insert(connection.cid, (moved, connection.counts()));
            }
            Told::LostMessages { lost } => panic!("{lost} lost"),
        }
    }
    assert!(moving.is_empty(), "not ended: {moving:?}");
    ended
}

fn close(two: &mut Two, pair: &Pair) {
    two.client.close(&[pair.client]);
    two.server.receive_to_end(&pair.server);
    two.server.close(&[pair.server]);
}

/// Sends messages of these sizes, each of which is taken by a call of its own.
fn exchange(two: &mut Two, pair: &Pair, forth: &[u64], back: &[u64]) {
    for (forth, back) in forth.iter().zip(back) {
        two.forth(pair, *forth, *forth);
        two.back(pair, *back, *back);
    }
}

#[test]
fn each_message_of_the_chosen_connections_is_told_in_order_and_none_of_others() {
    let agent = Agent::start();
    let (mut two, mut others) = (Two::start(), Two::start());
    let (pair, other) = (two.open(), others.open());
    // Both ends have a row. They are known by then, so that all of their messages follow.
    let cids = [&pair.client, &pair.server].map(|end| agent.open(end).cid);
    let port = two.address.port();
    let mut client = Reader::open_messages(&agent, &format!("port={port}"));
    let mut server = Reader::open_messages(&agent, &format!("local_port={port}"));
    let (forth, back) = ([1, 700, 3, 64], [2000, 5, 5, 1]);
    exchange(&mut two, &pair, &forth, &back);
    exchange(&mut others, &other, &back, &forth);
    let (of_client, of_server) = two.reports(&pair);
    close(&mut others, &other);
    close(&mut two, &pair);
    for (reader, cid, counts, sent, received) in [
        (&mut client, cids[0], of_client, forth, back),
        (&mut server, cids[1], of_server, back, forth),
    ] {
        let ended = read_to_ends(reader, 1);
        let (moved, row) = &ended[&cid];
        assert_eq!(
            (&moved.sent[..], &moved.received[..]),
            (&sent[..], &received[..])
        );
        assert_eq!((moved.counts(), *row), (counts, counts));
    }
}

#[test]
fn connection_that_opens_later_is_told_from_its_first_message_to_its_last() {
    let agent = Agent::start();
    let mut two = Two::start();
    let port = two.address.port();
    let mut clients = Reader::open_messages(&agent, &format!("port={port}"));
    // Who accepts is known with the first message only.
    let mut servers = Reader::open_messages(&agent, &format!("pid={}", two.server.pid()));
    let mut expected = Vec::new();
    for number in 1..=30 {
        let pair = two.open();
        exchange(&mut two, &pair, &[number, 1], &[2 * number, 3]);
        expected.push(two.reports(&pair));
        close(&mut two, &pair);
    }
    let told = [&mut clients, &mut servers].map(|reader| {
        let mut ended: Vec<_> = read_to_ends(reader, expected.len()).into_iter().collect();
        ended.sort_by_key(|(cid, _)| *cid);
        ended
    });
    for (number, (client, server)) in expected.iter().enumerate() {
        for (told, counts) in told.iter().zip([client, server]) {
            let (_, (moved, row)) = &told[number];
            assert_eq!((moved.counts(), row), (*counts, counts), "{moved:?}");
        }
    }
}

#[test]
fn short_connections_are_told_whole() {
    let agent = Agent::start();
    let mut two = Two::start();
    let count = fewer(300, 30);
    let mut reader = Reader::open_messages(&agent, &format!("port={}", two.address.port()));
    let (read, write) = (7, 11);
    two.server.tell(&Do::ServeShort { count, read, write });
    let all = two.client.counts(&Do::ConnectShort {
        addresses: vec![two.address],
        count,
        write: read,
        read: write,
    });
    two.server.counted();
    let ended = read_to_ends(&mut reader, count as usize);
    let told = ended.values().fold(Counts::default(), |sum, (moved, row)| {
        assert_eq!(moved.counts(), *row);
        sum.plus(moved.counts())
    });
    assert_eq!(told, all);
}

#[test]
fn messages_that_threads_send_at_the_same_time_have_a_number_each() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = two.open();
    let cid = agent.open(&pair.client).cid;
    let mut reader = Reader::open_messages(&agent, &format!("cid={cid}"));
    two.client
        .send_by(&pair.client, 100_000, Way::Threads { count: 8 });
    two.server.receive(&pair.server, 100_000, 1000);
    let sent = two.client.report(&pair.client);
    let mut numbers = BTreeSet::new();
    let mut bytes = 0;
    for _ in 0..sent.out_calls {
        let Told::Message(message) = reader.next_told() else {
            panic!("no message");
        };
        assert_eq!(message.direction, "out");
        bytes += message.bytes;
        numbers.insert(message.number);
    }
    assert_eq!(bytes, sent.out_bytes);
    assert_eq!(numbers, BTreeSet::from_iter(1..=sent.out_calls));
}

#[test]
fn flags_are_those_that_a_receive_was_called_with() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = two.open();
    let cid = agent.open(&pair.server).cid;
    let mut reader = Reader::open_messages(&agent, &format!("cid={cid}"));
    for (way, flag) in [
        (ReceiveWay::Recv, None),
        (ReceiveWay::WaitAll, Some("MSG_WAITALL")),
        (ReceiveWay::Truncate, Some("MSG_TRUNC")),
    ] {
        two.client.send(&pair.client, 10, 10);
        two.server.receive_by(&pair.server, 10, way);
        let Told::Message(message) = reader.next_told() else {
            panic!("no message");
        };
        assert_eq!(
            message.flags.first().map(String::as_str),
            flag,
            "{message:?}"
        );
    }
}

/// Of the messages of one connection, what is told and what is said to be lost are all there were.
#[track_caller]
fn assert_all_accounted_for(reader: &mut Reader, all: u64) {
    let (mut seen, mut lost, mut last) = (0, 0, 0);
    while seen + lost < all {
        match reader.next_told() {
            Told::Message(message) => {
                assert!(message.number > last, "{message:?} after {last}");
                last = message.number;
                seen += 1;
            }
            Told::LostMessages { lost: more } => lost += more,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen + lost, all);
    assert!(lost > 0, "the buffers of the kernel took all of it");
    println!("{seen} seen, {lost} lost");
}

#[test]
fn what_the_ring_does_not_take_is_counted() {
    let mut agent = Agent::start();
    let mut two = Two::start();
    let pair = two.open();
    let cid = agent.open(&pair.client).cid;
    let mut reader = Reader::open_messages(&agent, &format!("cid={cid}"));
    // Nobody takes anything out of the ring.
    agent.freeze();
    let all = u64::from(fewer(MANY, 10_000));
    two.forth(&pair, all, 1);
    agent.thaw();
    let calls = two.client.report(&pair.client).out_calls;
    assert_eq!(calls, all);
    assert_all_accounted_for(&mut reader, calls);
    assert!(agent.varz().conn_trace.trace.lost > 0);
    assert_eq!(agent.get("/healthz").status, 200);
}

#[test]
fn reader_that_does_not_read_loses_what_it_has_no_room_for_and_holds_up_nobody() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = two.open();
    let query = format!("cid={}", agent.open(&pair.client).cid);
    let mut slow = Reader::open_messages(&agent, &query);
    let mut quick = Reader::open_messages(&agent, &query);
    let mut plain = Reader::open(&agent, None);
    let mut sent = 0;
    // Until the slow one, whose connection holds some megabytes, has no room any more.
    while agent.varz().conn_trace.trace.lost == 0 {
        two.forth(&pair, 2_000, 1);
        sent += 2_000;
        for number in sent - 1_999..=sent {
            let Told::Message(message) = quick.next_told() else {
                panic!("no message");
            };
            assert_eq!(message.number, number);
        }
    }
    assert_eq!(two.client.report(&pair.client).out_calls, sent);
    // Who has not asked for them gets none.
    let another = two.open();
    let opened = std::iter::repeat_with(|| plain.next_event()).find(|event| {
        event
            .connection
            .as_ref()
            .is_some_and(|row| row.local() == another.client.local)
    });
    assert_eq!(opened.expect("an event").event, "opened");
    assert_all_accounted_for(&mut slow, sent);
}

#[test]
fn nothing_is_traced_when_all_readers_have_gone() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pairs = two.open_many(10);
    let query = format!("port={}", two.address.port());
    let readers = [0; 2].map(|_| Reader::open_messages(&agent, &query));
    let trace = || agent.varz().conn_trace.trace;
    assert_eq!((trace().readers, trace().connections), (2, 10));
    two.forth(&pairs[0], 10, 1);
    eventually("messages are traced", || {
        (trace().messages >= 10).then_some(())
    });
    let [first, second] = readers;
    drop(first);
    eventually_equal("readers", &1, || trace().readers);
    assert_eq!(trace().connections, 10);
    drop(second);
    eventually_equal("readers and connections", &(0, 0), || {
        (trace().readers, trace().connections)
    });
    // Other connections of the host may have been traced until now.
    let before = trace().messages;
    two.forth(&pairs[0], 1000, 1);
    assert!(trace().messages - before < 1000, "{before}, {:?}", trace());
}

/// A reader without conditions, at the other end of a connection to the agent, would read of its own
/// reading.
#[test]
fn telling_does_not_make_more_to_tell() {
    let agent = Agent::start();
    let mut reader = Reader::open_messages(&agent, "self=1");
    let mut two = Two::start();
    let pair = two.open();
    let cid = agent.open(&pair.client).cid;
    two.forth(&pair, 50, 1);
    let port = agent.address.port();
    let mut of_agent = HashMap::new();
    let mut seen = 0;
    while seen < 50 {
        match reader.next_told() {
            Told::Opened { connection } => {
                let is_of_agent = [connection.port, connection.local_port].contains(&port);
                of_agent.insert(connection.cid, is_of_agent);
            }
            Told::Message(message) => {
                seen += u64::from(message.cid == cid);
                assert_ne!(of_agent.get(&message.cid), Some(&true), "{message:?}");
            }
            _ => {}
        }
    }
}

/// `conn-trace trace`, told what to follow.
fn command(agent: &Agent, arguments: &[&str]) -> Child {
    Command::new(program())
        .args(["trace", "--url", &format!("http://{}", agent.address)])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

#[test]
fn command_writes_json_lines_and_ends_with_its_reader_or_by_a_signal() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = two.open();
    // By then the agent knows of it: its opening comes before the stream.
    agent.open(&pair.server);
    let port = format!("--local-port={}", two.address.port());
    for is_by_signal in [false, true] {
        let mut running = command(&agent, &[&port]);
        eventually_equal("readers", &1, || agent.varz().conn_trace.trace.readers);
        two.forth(&pair, 40, 8);
        let mut lines = BufReader::new(running.stdout.take().expect("a pipe")).lines();
        for _ in 0..5 {
            let line = lines.next().expect("a line").expect("a text");
            let told: Told = serde_json::from_str(&line).expect(&line);
            assert!(
                matches!(told, Told::Message(message) if message.bytes == 8),
                "{line}"
            );
        }
        if is_by_signal {
            let pid = i32::try_from(running.id()).expect("a process id");
            kill(Pid::from_raw(pid), Signal::SIGINT).expect("it runs");
        } else {
            // Nothing is written any more that could fail.
            drop(lines);
        }
        let status = eventually("the command ends", || running.try_wait().expect("a child"));
        assert!(status.success(), "{status}");
        eventually_equal("readers", &0, || agent.varz().conn_trace.trace.readers);
    }
}

#[test]
fn command_writes_lines_for_people_and_says_what_is_wrong() {
    let agent = Agent::start();
    let mut two = Two::start();
    let port = format!("--port={}", two.address.port());
    let mut running = command(&agent, &["--format=text", &port]);
    eventually_equal("readers", &1, || agent.varz().conn_trace.trace.readers);
    let pair = two.open();
    two.forth(&pair, 12, 12);
    close(&mut two, &pair);
    let mut lines = BufReader::new(running.stdout.take().expect("a pipe")).lines();
    let ends = format!("{} -> {}", pair.client.local, pair.client.peer);
    for expected in ["opened", "established", "out", "closed"] {
        let line = lines.next().expect("a line").expect("a text");
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!(words[2], expected, "{line}");
        match expected {
            "out" => assert_eq!(words[3..], ["12", "bytes", "#1"], "{line}"),
            _ => assert!(line.contains(&ends), "{line}"),
        }
    }
    drop(lines);
    eventually("the command ends", || running.try_wait().expect("a child"));

    let (status, output, errors) = conn_trace_tests::agent::run(
        Command::new(program()),
        &[
            "trace",
            "--url",
            &format!("http://{}", agent.address),
            "--ip=nowhere",
        ],
    );
    assert_eq!((status.code(), &*output), (Some(1), ""));
    assert!(errors.contains("ip: expected"), "{errors}");
}
