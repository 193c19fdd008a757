//! `cargo xtask fuzz`: the fuzz targets in `fuzz/`, without cargo-fuzz and on the pinned toolchain.
//!
//! cargo-fuzz needs a nightly for its sanitizers. The targets are safe Rust, so coverage is all
//! that they need, and its flags are stable.

use std::{
    env::consts::ARCH,
    fs,
    io::{self, Write},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::{
    artifacts::{self, Executable},
    libtest::{Tally, results::Outcome},
    process,
    setup::{self, Need},
    stream,
    workspace::Workspace,
};

/// The directory of the targets, and what this task leaves below the target directory.
const DIR: &str = "fuzz";
/// BTF of real kernels, for the targets that read it.
const FIXTURES: &str = "conn-trace/tests/fixtures/btf";
/// Those that read something else.
const TARGETS_OF_OTHERS: &[&str] = &["protocol", "query"];
/// As cargo-fuzz has them.
const RUSTFLAGS: [&str; 7] = [
    "--cfg=fuzzing",
    "-Ccodegen-units=1",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];
/// An input that takes longer than this many seconds is a finding; most take microseconds.
const SLOW_SECONDS: u32 = 10;
/// Before the number of inputs that libFuzzer has tried.
const INPUTS: &str = "stat::number_of_executed_units:";
/// Lines of a failed run that say why it failed.
const LAST_WORDS: usize = 30;
/// How libFuzzer names the file that it has written for a finding.
const FINDING: &str = "Test unit written to ";

#[derive(Args)]
pub(crate) struct Options {
    /// Run only this target.
    target: Option<String>,
    /// How long to look for new inputs, for each target.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

pub(crate) fn main(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    setup::ensure(workspace, Need::Test)?;
    let mut targets = build(workspace)?;
    if let Some(wanted) = &options.target {
        targets.retain(|target| target.target == *wanted);
        ensure!(!targets.is_empty(), "there is no fuzz target `{wanted}`");
    }
    let mut tally = Tally::default();
    for target in &targets {
        run(
            workspace,
            target,
            options.seconds,
            &mut io::stdout(),
            &mut tally,
        )?;
    }
    println!("{tally}");
    Ok(if tally.is_success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Builds the targets, with coverage in what they test.
pub(crate) fn build(workspace: &Workspace) -> Result<Vec<Executable>> {
    process::step("building the fuzz targets");
    let mut cargo = workspace.cargo("build")?;
    cargo
        .args(["--release", "--locked", "--bins", "--manifest-path"])
        .arg(workspace.root.join(DIR).join("Cargo.toml"))
        .arg("--target-dir")
        .arg(workspace.target.join(DIR))
        // With a target named, the flags do not reach build scripts and macros.
        .args(["--target", &format!("{ARCH}-unknown-linux-gnu")])
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", RUSTFLAGS.join("\u{1f}"));
    artifacts::build(&mut cargo)
}

/// How a target counts among the tests.
pub(crate) fn name(target: &Executable) -> String {
    format!("fuzz {}", target.target)
}

/// Runs the committed corpus, what earlier runs have found, then new inputs for so many seconds.
/// What libFuzzer says goes to `user`.
pub(crate) fn run(
    workspace: &Workspace,
    target: &Executable,
    seconds: u32,
    user: &mut impl Write,
    tally: &mut Tally,
) -> Result<()> {
    let name = name(target);
    process::step(&format!("{name}, {seconds} s"));
    let own = workspace.target.join(DIR);
    let [found, findings] = ["corpus", "findings"].map(|dir| own.join(dir).join(&target.target));
    for dir in [&found, &findings] {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let mut command = Command::new(&target.path);
    command
        .args(["-verbosity=0", "-print_final_stats=1"])
        // The reproducer gives a backtrace to whoever wants it.
        .env("RUST_BACKTRACE", "0")
        .arg(format!("-timeout={SLOW_SECONDS}"))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", findings.display()))
        // New inputs go to the first directory.
        .arg(found)
        .arg(workspace.root.join(DIR).join("corpus").join(&target.target));
    // The largest input that there is bounds those that are made: megabytes of BTF are no text.
    if !TARGETS_OF_OTHERS.contains(&&*target.target) {
        command.arg(workspace.root.join(FIXTURES));
    }
    let (status, output) = stream::run(command, user)?;
    if status.success() {
        if let Some(inputs) = inputs(&output) {
            process::note(&format!("{inputs} inputs, and no finding"));
        }
        tally.count(&name, &Outcome::Ok);
        return Ok(());
    }
    let said: Vec<_> = output.lines().rev().take(LAST_WORDS).collect();
    for line in said.into_iter().rev() {
        process::note(line);
    }
    process::warn(&match finding(&output) {
        Some(path) => format!(
            "{name} failed; `{} {path}` repeats it",
            target.path.display()
        ),
        None => format!("{name} failed: {status}"),
    });
    tally.count(&name, &Outcome::Failed);
    Ok(())
}

fn inputs(output: &str) -> Option<&str> {
    output
        .lines()
        .find_map(|line| line.strip_prefix(INPUTS).map(str::trim))
}

fn finding(output: &str) -> Option<&str> {
    output
        .lines()
        .find_map(|line| line.split_once(FINDING).map(|(_, path)| path.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_a_finding_is_read_from_libfuzzers_words() {
        let output = "thread panicked\nartifact_prefix='/t/'; Test unit written to /t/crash-1\nBase64: bg==\n";
        assert_eq!(finding(output), Some("/t/crash-1"));
        assert_eq!(
            inputs("Done\nstat::number_of_executed_units: 5\n"),
            Some("5")
        );
        assert_eq!(finding("Done 5 runs in 0 second(s)\n"), None);
    }
}
