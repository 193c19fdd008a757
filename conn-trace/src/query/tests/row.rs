//! Rows as JSON, against the contract.

use std::{net::IpAddr, sync::Arc};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::fixture::{NOW, NOW_NS, SECOND, fullest_tcp, plain};
use crate::{
    query::{Address, Row, reason},
    registry::connection::{
        CloseCause, Connection, Direction, End, Endpoint, Facts, Origin, Owner, Process, TcpState,
    },
};

fn json(connection: &Connection, tcp: bool) -> Value {
    serde_json::to_value(Row::new(connection, NOW, NOW_NS, tcp)).unwrap()
}

fn with_facts(connection: &Connection, change: impl FnOnce(&mut Facts)) -> Connection {
    let mut facts = (*connection.facts).clone();
    change(&mut facts);
    Connection {
        facts: Arc::new(facts),
        ..connection.clone()
    }
}

#[test]
fn a_row_of_which_little_is_known() {
    let mut connection = plain(7);
    connection.last_activity_ns = NOW_NS - 3 * SECOND;
    assert_eq!(
        json(&connection, true),
        json!({
            "cid": 7, "uid": "root", "owner": "unknown", "kind": "Client", "type": "tcp",
            "direction": "in", "ip": "10.0.0.1", "port": 40000, "local_ip": "10.0.0.1",
            "local_port": 8000, "state": "ESTABLISHED", "start": "2026-11-20T11:59:50Z",
            "last_activity": "2026-11-20T11:59:57Z", "uptime": "10s", "idle": "3s",
            "pending_bytes": 0, "recv_queue_bytes": 0, "in_msgs": 0, "out_msgs": 3,
            "in_bytes": 0, "out_bytes": 300, "subscriptions": 0, "device_flag": 0,
            "device_level": 0, "version": "", "netns": 4_026_531_840_u32,
        })
    );
}

#[test]
fn a_row_of_which_all_is_known() {
    let connection = with_facts(&plain(8), |facts| {
        facts.owner = Owner::Exact(Process {
            pid: 42,
            comm: "nginx".into(),
        });
        facts.direction = Direction::Out;
        facts.origin = Origin::Preexisting;
        facts.counted_since = Some(NOW);
        facts.cgroup = Some("/docker/c0ffee".into());
        facts.container = Some("c0ffee".into());
        facts.service = Some("im".into());
        facts.peer.ip = "fe80::2".parse().unwrap();
        facts.peer.scope = 3;
    });
    let connection = Connection {
        rtt_us: Some(1_039),
        tcp: Some(fullest_tcp()),
        ..connection
    };
    let row = json(&connection, true);
    for (field, value) in [
        ("pid", json!(42)),
        ("comm", json!("nginx")),
        ("owner", json!("exact")),
        ("kind", json!("Outbound")),
        ("ip", json!("fe80::2%3")),
        ("start_estimated", json!(true)),
        ("preexisting", json!(true)),
        ("counted_since", json!("2026-11-20T12:00:00Z")),
        ("cgroup", json!("/docker/c0ffee")),
        ("container", json!("c0ffee")),
        ("service", json!("im")),
        ("rtt", json!("1.039ms")),
    ] {
        assert_eq!(row[field], value, "{field}");
    }
    assert_eq!(
        row["tcp"],
        json!({
            "state": "ESTABLISHED", "retrans": 1, "lost": 2, "cwnd": 10, "ssthresh": 3,
            "rtt_us": 1039, "rttvar_us": 7, "min_rtt_us": 900, "mss": 1448,
            "delivery_rate": i64::MAX, "rwnd_limited_ms": 4, "sndbuf_limited_ms": 5,
            "segs_in": 6, "segs_out": 8, "bytes_acked": 9, "bytes_received": 11,
            "bytes_retrans": 12, "congestion": "bbr",
        })
    );
    assert!(json(&connection, false).get("tcp").is_none());
}

#[test]
fn late_rows_are_estimated_and_not_preexisting() {
    let row = json(
        &with_facts(&plain(1), |facts| facts.origin = Origin::Late),
        false,
    );
    assert_eq!(row["start_estimated"], true);
    assert!(row.get("preexisting").is_none());
}

#[test]
fn figures_without_a_sample_or_a_field_are_left_out() {
    let connection = Connection {
        tcp: Some(Box::default()),
        ..plain(1)
    };
    let row = json(&connection, true);
    assert!(row.get("rtt").is_none());
    let tcp = row["tcp"].as_object().expect("an object");
    let always = ["bytes_acked", "bytes_received", "bytes_retrans", "state"];
    assert_eq!(tcp.keys().collect::<Vec<_>>(), always);
}

