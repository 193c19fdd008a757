//! `rates=1` and `cursor`.

use serde_json::json;

use super::{
    client::get,
    fake::{Fake, Running},
};
use crate::registry::connection::Counters;

const MOVES: Counters = Counters {
    in_bytes: 1000,
    out_bytes: 2000,
    in_msgs: 1,
    out_msgs: 2,
};

#[tokio::test]
async fn rates_are_over_the_time_since_an_earlier_look() {
    let server = Running::start(&Fake::new(2).moving(MOVES)).await;
    let page = get(server.address, "/connz?rates=1").await.json();
    assert_eq!(page["rates_window_ms"], 1000);
    let expected = [
        ("in_bytes_rate", 1000.0),
        ("out_bytes_rate", 2000.0),
        ("in_msgs_rate", 1.0),
        ("out_msgs_rate", 2.0),
    ];
    for (name, rate) in expected {
        assert_eq!(page["connections"][0][name], json!(rate), "{name}");
        assert_eq!(page["connections"][1][name], json!(0.0), "{name}");
    }
    let path = "/connz?sort=in_bytes_rate&order=asc";
    let page = get(server.address, path).await.json();
    assert_eq!(page["rates_window_ms"], 1000);
    assert_eq!(page["connections"][1]["cid"], 1);
    let row = get(server.address, "/connz/1?rates=1").await.json();
    assert_eq!(row["out_msgs_rate"], 2.0);
    let page = get(server.address, "/connz").await.json();
    assert!(page.get("rates_window_ms").is_none());
    assert!(page["connections"][0].get("in_bytes_rate").is_none());
}

#[tokio::test]
async fn closed_rows_have_no_rates() {
    let server = Running::start(&Fake::of_all_kinds()).await;
    let page = get(server.address, "/connz?state=closed&rates=1")
        .await
        .json();
    assert!(page["total"].as_u64() > Some(0));
    assert!(page.get("rates_window_ms").is_none());
}

#[tokio::test]
async fn looks_of_more_than_a_minute_ago_are_not_used() {
    let fake = Fake::new(1).moving(MOVES);
    let server = Running::start(&fake).await;
    for (skipped, window_ms) in [(0, 1000), (58, 59_000), (60, 1000)] {
        fake.skip(skipped);
        let page = get(server.address, "/connz?rates=1").await.json();
        assert_eq!(page["rates_window_ms"], window_ms);
    }
}

#[tokio::test]
async fn a_walk_goes_from_page_to_page() {
    let server = Running::start(&Fake::new(5)).await;
    let mut path = "/connz?limit=2&cursor=start".to_owned();
    let mut cids = Vec::new();
    loop {
        let page = get(server.address, &path).await.json();
        let rows = page["connections"].as_array().unwrap();
        cids.extend(rows.iter().map(|row| row["cid"].as_u64().unwrap()));
        let Some(next) = page["next_cursor"].as_str() else {
            break;
        };
        path = format!("/connz?limit=2&cursor={next}");
    }
    assert_eq!(cids, [1, 2, 3, 4, 5]);
}
