//! `conn-trace doctor`: would the agent start here?

use std::{
    io::{self, Write},
    net::TcpListener,
    process::ExitCode,
};

use serde::Serialize;

use crate::{
    cli::DoctorArgs,
    kernel::{
        Options, Tracer,
        degradation::Degradation,
        hooks::Variant,
        preflight::{self, Check, Outcome},
        self_check,
    },
};

/// The programs are the same with any table; a small one loads quickly.
const TRIAL_CONNECTIONS: u32 = 1024;

/// What was found.
#[derive(Debug, Serialize)]
struct Report {
    would_start: bool,
    /// Hook variant that would run; absent if none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<Variant>,
    /// What the agent would not know.
    degradations: Vec<Degradation>,
    checks: Vec<Check>,
}

/// Checks everything and prints it. Success only if the agent would start.
///
/// # Errors
/// If standard output cannot be written.
pub fn run(args: &DoctorArgs) -> io::Result<ExitCode> {
    let report = examine(args);
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer(&mut out, &report)?;
        writeln!(out)?;
    } else {
        print(&mut out, &report)?;
    }
    Ok(if report.would_start {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn examine(args: &DoctorArgs) -> Report {
    let listen = args.listen;
    let mut checks = preflight::run();
    let mut found = (None, Vec::new());
    if checks.iter().all(|check| check.outcome != Outcome::Failed) {
        // The kernel's own verdict on the real programs is the only one that counts.
        checks.push(match trial(args.hooks) {
            Ok(tracer) => {
                found = (tracer.variant(), tracer.degradations().to_vec());
                let name = found.0.map_or("", Variant::name);
                Check::new(
                    "programs",
                    Outcome::Ok,
                    format!("{name}: loaded, attached, correct"),
                )
            }
            Err(error) => Check::new("programs", Outcome::Failed, format!("{error:#}")),
        });
    }
    checks.push(match TcpListener::bind(listen) {
        Ok(_) => Check::new("listener", Outcome::Ok, format!("{listen} is free")),
        Err(error) => Check::new("listener", Outcome::Failed, format!("{listen}: {error}")),
    });
    let (variant, degradations) = found;
    for degradation in &degradations {
        checks.push(Check::new(
            "limits",
            Outcome::Limited,
            format!("{}: {degradation}", degradation.code()),
        ));
    }
    let would_start = checks.iter().all(|check| check.outcome != Outcome::Failed);
    Report {
        would_start,
        variant,
        degradations,
        checks,
    }
}

fn trial(variant: Option<Variant>) -> anyhow::Result<Tracer> {
    let options = Options {
        max_connections: TRIAL_CONNECTIONS,
        kernel_log: false,
        variant,
    };
    let mut tracer = Tracer::load(options)?;
    self_check::attach(&mut tracer)?;
    Ok(tracer)
}

fn print(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let width = report
        .checks
        .iter()
        .map(|check| check.name.len())
        .max()
        .unwrap_or(0);
    for check in &report.checks {
        let outcome = match check.outcome {
            Outcome::Ok => "ok",
            Outcome::Limited => "limited",
            Outcome::Failed => "FAILED",
        };
        writeln!(out, "{:width$}  {outcome:7}  {}", check.name, check.detail)?;
    }
    match report.variant.filter(|_| report.would_start) {
        Some(variant) => writeln!(
            out,
            "\nThe agent would start here, with the hooks {variant}."
        ),
        None => writeln!(out, "\nThe agent would not start here."),
    }
}
