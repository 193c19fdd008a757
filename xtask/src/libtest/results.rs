//! Test by test: how each ended and what it wrote.

use super::skip_line;

/// How a test ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    Failed,
    /// With the reason.
    Skipped(String),
}

/// A test that ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TestResult {
    pub(crate) name: String,
    pub(crate) outcome: Outcome,
    /// What it wrote meanwhile.
    pub(crate) output: String,
}

/// Reads the output of one program, which runs its tests one at a time and captures nothing.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    current: Option<Current>,
    failed: usize,
}

#[derive(Debug)]
struct Current {
    name: String,
    output: String,
    skipped: Option<String>,
}

impl Reader {
    /// Reads a line, which may end a test.
    pub(crate) fn line(&mut self, line: &str) -> Option<TestResult> {
        if let Some((name, rest)) = begin(line) {
            // libtest always says how a test ended before it begins the next.
            let unfinished = self.finish(Outcome::Failed);
            self.current = Some(Current {
                name: name.to_owned(),
                output: String::new(),
                skipped: None,
            });
            return self.rest(rest).or(unfinished);
        }
        self.rest(line)
    }

    /// The program has ended; a test that had not was the reason.
    pub(crate) fn end(&mut self, success: bool, how: &str) -> Option<TestResult> {
        if let Some(current) = &mut self.current {
            current
                .output
                .push_str(&format!("the program ended: {how}\n"));
            return self.finish(Outcome::Failed);
        }
        (!success && self.failed == 0).then(|| TestResult {
            name: "(program)".to_owned(),
            outcome: Outcome::Failed,
            output: format!("the program ended: {how}\n"),
        })
    }

    fn rest(&mut self, line: &str) -> Option<TestResult> {
        let current = self.current.as_mut()?;
        if let Some(skip) = skip_line(line) {
            let reason = skip.split_once(": ").map_or(skip, |(_test, reason)| reason);
            current.skipped = Some(reason.to_owned());
            return None;
        }
        match line.split_once(',').map_or(line, |(word, _)| word) {
            "ok" => {
                let skipped = current.skipped.take();
                self.finish(skipped.map_or(Outcome::Ok, Outcome::Skipped))
            }
            "FAILED" => self.finish(Outcome::Failed),
            "ignored" => self.finish(Outcome::Skipped("ignored".to_owned())),
            _ => {
                current.output.push_str(line);
                current.output.push('\n');
                None
            }
        }
    }

    fn finish(&mut self, outcome: Outcome) -> Option<TestResult> {
        let current = self.current.take()?;
        self.failed += usize::from(outcome == Outcome::Failed);
        Some(TestResult {
            name: current.name,
            outcome,
            output: current.output,
        })
    }
}

/// `test <name> ... <what follows>`; a test that has to panic says so behind its name.
fn begin(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let name = name.strip_suffix(" - should panic").unwrap_or(name);
    (!name.contains(' ')).then_some((name, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(output: &str) -> Vec<(String, Outcome, String)> {
        let mut reader = Reader::default();
        output
            .lines()
            .filter_map(|line| reader.line(line))
            .map(|result| (result.name, result.outcome, result.output))
            .collect()
    }

    #[test]
    fn each_test_has_its_end_and_its_own_output() {
        let output = "\nrunning 4 tests\ntest a ... ok\ntest b ... said\n\nthread 'b' panicked\nFAILED\n\
                      test c ... SKIP c: no kernel, no test\nok\ntest d - should panic ... ok\n\nfailures:\n    b\n";
        let owned =
            |name: &str, outcome, output: &str| (name.to_owned(), outcome, output.to_owned());
        assert_eq!(
            read(output),
            [
                owned("a", Outcome::Ok, ""),
                owned("b", Outcome::Failed, "said\n\nthread 'b' panicked\n"),
                owned("c", Outcome::Skipped("no kernel, no test".to_owned()), ""),
                owned("d", Outcome::Ok, ""),
            ]
        );
    }

    #[test]
    fn a_program_that_ends_within_a_test_fails_it() {
        let mut reader = Reader::default();
        assert_eq!(reader.line("test a ... half"), None);
        let result = reader.end(false, "SIGKILL").expect("a result");
        assert_eq!(
            (result.name.as_str(), result.outcome),
            ("a", Outcome::Failed)
        );
        assert_eq!(result.output, "half\nthe program ended: SIGKILL\n");
    }

    #[test]
    fn a_program_that_fails_without_a_failed_test_is_one() {
        let mut reader = Reader::default();
        assert_eq!(reader.end(true, "0"), None);
        let result = reader.end(false, "127").expect("a result");
        assert_eq!(
            (result.name.as_str(), result.outcome),
            ("(program)", Outcome::Failed)
        );
        // After a failed test, the status is nothing new.
        assert!(reader.line("test a ... FAILED").is_some());
        assert_eq!(reader.end(false, "101"), None);
    }
}
