//! What NATS's dialect reads otherwise than the agent's own.

use super::fixture;
use crate::{
    query::{Dialect, Query, StateFilter},
    registry::connection::Direction,
};

fn parse(text: &str) -> Query {
    Query::parse(&Dialect::NATS, text)
        .unwrap_or_else(|error| panic!("{text}: {}", (Dialect::NATS.refusal)(&error)))
}

#[test]
fn defaults() {
    let query = parse("");
    assert_eq!(query, Query::new(&Dialect::NATS));
    assert_eq!((query.offset, query.limit), (0, 1024));
    assert_eq!(query.state, StateFilter::Open);
    assert_eq!(query.filter.direction, Some(Direction::In));
    assert_eq!(
        parse("direction=out").filter.direction,
        Some(Direction::Out)
    );
}

#[test]
fn numbers_are_clamped() {
    for limit in ["0", "-1", "-9223372036854775808"] {
        assert_eq!(parse(&format!("limit={limit}")).limit, 1024);
    }
    for offset in ["-1", "-9223372036854775808"] {
        assert_eq!(parse(&format!("offset={offset}")).offset, 0);
    }
}

#[test]
fn an_empty_value_is_none_and_the_first_of_several_counts() {
    let empty = "sort=&subs=&auth=&offset=&limit=&cid=&state=&user=&acc=&mqtt_client=&pid=&tcp";
    assert_eq!(parse(empty), parse(""));
    assert_eq!(parse("limit=7&limit=8").limit, 7);
    assert_eq!(parse("limit=&limit=8").limit, 1024);
}

#[test]
fn a_number_makes_a_page_of_one_row() {
    let query = parse("cid=7&limit=50");
    assert_eq!((query.filter.cid, query.limit), (Some(7), 1));
    assert_eq!(parse("limit=50&cid=7").limit, 1);
    assert_eq!(parse("cid=0&limit=50"), parse("limit=50"));
}

#[test]
fn states_by_the_numbers_of_nats() {
    for (text, state) in [
        ("open", StateFilter::Open),
        ("Closed", StateFilter::Closed),
        ("ANY", StateFilter::All),
        ("all", StateFilter::All),
        ("0", StateFilter::Open),
        ("1", StateFilter::Closed),
        ("2", StateFilter::All),
    ] {
        assert_eq!(parse(&format!("state={text}")).state, state, "{text}");
    }
}

#[test]
fn booleans_of_go() {
    for text in [
        "1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False",
    ] {
        assert_eq!(parse(&format!("auth={text}&subs={text}")), parse(""));
    }
    assert_eq!(parse("subs=detail"), parse("subs=DETAIL"));
}

#[test]
fn what_only_the_application_knows_is_known_of_no_connection() {
    let snapshot = fixture::snapshot(&[[0; 24]]);
    assert_eq!(parse("").page(&snapshot).total, 1);
    for parameter in ["user=alice", "acc=$G", "mqtt_client=sensor"] {
        assert_eq!(parse(parameter).page(&snapshot).total, 0);
    }
}

#[test]
fn num_connections_counts_the_page() {
    let snapshot = fixture::snapshot(&[[0; 24]; 5]);
    let of = |dialect, text| {
        let page = Query::parse(dialect, text).unwrap().page(&snapshot);
        (page.num_connections, page.total)
    };
    assert_eq!(of(&Dialect::NATS, "limit=2"), (2, 5));
    assert_eq!(of(&Dialect::NATS, "offset=4"), (1, 5));
    assert_eq!(of(&Dialect::NATS, "offset=5"), (0, 5));
    assert_eq!(of(&Dialect::ROOT, "limit=2"), (5, 5));
}

/// The texts of nats-server 2.15.1.
#[test]
fn bad_values_in_words_of_nats() {
    for (text, message) in [
        ("sort=bogus", "invalid sorting option: bogus"),
        ("sort=stop", "sort by stop only valid on closed connections"),
        (
            "sort=reason",
            "sort by reason only valid on closed connections",
        ),
        (
            "limit=abc",
            "Error decoding int for 'limit': strconv.Atoi: parsing \"abc\": invalid syntax",
        ),
        (
            "limit=99999999999999999999",
            "Error decoding int for 'limit': strconv.Atoi: parsing \"99999999999999999999\": \
             value out of range",
        ),
        (
            "offset=abc",
            "Error decoding int for 'offset': strconv.Atoi: parsing \"abc\": invalid syntax",
        ),
        (
            "cid=abc",
            "Error decoding uint64 for 'cid': strconv.ParseUint: parsing \"abc\": invalid syntax",
        ),
        (
            "cid=-1",
            "Error decoding uint64 for 'cid': strconv.ParseUint: parsing \"-1\": invalid syntax",
        ),
        ("state=bogus", "Error decoding state for bogus"),
        ("state=%0a", "Error decoding state for \\n"),
        (
            "auth=maybe",
            "Error decoding boolean for 'auth': strconv.ParseBool: parsing \"maybe\": invalid syntax",
        ),
        (
            "subs=2",
            "Error decoding boolean for 'subs': strconv.ParseBool: parsing \"2\": invalid syntax",
        ),
        ("pid=x", "pid: expected an integer, got \"x\""),
        (
            "limit=%",
            "limit: expected percent-encoded UTF-8, got \"%\"",
        ),
    ] {
        let error = Query::parse(&Dialect::NATS, text).expect_err(text);
        assert_eq!((Dialect::NATS.refusal)(&error), message, "{text}");
    }
}

#[test]
fn one_connection_is_asked_for_whatever_its_state() {
    for dialect in Dialect::ALL {
        let query = Query::parse_one(dialect, "7", "tcp=1&limit=9&offset=3&state=open").unwrap();
        assert_eq!((query.filter.cid, query.filter.with_self), (Some(7), true));
        assert_eq!((query.offset, query.limit, query.tcp), (0, 1, true));
        assert_eq!(query.state, StateFilter::All);
        for bad in ["x", "-1", "18446744073709551616", "%", "1.0"] {
            assert!(Query::parse_one(dialect, bad, "").is_err(), "{bad}");
        }
        assert!(Query::parse_one(dialect, "7", "tcp=9").is_err());
    }
}
