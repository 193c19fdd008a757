//! Every parameter's values, good and bad.

use crate::{
    query::{Dialect, Network, Order, Pattern, Query, Sort, SortKey, StateFilter},
    registry::connection::{Direction, TcpState},
};

fn parse(text: &str) -> Query {
    Query::parse(&Dialect::ROOT, text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn error(text: &str) -> String {
    Query::parse(&Dialect::ROOT, text)
        .expect_err(text)
        .to_string()
}

#[test]
fn nothing_is_the_default() {
    assert_eq!(parse(""), Query::default());
    assert_eq!(parse("&&"), Query::default());
    let query = Query::default();
    assert_eq!(
        (query.offset, query.limit, query.state),
        (0, 20, StateFilter::Open)
    );
    assert_eq!(
        query.sort,
        Sort {
            key: SortKey::Cid,
            order: Order::Ascending
        }
    );
    assert!(!query.tcp && !query.filter.with_self);
}

#[test]
fn unknown_parameters_are_ignored_whatever_they_hold() {
    assert_eq!(
        parse("auth=true&acc=&auth=1&x=%ff&%ff=1&node_id&callback=f"),
        Query::default()
    );
}

#[test]
fn good_values() {
    assert_eq!(parse("offset=7").offset, 7);
    assert_eq!(
        parse("offset=9223372036854775807").offset,
        i64::MAX.unsigned_abs()
    );
    assert_eq!(parse("limit=1024").limit, 1024);
    assert_eq!(
        parse("limit=9223372036854775807").limit,
        i64::MAX.unsigned_abs()
    );
    for limit in ["0", "-1", "-9223372036854775808"] {
        assert_eq!(parse(&format!("limit={limit}")).limit, 20);
    }
    for subs in ["0", "1", "true", "FALSE", "detail", "Detail"] {
        assert_eq!(parse(&format!("subs={subs}")), Query::default());
    }
    for (text, with_self) in [("0", false), ("1", true), ("false", false), ("True", true)] {
        assert_eq!(parse(&format!("self={text}")).filter.with_self, with_self);
        assert_eq!(parse(&format!("tcp={text}")).tcp, with_self);
    }
    assert_eq!(parse("order=DESC").effective_order(), Order::Descending);
    assert_eq!(
        parse("order=asc&sort=rtt").effective_order(),
        Order::Ascending
    );
    assert_eq!(parse("state=Any").state, StateFilter::All);
    assert_eq!(
        parse("state=close-wait").state,
        StateFilter::Tcp(TcpState::CloseWait)
    );
    assert_eq!(
        parse("direction=OUT").filter.direction,
        Some(Direction::Out)
    );
    assert_eq!(parse("cid=18446744073709551615").filter.cid, Some(u64::MAX));
    assert_eq!(parse("pid=42").filter.pid, Some(42));
    assert_eq!(parse("netns=4026531840").filter.netns, Some(4_026_531_840));
    assert_eq!(
        parse("comm=a+b*").filter.comm,
        Some(Pattern::Prefix("a b".to_owned()))
    );
    assert_eq!(
        parse("c%6Fmm=%2a").filter.comm,
        Some(Pattern::Prefix(String::new()))
    );
    assert_eq!(
        parse("cgroup=/a=b").filter.cgroup,
        Some(Pattern::Exact("/a=b".to_owned()))
    );
    assert_eq!(parse("service=fix").filter.service.as_deref(), Some("fix"));
    assert_eq!(parse("ip=%3A%3A1").filter.ip, Network::parse("::1"));
}

#[test]
fn bad_values_are_named() {
    for (text, message) in [
        ("offset=abc", r#"offset: expected an integer, got "abc""#),
        (
            "offset=-1",
            r#"offset: expected an integer of at least 0, got "-1""#,
        ),
        (
            "offset=9223372036854775808",
            r#"offset: out of range, got "9223372036854775808""#,
        ),
        ("limit=abc", r#"limit: expected an integer, got "abc""#),
        ("limit=", r#"limit: expected an integer, got """#),
        ("limit", r#"limit: expected an integer, got """#),
        ("limit=1.0", r#"limit: expected an integer, got "1.0""#),
        ("limit=1e3", r#"limit: expected an integer, got "1e3""#),
        ("limit=+1", r#"limit: expected an integer, got " 1""#),
        ("limit=0x10", r#"limit: expected an integer, got "0x10""#),
        (
            "limit=9223372036854775808",
            r#"limit: out of range, got "9223372036854775808""#,
        ),
        (
            "limit=-9223372036854775809",
            r#"limit: out of range, got "-9223372036854775809""#,
        ),
        ("limit=1&limit=1", "limit: given more than once"),
        (
            "limit=%ff",
            r#"limit: expected percent-encoded UTF-8, got "%ff""#,
        ),
        (
            "subs=2",
            r#"subs: expected 0, 1, true, false or detail, got "2""#,
        ),
        (
            "sort=bytes",
            r#"sort: expected a sort key such as cid or bytes_to, got "bytes""#,
        ),
        (
            "sort=",
            r#"sort: expected a sort key such as cid or bytes_to, got """#,
        ),
        (
            "sort=CID",
            r#"sort: expected a sort key such as cid or bytes_to, got "CID""#,
        ),
        ("order=up", r#"order: expected asc or desc, got "up""#),
        (
            "state=LISTEN",
            r#"state: expected open, closed, any, all or a TCP state, got "LISTEN""#,
        ),
        (
            "cid=-1",
            r#"cid: expected an integer of at least 0, got "-1""#,
        ),
        (
            "cid=18446744073709551616",
            r#"cid: out of range, got "18446744073709551616""#,
        ),
        (
            "ip=localhost",
            r#"ip: expected an IP address or CIDR prefix, got "localhost""#,
        ),
        (
            "local_ip=1.2.3.4/33",
            r#"local_ip: expected an IP address or CIDR prefix, got "1.2.3.4/33""#,
        ),
        (
            "port=65536",
            r#"port: expected ports such as 80,5000-6000, got "65536""#,
        ),
        (
            "local_port=2-1",
            r#"local_port: expected ports such as 80,5000-6000, got "2-1""#,
        ),
        (
            "direction=up",
            r#"direction: expected in, out or unknown, got "up""#,
        ),
        ("pid=x", r#"pid: expected an integer, got "x""#),
        ("pid=4294967296", r#"pid: out of range, got "4294967296""#),
        ("comm=", r#"comm: expected a command name, got """#),
        ("uid=", r#"uid: expected a user name or number, got """#),
        ("cgroup=", r#"cgroup: expected a cgroup path, got """#),
        (
            "netns=-5",
            r#"netns: expected an integer of at least 0, got "-5""#,
        ),
        ("service=", r#"service: expected a service name, got """#),
        (
            "self=yes",
            r#"self: expected 0, 1, true or false, got "yes""#,
        ),
        ("tcp=2", r#"tcp: expected 0, 1, true or false, got "2""#),
        (
            "tcp=%0D%0A",
            r#"tcp: expected 0, 1, true or false, got "\r\n""#,
        ),
    ] {
        assert_eq!(error(text), message, "{text}");
    }
}

#[test]
fn the_first_fault_is_reported_and_later_parameters_do_not_matter() {
    assert_eq!(
        error("limit=a&offset=b"),
        r#"limit: expected an integer, got "a""#
    );
}

#[test]
fn sorts_of_closed_connections_need_some() {
    let message = "only valid on closed connections (state=closed, any or all)";
    for key in ["stop", "reason"] {
        for states in ["", "&state=open", "&state=established"] {
            assert_eq!(
                error(&format!("sort={key}{states}")),
                format!("sort: by {key} {message}")
            );
        }
        for states in ["closed", "any", "all", "CLOSE"] {
            parse(&format!("state={states}&sort={key}"));
            parse(&format!("sort={key}&state={states}"));
        }
    }
}
