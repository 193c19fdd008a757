//! The one table: test × kernel, and what explains it.

use std::fmt::{self, Write as _};

use super::{
    End, Ran, Run,
    guest::{Check, cell},
};
use crate::libtest::results::Outcome;

/// Lines of a failed test's output that are shown; all are in the log.
const SHOWN: usize = 60;

/// Prints it to standard output.
pub(super) fn print(runs: &[Run]) {
    let ran: Vec<_> = runs
        .iter()
        .filter_map(|run| match &run.end {
            End::Ran(ran) => Some((run.kernel.as_str(), ran)),
            End::Unavailable(_) => None,
        })
        .collect();
    for (kernel, ran) in &ran {
        for check in &ran.checks {
            if check.outcome == Outcome::Failed {
                println!(
                    "\n--- {} on {kernel} ---\n{}",
                    check.name,
                    shown(check, ran)
                );
            }
        }
    }
    println!("\n{}", grid(&ran));
    for (kernel, ran) in &ran {
        let release = ran.release.as_deref().unwrap_or("never came up");
        println!(
            "{kernel}: {release}, {} s of {} s until the first test",
            ran.boot.as_secs(),
            ran.took.as_secs()
        );
    }
}

fn grid(ran: &[(&str, &Ran)]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for check in ran.iter().flat_map(|(_, ran)| &ran.checks) {
        if !names.contains(&check.name.as_str()) {
            names.push(&check.name);
        }
    }
    let width = names.iter().map(|name| name.len()).max().unwrap_or(0);
    let columns: Vec<_> = ran.iter().map(|(kernel, _)| kernel.len().max(7)).collect();
    let mut text = String::new();
    let mut row = |name: &str, cells: Vec<&str>| -> fmt::Result {
        write!(text, "{name:width$}")?;
        for (cell, column) in cells.iter().zip(&columns) {
            write!(text, "  {cell:column$}")?;
        }
        text.truncate(text.trim_end().len());
        writeln!(text)
    };
    let mut written = row("", ran.iter().map(|(kernel, _)| *kernel).collect());
    for name in &names {
        let cells = ran.iter().map(|(_, ran)| {
            let check = ran.checks.iter().find(|check| check.name == *name);
            check.map_or("-", |check| cell(&check.outcome))
        });
        written = written.and_then(|()| row(name, cells.collect()));
    }
    debug_assert!(written.is_ok(), "a String takes everything");
    text
}

fn shown(check: &Check, ran: &Ran) -> String {
    let lines: Vec<_> = check.output.lines().collect();
    if lines.len() <= SHOWN {
        return check.output.clone();
    }
    format!(
        "{}\n... {} more lines in {}\n",
        lines[..SHOWN].join("\n"),
        lines.len() - SHOWN,
        ran.log.display()
    )
}
