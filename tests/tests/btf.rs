//! BTF that lies, is cut off, or lacks something: the agent says what, or does without it. It never
//! runs with wrong numbers.

use std::{
    num::NonZero,
    path::Path,
    process::{Command, ExitStatus},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use conn_trace_common::kernel_fields;
use conn_trace_tests::{
    agent::{self, Agent, free_address},
    btf::{Btf, TYPEDEF},
    mounts::instead,
    pair::Two,
    skip::skip,
    slowness::fewer,
};
use nix::errno::Errno;
use serde_json::Value;

const TRACEPOINT: &str = "btf_trace_sock_recv_length";

const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";
const CONFIG: &str = "CONFIG_DEBUG_INFO_BTF";

/// A member that the programs read.
#[derive(Clone, Copy, Debug)]
struct Field {
    structure: &'static str,
    member: &'static str,
    size_bytes: u32,
}

macro_rules! list {
    ($($global:ident: $structure:literal, $member:literal, $size_bytes:literal, $need:ident;)*) => {
        &[$(Field { structure: $structure, member: $member, size_bytes: $size_bytes }),*]
    };
}

/// All of them: a new one is tried without being named here.
const FIELDS: &[Field] = kernel_fields!(list);

/// How a program ended: its status, and everything that it wrote.
type Ended = (ExitStatus, String);

/// Runs the agent where `btf` lies in the place of the kernel's, if it can be put there.
fn run(btf: Option<&[u8]>, arguments: &[&str]) -> Result<Ended, Errno> {
    instead(Path::new(KERNEL_BTF), btf, || {
        let (status, out, err) = agent::run(Command::new(agent::program()), arguments);
        (status, out + &err)
    })
}

/// `conn-trace doctor`: whether the agent would start, and its words.
fn examine(btf: &[u8]) -> Result<(bool, String), Errno> {
    let listen = free_address().to_string();
    let (status, words) = run(Some(btf), &["doctor", "--listen", &listen])?;
    Ok((status.success(), words))
}

/// The machine's BTF, if another can be put in its place; else says that `test` is skipped.
fn kernel(test: &str) -> Option<Btf> {
    let btf = match Btf::of_kernel() {
        Ok(btf) => btf,
        Err(error) => {
            skip(test, &format!("{KERNEL_BTF}: {error}"));
            return None;
        }
    };
    match instead(Path::new(KERNEL_BTF), Some(&btf.bytes), || ()) {
        Ok(()) => Some(btf),
        Err(error) => {
            skip(test, &format!("no mount namespace can be made: {error}"));
            None
        }
    }
}

/// The agent itself, not only the doctor, ends at once and says these words.
#[track_caller]
fn refuses(btf: Option<&[u8]>, words: &[&str]) {
    let listen = free_address().to_string();
    let ended = run(btf, &["agent", "--listen", &listen]);
    let (status, said) = ended.expect("a mount namespace");
    assert!(!status.success(), "{status}: {said}");
    for word in words {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
}

#[test]
fn the_kernels_own_btf_is_taken_from_a_copy() {
    let Some(btf) = kernel("the_kernels_own_btf_is_taken_from_a_copy") else {
        return;
    };
    let (starts, said) = examine(&btf.bytes).expect("a mount namespace");
    assert!(starts, "{said}");
}

#[test]
fn no_btf_is_a_missing_option_of_the_kernel() {
    if kernel("no_btf_is_a_missing_option_of_the_kernel").is_none() {
        return;
    }
    refuses(None, &[KERNEL_BTF, "No such file", CONFIG]);
    refuses(Some(b""), &["empty", CONFIG]);
}

#[test]
fn cut_off_btf_is_refused_with_what_does_not_fit() {
    let Some(btf) = kernel("cut_off_btf_is_refused_with_what_does_not_fit") else {
        return;
    };
    for (bytes, words) in [
        (10, "the header does not fit"),
        (100, "the type section does not fit"),
        (btf.bytes.len() - 1, "the string section does not fit"),
    ] {
        refuses(Some(&btf.bytes[..bytes]), &["kernel BTF", words]);
    }
    refuses(Some(&btf.bytes[1..]), &["bad magic number"]);
}

#[test]
fn a_required_field_that_is_missing_is_named() {
    let Some(btf) = kernel("a_required_field_that_is_missing_is_named") else {
        return;
    };
    let mut without = btf;
    without.rename_member("tcp_sock", "write_seq");
    without.rename_member("sock", "__sk_common.skc_cookie");
    refuses(
        Some(&without.bytes),
        &[
            "TCP_WRITE_SEQ: kernel BTF: struct tcp_sock has no member write_seq",
            "SOCK_COOKIE: kernel BTF: struct sock has no member __sk_common.skc_cookie",
        ],
    );
}

#[test]
fn an_optional_field_that_is_missing_is_named_and_its_figure_left_out() {
    let Some(btf) = kernel("an_optional_field_that_is_missing_is_named_and_its_figure_left_out")
    else {
        return;
    };
    // With what the field is in the `tcp` object.
    let optional = [
        ("rtt_min", "min_rtt_us"),
        ("lost", "lost"),
        ("mdev_us", "rttvar_us"),
        ("snd_cwnd", "cwnd"),
        ("segs_in", "segs_in"),
        ("rate_interval_us", "delivery_rate"),
        ("chrono_stat", "rwnd_limited_ms"),
    ];
    let mut without = btf;
    for (member, _) in optional {
        without.rename_member("tcp_sock", member);
    }

    let (starts, said) = examine(&without.bytes).expect("a mount namespace");
    assert!(starts, "{said}");
    for (member, _) in optional {
        let line = said.lines().find(|line| {
            line.contains("limited") && line.contains(&format!("tcp_sock has no member {member}"))
        });
        assert!(line.is_some(), "no {member}: {said}");
    }

    let agent = instead(Path::new(KERNEL_BTF), Some(&without.bytes), Agent::start);
    let agent = agent.expect("a mount namespace");
    let varz: Value = serde_json::from_str(&agent.get("/varz").body).expect("JSON");
    let degradations = varz["conn_trace"]["degradations"]
        .as_array()
        .expect("a list");
    assert_eq!(degradations.len(), optional.len(), "{degradations:?}");
    for (member, _) in optional {
        let wanted = format!("struct tcp_sock has no member {member}");
        let found = degradations.iter().find(|degradation| {
            degradation["detail"]
                .as_str()
                .is_some_and(|text| text.contains(&wanted))
        });
        let found = found.unwrap_or_else(|| panic!("no {member}: {degradations:?}"));
        assert_eq!(found["code"], "field_missing");
    }

    let mut two = Two::start();
    let pair = two.open();
    two.forth(&pair, 100_000, 10_000);
    two.back(&pair, 1000, 100);
    let port = pair.client.local.port();
    let page = agent.get(&format!("/connz?tcp=1&local_port={port}")).body;
    let page: Value = serde_json::from_str(&page).expect("JSON");
    assert_eq!(page["total"], 1, "{page}");
    let tcp = page["connections"][0]["tcp"]
        .as_object()
        .expect("an object");
    for (member, figure) in optional {
        assert!(
            !tcp.contains_key(figure),
            "{figure} without {member}: {tcp:?}"
        );
    }
    for figure in [
        "retrans",
        "ssthresh",
        "mss",
        "rtt_us",
        "segs_out",
        "bytes_acked",
    ] {
        assert!(tcp.contains_key(figure), "no {figure}: {tcp:?}");
    }
    agent.stop();
}

/// What is made of the kernel's BTF.
type Lie = Box<dyn Fn(&mut Btf) + Sync>;

#[test]
fn a_wrong_offset_of_any_field_is_found_out() {
    let Some(btf) = kernel("a_wrong_offset_of_any_field_is_found_out") else {
        return;
    };
    let mut lies: Vec<(String, Lie)> = Vec::new();
    for &Field {
        structure,
        member,
        size_bytes,
    } in FIELDS
    {
        let lie = move |btf: &mut Btf| btf.shift_member(structure, member, size_bytes);
        lies.push((format!("{structure}.{member}"), Box::new(lie)));
    }
    lies.push((
        "tcp_sock.chrono_type".to_owned(),
        Box::new(|btf| btf.shift_member("tcp_sock", "chrono_type", 1)),
    ));
    lies.push((
        "SOCK_DONE".to_owned(),
        Box::new(|btf| btf.renumber("sock_flags", "SOCK_DONE", 11)),
    ));
    // Evenly over the list where there is no time for all.
    let tried = fewer(u32::try_from(lies.len()).expect("a small number"), 6);
    let every = lies.len() / tried as usize;
    let lies: Vec<_> = lies.into_iter().step_by(every).collect();
    let believed = believed(&btf, &lies);
    assert!(believed.is_empty(), "not found out: {believed:?}");
}

/// The lies with which the doctor finds no fault, asked a few at a time: it mostly waits.
fn believed(btf: &Btf, lies: &[(String, Lie)]) -> Vec<String> {
    const WORKERS_PER_CPU: usize = 3;
    let cpus = thread::available_parallelism().map_or(1, NonZero::get);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut believed = Vec::new();
        while let Some((name, lie)) = lies.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut changed = btf.clone();
            lie(&mut changed);
            let (starts, said) = examine(&changed.bytes).expect("a mount namespace");
            if starts {
                believed.push(name.clone());
                continue;
            }
            let reason = said.lines().find(|line| line.starts_with("programs "));
            let reason = reason.unwrap_or_else(|| panic!("{name}: {said}"));
            assert!(reason.contains("FAILED"), "{name}: {said}");
            // By comparison, or by the verifier, which knows where pointers and holes are.
            assert!(
                reason.contains("self-check: ") || reason.contains("BPF_PROG_LOAD"),
                "{name}: {said}"
            );
            println!("{reason:.120}");
        }
        believed
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS_PER_CPU * cpus)
            .map(|_| scope.spawn(work))
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("a worker"))
            .collect()
    })
}

