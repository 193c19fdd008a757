//! The HTTP contract, over the wire.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use conn_trace_tests::{agent::Agent, connz::Page, pair::Two, slowness::fewer, wait::patience};
use serde_json::Value;
use ureq::http::Method;

/// Less than the agent waits for a slow client: an answer within it has not waited for one.
const AT_ONCE: Duration = Duration::from_secs(4);

#[test]
fn every_bad_value_is_refused_by_name_and_changes_nothing() {
    let agent = Agent::start();
    let long = "x".repeat(2000);
    for (parameter, value, shown) in [
        ("offset", "-1", "-1"),
        ("offset", "abc", "abc"),
        ("offset", "", ""),
        ("offset", "1.5", "1.5"),
        ("offset", "9223372036854775808", "9223372036854775808"),
        ("limit", "abc", "abc"),
        ("limit", "", ""),
        ("limit", "1e3", "1e3"),
        ("limit", "9223372036854775808", "9223372036854775808"),
        ("limit", "-9223372036854775809", "-9223372036854775809"),
        ("limit", "%31%2", "%31%2"),
        ("subs", "2", "2"),
        ("sort", "size", "size"),
        ("sort", "CID", "CID"),
        ("sort", "", ""),
        ("order", "up", "up"),
        ("state", "LISTEN", "LISTEN"),
        ("state", "half", "half"),
        ("cid", "-1", "-1"),
        ("cid", "x", "x"),
        ("ip", "localhost", "localhost"),
        ("ip", "127.0.0.1/33", "127.0.0.1/33"),
        ("ip", "1.2.3", "1.2.3"),
        ("local_ip", "::1/129", "::1/129"),
        ("port", "65536", "65536"),
        ("port", "80,", "80,"),
        ("port", "90-80", "90-80"),
        ("local_port", "http", "http"),
        ("direction", "up", "up"),
        ("pid", "-5", "-5"),
        ("pid", "4294967296", "4294967296"),
        ("comm", "", ""),
        ("uid", "", ""),
        ("cgroup", "", ""),
        ("netns", "net", "net"),
        ("service", "", ""),
        ("self", "yes", "yes"),
        ("tcp", "2", "2"),
        ("rates", "2", "2"),
        ("cursor", "7", "7"),
        ("format", "xml", "xml"),
        ("sort", &long, "xxxxxxxx"),
    ] {
        let answer = agent.get(&format!("/connz?{parameter}={value}"));
        assert_eq!(answer.status, 400, "{parameter}={value}: {}", answer.body);
        assert_eq!(answer.headers["content-type"], "application/json");
        assert!(answer.body.ends_with('\n'), "{:?}", answer.body);
        let body: Value = serde_json::from_str(&answer.body).expect("JSON");
        let object = body.as_object().expect("an object");
        assert_eq!(object.keys().collect::<Vec<_>>(), ["msg", "status"]);
        assert_eq!(object["status"], 400);
        let text = object["msg"].as_str().expect("a text");
        assert!(text.starts_with(&format!("{parameter}: ")), "{text}");
        assert!(text.contains(&format!("\"{shown}")), "{text}");
        assert!(text.len() < 300, "{text}");
    }
    for query in ["limit=1&limit=2", "state=open&state=open"] {
        assert_eq!(agent.get(&format!("/connz?{query}")).status, 400, "{query}");
    }
    // By how they ended, of those that have not.
    for query in ["sort=stop", "sort=reason&state=open"] {
        assert_eq!(agent.get(&format!("/connz?{query}")).status, 400, "{query}");
    }
    let page = agent.connz("");
    assert_eq!((page.offset, page.limit), (0, 20));
}

#[test]
fn only_get_and_head_of_what_exists() {
    let agent = Agent::start();
    let status = |method: Method, path: &str| {
        let answer = agent.client().request(method, path).expect("an answer");
        (answer.status, answer)
    };
    for path in [
        "/nothing",
        "/connz/",
        "/connz/1/2",
        "/CONNZ",
        "/../etc/passwd",
        "/connz%00",
    ] {
        let (code, answer) = status(Method::GET, path);
        assert_eq!(code, 404, "{path}");
        let body: Value = serde_json::from_str(&answer.body).expect("JSON");
        assert_eq!(body["status"], 404);
    }
    for path in ["/connz", "/varz", "/healthz", "/"] {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            let (code, answer) = status(method, path);
            assert_eq!(code, 405, "{path}");
            assert_eq!(answer.headers["allow"], "GET, HEAD");
            let body: Value = serde_json::from_str(&answer.body).expect("JSON");
            assert_eq!(body["status"], 405);
        }
        let (code, answer) = status(Method::HEAD, path);
        assert_eq!((code, &*answer.body), (200, ""), "{path}");
        let (code, get) = status(Method::GET, path);
        assert_eq!(
            (code, &get.headers["content-type"]),
            (200, &answer.headers["content-type"])
        );
        assert_eq!(get.headers["x-content-type-options"], "nosniff");
    }
    assert_eq!(
        status(Method::GET, "/connz").1.headers["access-control-allow-origin"],
        "*"
    );
}

#[test]
fn other_origins_can_be_kept_out() {
    let agent = Agent::start_with(&["--cors", "false"]);
    let answer = agent.get("/connz");
    assert_eq!(answer.status, 200);
    assert!(answer.headers.get("access-control-allow-origin").is_none());
}

