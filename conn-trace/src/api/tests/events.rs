//! `/connz/events`.

use serde_json::{Value, json};

use super::{
    client::{connect, exchange, get, read_to_end, read_until},
    fake::{Fake, Running, START},
};
use crate::{
    query::tests::fixture,
    registry::{
        events::What,
        messages::{Item, Message},
    },
};

/// A request without chunks in the answer.
fn asking(query: &str, header: &str) -> String {
    format!("GET /connz/events{query} HTTP/1.0\r\nHost: localhost\r\n{header}\r\n\r\n")
}

fn id(number: u64) -> String {
    format!("{}-{number}", START.as_millisecond())
}

/// What a reader gets that has seen the event of this number, up to one that is of no interest.
async fn lines(fake: &Fake, query: &str, seen: u64) -> Vec<Value> {
    let server = Running::start(fake).await;
    let header = format!(
        "Accept: application/x-ndjson\r\nLast-Event-ID: {}",
        id(seen)
    );
    let mut stream = connect(server.address, &asking(query, &header)).await;
    let end = "\"cid\":999,";
    fake.happens(What::Opened, fixture::plain(999));
    let text = read_until(&mut stream, end).await;
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 200 "), "{head}");
    assert!(
        head.contains("content-type: application/x-ndjson"),
        "{head}"
    );
    let lines = body.lines().filter(|line| !line.contains(end));
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn closed(cid: u64) -> crate::registry::connection::Connection {
    let mut seed = [0; 24];
    seed[0] = 5;
    fixture::connection(cid, seed)
}

#[tokio::test]
async fn what_happens_is_told_as_server_sent_events() {
    let fake = Fake::new(1);
    fake.happens(What::Opened, fixture::plain(1));
    let server = Running::start(&fake).await;
    let mut stream = connect(server.address, &asking("", "Accept: text/event-stream")).await;
    let head = read_until(&mut stream, "\r\n\r\n").await;
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    fake.happens(What::Closed, closed(7));
    let text = read_until(&mut stream, "\n\n").await;
    let row = get(server.address, "/connz/1").await.json();
    let lines: Vec<_> = text.lines().collect();
    let id_line = format!("id: {}", id(2));
    assert!(
        lines.contains(&"event: closed") && lines.contains(&&*id_line),
        "{text}"
    );
    let data = lines.iter().find_map(|line| line.strip_prefix("data: "));
    let data: Value = serde_json::from_str(data.unwrap()).unwrap();
    assert_eq!(data["id"], id(2));
    assert_eq!(data["event"], "closed");
    assert_eq!(data["time"], data["connection"]["stop"]);
    assert_eq!(data["connection"]["cid"], 7);
    assert_eq!(data["connection"]["close_cause"], "local_fin");
    assert_eq!(row["cid"], 1, "others are answered meanwhile");
}

#[tokio::test]
async fn a_reader_goes_on_where_it_was() {
    let fake = Fake::new(0);
    for (what, cid) in [(What::Opened, 1), (What::Established, 1), (What::Opened, 2)] {
        fake.happens(what, fixture::plain(cid));
    }
    fake.happens(What::Closed, closed(1));
    let told = lines(&fake, "", 1).await;
    let told: Vec<_> = told
        .iter()
        .map(|event| {
            (
                event["id"].clone(),
                event["event"].clone(),
                event["connection"]["cid"].clone(),
            )
        })
        .collect();
    let expected = [(2, "established", 1), (3, "opened", 2), (4, "closed", 1)]
        .map(|(number, what, cid)| (json!(id(number)), json!(what), json!(cid)));
    assert_eq!(told, expected);
}

#[tokio::test]
async fn conditions_apply() {
    let fake = Fake::new(0);
    for cid in 1..=3 {
        fake.happens(What::Opened, fixture::plain(cid));
    }
    let own = fixture::connection(4, {
        let mut seed = [0; 24];
        seed[17] = 5;
        seed
    });
    fake.happens(What::Opened, own);
    let cids = |told: Vec<Value>| -> Vec<u64> {
        let cids = told.iter().map(|event| event["connection"]["cid"].as_u64());
        cids.map(Option::unwrap).collect()
    };
    // These have to do with pages.
    let query = "?limit=1&offset=7&sort=idle&port=40000";
    assert_eq!(cids(lines(&fake, query, 0).await), [1, 2, 3]);
    // 999 comes from there as well.
    assert_eq!(cids(lines(&fake, "?self=1&direction=in", 3).await)[0], 4);
}

fn message(cid: u64, number: u64, flags: u32) -> Item {
    Item::Message(Message {
        cid,
        time: fixture::NOW,
        is_received: flags != 0,
        bytes: 5,
        number,
        flags,
    })
}

/// Asks for messages, and waits until they are told.
async fn asked_for_messages(server: &Running, query: &str) -> tokio::net::TcpStream {
    let query = format!("?messages=1&{query}");
    let mut stream = connect(server.address, &asking(&query, "A: b")).await;
    read_until(&mut stream, "\r\n\r\n").await;
    stream
}

#[tokio::test]
async fn messages_are_told_between_what_happened_before_and_after_them() {
    let fake = Fake::new(0);
    let server = Running::start(&fake).await;
    let mut stream = asked_for_messages(&server, "format=ndjson").await;
    for cid in 1..=3 {
        fake.happens(What::Opened, fixture::plain(cid));
        for number in 1..=2 {
            fake.moves(&fixture::plain(cid), message(cid, number, 0));
        }
    }
    fake.moves(&fixture::plain(1), Item::Lost(9));
    fake.happens(What::Closed, closed(1));
    let text = read_until(&mut stream, "\"close_cause\"").await;
    let told = text.lines().map(|line| {
        let event: Value = serde_json::from_str(line).unwrap();
        let cid = event.get("cid").or(event.pointer("/connection/cid"));
        let name = event["event"].as_str().unwrap();
        format!("{name} {}", cid.unwrap_or(&event["lost"]))
    });
    let expected = [
        "opened 1",
        "message 1",
        "message 1",
        "opened 2",
        "message 2",
        "message 2",
        "opened 3",
        "message 3",
        "message 3",
        "lost_messages 9",
        "closed 1",
    ];
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn messages_are_those_of_the_connections_asked_for() {
    let fake = Fake::new(0);
    let server = Running::start(&fake).await;
    let mut stream = asked_for_messages(&server, "format=ndjson&cid=2").await;
    for (cid, flags) in [(1, 0), (2, 0x8000_0120), (3, 0), (2, 0)] {
        fake.moves(&fixture::plain(cid), message(cid, 8, flags));
    }
    let text = read_until(&mut stream, "\"flags\":[]}\n").await;
    let mut expected = json!({
        "event": "message", "time": "2026-11-20T12:00:00Z", "cid": 2, "direction": "in",
        "bytes": 5, "number": 8, "flags": ["MSG_TRUNC", "MSG_WAITALL", "MSG_CMSG_COMPAT"],
    });
    let mut lines = text.lines();
    let mut next = || serde_json::from_str::<Value>(lines.next().unwrap()).unwrap();
    assert_eq!(next(), expected);
    expected["direction"] = "out".into();
    expected["flags"] = json!([]);
    assert_eq!(next(), expected);
}

/// A browser that comes back goes on behind the last event with an id.
#[tokio::test]
async fn messages_have_no_id() {
    let fake = Fake::new(0);
    let server = Running::start(&fake).await;
    let mut stream = asked_for_messages(&server, "").await;
    fake.moves(&fixture::plain(1), message(1, 1, 0));
    let text = read_until(&mut stream, "\n\n").await;
    assert!(text.starts_with("event: message\ndata: {"), "{text}");
    let data = text.trim_end().split_once("data: ").unwrap().1;
    let data: Value = serde_json::from_str(data).unwrap();
    assert_eq!((data.get("id"), &data["cid"]), (None, &json!(1)));
}

#[tokio::test]
async fn what_is_forgotten_is_counted() {
    let fake = Fake::new(0);
    let connection = fixture::plain(1);
    for _ in 0..16_384 + 7 {
        fake.happens(What::Opened, connection.clone());
    }
    let told = lines(&fake, "", 2).await;
    let lost = json!({"id": id(7 + 1), "event": "lost", "lost": 5 + 1});
    assert_eq!(told[0], lost);
    assert_eq!((told[1]["id"].clone(), told.len()), (json!(id(9)), 16_384));
}

/// The second reader goes on while the first reads nothing, and what the first gets and what it is
/// told to have lost are all there was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_is_too_slow_holds_up_nobody_and_is_told_what_it_lost() {
    const ALL: u64 = 60_000;
    let fake = Fake::new(0);
    let server = Running::start(&fake).await;
    let open = async || {
        let mut stream = connect(server.address, &asking("?format=ndjson", "A: b")).await;
        read_until(&mut stream, "\r\n\r\n").await;
        stream
    };
    let (mut slow, mut quick) = (open().await, open().await);
    for number in 1..=ALL {
        fake.happens(What::Opened, fixture::plain(number));
        if number % 1000 == 0 {
            let text = read_until(&mut quick, &format!("\"cid\":{number},")).await;
            assert!(!text.contains("\"lost\""), "{number}");
        }
    }
    let text = read_until(&mut slow, &format!("\"cid\":{ALL},")).await;
    let (mut seen, mut lost) = (0, 0);
    for line in text
        .lines()
        .filter(|line| line.ends_with("}}") || line.contains("\"lost\""))
    {
        let event: Value = serde_json::from_str(line).unwrap();
        match event["lost"].as_u64() {
            Some(count) => lost += count,
            None => {
                seen += 1;
                assert_eq!(event["connection"]["cid"], seen + lost, "in order");
            }
        }
    }
    assert!(lost > 0, "the buffers of the kernel took all of it");
    // The last line may have been read in part.
    assert!((ALL - 1..=ALL).contains(&(seen + lost)), "{seen} {lost}");
}

#[tokio::test]
async fn events_of_another_run_are_lost() {
    let fake = Fake::new(0);
    fake.happens(What::Opened, fixture::plain(1));
    let server = Running::start(&fake).await;
    for seen in ["1234-1", &id(2)] {
        let header = format!("Accept: application/x-ndjson\r\nLast-Event-ID: {seen}");
        let mut stream = connect(server.address, &asking("", &header)).await;
        let text = read_until(&mut stream, "\"cid\":1,").await;
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        let first: Value = serde_json::from_str(body.lines().next().unwrap()).unwrap();
        assert_eq!(first, json!({"id": id(0), "event": "lost"}), "{seen}");
    }
}

#[tokio::test]
async fn bad_requests() {
    let server = Running::start(&Fake::new(0)).await;
    for (query, header, msg) in [
        (
            "?ip=x",
            "A: b",
            r#"ip: expected an IP address or CIDR prefix, got "x""#,
        ),
        (
            "?messages=2",
            "A: b",
            r#"messages: expected 0, 1, true or false, got "2""#,
        ),
        (
            "?format=csv",
            "A: b",
            r#"format: expected ndjson, or none for server-sent events, got "csv""#,
        ),
        (
            "",
            "Last-Event-ID: 7",
            r#"Last-Event-ID: expected the id of an event, got "7""#,
        ),
        (
            "",
            "Last-Event-ID: 1-18446744073709551615",
            r#"Last-Event-ID: expected the id of an event, got "1-18446744073709551615""#,
        ),
        (
            "",
            "Last-Event-ID: -1-1",
            r#"Last-Event-ID: expected the id of an event, got "-1-1""#,
        ),
    ] {
        let answer = exchange(server.address, &asking(query, header)).await;
        assert_eq!(answer.json(), json!({"msg": msg, "status": 400}));
    }
}

#[tokio::test]
async fn readers_are_bounded() {
    let fake = Fake::new(0);
    let server = Running::start(&fake).await;
    let mut readers = Vec::new();
    for _ in 0..64 {
        let mut stream = connect(server.address, &asking("", "A: b")).await;
        read_until(&mut stream, "\r\n\r\n").await;
        readers.push(stream);
    }
    let answer = get(server.address, "/connz/events").await;
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("1"))
    );
    assert_eq!(answer.body, "too many readers of events: 64 at most\n");
    assert_eq!(get(server.address, "/connz").await.status, 200);
}

#[tokio::test]
async fn streams_end_with_the_server() {
    let mut server = Running::start(&Fake::new(0)).await;
    let mut stream = connect(server.address, &asking("", "A: b")).await;
    read_until(&mut stream, "\r\n\r\n").await;
    server.tell_to_stop();
    assert_eq!(read_to_end(&mut stream).await, b"");
    server.ended().await;
}
