//! `/connz/{cid}`.

use serde_json::json;

use super::{
    client::get,
    fake::{Fake, Running},
};
use crate::query::tests::fixture;

/// 1 to 3 are open, 9 is closed.
fn fake() -> Fake {
    let mut closed = [0; 24];
    closed[0] = 5;
    Fake::new(3).closed(vec![fixture::connection(9, closed)])
}

#[tokio::test]
async fn a_row_of_connz() {
    let server = Running::start(&fake()).await;
    for (cid, states) in [(2, ""), (9, "&state=closed")] {
        let page = get(server.address, &format!("/connz?cid={cid}{states}"))
            .await
            .json();
        for prefix in ["", "/nats"] {
            let answer = get(server.address, &format!("{prefix}/connz/{cid}")).await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
            assert_eq!(answer.json(), page["connections"][0]);
        }
    }
}

#[tokio::test]
async fn parameters_apply() {
    let mut with_tcp = [0; 24];
    with_tcp[21] = 1;
    let fake = fake().open(vec![fixture::connection(4, with_tcp)]);
    let server = Running::start(&fake).await;
    let row = get(server.address, "/connz/4").await.json();
    assert!(row.get("tcp").is_none());
    let row = get(server.address, "/connz/4?tcp=1").await.json();
    assert_eq!(row["tcp"]["segs_in"], 1);
    for (path, status) in [
        ("/connz/4?direction=in", 200),
        ("/connz/4?direction=out", 404),
        ("/connz/4?limit=9&offset=3&state=closed", 200),
        ("/connz/4?sort=stop", 200),
        ("/connz/4?tcp=x", 400),
    ] {
        assert_eq!(get(server.address, path).await.status, status, "{path}");
    }
}

#[tokio::test]
async fn no_such_connection() {
    let server = Running::start(&fake()).await;
    for cid in ["0", "4", "18446744073709551615"] {
        let answer = get(server.address, &format!("/connz/{cid}")).await;
        assert_eq!(answer.status, 404);
        let msg = format!("no such connection: \"{cid}\"");
        assert_eq!(answer.json(), json!({"msg": msg, "status": 404}));
        let answer = get(server.address, &format!("/nats/connz/{cid}")).await;
        assert_eq!((answer.status, answer.body), (404, msg + "\n"));
    }
}

#[tokio::test]
async fn what_is_no_number() {
    let server = Running::start(&fake()).await;
    for (cid, msg) in [
        ("abc", r#"cid: expected an integer, got "abc""#),
        ("1.0", r#"cid: expected an integer, got "1.0""#),
        ("-1", r#"cid: expected an integer of at least 0, got "-1""#),
        (
            "18446744073709551616",
            r#"cid: out of range, got "18446744073709551616""#,
        ),
        ("%ff", r#"cid: expected percent-encoded UTF-8, got "%ff""#),
        ("%0a", r#"cid: expected an integer, got "\n""#),
    ] {
        let answer = get(server.address, &format!("/connz/{cid}")).await;
        assert_eq!(answer.status, 400);
        assert_eq!(answer.json(), json!({"msg": msg, "status": 400}));
    }
}

#[tokio::test]
async fn the_agents_own_are_found_by_their_number() {
    let mut own = [0; 24];
    own[17] = 5;
    let fake = Fake::new(0).open(vec![fixture::connection(1, own)]);
    let server = Running::start(&fake).await;
    assert_eq!(get(server.address, "/connz").await.json()["total"], 0);
    assert_eq!(get(server.address, "/connz/1").await.json()["cid"], 1);
}

#[tokio::test]
async fn without_a_registry() {
    let fake = fake();
    let server = Running::start(&fake).await;
    fake.stop();
    let answer = get(server.address, "/connz/1").await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (503, "the registry has stopped\n")
    );
}
