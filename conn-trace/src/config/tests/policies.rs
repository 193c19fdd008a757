//! Policies: their shape, what is refused, and what nobody wants by accident.

use std::time::Duration;

use super::{parse, refusal};
use crate::registry::policies::{
    Action, Adaptive, Bounds, Leak, Limit, Policy, Rule, Signal, Watchlist,
};

/// The policies of a service of port 1.
fn policies(text: &str) -> Vec<Policy> {
    let text = format!("[[service]]\nname = \"a\"\nlocal_port = 1\n{text}");
    let configuration = parse(&text).unwrap();
    configuration.service("a").unwrap().watched().0.policies
}

/// Why a policy of a service of port 1 is refused; it begins in line 4.
fn refused(policy: &str) -> String {
    refusal(&format!(
        "[[service]]\nname = \"a\"\nlocal_port = 1\n[[service.policy]]\n{policy}"
    ))
}

#[test]
fn every_kind_and_action() {
    let all = policies(
        r#"
        client_prefix_v4 = 24
        [[service.policy]]
        kind = "leak"
        idle = "10m"
        close_wait = "90s"
        action = "close"

        [[service.policy]]
        name = "crowd"
        kind = "limit"
        connections = 1000
        connections_per_client = 20
        new_per_second = 50
        client_prefix_v6 = 64
        action = "log"
        dry_run = false
        [service.policy.adaptive]
        signal = "memory"
        high = 90
        low = 80
        connections = 500

        [[service.policy]]
        kind = "watchlist"
        deny = ["192.0.2.0/24", "::ffff:198.51.100.7"]
        allow = "2001:db8::/32"
        action = "webhook"
        url = "http://127.0.0.1:9/hook"
        dry_run = false

        [[service.policy]]
        name = "events"
        kind = "limit"
        connections = 5
        action = "event"
        "#,
    );
    let leak = Policy {
        name: "leak".into(),
        rule: Rule::Leak(Leak {
            idle: Some(Duration::from_mins(10)),
            close_wait: Some(Duration::from_secs(90)),
        }),
        action: Action::Close,
        dry_run: true,
    };
    assert_eq!(all[0], leak);
    let crowd = Policy {
        name: "crowd".into(),
        rule: Rule::Limit(Limit {
            bounds: Bounds {
                connections: Some(1000),
                connections_per_client: Some(20),
                new_per_second: Some(50),
            },
            client_prefix: (24, 64),
            adaptive: Some(Adaptive {
                signal: Signal::Memory,
                high: 90,
                low: 80,
                bounds: Bounds {
                    connections: Some(500),
                    ..Bounds::default()
                },
            }),
        }),
        action: Action::Log,
        dry_run: false,
    };
    assert_eq!(all[1], crowd);
    let watchlist = Policy {
        name: "watchlist".into(),
        rule: Rule::Watchlist(Watchlist {
            deny: vec![
                "192.0.2.0/24".parse().unwrap(),
                "198.51.100.7/32".parse().unwrap(),
            ],
            allow: vec!["2001:db8::/32".parse().unwrap()],
        }),
        action: Action::Webhook("http://127.0.0.1:9/hook".into()),
        dry_run: false,
    };
    assert_eq!(all[2], watchlist);
    assert_eq!((&all[3].action, all[3].dry_run), (&Action::Event, true));
}

#[test]
fn what_is_refused_says_where_and_why() {
    for (policy, expected) in [
        (
            "kind = \"leak\"\nidle = \"1m\"",
            "c.toml:4: missing field `action`",
        ),
        (
            "kind = \"leek\"",
            "c.toml:5: kind: expected one of leak, limit, watchlist, got \"leek\"",
        ),
        (
            "kind = \"leak\"\naction = \"kill\"",
            "c.toml:6: action: expected one of event, log, webhook, close, got \"kill\"",
        ),
        (
            "kind = \"leak\"\naction = \"log\"\nidel = \"1m\"",
            "c.toml:7: unknown field `idel`",
        ),
        (
            "kind = \"leak\"\naction = \"log\"",
            "c.toml:4: service \"a\": policy \"leak\": missing idle or close_wait",
        ),
        (
            "kind = \"leak\"\naction = \"log\"\nidle = \"0s\"",
            "c.toml:7: expected a time from 1s to 8760h such as 90s or 15m, got \"0s\"",
        ),
        (
            "kind = \"leak\"\naction = \"log\"\nidle = \"-5m\"",
            "c.toml:7: expected a time from 1s to 8760h such as 90s or 15m, got \"-5m\"",
        ),
        (
            "kind = \"leak\"\naction = \"log\"\nclose_wait = \"8761h\"",
            "c.toml:7: expected a time from 1s to 8760h such as 90s or 15m, got \"8761h\"",
        ),
        (
            "kind = \"leak\"\naction = \"log\"\nidle = \"1m\"\nconnections = 5",
            "c.toml:4: service \"a\": policy \"leak\": connections: a key of kind limit, and this is a leak",
        ),
        (
            "kind = \"limit\"\naction = \"log\"",
            "c.toml:4: service \"a\": policy \"limit\": missing connections, connections_per_client or new_per_second",
        ),
        (
            "kind = \"limit\"\naction = \"log\"\nconnections = -1",
            "c.toml:7: expected an integer from 1 to 10000000, got -1",
        ),
        (
            "kind = \"limit\"\naction = \"log\"\nnew_per_second = 100001",
            "c.toml:7: expected an integer from 1 to 100000, got 100001",
        ),
        (
            "kind = \"limit\"\naction = \"log\"\nconnections_per_client = 0",
            "c.toml:4: service \"a\": policy \"limit\": connections_per_client: 0 lets nobody in; force = true if that is meant",
        ),
        (
            "kind = \"limit\"\naction = \"log\"\nconnections = 5\nclient_prefix_v4 = 33",
            "c.toml:8: expected a length of a prefix from 0 to 32, got 33",
        ),
        (
            "kind = \"watchlist\"\naction = \"log\"",
            "c.toml:4: service \"a\": policy \"watchlist\": missing deny or allow",
        ),
        (
            "kind = \"watchlist\"\naction = \"log\"\ndeny = \"10.0.0.0/33\"",
            "c.toml:7: expected an IP address or CIDR prefix, got \"10.0.0.0/33\"",
        ),
        (
            "kind = \"watchlist\"\naction = \"log\"\ndeny = \"fe80::1%2\"",
            "c.toml:7: expected an address without interface, got fe80::1%2",
        ),
        (
            "kind = \"watchlist\"\naction = \"webhook\"\ndeny = \"10.0.0.0/8\"",
            "c.toml:4: service \"a\": policy \"watchlist\": url: missing, action is webhook",
        ),
        (
            "kind = \"watchlist\"\naction = \"log\"\ndeny = \"10.0.0.0/8\"\nurl = \"http://a/\"",
            "c.toml:4: service \"a\": policy \"watchlist\": url: a key of action webhook",
        ),
        (
            "kind = \"watchlist\"\naction = \"webhook\"\ndeny = \"10.0.0.0/8\"\nurl = \"https://a/\"",
            "c.toml:8: expected a URL that begins with http://, got \"https://a/\"",
        ),
    ] {
        let said = refused(policy);
        assert!(said.starts_with(expected), "{policy}: {said}");
    }
    let two = "kind = \"leak\"\nidle = \"1m\"\naction = \"log\"\n";
    assert_eq!(
        refused(&format!("{two}[[service.policy]]\n{two}")),
        "c.toml:8: service \"a\": a second policy \"leak\": give one of them a name of its own"
    );
}