#[test]
fn rows_have_the_types_that_clients_insist_on() {
    let agent = Agent::start();
    let answer = agent.get("/connz?self=1&tcp=1&state=all");
    let page: Value = serde_json::from_str(&answer.body).expect("JSON");
    assert!(!answer.body.contains("null"), "{}", answer.body);
    assert!(!answer.body.trim_end().contains('\n'), "compact");
    let rows = page["connections"].as_array().expect("an array");
    assert!(!rows.is_empty());
    for row in rows {
        for name in [
            "cid",
            "port",
            "local_port",
            "pending_bytes",
            "recv_queue_bytes",
            "in_msgs",
            "out_msgs",
            "in_bytes",
            "out_bytes",
            "subscriptions",
            "device_flag",
            "device_level",
        ] {
            assert!(row[name].is_u64(), "{name}: {row}");
        }
        for name in [
            "uid",
            "owner",
            "kind",
            "type",
            "direction",
            "ip",
            "local_ip",
            "state",
            "start",
            "last_activity",
            "uptime",
            "idle",
            "version",
        ] {
            assert!(row[name].is_string(), "{name}: {row}");
        }
        for name in ["start", "last_activity"] {
            assert!(
                row[name].as_str().is_some_and(|text| text.ends_with('Z')),
                "{row}"
            );
        }
        assert_eq!(row["version"], "");
    }
    // An empty list is a list.
    let answer = agent.get("/connz?cid=0");
    assert!(
        answer.body.contains("\"connections\":[]"),
        "{}",
        answer.body
    );
    let page: Page = serde_json::from_str(&answer.body).expect("a page");
    assert_eq!((page.total, page.num_connections), (0, 0));
}

/// Sends bytes as they are and gives everything that comes back until the agent closes.
fn raw(agent: &Agent, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(agent.address).expect("a connection");
    stream.set_read_timeout(Some(patience())).expect("a socket");
    // The agent may refuse before it has read everything.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    // A reset ends the answer as well.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn requests_that_are_none_are_refused() {
    let agent = Agent::start();
    let host = agent.address;
    let too_long = format!(
        "GET /connz?x={} HTTP/1.1\r\nHost: {host}\r\n\r\n",
        "y".repeat(100_000)
    );
    let answer = raw(&agent, too_long.as_bytes());
    assert!(
        answer.starts_with("HTTP/1.1 414 ") || answer.starts_with("HTTP/1.1 431 "),
        "{answer}"
    );
    let headers: String = (0..2000)
        .map(|number| format!("X-{number}: {number}\r\n"))
        .collect();
    let too_many = format!("GET /connz HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
    let answer = raw(&agent, too_many.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let answer = raw(
        &agent,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    );
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 400 "),
        "{answer}"
    );
    let answer = raw(&agent, b"GET /connz HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(agent.get("/healthz").status, 200);
}

#[test]
fn names_of_other_hosts_are_refused() {
    let agent = Agent::start();
    let port = agent.address.port();
    for (host, status) in [
        (format!("127.0.0.1:{port}"), 200),
        (format!("localhost:{port}"), 200),
        ("localhost".to_owned(), 200),
        (format!("evil.example:{port}"), 403),
        ("127.0.0.1.evil.example".to_owned(), 403),
    ] {
        let request = format!("GET /connz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = raw(&agent, request.as_bytes());
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{host}: {answer}"
        );
    }
}

#[test]
fn slow_clients_are_closed_and_nobody_waits_for_them() {
    let agent = Agent::start();
    let mut slow: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = TcpStream::connect(agent.address).expect("a connection");
            stream.set_read_timeout(Some(patience())).expect("a socket");
            stream.write_all(b"GET /con").expect("half a line");
            stream
        })
        .collect();
    let began = Instant::now();
    for _ in 0..fewer(50, 5) {
        assert_eq!(agent.get("/connz").status, 200);
    }
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    for stream in &mut slow {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("the agent closes");
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 408 "),
            "{answer}"
        );
    }
    assert!(began.elapsed() < patience());
    assert_eq!(agent.get("/connz").status, 200);
}

#[test]
fn client_that_does_not_read_its_page_holds_up_nobody() {
    let agent = Agent::start();
    let mut two = Two::start();
    // Megabytes: more than the buffers of the connection take.
    let _pairs = two.open_many(4000);
    let request = format!(
        "GET /connz?limit=100000&tcp=1 HTTP/1.1\r\nHost: {}\r\n\r\n",
        agent.address
    );
    let mut stuck: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = TcpStream::connect(agent.address).expect("a connection");
            stream.write_all(request.as_bytes()).expect("a request");
            stream
        })
        .collect();
    for stream in &mut stuck {
        stream.set_read_timeout(Some(patience())).expect("a socket");
        stream.read_exact(&mut [0; 1]).expect("the answer begins");
    }
    let began = Instant::now();
    for _ in 0..fewer(20, 2) {
        assert_eq!(agent.connz("limit=1").connections.len(), 1);
        assert_eq!(agent.get("/varz").status, 200);
    }
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    // New connections meanwhile are counted as ever.
    let pair = two.open();
    two.forth(&pair, 77, 7);
    assert_eq!(
        agent.open(&pair.client).counts(),
        two.client.report(&pair.client)
    );
    // Nor the end.
    agent.stop();
    drop(stuck);
}
