//! What is taken, what is refused and with which words, and what belongs where.

mod policies;

use std::{path::Path, sync::Arc};

use super::{ConfigError, Configuration};
use crate::{
    query::tests::fixture::plain,
    registry::{
        connection::{Direction, Facts, Owner, Process},
        services::{Classify, Verdict},
    },
};

fn parse(text: &str) -> Result<Configuration, ConfigError> {
    Configuration::parse(Path::new("c.toml"), text)
}

fn refusal(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

/// The facts of a connection that was made from here to 203.0.113.7:9878 by `gateway-1`.
fn to_venue() -> Facts {
    let mut facts = Arc::unwrap_or_clone(plain(1).facts);
    facts.direction = Direction::Out;
    facts.peer.ip = "203.0.113.7".parse().unwrap();
    facts.peer.port = 9878;
    facts.local.port = 40_000;
    facts.owner = Owner::Exact(Process {
        pid: 1,
        comm: "gateway-1".into(),
    });
    facts.cgroup = Some("/system.slice/gateway.service/worker".into());
    facts.container = None;
    facts
}

fn verdict(selectors: &str, facts: &Facts) -> Verdict {
    let text = format!("[[service]]\nname = \"one\"\n{selectors}\n");
    parse(&text).unwrap().matcher().classify(facts)
}

#[test]
fn the_shape_of_the_guide() {
    let text = r#"
        [agent]
        listen = "127.0.0.1:9000"
        max_connections = 1000
        cors = false

        [[service]]
        name = "fix"
        remote_ip = ["203.0.113.7", "198.51.100.0/24"]
        remote_port = [9878, "5000-6000"]
        metric_prefix = "fix"
        listen = "127.0.0.1:8422"

        [[service]]
        name = "im"
        local_port = 5222
        direction = "in"
        idle_after = "90s"
        client_prefix_v4 = 24
    "#;
    let configuration = parse(text).unwrap();
    let flags: Vec<_> = configuration.agent.flags().collect();
    assert_eq!(
        flags,
        [
            ("listen", "127.0.0.1:9000"),
            ("max_connections", "1000"),
            ("cors", "false")
        ]
    );
    let fix = configuration.service("fix").unwrap();
    assert_eq!(fix.target(), "203.0.113.7, 198.51.100.0/24");
    let matcher = configuration.matcher();
    let names: Vec<_> = matcher.services().iter().map(|one| &*one.name).collect();
    assert_eq!(names, ["fix", "im"]);
    assert_eq!(matcher.services()[1].client_prefix, (24, 128));
    assert_eq!(matcher.classify(&to_venue()), Verdict::Of(0));
}

#[test]
fn what_is_refused_says_where_and_why() {
    for (text, expected) in [
        (
            "services = 1",
            "c.toml:1: unknown field `services`, expected `agent` or `service`",
        ),
        (
            "[[service]]\nremote_port = 1",
            "c.toml:1: missing field `name`",
        ),
        (
            "[[service]]\nname = \"a\"",
            "c.toml:1: service \"a\": no selector: every connection would belong to it; say what it is, or remote_ip = [\"0.0.0.0/0\", \"::/0\"] for all",
        ),
        (
            "\n[[service]]\nname = \"a b\"\nremote_port = 1",
            "c.toml:3: name: expected 1 to 64 letters, digits, _, - and ., got \"a b\"",
        ),
        (
            "[[service]]\nname = \"a\"\nremote_port = 65536",
            "c.toml:3: expected a port from 0 to 65535, or ports such as \"5000-6000\", got \"65536\"",
        ),
        (
            "[[service]]\nname = \"a\"\nremote_port = [1, \"9-1\"]",
            "c.toml:3: expected a port from 0 to 65535, or ports such as \"5000-6000\", got \"9-1\"",
        ),
        (
            "[[service]]\nname = \"a\"\nremote_ip = \"10.0.0.0/33\"",
            "c.toml:3: expected an IP address or CIDR prefix, got \"10.0.0.0/33\"",
        ),
        (
            "[[service]]\nname = \"a\"\nremote_ip = []",
            "c.toml:3: expected at least one value",
        ),
        (
            "[[service]]\nname = \"a\"\ndirection = \"up\"",
            "c.toml:3: expected in, out or unknown, got \"up\"",
        ),
        (
            "[[service]]\nname = \"a\"\nuid = -1",
            "c.toml:3: expected the number of a user, got -1",
        ),
        (
            "[[service]]\nname = \"a\"\nidle_after = \"0s\"\nuid = 0",
            "c.toml:3: expected a time above 0 such as 90s or 15m, got \"0s\"",
        ),
        (
            "[[service]]\nname = \"a\"\nclient_prefix_v4 = 33\nuid = 0",
            "c.toml:3: expected a length of a prefix from 0 to 32, got 33",
        ),
        (
            "[[service]]\nname = \"a\"\ntop = 0\nuid = 0",
            "c.toml:1: service \"a\": top: expected an integer from 1 to 100, got 0",
        ),
        (
            "[[service]]\nname = \"a\"\nmetric_prefix = \"1x\"\nuid = 0",
            "c.toml:3: metric_prefix: expected a letter, then letters, digits and _, got \"1x\"",
        ),
        (
            "[[service]]\nname = \"a\"\nmetric_prefix = \"conntrace\"\nuid = 0",
            "c.toml:3: metric_prefix: conntrace begins the names of the agent's own series",
        ),
        (
            "[[service]]\nname = \"a\"\nnetns = \"/nowhere\"",
            "c.toml:3: expected the file of a network namespace, got \"/nowhere\"",
        ),
        (
            "[[service]]\nname = \"a\"\nuid = 0\n[[service]]\nname = \"a\"\nuid = 1",
            "c.toml:4: service \"a\": name: a second service \"a\"",
        ),
        (
            "[[service]]\nname = \"a\"\nuid = 0\nlisten = \"[::1]:1\"\n[[service]]\nname = \"b\"\nuid = 1\nlisten = \"[::1]:1\"",
            "c.toml:5: service \"b\": listen: the address of another service",
        ),
        (
            "[agent]\nlisten = 1.5",
            "c.toml:2: expected a text, an integer or a boolean, got a float",
        ),
        (
            "[agent]\nport = 1",
            "c.toml:2: unknown field `port`, expected one of",
        ),
        ("[[service]\n", "c.toml:1:"),
    ] {
        let said = refusal(text);
        assert!(said.starts_with(expected), "{text}: {said}");
        assert!(!said.contains('\n'), "{said}");
    }
}

#[test]
fn each_selector_by_itself() {
    let facts = to_venue();
    for (selectors, expected) in [
        ("remote_ip = \"203.0.113.0/24\"", true),
        ("remote_ip = \"203.0.114.0/24\"", false),
        ("remote_port = [1, \"9000-9999\"]", true),
        ("local_port = 9878", false),
        ("local_port = 40000", true),
        ("direction = \"out\"", true),
        ("direction = [\"in\", \"unknown\"]", false),
        ("comm = \"gateway*\"", true),
        ("comm = \"gateway\"", false),
        ("uid = 424242", false),
        ("unit = \"gateway\"", true),
        ("unit = \"gateway.service\"", true),
        ("unit = \"gate\"", false),
        ("cgroup = \"/system.slice/*\"", true),
        ("container = \"*\"", false),
        ("netns = 1", false),
        ("remote_port = 9878\ncomm = \"other\"", false),
        ("remote_port = 9878\ncomm = \"gateway-1\"", true),
    ] {
        let expected = if expected {
            Verdict::Of(0)
        } else {
            Verdict::Nowhere
        };
        assert_eq!(verdict(selectors, &facts), expected, "{selectors}");
    }
}

#[test]
fn what_is_not_known_yet_decides_later() {
    let mut facts = to_venue();
    facts.owner = Owner::Unknown;
    facts.cgroup = None;
    for key in ["comm", "unit", "cgroup", "container"] {
        let selectors = format!("{key} = \"x*\"");
        assert_eq!(verdict(&selectors, &facts), Verdict::Undecided, "{key}");
    }
    // Whoever the owner is, the port is another.
    let selectors = "comm = \"x\"\nremote_port = 1";
    assert_eq!(verdict(selectors, &facts), Verdict::Nowhere);
    facts.local.port = 0;
    assert_eq!(verdict("local_port = 1", &facts), Verdict::Undecided);
}

#[test]
fn the_first_match_wins_and_an_open_question_before_it_is_waited_for() {
    let text = "[[service]]\nname = \"mine\"\ncomm = \"gateway*\"\n\
                [[service]]\nname = \"venue\"\nremote_port = 9878\n";
    let matcher = parse(text).unwrap().matcher();
    let mut facts = to_venue();
    assert_eq!(matcher.classify(&facts), Verdict::Of(0));
    facts.owner = Owner::Unknown;
    assert_eq!(matcher.classify(&facts), Verdict::Undecided);
    assert_eq!(matcher.settle(&facts), Some(1));
    let explained = matcher.explain(&facts);
    assert!(explained.iter().all(|one| !one.chosen));
    assert_eq!(explained[0].matches, "unknown");
    assert_eq!(explained[1].matches, "yes");
    assert_eq!(explained[1].selectors[0].wanted, "9878");
}
