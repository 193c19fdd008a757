//! What policies need and what is said of them before they hold.

use std::process::Command;

use conn_trace_tests::{
    agent::{Agent, program, run},
    config::Config,
    everybody::copy_for_everybody,
    pair::Two,
    skip::installed,
    wait::eventually,
};
use nix::sys::signal::Signal;

use super::{outcome, with_policy, works};

const CLOSE: &str = "kind = \"limit\"\nconnections = 1\naction = \"close\"\n";

#[test]
fn closing_needs_a_capability_and_a_dry_run_does_not() {
    let test = "closing_needs_a_capability_and_a_dry_run_does_not";
    let Some([setpriv]) = installed(test, ["setpriv"]) else {
        return;
    };
    let (_directory, copy) = copy_for_everybody(&program());
    let restricted = || {
        let mut command = Command::new(&setpriv);
        let without = ["--bounding-set", "-net_admin", "--"];
        command.args(without).arg(&copy);
        command
    };
    let mut two = Two::start();
    let real = with_policy(&two, "server", &format!("{CLOSE}dry_run = false"));
    let config = Config::new(&real);
    let path = config.path();
    let path = path.to_str().expect("a plain path");
    let refusal = "service \"server\": policy \"limit\": action close needs CAP_NET_ADMIN";
    let (status, _, error) = run(restricted(), &["agent", "--config", path]);
    assert!(!status.success());
    assert!(error.contains(refusal), "{error}");

    config.write(&with_policy(&two, "server", CLOSE));
    let agent = Agent::start_by(restricted(), &["--config", path]);
    config.write(&real);
    agent.signal(Signal::SIGHUP);
    eventually("a line of the log", || {
        agent.log().contains(refusal).then_some(())
    });
    let pairs = two.open_many(2);
    eventually("an action", || {
        (outcome(&agent, "server", "dry_run") == 1).then_some(())
    });
    for pair in &pairs {
        works(&mut two, pair);
    }
    agent.stop();
}

#[test]
fn policies_are_checked_and_shown() {
    let two = Two::start();
    let adaptive = "dry_run = false\n[service.policy.adaptive]\nsignal = \"memory\"\nhigh = 90\n\
                    low = 80\nnew_per_second = 2";
    let policy = format!("{CLOSE}new_per_second = 5\n{adaptive}");
    let config = Config::new(&with_policy(&two, "server", &policy));
    let path = config.path();
    let path = path.to_str().expect("a plain path");
    let command = |arguments: &[&str]| run(Command::new(program()), arguments);
    let (status, _, error) = command(&["config", "check", "--config", path]);
    assert!(status.success(), "{error}");
    let (_, out, _) = command(&["config", "show", "--config", path]);
    let expected = "  policy limit: limit, close\n    connections = 1\n    new_per_second = 5\n    \
                    client_prefix_v4 = 32\n    client_prefix_v6 = 128\n    adaptive.signal = memory\n    \
                    adaptive.high = 90\n    adaptive.low = 80\n    adaptive.new_per_second = 2\n";
    assert!(out.ends_with(expected), "{out}");
    config.write(&with_policy(
        &two,
        "server",
        "kind = \"leak\"\nidle = \"0s\"\naction = \"log\"",
    ));
    let (status, _, error) = command(&["config", "check", "--config", path]);
    assert!(!status.success());
    let refusal = "config.toml:7: expected a time from 1s to 8760h such as 90s or 15m, got \"0s\"";
    assert!(error.contains(refusal), "{error}");
}
