//! What the output of test programs says: libtest's result lines, and our tests' SKIP lines.

pub(crate) mod results;

use std::fmt;

use results::Outcome;

/// Counts over one or more test programs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// As libtest counts: a test that skipped itself is among them.
    ok: usize,
    failed: usize,
    ignored: usize,
    skips: Vec<String>,
}

impl Tally {
    /// Reads everything that one program wrote.
    pub(crate) fn read(output: &str) -> Self {
        let mut tally = Self::default();
        for line in output.lines() {
            if let Some(result) = Self::result_line(line) {
                tally.add(result);
            } else if let Some(skip) = skip_line(line)
                && !tally.skips.iter().any(|known| known == skip)
            {
                tally.skips.push(skip.to_owned());
            }
        }
        tally
    }

    /// Adds the counts of `other`.
    pub(crate) fn add(&mut self, other: Self) {
        self.ok += other.ok;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.skips.extend(other.skips);
    }

    /// Adds one result.
    pub(crate) fn count(&mut self, name: &str, outcome: &Outcome) {
        match outcome {
            Outcome::Ok => self.ok += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::Skipped(reason) => {
                self.ok += 1;
                self.skips.push(format!("{name}: {reason}"));
            }
        }
    }

    /// A program that ended with an error and reported no failed test has crashed in one.
    pub(crate) fn ended(&mut self, success: bool) {
        if !success && self.failed == 0 {
            self.failed = 1;
        }
    }

    /// Something ran, and all of it was well.
    pub(crate) fn is_success(&self) -> bool {
        self.failed == 0 && self.passed() > 0
    }

    /// No test has run to its end, well or not.
    pub(crate) fn is_idle(&self) -> bool {
        self.failed == 0 && self.passed() == 0
    }

    /// `<test>: <reason>` of each test that skipped itself.
    pub(crate) fn skips(&self) -> &[String] {
        &self.skips
    }

    /// A skipped test has shown nothing, so it is not a passed one.
    fn passed(&self) -> usize {
        self.ok.saturating_sub(self.skips.len())
    }

    /// `test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s`
    fn result_line(line: &str) -> Option<Self> {
        let (_verdict, counts) = line
            .trim()
            .strip_prefix("test result: ")?
            .split_once(". ")?;
        let count = |name: &str| {
            counts
                .split("; ")
                .find_map(|part| part.strip_suffix(name)?.trim_end().parse().ok())
        };
        Some(Self {
            ok: count("passed")?,
            failed: count("failed")?,
            ignored: count("ignored")?,
            skips: Vec::new(),
        })
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let skipped = self.ignored + self.skips.len();
        write!(
            f,
            "{} passed, {} failed, {skipped} skipped",
            self.passed(),
            self.failed
        )
    }
}

/// `SKIP <test>: <reason>`, which may stand behind the `test <name> ... ` that libtest has begun the line with.
fn skip_line(line: &str) -> Option<&str> {
    let line = match line.strip_prefix("test ") {
        Some(begun) => begun.split_once(" ... ")?.1,
        None => line,
    };
    line.strip_prefix("SKIP ").map(str::trim_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESULT: &str = "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s";

    #[test]
    fn result_lines_add_up() {
        let failed = "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0s";
        let tally = Tally::read(&format!("running 13 tests\n{RESULT}\n\n{failed}\n"));
        assert_eq!(tally.to_string(), "13 passed, 2 failed, 1 skipped");
        assert!(!tally.is_success());
    }

    #[test]
    fn other_lines_do_not_count() {
        let tally = Tally::read(
            "test result: unknown\nsaid: test result: ok. 1 passed; 0 failed; 0 ignored\n",
        );
        assert_eq!(tally, Tally::default());
    }

    #[test]
    fn skipped_tests_are_not_passed_ones() {
        let tally = Tally::read(&format!(
            "test redis ... SKIP redis: no redis-server\nok\nSKIP nats: no nats-server\n{RESULT}\n"
        ));
        assert_eq!(
            tally.skips(),
            ["redis: no redis-server", "nats: no nats-server"]
        );
        assert_eq!(tally.to_string(), "10 passed, 0 failed, 3 skipped");
    }

    #[test]
    fn a_skip_said_twice_counts_once() {
        let tally = Tally::read("SKIP a: b\nSKIP a: b\ntest x ... ok\n");
        assert_eq!(tally.skips(), ["a: b"]);
    }

    #[test]
    fn nothing_run_is_no_success() {
        assert!(!Tally::default().is_success() && Tally::default().is_idle());
        let ran = Tally::read(RESULT);
        assert!(ran.is_success() && !ran.is_idle());
    }

    #[test]
    fn a_crash_is_a_failure() {
        let mut tally = Tally::read("running 1 test\n");
        tally.ended(false);
        assert_eq!(tally.to_string(), "0 passed, 1 failed, 0 skipped");
    }
}
