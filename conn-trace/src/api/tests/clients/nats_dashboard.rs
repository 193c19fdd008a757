//! nats-dashboard (`src/lib`): a web page that fetches `/varz` and `/connz` from another origin,
//! with every option in the query, also those that are not set.

use serde_json::Value;

use super::{
    super::{
        client::get,
        fake::{Fake, Running},
    },
    BASES,
};

#[tokio::test]
async fn nats_dashboard_may_read_from_another_origin() {
    let server = Running::start(&Fake::new(1)).await;
    for base in BASES {
        for endpoint in ["/varz", "/connz?limit=50"] {
            let answer = get(server.address, &format!("{base}{endpoint}")).await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        }
    }
}

#[tokio::test]
async fn nats_dashboard_sends_all_its_options() {
    let server = Running::start(&Fake::of_all_kinds()).await;
    for (query, is_any) in [
        (
            "sort=bytes_to&auth=true&subs=true&offset=0&limit=50&state=open",
            true,
        ),
        (
            "sort=stop&auth=1&subs=detail&offset=0&limit=50&state=closed",
            true,
        ),
        (
            "sort=cid&auth=&subs=&offset=&limit=&cid=&state=&mqtt_client=",
            true,
        ),
        ("sort=cid&mqtt_client=sensor", false),
    ] {
        let answer = get(server.address, &format!("/nats/connz?{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        let page = answer.json();
        assert!(page["now"].is_string() && page["num_connections"].is_u64());
        let rows = page["connections"].as_array().unwrap();
        assert_eq!(!rows.is_empty(), is_any, "{query}");
        for row in rows {
            for text in ["uptime", "idle", "last_activity"] {
                assert!(row[text].is_string(), "{row}");
            }
            for number in [
                "cid",
                "pending_bytes",
                "in_msgs",
                "out_msgs",
                "in_bytes",
                "out_bytes",
            ] {
                assert!(row[number].is_u64(), "{row}");
            }
            assert!(row.get("rtt").is_none_or(Value::is_string));
        }
    }
}

/// From a refusal it shows nothing, so what it may send must not be one.
#[tokio::test]
async fn nats_dashboard_follows_one_connection() {
    let server = Running::start(&Fake::new(3)).await;
    let path = "/nats/connz?cid=2&subs=detail&auth=true&state=all";
    let page = get(server.address, path).await.json();
    assert_eq!(
        (&page["limit"], &page["num_connections"]),
        (&1.into(), &1.into())
    );
    assert_eq!(page["connections"][0]["cid"], 2);
}
