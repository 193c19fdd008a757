//! `cargo xtask test`: every test there is, against a release build, with one line of verdict.

use std::{
    env, io,
    panic::resume_unwind,
    path::Path,
    process::{Command, ExitCode},
    thread,
};

use anyhow::Result;
use clap::Args;

use crate::{
    artifacts::Executable,
    fuzz,
    libtest::Tally,
    process,
    programs::{self, Programs},
    setup::{self, Need, python},
    stream, vm,
    workspace::{EBPF_PACKAGE, Workspace},
};

/// Tells the end-to-end tests which agent to start.
pub(crate) const AGENT_VARIABLE: &str = "CONN_TRACE_BIN";

/// Tells them where schemathesis is, which may not be installed.
const SCHEMATHESIS_VARIABLE: &str = "CONN_TRACE_SCHEMATHESIS";

/// A change that breaks a fuzz target does so on its corpus or at once; finding more takes hours.
const FUZZ_SECONDS: u32 = 7;

/// What differs by kernel, for each kernel of the matrix: emulated, all tests would take half an
/// hour. `cargo xtask vm` runs them all.
const ON_EVERY_KERNEL: &[&str] = &[
    "addresses_in_time_wait_used_again",
    "changes_of_state_that_interrupt",
    "connection_is_one_row_at_each_end",
    "connections_older_than_the_agent",
    "disconnect_with_unread_and_unsent",
    "each_end_is_in_its_own_network",
    "every_row_agrees_with_the_kernel",
    "kernel_tls_shows",
    "orphan_whose_peer_reads_on",
    "receive_after_peeks",
    "receive_by_splice",
    "receiver_blocked_since",
    "redis_counts",
    "send_by_sendfile",
    "send_by_sixteen_threads",
    "send_zero_copy",
    "live_for_a_moment",
    "what_a_bad_network_does",
];

#[derive(Args)]
pub(crate) struct Options {
    /// Run only tests with this text in their name.
    #[arg(long, value_name = "SUBSTR")]
    filter: Option<String>,
    /// Only on this machine's kernel: not on 6.1, 6.12 and 7.2 in virtual machines.
    #[arg(long)]
    host_only: bool,
}

/// The last line that this writes is always `N passed, N failed, N skipped`.
pub(crate) fn main(workspace: &Workspace, options: &Options) -> ExitCode {
    let mut tally = Tally::default();
    let result = run_all(workspace, options, &mut tally);
    for skip in tally.skips() {
        println!("skipped {skip}");
    }
    let success = result.is_ok() && tally.is_success();
    match result {
        Err(error) => process::error(&error),
        Ok(()) if success => process::note("next: `cargo xtask lint`, then commit"),
        Ok(()) if tally.is_idle() => {
            process::note("no test has run to its end: all were skipped or filtered out");
        }
        Ok(()) => {
            process::note("next: `cargo xtask test --filter NAME` repeats a test by its name");
        }
    }
    println!("{tally}");
    if success {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn run_all(workspace: &Workspace, options: &Options, tally: &mut Tally) -> Result<()> {
    setup::ensure(workspace, Need::Test)?;

    let programs = Programs::build(workspace)?;

    // Quick ones first: somebody who broke a filter need not wait for the network.
    for test in &programs.unit {
        process::step(&format!("unit tests of {}", test.target));
        let mut command = Command::new(&test.path);
        in_package(&mut command, test);
        count(command, options, tally)?;
    }

    process::step("doc tests");
    let mut doc = workspace.cargo("test")?;
    doc.args(programs::PROFILE);
    doc.args(["--locked", "--workspace", "--exclude", EBPF_PACKAGE]);
    doc.args(["--doc", "--no-fail-fast", "--"]);
    count(doc, options, tally)?;

    for target in fuzz::build(workspace)? {
        let filter = options.filter.as_deref().unwrap_or_default();
        if fuzz::name(&target).contains(filter) {
            fuzz::run(workspace, &target, FUZZ_SECONDS, &mut io::sink(), tally)?;
        }
    }

    if options.host_only {
        return end_to_end(workspace, &programs, options, tally);
    }
    // Emulated guests take all the CPU that there is, and the tests here wait most of the time.
    let filter = options.filter.as_deref();
    let filters = filter.map_or(ON_EVERY_KERNEL, |_| filter.as_slice());
    let kernels = vm::kernels::in_test();
    thread::scope(|scope| {
        let guests = scope.spawn(|| vm::run(workspace, &programs, &kernels, filters, false));
        let here = end_to_end(workspace, &programs, options, tally);
        let guests = guests.join().unwrap_or_else(|panic| resume_unwind(panic));
        vm::report(&guests?, tally);
        here
    })
}

/// The tests of running agents, on this machine.
fn end_to_end(
    workspace: &Workspace,
    programs: &Programs,
    options: &Options,
    tally: &mut Tally,
) -> Result<()> {
    for test in &programs.end_to_end {
        process::step(&format!("end-to-end tests of {}", test.target));
        let mut command = as_root(test, &programs.agent, &python::schemathesis(workspace))?;
        // One at a time: each looks at all connections of the host.
        // Uncaptured: tests say on their output why they skip themselves.
        command.args(["--test-threads=1", "--nocapture"]);
        count(command, options, tally)?;
    }
    Ok(())
}

fn count(mut command: Command, options: &Options, tally: &mut Tally) -> Result<()> {
    command.args(&options.filter);
    let (status, output) = stream::run(command, &mut io::stdout())?;
    let mut counted = Tally::read(&output);
    counted.ended(status.success());
    tally.add(counted);
    Ok(())
}

/// A test program with root's rights, by sudo where this process has none.
fn as_root(test: &Executable, agent: &Path, schemathesis: &Path) -> Result<Command> {
    let mut command = if process::is_root()? {
        Command::new(&test.path)
    } else {
        // sudo resets the environment, and may not be allowed to preserve it: `env` sets it behind.
        let mut sudo = Command::new("sudo");
        sudo.arg("env");
        for (name, value) in env::vars_os() {
            let is_ours = name.to_str().is_some_and(|name| {
                name == "PATH" || name.starts_with("CONN_TRACE_") || name.starts_with("RUST_")
            });
            if is_ours {
                let mut assignment = name;
                assignment.push("=");
                assignment.push(value);
                sudo.arg(assignment);
            }
        }
        sudo.arg(format!("{AGENT_VARIABLE}={}", agent.display()));
        sudo.arg(format!(
            "{SCHEMATHESIS_VARIABLE}={}",
            schemathesis.display()
        ));
        sudo.arg(format!("CARGO_MANIFEST_DIR={}", test.package_dir.display()));
        sudo.arg(&test.path);
        sudo
    };
    in_package(&mut command, test);
    command.env(AGENT_VARIABLE, agent);
    command.env(SCHEMATHESIS_VARIABLE, schemathesis);
    Ok(command)
}

/// As cargo runs tests: in the directory of their package, which a variable names.
fn in_package(command: &mut Command, test: &Executable) {
    command
        .current_dir(&test.package_dir)
        .env("CARGO_MANIFEST_DIR", &test.package_dir);
}
