//! Clients that want too much or take too long.

use std::time::{Duration, Instant};

use tokio::{io::AsyncReadExt, io::AsyncWriteExt, time::sleep};

use super::{
    client::{connect, exchange, get, read_answer, read_to_end},
    fake::{Fake, Running},
};
use crate::api::Limits;

const SHORT: Duration = Duration::from_millis(200);

const GET_CONNZ: &str = "GET /connz HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[tokio::test]
async fn long_requests() {
    let server = Running::start(&Fake::new(1)).await;
    let line = format!(
        "GET /connz?x={} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "a".repeat(20_000)
    );
    assert_eq!(exchange(server.address, &line).await.status, 431);
    let line = format!(
        "GET /connz?x={} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        "a".repeat(8_000)
    );
    assert_eq!(exchange(server.address, &line).await.status, 200);
    let headers = "X: y\r\n".repeat(65);
    let text = format!("GET /connz HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    assert_eq!(exchange(server.address, &text).await.status, 431);
    assert_eq!(
        exchange(server.address, "\u{16}\u{3}\u{1} no HTTP\r\n\r\n")
            .await
            .status,
        400
    );
    assert_eq!(get(server.address, "/connz").await.status, 200);
}

#[tokio::test]
async fn a_body_that_nobody_reads() {
    let limits = Limits {
        body_timeout: SHORT,
        ..Limits::default()
    };
    let server = Running::limited(&Fake::new(1), limits).await;
    let head = "GET /connz HTTP/1.1\r\nHost: localhost\r\nContent-Length: ";
    // One that does not come, one that stops, and one that is too long.
    for (length, body) in [
        (1_000_000_000, 0),
        (100, 99),
        (16 * 1024 + 1, 16 * 1024 + 1),
    ] {
        let text = format!("{head}{length}\r\n\r\n{}", "x".repeat(body));
        let answer = exchange(server.address, &text).await;
        assert_eq!(answer.status, 200, "{length}");
        assert_eq!(answer.header("connection"), Some("close"), "{length}");
    }
}

#[tokio::test]
async fn a_short_body_is_thrown_away() {
    let server = Running::start(&Fake::new(1)).await;
    let head = "POST /connz HTTP/1.1\r\nHost: localhost\r\n";
    let mut stream = connect(server.address, "").await;
    for (length, body) in [
        ("Content-Length: 16384", "x".repeat(16 * 1024)),
        ("Transfer-Encoding: chunked", "0\r\n\r\n".to_owned()),
    ] {
        // In packets of their own, as some clients send them.
        for part in [&format!("{head}{length}\r\n\r\n"), &body] {
            stream.write_all(part.as_bytes()).await.unwrap();
        }
        let answer = read_answer(&mut stream).await;
        assert_eq!((answer.status, answer.header("connection")), (405, None));
    }
    stream.write_all(GET_CONNZ.as_bytes()).await.unwrap();
    assert_eq!(read_answer(&mut stream).await.status, 200);
}

#[tokio::test]
async fn headers_that_do_not_arrive() {
    let limits = Limits {
        header_timeout: SHORT,
        ..Limits::default()
    };
    let server = Running::limited(&Fake::new(1), limits).await;
    for text in ["", "GET /connz HTTP/1.1\r\nHost: loc"] {
        let start = Instant::now();
        let mut stream = connect(server.address, text).await;
        assert_eq!(read_to_end(&mut stream).await, b"");
        assert!(start.elapsed() >= SHORT, "{text}");
    }
}

#[tokio::test]
async fn headers_that_arrive_byte_by_byte() {
    let limits = Limits {
        header_timeout: SHORT,
        ..Limits::default()
    };
    let server = Running::limited(&Fake::new(1), limits).await;
    let mut stream = connect(server.address, "").await;
    let start = Instant::now();
    for byte in GET_CONNZ.bytes() {
        // The server may have hung up, which is what is to happen.
        if stream.write_all(&[byte]).await.is_err() {
            break;
        }
        sleep(SHORT / 10).await;
    }
    assert_eq!(read_to_end(&mut stream).await, b"");
    assert!(start.elapsed() >= SHORT);
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let limits = Limits {
        header_timeout: SHORT,
        ..Limits::default()
    };
    let server = Running::limited(&Fake::new(1), limits).await;
    let mut stream = connect(server.address, GET_CONNZ).await;
    assert_eq!(read_answer(&mut stream).await.status, 200);
    sleep(SHORT / 2).await;
    stream.write_all(GET_CONNZ.as_bytes()).await.unwrap();
    assert_eq!(read_answer(&mut stream).await.status, 200);
    let start = Instant::now();
    assert_eq!(read_to_end(&mut stream).await, b"");
    assert!(start.elapsed() >= SHORT / 2);
}

#[tokio::test]
async fn a_slow_answer_is_not_an_idle_connection() {
    let limits = Limits {
        header_timeout: SHORT,
        write_timeout: SHORT,
        ..Limits::default()
    };
    let server = Running::limited(&Fake::new(1).delay(SHORT * 3), limits).await;
    assert_eq!(get(server.address, "/connz").await.status, 200);
}

#[tokio::test]
async fn clients_that_do_not_read() {
    let limits = Limits {
        connections: 1,
        write_timeout: SHORT,
        ..Limits::default()
    };
    let server = Running::limited(&Fake::new(50_000), limits).await;
    let text = "GET /connz?limit=50000 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let _stalled = connect(server.address, text).await;
    // Its place is free again: the next client, for whom there was no room, is answered.
    let start = Instant::now();
    assert_eq!(get(server.address, "/connz").await.status, 200);
    assert!(start.elapsed() >= SHORT / 2);
}

#[tokio::test]
async fn clients_that_read_slowly_get_everything() {
    let limits = Limits {
        header_timeout: SHORT,
        write_timeout: SHORT * 3,
        ..Limits::default()
    };
    let server = Running::limited(&Fake::new(20_000), limits).await;
    let text = "GET /connz?limit=20000 HTTP/1.0\r\n\r\n";
    let mut stream = connect(server.address, text).await;
    let mut bytes = Vec::new();
    // 9 MB in steps of 1 MB.
    let mut step = vec![0; 1 << 20];
    loop {
        let read = stream.read(&mut step).await.unwrap();
        if read == 0 {
            break;
        }
        bytes.extend_from_slice(&step[..read]);
        if bytes.len() < 4 << 20 {
            sleep(SHORT / 4).await;
        }
    }
    assert!(
        bytes.ends_with(b"]}\n"),
        "cut off after {} bytes",
        bytes.len()
    );
}

#[tokio::test]
async fn more_connections_wait_for_a_place() {
    let limits = Limits {
        connections: 2,
        ..Limits::default()
    };
    let server = Running::limited(&Fake::new(1), limits).await;
    let mut first = connect(server.address, GET_CONNZ).await;
    read_answer(&mut first).await;
    let mut second = connect(server.address, GET_CONNZ).await;
    read_answer(&mut second).await;
    let mut third = connect(server.address, GET_CONNZ).await;
    let nothing = tokio::time::timeout(SHORT, third.readable()).await;
    assert!(nothing.is_err(), "answered beyond the limit");
    drop(first);
    assert_eq!(read_answer(&mut third).await.status, 200);
}