#[test]
fn closed_rows_are_measured_at_their_end() {
    let end = End {
        stop: "2026-11-20T11:59:56Z".parse().unwrap(),
        stop_ns: NOW_NS - 4 * SECOND,
        cause: CloseCause::PeerReset,
        retrans: Some(1),
    };
    let connection = Connection {
        state: TcpState::Close,
        last_activity_ns: NOW_NS - 6 * SECOND,
        end: Some(end),
        ..plain(1)
    };
    let row = json(&connection, false);
    for (field, value) in [
        ("state", "CLOSED"),
        ("stop", "2026-11-20T11:59:56Z"),
        ("reason", "Read Error"),
        ("close_cause", "peer_reset"),
        ("uptime", "6s"),
        ("idle", "2s"),
        ("last_activity", "2026-11-20T11:59:54Z"),
    ] {
        assert_eq!(row[field], value, "{field}");
    }
}

#[test]
fn integers_end_where_those_of_clients_do() {
    let mut connection = plain(u64::MAX);
    connection.pending_bytes = u64::MAX;
    connection.counters.in_bytes = u64::MAX;
    connection.counters.out_msgs = i64::MAX.unsigned_abs() + 1;
    let row = json(&connection, false);
    for field in ["cid", "pending_bytes", "in_bytes", "out_msgs"] {
        assert_eq!(row[field], i64::MAX, "{field}");
    }
}

#[test]
fn clocks_that_disagree_give_no_negative_time() {
    let mut connection = plain(1);
    connection.last_activity_ns = u64::MAX;
    let row = json(&connection, false);
    assert_eq!(
        (&row["idle"], &row["last_activity"]),
        (&json!("0s"), &json!("2026-11-20T12:00:00Z"))
    );
    let connection = with_facts(&connection, |facts| facts.start_ns = u64::MAX);
    assert_eq!(json(&connection, false)["uptime"], "0s");
}

/// The activity does not precede the start, though the clock was set between the two.
#[test]
fn a_wall_clock_that_was_set() {
    let mut connection = with_facts(&plain(1), |facts| facts.start = NOW);
    connection.last_activity_ns = NOW_NS - SECOND;
    assert_eq!(
        json(&connection, false)["last_activity"],
        "2026-11-20T12:00:00Z"
    );
}

#[test]
fn nothing_is_ever_null() {
    for seed in 0..6 {
        for tcp in [false, true] {
            let row = json(&super::fixture::connection(1, [seed; 24]), tcp);
            let text = row.to_string();
            assert!(!text.contains("null"), "{text}");
        }
    }
}

#[test]
fn reasons_by_side() {
    use CloseCause::{Killed, LocalFin, PeerFin, Timeout};
    use Direction::{In, Out, Unknown};
    for (cause, direction, text) in [
        (PeerFin, In, "Client Closed"),
        (LocalFin, In, "Server Closed"),
        (PeerFin, Out, "Server Closed"),
        (LocalFin, Out, "Client Closed"),
        (LocalFin, Unknown, "Local Closed"),
        (PeerFin, Unknown, "Peer Closed"),
        (Killed, In, "Server Shutdown"),
        (Killed, Out, "Client Shutdown"),
        (Timeout, In, "Stale Connection"),
        (CloseCause::Refused, Out, "Connection Refused"),
        (CloseCause::Error(5), In, "Socket Error"),
    ] {
        assert_eq!(reason(cause, direction), text, "{cause:?} {direction:?}");
    }
}

proptest! {
    #[test]
    fn addresses_are_as_the_standard_library_has_them(ip: IpAddr, scope in 0_u32..3) {
        let written = |ip, scope| {
            let endpoint = Endpoint { ip, scope, port: 1 };
            let address = Address(&endpoint);
            (address.to_string(), serde_json::to_value(address).unwrap())
        };
        let text = match scope {
            1.. if ip.is_ipv6() => format!("{ip}%{scope}"),
            _ => ip.to_string(),
        };
        prop_assert_eq!(written(ip, scope), (text.clone(), json!(text)));
        let longest = IpAddr::from([0xffff_u16; 8]);
        prop_assert_eq!(written(longest, u32::MAX).0, format!("{longest}%{}", u32::MAX));
    }
}
