//! Pages of a hundred thousand rows.

use std::time::Duration;

use super::{
    client::{connect, get},
    fake::{Fake, Running},
};
use crate::api::Limits;

const ROWS: u64 = 100_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_rows_of_a_large_page_arrive_in_order() {
    let server = Running::start(&Fake::new(ROWS)).await;
    let answer = get(server.address, "/connz?limit=1000000&sort=idDesc").await;
    assert_eq!(
        (answer.status, answer.header("content-length")),
        (200, None)
    );
    let page = answer.json();
    assert_eq!(
        (page["total"].as_u64(), page["limit"].as_u64()),
        (Some(ROWS), Some(1_000_000))
    );
    let rows = page["connections"].as_array().unwrap();
    let cids: Vec<u64> = rows
        .iter()
        .map(|row| row["cid"].as_u64().unwrap())
        .collect();
    assert!(cids.into_iter().eq((1..=ROWS).rev()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_at_every_size_around_the_piece_are_whole() {
    let server = Running::start(&Fake::new(1_000)).await;
    for limit in (1..=10).chain(100..200) {
        let page = get(server.address, &format!("/connz?limit={limit}"))
            .await
            .json();
        assert_eq!(page["connections"].as_array().unwrap().len(), limit);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_readers_of_large_pages_do_not_pile_up() {
    let limits = Limits {
        write_timeout: Duration::from_secs(2),
        ..Limits::default()
    };
    let server = Running::limited(&Fake::new(ROWS), limits).await;
    let text = format!("GET /connz?limit={ROWS} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut stalled = Vec::new();
    for _ in 0..2 {
        let stream = connect(server.address, &text).await;
        stream.readable().await.unwrap();
        stalled.push(stream);
    }
    let answer = get(server.address, &format!("/connz?limit={ROWS}")).await;
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("1"))
    );
    assert_eq!(
        answer.body,
        "too many pages at once: ask for a smaller one or try again\n"
    );
    // Small ones go on, and so does all when the readers have gone.
    assert_eq!(get(server.address, "/connz").await.status, 200);
    drop(stalled);
    let large = format!("/connz?limit={ROWS}");
    let answered = async {
        while get(server.address, &large).await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), answered)
        .await
        .expect("the rows of readers that have gone are given back");
}
