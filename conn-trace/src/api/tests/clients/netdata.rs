//! Netdata's nats collector (`src/go/plugin/go.d/collector/nats`): `/healthz`, `/varz`,
//! `/accstatz`, `/routez` and `/gatewayz`. It does not start where one of them has no answer.

use serde_json::Map;

use super::{
    super::{
        client::get,
        fake::{Fake, Running},
    },
    BASES,
    go::Varz,
};

#[tokio::test]
async fn netdata_reads_varz_and_its_requests() {
    let server = Running::start(&Fake::new(2)).await;
    for base in BASES {
        let answer = get(server.address, &format!("{base}/varz")).await;
        let varz: Varz = serde_json::from_str(&answer.body).unwrap();
        // All charts are labelled with these.
        assert_eq!((&*varz.server_id, &*varz.server_name), ("id", "host"));
        assert_eq!(&*varz.uptime, "1h14m15s");
        assert_eq!((varz.proto, &*varz.host), (1, "127.0.0.1"));
        assert_eq!(varz.port, i64::from(server.address.port()));
        assert_eq!((varz.max_connections, varz.leafnodes), (65_536, 0));
        for path in ["/", "/varz", "/connz", "/routez", "/subsz", "/healthz"] {
            assert!(varz.http_req_stats.contains_key(path), "{path}");
        }
    }
}

#[tokio::test]
async fn netdata_reads_accounts_routes_and_gateways() {
    let server = Running::start(&Fake::new(2)).await;
    for base in BASES {
        let ask = async |path: &str| get(server.address, &format!("{base}{path}")).await.json();
        let accounts = &ask("/accstatz").await["account_statz"];
        assert!(accounts.as_array().is_some_and(Vec::is_empty));
        let routes = &ask("/routez").await["routes"];
        assert!(routes.as_array().is_some_and(Vec::is_empty));
        let gateways = ask("/gatewayz").await;
        for side in ["outbound_gateways", "inbound_gateways"] {
            assert!(gateways[side].as_object().is_some_and(Map::is_empty));
        }
    }
}

#[tokio::test]
async fn netdata_reads_the_health_of_any_status() {
    let fake = Fake::new(0);
    let server = Running::start(&fake).await;
    for base in BASES {
        let path = format!("{base}/healthz");
        fake.change_status(|status| status.attached = true);
        assert_eq!(get(server.address, &path).await.json()["status"], "ok");
        fake.change_status(|status| status.attached = false);
        let status = &get(server.address, &path).await.json()["status"];
        assert_eq!(status, "unavailable");
    }
}
