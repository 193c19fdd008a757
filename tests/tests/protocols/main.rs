//! What connections speak, by the first bytes that programs read.

mod servers;

use std::{
    io::{IoSliceMut, Read, Write},
    net::{TcpListener, TcpStream},
};

use conn_trace_tests::{
    agent::Agent,
    config::Config,
    connz::Row,
    pair::Two,
    protocol::{Command, End, Reply},
    wait::{eventually, eventually_equal},
    way::{ReceiveWay, UringMode, UringReceive},
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const REQUEST: &[u8] = b"GET /x HTTP/1.1\r\nHost: a\r\nUser-Agent: probe/1\r\n\r\n";
/// As curl has sent it.
const CLIENT_HELLO: &[u8] = include_bytes!("../../../fuzz/corpus/protocol/tls13_curl");

/// A service of the server's ends that wants to know.
fn identifying(two: &Two, name: &str) -> String {
    let port = two.address.port();
    format!("[[service]]\nname = \"{name}\"\nlocal_port = {port}\nidentify = true\n")
}

/// A connection to the server over which these bytes were sent. They are sent by this process.
fn open(two: &mut Two, bytes: &[u8]) -> (TcpStream, End) {
    let mut stream = TcpStream::connect(two.address).expect("a connection");
    let end = two.server.accept(1).remove(0);
    stream.write_all(bytes).expect("room for the bytes");
    (stream, end)
}

/// The row of that end of the server's.
fn row_of(agent: &Agent, end: &End) -> Row {
    agent.open(end)
}

/// What a row says: protocol, version, and the rest.
fn said(row: &Row) -> (Option<&str>, &str, Option<&Value>) {
    (row.protocol.as_deref(), &row.version, row.peer.as_ref())
}

fn unseen(agent: &Agent) -> u64 {
    agent.varz().conn_trace.first_bytes.unseen
}

fn waiting(agent: &Agent) -> u64 {
    agent.varz().conn_trace.first_bytes.waiting
}

#[test]
fn each_way_to_read_into_a_buffer_is_understood() {
    let mut two = Two::start();
    let agent = Config::new(&identifying(&two, "web")).agent(&[]);
    for way in [
        ReceiveWay::Recv,
        ReceiveWay::Read,
        ReceiveWay::Readv,
        ReceiveWay::Preadv2,
        ReceiveWay::RecvFrom,
        ReceiveWay::ThreeBuffers,
        ReceiveWay::NonBlocking,
        ReceiveWay::AfterPeeks,
        ReceiveWay::WaitAll,
        ReceiveWay::LowWater,
        ReceiveWay::Duplicate,
    ] {
        let (_stream, end) = open(&mut two, REQUEST);
        two.server.receive_by(&end, REQUEST.len() as u64, way);
        let row = row_of(&agent, &end);
        let agent_of = json!({"software": "probe/1"});
        assert_eq!(
            said(&row),
            (Some("http"), "1.1", Some(&agent_of)),
            "{way:?}"
        );
    }
    assert_eq!((unseen(&agent), waiting(&agent)), (0, 0));
}

#[test]
fn what_no_buffer_tells_is_unknown_and_counted() {
    let mut two = Two::start();
    let agent = Config::new(&identifying(&two, "web")).agent(&[]);
    let mut ways = vec![
        ReceiveWay::TwoMessages,
        ReceiveWay::Truncate,
        ReceiveWay::Splice,
        ReceiveWay::Aio,
    ];
    if matches!(two.server.ask(&Command::ProbeUring), Reply::Done) {
        ways.push(ReceiveWay::Uring {
            request: UringReceive::Recv,
            mode: UringMode::Plain,
        });
    }
    for way in ways {
        let before = unseen(&agent);
        let (_stream, end) = open(&mut two, REQUEST);
        two.server.receive_by(&end, REQUEST.len() as u64, way);
        let row = row_of(&agent, &end);
        assert_eq!(said(&row), (None, "", None), "{way:?}");
        assert_eq!(row.in_bytes, REQUEST.len() as u64, "{way:?}");
        // What is spliced is no message.
        if way != ReceiveWay::Splice {
            assert!(unseen(&agent) > before, "{way:?}");
        }
    }
    assert_eq!(waiting(&agent), 0);
}

#[test]
fn a_request_in_many_buffers_is_counted_as_unseen() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
    let port = listener.local_addr().expect("an address").port();
    let service = format!("[[service]]\nname = \"web\"\nlocal_port = {port}\nidentify = true\n");
    let agent = Config::new(&service).agent(&[]);
    let mut client = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    let (mut server, _) = listener.accept().expect("a connection");
    client.write_all(REQUEST).expect("room for the bytes");
    // The first four have "GET /x H".
    let (mut small, mut large) = ([[0; 2]; 4], [0; 100]);
    let mut buffers: Vec<_> = small.iter_mut().map(|one| IoSliceMut::new(one)).collect();
    buffers.push(IoSliceMut::new(&mut large));
    let read = server.read_vectored(&mut buffers).expect("the request");
    assert_eq!((read, &small[3]), (REQUEST.len(), b" H"));
    eventually_equal("requests not seen", &1, || unseen(&agent));
    // What the first buffers had is too little, but was told.
    eventually_equal("connections that wait", &1, || waiting(&agent));
    let row = agent.rows(&format!("local_port={port}")).remove(0);
    assert_eq!(said(&row), (None, "", None));
    assert_eq!(row.in_bytes, REQUEST.len() as u64);
}

