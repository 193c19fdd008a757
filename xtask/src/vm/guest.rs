//! What a guest reports: results of tests between lines of its init.

use std::{
    fmt,
    time::{Duration, Instant},
};

use super::kernels::Expected;
use crate::libtest::results::{Outcome, Reader, TestResult};

/// Begins each line of the guest's init (tests/src/bin/guest).
const MARK: &str = "#guest ";

/// A check on one kernel.
#[derive(Clone, Debug)]
pub(super) struct Check {
    /// `program::test`.
    pub(super) name: String,
    pub(super) outcome: Outcome,
    pub(super) output: String,
    pub(super) took: Duration,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64();
        write!(f, "{} {} ({seconds:.1} s)", self.name, cell(&self.outcome))
    }
}

/// What the table says.
pub(super) const fn cell(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "ok",
        Outcome::Failed => "FAILED",
        Outcome::Skipped(_) => "skipped",
    }
}

/// What the tests of a tracer must never make a kernel say.
pub(super) fn kernel_log(console: &str) -> Check {
    const FAULTS: [&str; 4] = ["BUG:", "Oops:", "WARNING:", "general protection fault"];
    let faults: String = console
        .lines()
        .filter(|line| FAULTS.iter().any(|fault| line.contains(fault)))
        .map(|line| format!("{line}\n"))
        .collect();
    Check {
        name: "kernel log".to_owned(),
        outcome: if faults.is_empty() {
            Outcome::Ok
        } else {
            Outcome::Failed
        },
        output: faults,
        took: Duration::ZERO,
    }
}

/// Reads a guest's report.
pub(super) struct Report {
    expected: Expected,
    /// The one that runs.
    pub(super) program: String,
    output: String,
    reader: Reader,
    since: Instant,
    pub(super) checks: Vec<Check>,
    /// What the kernel calls itself.
    pub(super) release: Option<String>,
    /// What the init could not do.
    pub(super) notes: Vec<String>,
    failure: Option<String>,
    is_done: bool,
}

impl Report {
    pub(super) fn new(expected: Expected) -> Self {
        Self {
            expected,
            program: String::new(),
            output: String::new(),
            reader: Reader::default(),
            since: Instant::now(),
            checks: Vec::new(),
            release: None,
            notes: Vec::new(),
            failure: None,
            is_done: false,
        }
    }

    /// Reads a line; what has ended with it is returned.
    pub(super) fn line(&mut self, line: &str) -> Option<&Check> {
        let Some(own) = line.strip_prefix(MARK) else {
            if let Expected::Refusal(_) = self.expected {
                self.output.push_str(line);
                self.output.push('\n');
                return None;
            }
            let result = self.reader.line(line)?;
            return Some(self.add(result));
        };
        let (what, of) = own.split_once(' ').unwrap_or((own, ""));
        match what {
            "ready" => self.release = Some(of.to_owned()),
            "note" => self.notes.push(of.to_owned()),
            "failed" => self.failure = Some(of.to_owned()),
            "done" => self.is_done = true,
            "program" => {
                of.clone_into(&mut self.program);
                self.reader = Reader::default();
                self.output.clear();
                self.since = Instant::now();
            }
            "ended" => {
                let how = of.rsplit(' ').next().unwrap_or_default();
                let result = match self.expected {
                    Expected::Works => self.reader.end(how == "0", how)?,
                    Expected::Refusal(words) => self.refusal(words, how),
                };
                return Some(self.add(result));
            }
            _ => {}
        }
        None
    }

    /// The machine is off; why its tests did not all come to their end, if so.
    pub(super) fn end(&mut self) -> Option<String> {
        if self.is_done {
            return self.failure.take();
        }
        Some(match self.failure.take() {
            Some(failure) => failure,
            None if self.release.is_none() => "the guest did not come up".to_owned(),
            None => format!("the machine went off in {}", self.program),
        })
    }

    /// An error that says why, not a crash and not a running agent.
    fn refusal(&mut self, words: &[&str], how: &str) -> TestResult {
        let output = std::mem::take(&mut self.output);
        let is_error = how.parse::<u8>().is_ok_and(|code| code != 0);
        let is_said = words.iter().all(|word| output.contains(word));
        TestResult {
            name: "refusal".to_owned(),
            outcome: if is_error && is_said {
                Outcome::Ok
            } else {
                Outcome::Failed
            },
            output: format!(
                "{output}ended: {how}; expected an error with these words: {}\n",
                words.join(", ")
            ),
        }
    }

    fn add(&mut self, result: TestResult) -> &Check {
        let took = self.since.elapsed();
        self.since = Instant::now();
        self.checks.push(Check {
            name: format!("{}::{}", self.program, result.name),
            outcome: result.outcome,
            output: result.output,
            took,
        });
        let last = self.checks.len() - 1;
        &self.checks[last]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(expected: Expected, lines: &[&str]) -> Report {
        let mut report = Report::new(expected);
        for line in lines {
            report.line(line);
        }
        report
    }

    fn outcomes(report: &Report) -> Vec<(&str, Outcome)> {
        report
            .checks
            .iter()
            .map(|check| (check.name.as_str(), check.outcome.clone()))
            .collect()
    }

    #[test]
    fn results_belong_to_their_program() {
        let mut report = read(
            Expected::Works,
            &[
                "#guest ready 6.12.1",
                "#guest program a",
                "test one ... ok",
                "#guest ended a 0",
                "#guest program b",
                "test one ... FAILED",
                "#guest ended b 101",
                "#guest done ",
            ],
        );
        let expected = [("a::one", Outcome::Ok), ("b::one", Outcome::Failed)];
        assert_eq!(outcomes(&report), expected);
        assert_eq!(report.release.as_deref(), Some("6.12.1"));
        assert_eq!(report.end(), None);
    }

    #[test]
    fn a_machine_that_goes_off_early_has_failed() {
        let mut report = read(
            Expected::Works,
            &["#guest ready 6.12.1", "#guest program a"],
        );
        assert_eq!(report.end().as_deref(), Some("the machine went off in a"));
        let mut report = read(Expected::Works, &["#guest failed no plan", "#guest done "]);
        assert_eq!(report.end().as_deref(), Some("no plan"));
        assert!(read(Expected::Works, &[]).end().is_some());
    }

    #[test]
    fn a_refusal_is_an_error_that_says_why() {
        let refusal = Expected::Refusal(&["Linux 5.12"]);
        let ended = |said: &str, how: &str| {
            let end = format!("#guest ended agent {how}");
            let report = read(refusal, &["#guest program agent", said, &end]);
            outcomes(&report)[0].1.clone()
        };
        assert_eq!(ended("it needs Linux 5.12", "1"), Outcome::Ok);
        assert_eq!(ended("cannot start", "1"), Outcome::Failed);
        assert_eq!(ended("it needs Linux 5.12", "0"), Outcome::Failed);
        assert_eq!(ended("it needs Linux 5.12", "SIGSEGV"), Outcome::Failed);
    }

    #[test]
    fn a_kernel_that_complains_is_a_failure() {
        assert_eq!(kernel_log("[ 1.0] Run /init\n").outcome, Outcome::Ok);
        let check = kernel_log("[ 1.0] ok\n[ 2.0] WARNING: CPU: 0 PID: 1 at kernel/bpf\n");
        assert_eq!(check.outcome, Outcome::Failed);
        assert_eq!(
            check.output,
            "[ 2.0] WARNING: CPU: 0 PID: 1 at kernel/bpf\n"
        );
    }
}
