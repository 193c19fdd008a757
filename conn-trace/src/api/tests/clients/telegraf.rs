//! Telegraf's nats input (`plugins/inputs/nats/nats.go`): `/varz`, decoded into nats-server's type,
//! below a path that may have been given.

use super::{
    super::{
        client::get,
        fake::{Fake, Running},
    },
    BASES,
    go::Varz,
};

#[tokio::test]
async fn telegraf_reads_its_fields() {
    let server = Running::start(&Fake::new(2)).await;
    for base in BASES {
        let answer = get(server.address, &format!("{base}/varz")).await;
        let varz: Varz = serde_json::from_str(&answer.body).unwrap();
        // Its uptime is the difference of two stamps.
        assert_eq!(varz.now.duration_since(varz.start).as_secs(), 4_455);
        assert!(varz.cores >= 1 && varz.cpu >= 0.0 && varz.mem > 0);
        assert_eq!((varz.connections, varz.total_connections), (2, 7));
        assert_eq!((varz.subscriptions, varz.slow_consumers), (0, 0));
        assert_eq!((varz.routes, varz.remotes), (0, 0));
        assert_eq!((varz.in_msgs, varz.in_bytes), (3, 1));
        assert_eq!((varz.out_msgs, varz.out_bytes), (i64::MAX, 2));
    }
}
