//! WuKongIM's `wkcli server connz` (`cmd/wkcli/server.go`) and the page of its web interface: the
//! agent's own dialect, with WuKongIM's sort keys.

use serde::Deserialize;

use super::super::{
    client::get,
    fake::{Fake, Running},
};

#[derive(Deserialize)]
struct Page {
    connections: Vec<Row>,
    total: i64,
    offset: i64,
    limit: i64,
}

#[derive(Deserialize)]
struct Row {
    uid: String,
    ip: String,
    port: i64,
    uptime: String,
    in_msgs: i64,
    out_msgs: i64,
}

#[tokio::test]
async fn wkcli_pages_through_the_connections() {
    let server = Running::start(&Fake::new(45)).await;
    let mut rows = 0;
    for offset in [0, 20, 40] {
        let path = format!("/connz?limit=20&offset={offset}&sort=inMsgDesc");
        let answer = get(server.address, &path).await;
        let page: Page = serde_json::from_str(&answer.body).expect(&answer.body);
        assert_eq!((page.total, page.offset, page.limit), (45, offset, 20));
        for row in &page.connections {
            assert_eq!(
                (&*row.uid, &*row.ip, row.port),
                ("root", "10.0.0.1", 40_000)
            );
            assert_eq!((&*row.uptime, row.in_msgs, row.out_msgs), ("10s", 0, 3));
        }
        rows += page.connections.len();
    }
    assert_eq!(rows, 45);
}

#[tokio::test]
async fn wkcli_sorts_by_its_own_keys() {
    let server = Running::start(&Fake::of_all_kinds()).await;
    for key in [
        "id",
        "inMsg",
        "outMsg",
        "inMsgBytes",
        "outMsgBytes",
        "inPacket",
        "outPacket",
        "inPacketBytes",
        "outPacketBytes",
        "pendingBytes",
        "uptime",
        "idle",
        "protoVersion",
    ] {
        for suffix in ["", "Desc"] {
            let path = format!("/connz?limit=100&sort={key}{suffix}&node_id=1&uid=root");
            let answer = get(server.address, &path).await;
            assert_eq!(answer.status, 200, "{path}");
            assert!(answer.json()["total"].as_u64() > Some(0), "{path}");
        }
    }
}

#[tokio::test]
async fn wkcli_shows_the_message_of_a_refusal() {
    let server = Running::start(&Fake::new(1)).await;
    let answer = get(server.address, "/connz?limit=20&sort=nothing").await;
    assert_eq!(answer.status, 400);
    let refusal = answer.json();
    let msg = "sort: expected a sort key such as cid or bytes_to, got \"nothing\"";
    assert_eq!(
        (&refusal["msg"], &refusal["status"]),
        (&msg.into(), &400.into())
    );
}