#[test]
fn parts_are_put_together() {
    let mut two = Two::start();
    let agent = Config::new(&identifying(&two, "web")).agent(&[]);
    let wants = json!({"server_name": "example.org", "alpn": "h2,http/1.1"});
    // As OpenSSL reads, and as slowly as one can.
    for chunk in [5, 1, 100] {
        let (_stream, end) = open(&mut two, CLIENT_HELLO);
        if chunk == 5 {
            two.server.receive(&end, chunk, chunk);
            let rest = CLIENT_HELLO.len() as u64 - chunk;
            two.server.receive(&end, rest, rest);
        } else {
            two.server.receive(&end, CLIENT_HELLO.len() as u64, chunk);
        }
        let row = row_of(&agent, &end);
        assert_eq!(said(&row), (Some("tls"), "1.3", Some(&wants)), "{chunk}");
    }
    assert_eq!(waiting(&agent), 0);
}

#[test]
fn only_those_that_ask_are_read() {
    let (mut asked, mut other, mut free) = (Two::start(), Two::start(), Two::start());
    let quiet = identifying(&other, "quiet").replace("identify = true\n", "");
    let config = Config::new(&(identifying(&asked, "web") + &quiet));
    let agent = config.agent(&[]);
    let mut ends = Vec::new();
    for two in [&mut asked, &mut other, &mut free] {
        let (stream, end) = open(two, REQUEST);
        two.server.receive(&end, REQUEST.len() as u64, 4096);
        ends.push((stream, end));
    }
    let protocols: Vec<_> = ends
        .iter()
        .map(|(_, end)| row_of(&agent, end).protocol)
        .collect();
    assert_eq!(protocols, [Some("http".to_owned()), None, None]);
    assert_eq!((waiting(&agent), unseen(&agent)), (0, 0));
    let found = agent.rows("protocol=http");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].local(), ends[0].1.local);
    let service = |name: &str| -> Value {
        let answer = agent.get(&format!("/services/{name}"));
        serde_json::from_str(&answer.body).expect("JSON")
    };
    let spoken = &service("web")["protocols"]["top"];
    assert_eq!(spoken[0]["key"], "http/1.1", "{spoken}");
    assert_eq!(spoken[0]["connections"], 1, "{spoken}");
    assert_eq!(service("quiet").get("protocols"), None);
    let metrics = agent.get("/metrics").body;
    let line = "conntrace_service_protocol_connections{service=\"web\",protocol=\"http\",version=\"1.1\"} 1";
    assert!(metrics.lines().any(|it| it == line), "{metrics}");

    // Turned round: rows say what their service wants to know.
    let asks = identifying(&other, "quiet");
    config.write(&(identifying(&asked, "web").replace("identify = true\n", "") + &asks));
    agent.signal(Signal::SIGHUP);
    eventually_equal("the new configuration", &None, || {
        row_of(&agent, &ends[0].1).protocol
    });
    // It had been read before anybody asked.
    assert_eq!(row_of(&agent, &ends[1].1).protocol, None);
    let (_stream, end) = open(&mut other, REQUEST);
    other.server.receive(&end, REQUEST.len() as u64, 4096);
    assert_eq!(row_of(&agent, &end).protocol.as_deref(), Some("http"));
}

#[test]
fn connections_of_a_moment_are_known_in_the_history() {
    const COUNT: usize = 200;
    let mut two = Two::start();
    let agent = Config::new(&identifying(&two, "web")).agent(&[]);
    for _ in 0..COUNT {
        let (stream, end) = open(&mut two, REQUEST);
        two.server.receive(&end, REQUEST.len() as u64, 4096);
        drop(stream);
        two.server.close(&[end]);
    }
    let port = two.address.port();
    let rows = eventually("all of them in the history", || {
        let rows = agent.rows(&format!("state=closed&local_port={port}"));
        (rows.len() == COUNT).then_some(rows)
    });
    for row in &rows {
        assert_eq!(said(row).0, Some("http"), "{row:#?}");
    }
    assert_eq!(waiting(&agent), 0);
}

#[test]
fn the_end_that_connected_is_told_by_what_the_server_says() {
    let mut two = Two::start();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("an address");
    let port = address.port();
    let service = format!("[[service]]\nname = \"out\"\nremote_port = {port}\nidentify = true\n");
    let agent = Config::new(&service).agent(&[]);
    let answer = b"HTTP/1.0 200 OK\r\nServer: tiny\r\n\r\n";
    let end = two.client.connect(address, 1).remove(0);
    let (mut server, _) = listener.accept().expect("a connection");
    server.write_all(answer).expect("room");
    two.client.receive(&end, answer.len() as u64, 4096);
    let row = row_of(&agent, &end);
    let says = json!({"software": "tiny"});
    assert_eq!(said(&row), (Some("http"), "1.0", Some(&says)));
    assert_eq!(row.direction, "out");
}

#[test]
fn hostile_first_bytes_leave_a_row_without_a_protocol() {
    let mut two = Two::start();
    let agent = Config::new(&identifying(&two, "web")).agent(&[]);
    let endless = [b"GET /".as_slice(), &[b'x'; 20_000]].concat();
    let nested = [b'*'; 4096];
    for bytes in [
        &endless[..],
        &nested,
        &[0; 5000],
        b"\x16\x03\x01\xff\xff",
        b"\0",
    ] {
        let (_stream, end) = open(&mut two, bytes);
        two.server.receive(&end, bytes.len() as u64, 1 << 16);
        let row = row_of(&agent, &end);
        assert_eq!(said(&row), (None, "", None));
        assert_eq!(row.in_bytes, bytes.len() as u64);
    }
    // The last may still become something.
    assert_eq!(waiting(&agent), 1);
}
