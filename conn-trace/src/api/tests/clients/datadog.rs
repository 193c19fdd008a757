//! Datadog's gnatsd check (`gnatsd/datadog_checks/gnatsd/gnatsd.py`). It takes fields without
//! asking whether they are there: one that is missing ends the check.

use serde_json::Value;

use super::{
    super::{
        client::get,
        fake::{Fake, Running},
    },
    BASES,
};

fn assert_numbers(object: &Value, fields: &[&str]) {
    for field in fields {
        assert!(object[field].is_u64(), "{field}: {object}");
    }
}

#[tokio::test]
async fn datadog_finds_every_figure_it_takes() {
    let server = Running::start(&Fake::of_all_kinds()).await;
    for base in BASES {
        assert_eq!(get(server.address, &format!("{base}/")).await.status, 200);
        let varz = get(server.address, &format!("{base}/varz")).await.json();
        assert_numbers(
            &varz,
            &[
                "connections",
                "subscriptions",
                "slow_consumers",
                "remotes",
                "routes",
                "in_msgs",
                "out_msgs",
                "in_bytes",
                "out_bytes",
                "mem",
            ],
        );
        let connz = get(server.address, &format!("{base}/connz")).await.json();
        assert_numbers(&connz, &["num_connections", "total"]);
        let rows = connz["connections"].as_array().unwrap();
        assert!(!rows.is_empty());
        for row in rows {
            assert_numbers(
                row,
                &[
                    "pending_bytes",
                    "in_msgs",
                    "out_msgs",
                    "subscriptions",
                    "in_bytes",
                    "out_bytes",
                    "cid",
                ],
            );
        }
        let routez = get(server.address, &format!("{base}/routez")).await.json();
        assert_numbers(&routez, &["num_routes"]);
        assert_eq!(routez["routes"], serde_json::json!([]));
    }
}
