//! Start and end of the agent itself.

use std::{collections::BTreeSet, fs, net::TcpListener, path::Path, process::Command};

use conn_trace_tests::{
    agent::{Agent, free_address, program, run},
    everybody::copy_for_everybody,
    pair::Two,
    skip::{installed, skip},
    wait::eventually,
};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Ids of the programs and maps that the process holds, as its descriptors say.
fn bpf_objects(pid: u32) -> BTreeSet<(&'static str, u32)> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("a process");
    let texts = descriptors
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path()).ok());
    texts
        .flat_map(|text| {
            let id = |name: &str| -> Option<u32> {
                text.lines()
                    .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
            };
            let (program, map) = (id("prog_id:"), id("map_id:"));
            [program.map(|id| ("prog", id)), map.map(|id| ("map", id))]
        })
        .flatten()
        .collect()
}

/// Ids of all programs or maps of this kernel.
fn all_bpf_objects(bpftool: &Path, kind: &'static str) -> BTreeSet<(&'static str, u32)> {
    let output = Command::new(bpftool)
        .args(["--json", kind, "show"])
        .output()
        .expect("bpftool");
    let list: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    list.iter()
        .filter_map(|object| u32::try_from(object["id"].as_u64()?).ok())
        .map(|id| (kind, id))
        .collect()
}

fn ends_and_leaves_nothing(test: &str, signal: Signal) {
    let mut agent = Agent::start();
    let held = bpf_objects(agent.pid());
    agent.signal(signal);
    let status = agent.wait();
    assert_eq!(status.code(), Some(0), "{status}: {}", agent.log());
    let Some([bpftool]) = installed(test, ["bpftool"]) else {
        return;
    };
    assert!(
        held.iter().filter(|(kind, _)| *kind == "prog").count() >= 4,
        "{held:?}"
    );
    assert!(
        held.iter().filter(|(kind, _)| *kind == "map").count() >= 4,
        "{held:?}"
    );
    // The kernel frees them after a grace period of its own.
    eventually("programs and maps are gone", || {
        let mut all = all_bpf_objects(&bpftool, "prog");
        all.extend(all_bpf_objects(&bpftool, "map"));
        held.is_disjoint(&all).then_some(())
    });
}

#[test]
fn sigint_ends_it_and_leaves_nothing_behind() {
    ends_and_leaves_nothing("sigint_ends_it_and_leaves_nothing_behind", Signal::SIGINT);
}

#[test]
fn sigterm_ends_it_and_leaves_nothing_behind() {
    ends_and_leaves_nothing("sigterm_ends_it_and_leaves_nothing_behind", Signal::SIGTERM);
}

#[test]
fn kill_leaves_nothing_behind() {
    let Some([bpftool]) = installed("kill_leaves_nothing_behind", ["bpftool"]) else {
        return;
    };
    let mut agent = Agent::start();
    let held = bpf_objects(agent.pid());
    assert!(!held.is_empty());
    agent.signal(Signal::SIGKILL);
    assert!(!agent.wait().success());
    eventually("programs and maps are gone", || {
        let mut all = all_bpf_objects(&bpftool, "prog");
        all.extend(all_bpf_objects(&bpftool, "map"));
        held.is_disjoint(&all).then_some(())
    });
}

#[test]
fn address_in_use_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("an address").to_string();
    let (status, out, err) = run(Command::new(program()), &["agent", "--listen", &address]);
    assert_eq!(status.code(), Some(1), "{err}");
    assert!(err.contains(&address) && err.contains("in use"), "{err}");
    assert_eq!(out, "");
    let (status, out, _) = run(Command::new(program()), &["doctor", "--listen", &address]);
    assert_eq!(status.code(), Some(1), "{out}");
    assert!(out.contains(&address), "{out}");
}

#[test]
fn two_agents_are_both_right() {
    let (first, second) = (Agent::start(), Agent::start());
    let mut two = Two::start();
    let pair = two.open();
    two.forth(&pair, 1000, 50);
    let (client, server) = two.reports(&pair);
    for agent in [&first, &second] {
        assert_eq!(agent.open(&pair.client).counts(), client);
        assert_eq!(agent.open(&pair.server).counts(), server);
    }
    // The end of one is nothing to the other.
    first.stop();
    two.back(&pair, 300, 30);
    let (client, server) = two.reports(&pair);
    assert_eq!(second.open(&pair.client).counts(), client);
    assert_eq!(second.open(&pair.server).counts(), server);
    let third = Agent::start();
    let row = third.open(&pair.client);
    assert!(row.preexisting);
    assert_eq!(
        (row.in_bytes, row.out_bytes),
        (client.in_bytes, client.out_bytes)
    );
}

/// Runs the program by `setpriv` with these restrictions.
fn restricted(setpriv: &Path, restrictions: &[&str], program: &Path) -> Command {
    let mut command = Command::new(setpriv);
    command.args(restrictions).arg("--").arg(program);
    command
}

