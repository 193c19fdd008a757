//! Services over made-up connections: what belongs to each, listeners of one, and what changes them.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::{
    client::{exchange, get, request},
    fake::{Fake, Running},
};
use crate::api::{Config, Reload};

/// Numbers of the connections on a page.
fn cids(page: &Value) -> Vec<u64> {
    let rows = page["connections"].as_array().unwrap();
    rows.iter()
        .map(|row| row["cid"].as_u64().unwrap())
        .collect()
}

async fn scoped(fake: &Fake, service: &str) -> Running {
    let config = Config {
        scope: Some(Arc::from(service)),
        ..Config::default()
    };
    Running::with(fake, config).await
}

#[tokio::test]
async fn counts_of_services_add_up_to_those_of_their_rows() {
    let server = Running::start(&Fake::of_all_kinds()).await;
    let services = get(server.address, "/services").await.json();
    let names: Vec<_> = services["services"]
        .as_array()
        .unwrap()
        .iter()
        .map(|service| service["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["none", "fix", "rest"]);
    let rows = get(server.address, "/connz?state=any&limit=1000&direction=out")
        .await
        .json();
    let rows = rows["connections"].as_array().unwrap();
    let is_closed = |row: &&Value| row["state"] == "CLOSED" || row.get("stop").is_some();
    let closed = rows.iter().filter(is_closed).count();
    let sum = |field: &str| -> u64 { rows.iter().map(|row| row[field].as_u64().unwrap()).sum() };
    let fix = &services["services"][1];
    assert_eq!(fix["connections"], rows.len() - closed);
    assert_eq!(fix["closed"], closed);
    assert!(closed > 0);
    for field in ["in_bytes", "out_bytes", "in_msgs", "out_msgs"] {
        assert_eq!(fix[field], sum(field), "{field}");
    }
    let balance = |one: &Value| {
        let of = |field: &str| one[field].as_i64().unwrap();
        of("opened") + of("joined") - of("closed") - of("left") - of("connections")
    };
    for one in services["services"]
        .as_array()
        .unwrap()
        .iter()
        .chain([&services["host"]])
    {
        assert_eq!(balance(one), 0, "{one}");
    }
    let none = &services["services"][0];
    assert_eq!(
        (&none["connections"], &none["opened"]),
        (&json!(0), &json!(0))
    );
}

#[tokio::test]
async fn a_service_by_itself() {
    let server = Running::start(&Fake::of_all_kinds()).await;
    let detail = get(server.address, "/services/fix").await.json();
    assert_eq!(detail["name"], "fix");
    assert_eq!(detail["connection_limit"], 100);
    assert_eq!(detail["sockets"]["mean_rtt_us"], 100.0);
    let sum = |part: &Value| -> u64 {
        let counts = part["top"]
            .as_array()
            .unwrap()
            .iter()
            .chain([&part["other"]]);
        counts.map(|one| one["connections"].as_u64().unwrap()).sum()
    };
    for part in ["clients", "ports", "processes"] {
        assert_eq!(detail["connections"], sum(&detail[part]), "{part}");
    }
    let ended: u64 = detail["closed_by_cause"]
        .as_object()
        .unwrap()
        .values()
        .map(|count| count.as_u64().unwrap())
        .sum();
    assert_eq!(detail["closed"], ended);
    assert_eq!(detail["duration_seconds"]["count"], ended);
    let open =
        detail["connections"].as_u64().unwrap() + detail["states"]["CLOSED"].as_u64().unwrap();
    let policy = &detail["policies"][0];
    assert_eq!(
        (&policy["name"], &policy["kind"]),
        (&json!("limit"), &json!("limit"))
    );
    assert_eq!(policy["dry_run"], true);
    assert_eq!(
        (&policy["connections"], &policy["is_tight"]),
        (&json!(10), &json!(false))
    );
    assert_eq!(policy["flagged"], open - 10);
    assert_eq!(policy["outcomes"]["failed"], open - 10);
    let actions = detail["actions"].as_array().unwrap();
    assert_eq!(actions.len() as u64, (open - 10).min(100));
    assert_eq!(actions[0]["error"], "no reason");
    assert_eq!(
        actions[0]["reason"],
        format!("{open} connections, limit 10")
    );
    assert!(actions[0]["connection"]["cid"].is_u64());
    for path in [
        "/services/nobody",
        "/services/nobody/connz",
        "/services/FIX",
    ] {
        let answer = get(server.address, path).await;
        assert_eq!(answer.status, 404, "{path}");
        let msg = answer.json()["msg"].as_str().unwrap().to_owned();
        assert!(msg.starts_with("no such service: \""), "{msg}");
    }
}

#[tokio::test]
async fn a_listener_of_one_service_shows_nothing_else() {
    let fake = Fake::of_all_kinds().with_services();
    let all = Running::start(&fake).await;
    let one = scoped(&fake, "fix").await;
    let wanted = get(all.address, "/connz?service=fix&limit=1000&state=any")
        .await
        .json();
    assert!(wanted["total"].as_u64().unwrap() > 0);
    for path in [
        "/connz?limit=1000&state=any",
        "/connz?limit=1000&state=any&service=fix",
        "/services/fix/connz?limit=1000&state=any",
    ] {
        let page = get(one.address, path).await.json();
        assert_eq!(cids(&page), cids(&wanted), "{path}");
    }
    let other = get(one.address, "/connz?service=rest&state=any")
        .await
        .json();
    assert_eq!(other["total"], 0);
    let everything = get(all.address, "/connz?limit=1000&state=any").await.json();
    let elsewhere = cids(&everything)
        .into_iter()
        .find(|cid| !cids(&wanted).contains(cid))
        .unwrap();
    for path in ["", "/services"] {
        let path = format!("/connz/{elsewhere}{path}");
        assert_eq!(get(all.address, &path).await.status, 200, "{path}");
        assert_eq!(get(one.address, &path).await.status, 404, "{path}");
    }
    assert_eq!(get(one.address, "/services/rest").await.status, 404);
    let services = get(one.address, "/services").await.json();
    assert_eq!(services["services"].as_array().unwrap().len(), 1);
    assert_eq!(services.get("host"), None);
    let open = &services["services"][0]["connections"];
    assert_eq!(&get(one.address, "/varz").await.json()["connections"], open);
    assert_eq!(
        &get(one.address, "/healthz").await.json()["active_connections"],
        open
    );
    let exported = get(one.address, "/connections").await.json();
    assert_eq!(
        (&exported["total"], &exported["hostname"]),
        (open, &json!("host"))
    );
}

#[tokio::test]
async fn why_a_connection_belongs_where_it_does() {
    let server = Running::start(&Fake::of_all_kinds()).await;
    let page = get(server.address, "/connz?direction=out&limit=1")
        .await
        .json();
    let cid = cids(&page)[0];
    let explained = get(server.address, &format!("/connz/{cid}/services"))
        .await
        .json();
    let short: Vec<_> = explained["services"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let selectors = one["selectors"].as_array().unwrap();
            (
                one["service"].clone(),
                one["matches"].clone(),
                one["chosen"].clone(),
                selectors.len(),
            )
        })
        .collect();
    let expected = [
        ("none", "no", false),
        ("fix", "yes", true),
        ("rest", "yes", false),
    ]
    .map(|(name, matches, chosen)| (json!(name), json!(matches), json!(chosen), 1));
    assert_eq!(short, expected);
}

#[tokio::test]
async fn nothing_can_be_changed_unless_it_is_wanted() {
    let server = Running::start(&Fake::new(0)).await;
    for path in ["/-/reload", "/-/services/fix/reset-peak"] {
        assert_eq!(
            request(server.address, "POST", path).await.status,
            404,
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_reload_says_what_was_wrong() {
    let (reloads, mut asked) = mpsc::channel::<Reload>(1);
    let config = Config {
        reloads: Some(reloads),
        ..Config::default()
    };
    let server = Running::with(&Fake::new(0), config).await;
    let answers = tokio::spawn(async move {
        for outcome in [Ok(()), Err("c.toml:3: wrong".to_owned())] {
            let reply: oneshot::Sender<_> = asked.recv().await.unwrap();
            reply.send(outcome).unwrap();
        }
    });
    let taken = request(server.address, "POST", "/-/reload").await;
    assert_eq!((taken.status, taken.json()), (200, json!({"status": "ok"})));
    let refused = request(server.address, "POST", "/-/reload").await;
    let expected = json!({"msg": "c.toml:3: wrong", "status": 400});
    assert_eq!((refused.status, refused.json()), (400, expected));
    answers.await.unwrap();
    for (method, path, status) in [
        ("GET", "/-/reload", 405),
        ("POST", "/-/services/fix/reset-peak", 200),
        ("POST", "/-/services/nobody/reset-peak", 404),
    ] {
        assert_eq!(
            request(server.address, method, path).await.status,
            status,
            "{path}"
        );
    }
    let from_a_page = "POST /-/reload HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(server.address, from_a_page).await.status, 403);
}
