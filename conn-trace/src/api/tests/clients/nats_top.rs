//! nats-top 0.6.4 (`util/toputils.go`). It asks for `/varz` and for `/connz` with a limit, decodes
//! both into nats-server's types, and ends in a panic at a refusal without an end of line.

use super::{
    super::{
        client::{Answer, get},
        fake::{Fake, Running},
    },
    BASES,
    go::{Connz, Varz},
};
use crate::query::tests::fixture::NOW;

fn decode<T: serde::de::DeserializeOwned>(answer: &Answer) -> T {
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

#[tokio::test]
async fn nats_top_decodes_varz() {
    let server = Running::start(&Fake::of_all_kinds()).await;
    for base in BASES {
        let varz: Varz = decode(&get(server.address, &format!("{base}/varz")).await);
        assert_eq!((&*varz.server_id, &*varz.server_name), ("id", "host"));
        assert_eq!((&*varz.version, &*varz.uptime), ("0.1.0", "1h14m15s"));
        // Rates are differences of the sums over those of `now`.
        assert_eq!(varz.now, NOW);
        assert_eq!((varz.in_msgs, varz.out_msgs), (3, i64::MAX));
        assert_eq!((varz.in_bytes, varz.out_bytes), (1, 2));
        // As a string or a fraction, this one ends it at the start.
        assert!(varz.mem > 100_000);
        assert_eq!(varz.slow_consumers, 0);
    }
}

#[tokio::test]
async fn nats_top_decodes_every_row_of_every_sort() {
    let server = Running::start(&Fake::of_all_kinds()).await;
    let keys = [
        "cid",
        "start",
        "subs",
        "pending",
        "msgs_to",
        "msgs_from",
        "bytes_to",
        "bytes_from",
        "last",
        "idle",
        "uptime",
        "rtt",
    ];
    for base in BASES {
        for path in keys.map(|key| format!("{base}/connz?limit=1024&sort={key}&subs=1")) {
            let page: Connz = decode(&get(server.address, &path).await);
            assert_eq!((&*page.server_id, page.now), ("id", NOW));
            assert_eq!((page.offset, page.limit), (0, 1024));
            assert_eq!(page.num_connections, page.total);
            assert_eq!(page.connections.len() as i64, page.total);
            assert!(page.total > 50, "{path}");
            for row in &page.connections {
                assert!(row.cid > 0 && row.port > 0 && !row.ip.is_empty());
                assert!(row.start <= row.last_activity);
                // Known of those that speak NATS.
                let said = (&*row.name, &*row.lang);
                assert!([("", ""), ("a name", "go")].contains(&said), "{said:?}");
                assert_eq!(row.subscriptions, 0);
                assert!(row.subscriptions_list.is_empty());
            }
        }
    }
}

/// It knows a connection from the poll before by its number alone.
#[tokio::test]
async fn nats_top_finds_a_connection_again_by_its_number() {
    let server = Running::start(&Fake::of_all_kinds()).await;
    let poll = async |key: &str| {
        let path = format!("/connz?limit=1024&sort={key}");
        let page: Connz = decode(&get(server.address, &path).await);
        let mut rows: Vec<_> = page
            .connections
            .into_iter()
            .map(|row| (row.cid, row.ip, row.port, row.in_msgs))
            .collect();
        rows.sort();
        rows
    };
    let rows = poll("cid").await;
    assert_eq!(rows, poll("bytes_to").await);
    assert!(rows.windows(2).all(|two| two[0].0 < two[1].0));
    assert!(rows.iter().all(|row| row.0 < 1 << 53));
}

#[tokio::test]
async fn nats_top_needs_an_end_of_line_in_every_refusal() {
    let fake = Fake::new(1);
    let server = Running::start(&fake).await;
    for base in BASES {
        let answer = get(server.address, &format!("{base}/connz?sort=stop")).await;
        assert_eq!(answer.status, 400);
        assert!(answer.body.ends_with('\n'), "{answer:?}");
    }
    fake.stop();
    for base in BASES {
        for endpoint in ["/varz", "/connz?limit=1024"] {
            let answer = get(server.address, &format!("{base}{endpoint}")).await;
            assert_eq!(answer.status, 503);
            assert!(answer.body.ends_with('\n'), "{answer:?}");
        }
    }
}