#[test]
fn missing_capabilities_are_named() {
    let Some([setpriv]) = installed("missing_capabilities_are_named", ["setpriv"]) else {
        return;
    };
    let (_directory, copy) = copy_for_everybody(&program());
    let address = free_address().to_string();
    let nobody = [
        "--reuid",
        "65534",
        "--clear-groups",
        "--bounding-set",
        "-all",
    ];
    let powerless_root = ["--bounding-set", "-bpf,-perfmon,-sys_admin"];
    let half = ["--bounding-set", "-perfmon,-sys_admin"];
    for (restrictions, named, not_named) in [
        (&nobody[..], &["CAP_BPF", "CAP_PERFMON"][..], None),
        (&powerless_root[..], &["CAP_BPF", "CAP_PERFMON"][..], None),
        (&half[..], &["CAP_PERFMON"][..], Some("CAP_BPF")),
    ] {
        for arguments in [
            &["agent", "--listen", &address][..],
            &["doctor", "--listen", &address],
        ] {
            let (status, out, err) = run(restricted(&setpriv, restrictions, &copy), arguments);
            let text = format!("{out}{err}");
            assert_eq!(status.code(), Some(1), "{arguments:?}: {text}");
            for name in named {
                assert!(text.contains(name), "{name}: {text}");
            }
            let missing = text.lines().find(|line| line.contains("missing CAP"));
            let missing = missing.unwrap_or_default();
            assert!(
                not_named.is_none_or(|name| !missing.contains(name)),
                "{text}"
            );
        }
    }
}

#[test]
fn two_capabilities_are_enough() {
    let test = "two_capabilities_are_enough";
    let Some([setpriv]) = installed(test, ["setpriv"]) else {
        return;
    };
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return skip(test, "this kernel has no BTF");
    }
    let (_directory, copy) = copy_for_everybody(&program());
    let rights = [
        "--reuid",
        "65534",
        "--clear-groups",
        "--bounding-set",
        "-all,+bpf,+perfmon",
        "--inh-caps",
        "-all,+bpf,+perfmon",
        "--ambient-caps",
        "-all,+bpf,+perfmon",
    ];
    let mut two = Two::start();
    let old = two.open();
    two.forth(&old, 10, 10);
    let agent = Agent::start_by(restricted(&setpriv, &rights, &copy), &[]);
    let pair = two.open();
    two.forth(&pair, 77, 7);
    assert_eq!(
        agent.open(&pair.client).counts(),
        two.client.report(&pair.client)
    );
    assert_eq!(agent.open(&old.client).out_bytes, 10);
    agent.stop();
}

#[test]
fn doctor_says_that_the_agent_would_start() {
    let address = free_address().to_string();
    let (status, out, err) = run(Command::new(program()), &["doctor", "--listen", &address]);
    assert_eq!(status.code(), Some(0), "{out}{err}");
    assert!(out.contains("would start"), "{out}");
    let (status, out, err) = run(
        Command::new(program()),
        &["doctor", "--json", "--listen", &address],
    );
    assert_eq!(status.code(), Some(0), "{out}{err}");
    let report: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(report["would_start"], true, "{out}");
    let checks = report["checks"].as_array().expect("an array");
    assert!(
        checks.iter().all(|check| check["outcome"] != "failed"),
        "{out}"
    );

    // And that it would not, in the same form.
    let listener = TcpListener::bind(&address).expect("a listener");
    let (status, out, _) = run(
        Command::new(program()),
        &["doctor", "--json", "--listen", &address],
    );
    assert_eq!(status.code(), Some(1), "{out}");
    let report: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(report["would_start"], false, "{out}");
    drop(listener);
    Agent::start().stop();
}

#[test]
fn doctor_is_right_on_a_host_with_many_connections() {
    let mut two = Two::start();
    let _pairs = two.open_many(2000);
    let address = free_address().to_string();
    let (status, out, _) = run(Command::new(program()), &["doctor", "--listen", &address]);
    // The agent does start here.
    Agent::start().stop();
    assert_eq!(status.code(), Some(0), "{out}");
}

#[test]
fn bad_arguments_are_refused_by_name() {
    for arguments in [
        &["agent", "--listen", "8322"][..],
        &["agent", "--max-connections", "0"],
        &["agent", "--closed-history=-1"],
        &["agent", "--unknown"],
        &["nothing"],
        &[],
    ] {
        let (status, out, err) = run(Command::new(program()), arguments);
        assert_eq!(status.code(), Some(2), "{arguments:?}: {out}{err}");
        assert_eq!(out, "", "{arguments:?}");
        if let [_, flag, ..] = arguments {
            let flag = flag.split('=').next().unwrap_or_default();
            assert!(err.contains(flag), "{arguments:?}: {err}");
        }
    }
}
