//! `/connz/{cid}` follows a connection from its opening into the history.

use conn_trace_tests::{
    agent::Agent,
    connz::Row,
    http::Answer,
    pair::{Pair, Two},
};
use serde_json::Value;

fn row(answer: &Answer) -> Row {
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_str(&answer.body).expect("a row")
}

#[test]
fn a_number_finds_its_connection_open_and_closed() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair: Pair = two.open();
    two.forth(&pair, 10_000, 1_000);
    let listed = agent.open(&pair.server);
    let path = format!("/connz/{}", listed.cid);

    let open = row(&agent.get(&path));
    assert_eq!(
        (open.cid, open.tuple(), open.start),
        (listed.cid, listed.tuple(), listed.start)
    );
    assert_eq!((&*open.state, open.in_bytes), ("ESTABLISHED", 10_000));
    assert!(open.tcp.is_none());
    assert!(row(&agent.get(&format!("{path}?tcp=1"))).tcp.is_some());
    // It was accepted, so it is one of those of NATS's dialect too.
    assert_eq!(row(&agent.get(&format!("/nats{path}"))).cid, open.cid);

    two.client.close(&[pair.client]);
    two.server.receive_to_end(&pair.server);
    two.server.close(&[pair.server]);
    let listed = agent.closed(&pair.server);
    assert_eq!(listed.cid, open.cid);
    assert_eq!(row(&agent.get(&path)), listed);

    // Numbers are given in order, so this one is not soon.
    let answer = agent.get("/connz/4000000000");
    let body: Value = serde_json::from_str(&answer.body).expect("JSON");
    assert_eq!((answer.status, &body["status"]), (404, &404.into()));
    assert_eq!(agent.get("/connz/x").status, 400);
}
