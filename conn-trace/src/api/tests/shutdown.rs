//! The end of the server.

use std::time::{Duration, Instant};

use tokio::{net::TcpStream, time::sleep};

use super::{
    client::{connect, read_answer, read_to_end},
    fake::{Fake, Running},
};
use crate::api::Limits;

const SHORT: Duration = Duration::from_millis(300);

const GET_CONNZ: &str = "GET /connz HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[tokio::test]
async fn running_requests_are_finished_and_idle_connections_closed() {
    let mut server = Running::start(&Fake::new(1).delay(SHORT)).await;
    let mut idle = connect(server.address, GET_CONNZ).await;
    assert_eq!(read_answer(&mut idle).await.status, 200);
    let mut running = connect(server.address, GET_CONNZ).await;
    sleep(SHORT / 3).await;
    let start = Instant::now();
    server.tell_to_stop();
    assert_eq!(read_to_end(&mut idle).await, b"");
    assert!(start.elapsed() < SHORT / 3, "the idle connection waited");
    let answer = String::from_utf8(read_to_end(&mut running).await).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("]}\n"),
        "{answer}"
    );
    server.ended().await;
    assert!(
        start.elapsed() < SHORT * 2,
        "the server waited for more than its requests"
    );
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn requests_that_do_not_end_are_cut_off() {
    let limits = Limits {
        shutdown_grace: SHORT,
        ..Limits::default()
    };
    let mut server = Running::limited(&Fake::new(1).delay(Duration::from_secs(4)), limits).await;
    let mut running = connect(server.address, GET_CONNZ).await;
    sleep(SHORT / 3).await;
    let start = Instant::now();
    server.tell_to_stop();
    server.ended().await;
    assert!((SHORT..SHORT * 4).contains(&start.elapsed()));
    assert_eq!(read_to_end(&mut running).await, b"");
}

#[tokio::test]
async fn an_idle_server_ends_at_once() {
    let mut server = Running::start(&Fake::new(1)).await;
    let start = Instant::now();
    server.tell_to_stop();
    server.ended().await;
    assert!(start.elapsed() < SHORT);
}