#[test]
fn without_the_tracepoints_the_next_variant_is_taken_or_both_reasons_given() {
    let Some(btf) =
        kernel("without_the_tracepoints_the_next_variant_is_taken_or_both_reasons_given")
    else {
        return;
    };
    if !btf.has_type(TYPEDEF, TRACEPOINT) {
        return skip(
            "without_the_tracepoints_the_next_variant_is_taken_or_both_reasons_given",
            "the kernel has no such tracepoints, which every test shows then",
        );
    }
    let no_tracepoint = "tp_btf: no tracepoint sock_recv_length";
    let mut without = btf;
    without.rename_type(TYPEDEF, TRACEPOINT);
    let (starts, said) = examine(&without.bytes).expect("a mount namespace");
    if starts {
        assert!(said.contains("with the hooks fexit"), "{said}");
    } else {
        assert!(said.contains(no_tracepoint), "{said}");
        assert!(said.contains("fexit: program "), "{said}");
    }

    // With another number of parameters the next variant is refused before anything is loaded.
    for (function, known) in [("tcp_sendmsg", "[3]"), ("tcp_recvmsg", "[4, 5, 6]")] {
        let mut neither = without.clone();
        neither.reparameterize(function, 2);
        let parameters = format!("fexit: function {function} has 2 parameters, known are {known}");
        refuses(Some(&neither.bytes), &[no_tracepoint, &parameters]);
    }
}