#[test]
fn bounds_under_pressure_are_tighter() {
    for (adaptive, expected) in [
        (
            "signal = \"load\"",
            "signal: expected one of connections, memory, got \"load\"",
        ),
        (
            "signal = \"memory\"\nhigh = 9\nlow = 8",
            "missing connections,",
        ),
        (
            "signal = \"memory\"\nhigh = 9\nlow = 8\nconnections = 10",
            "connections: expected a number from 1 to below that of the policy, got 10",
        ),
        (
            "signal = \"memory\"\nhigh = 9\nlow = 8\nnew_per_second = 1",
            "new_per_second: expected a number from 1 to below that of the policy, got 1",
        ),
        (
            "signal = \"connections\"\nhigh = 8\nlow = 9\nconnections = 1",
            "low: expected a number from 1 to high, got 9",
        ),
        (
            "signal = \"connections\"\nhigh = 8\nlow = 0\nconnections = 1",
            "low: expected a number from 1 to high, got 0",
        ),
        (
            "signal = \"memory\"\nhigh = 101\nlow = 9\nconnections = 1",
            "high: expected percent of memory from 1 to 100, got 101",
        ),
    ] {
        let said = refused(&format!(
            "kind = \"limit\"\naction = \"log\"\nconnections = 10\n[service.policy.adaptive]\n{adaptive}"
        ));
        assert!(said.contains(expected), "{adaptive}: {said}");
    }
}

/// What would close every connection of its service, though it looks harmless.
#[test]
fn what_would_close_everything_has_to_be_forced() {
    const CLOSE: &str = "action = \"close\"\n";
    let service = |selectors: &str, policy: &str| {
        format!("[[service]]\nname = \"a\"\n{selectors}\n[[service.policy]]\n{CLOSE}{policy}")
    };
    for (selectors, policy) in [
        ("local_port = 1", "kind = \"limit\"\nconnections = 0"),
        ("local_port = 1", "kind = \"limit\"\nnew_per_second = 0"),
        (
            "local_port = 1",
            "kind = \"watchlist\"\ndeny = \"0.0.0.0/0\"",
        ),
        (
            "local_port = 1",
            "kind = \"watchlist\"\ndeny = [\"::/1\", \"8000::/1\"]",
        ),
        (
            "remote_ip = \"192.0.2.7\"",
            "kind = \"watchlist\"\ndeny = \"192.0.2.0/24\"",
        ),
        (
            "remote_ip = \"192.0.2.0/24\"",
            "kind = \"watchlist\"\nallow = \"198.51.100.0/24\"",
        ),
        (
            "remote_ip = [\"0.0.0.0/0\", \"::/0\"]",
            "kind = \"leak\"\nidle = \"10m\"",
        ),
    ] {
        let text = service(selectors, policy);
        let said = refusal(&text);
        assert!(
            said.ends_with("force = true if that is meant"),
            "{text}: {said}"
        );
        assert!(parse(&format!("{text}\nforce = true")).is_ok(), "{text}");
    }
    for (selectors, policy) in [
        (
            "remote_ip = \"192.0.2.0/24\"",
            "kind = \"watchlist\"\ndeny = \"192.0.2.7\"",
        ),
        (
            "remote_ip = \"192.0.2.0/24\"",
            "kind = \"watchlist\"\nallow = \"192.0.2.7\"",
        ),
        (
            "remote_ip = \"0.0.0.0/0\"\nlocal_port = 1",
            "kind = \"leak\"\nidle = \"10m\"",
        ),
    ] {
        let text = service(selectors, policy);
        assert!(parse(&text).is_ok(), "{text}");
    }
}
