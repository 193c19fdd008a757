//! `conn-trace watch`, followed line by line.

use std::{
    fs,
    io::{BufRead, BufReader, Lines},
    mem,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    agent::{Agent, program},
    protocol::{Counts, End},
    wait::eventually,
};

/// A running watch, in a directory of its own. It is killed when dropped.
#[derive(Debug)]
pub struct Watch {
    child: Child,
    input: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
    seen: Vec<String>,
    directory: TempDir,
}

/// How it is told to end.
#[derive(Clone, Copy, Debug)]
pub enum Ending {
    /// By a signal.
    Signal(Signal),
    /// By the end of its standard input.
    EndOfInput,
    /// It is not told, and ends for another reason.
    ByItself,
}

impl Watch {
    /// Starts it, and waits until it watches: it has told of what is open by then, or is about to.
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    #[track_caller]
    pub fn start(agent: &Agent, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut child = Command::new(program())
            .args(["watch", "--url", &format!("http://{}", agent.address)])
            .args(arguments)
            .current_dir(&directory)
            .env_remove("DOWNSTREAM_IP")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let input = child.stdin.take();
        let output = child.stdout.take().expect("a pipe");
        let mut watch = Self {
            child,
            input,
            lines: BufReader::new(output).lines(),
            seen: Vec::new(),
            directory,
        };
        let first = watch.line();
        assert!(first.contains("watch"), "{first}");
        watch
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let line = self.lines.next().expect("a line").expect("a text");
        self.seen.push(line.clone());
        line
    }

    /// The next line of JSON that is no statistics.
    ///
    /// # Panics
    /// If it is not about this.
    #[track_caller]
    pub fn told(&mut self, event: &str) -> Value {
        loop {
            let line = self.line();
            let value: Value = serde_json::from_str(&line).expect(&line);
            if value["event"] != "statistics" {
                assert_eq!(value["event"], event, "{line}");
                return value;
            }
        }
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If it has ended.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(pid), signal).expect("the watch runs");
    }

    /// Ends it, and sees that it ends well. Gives all of its lines, and its report: the only one in
    /// its directory.
    ///
    /// # Panics
    /// If there is none, or the status is not 0.
    #[track_caller]
    pub fn end(mut self, ending: Ending) -> (Vec<String>, Value) {
        match ending {
            Ending::Signal(signal) => self.signal(signal),
            Ending::EndOfInput => drop(self.input.take()),
            Ending::ByItself => {}
        }
        let lines = self.lines.by_ref().map(|line| line.expect("a text"));
        self.seen.extend(lines);
        let seen = mem::take(&mut self.seen);
        let status = eventually("the watch ends", || self.child.try_wait().expect("a child"));
        assert!(status.success(), "{status}: {seen:#?}");
        let files = fs::read_dir(&self.directory).expect("a directory");
        let reports: Vec<_> = files
            .map(|file| file.expect("a file").path())
            .filter(|path| path.extension().is_some_and(|end| end == "json"))
            .collect();
        let [report] = &reports[..] else {
            panic!("reports: {reports:?}");
        };
        assert!(is_report(report), "{report:?}");
        let text = fs::read_to_string(report).expect("a report");
        (seen, serde_json::from_str(&text).expect("JSON"))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether it has the name that is given to a report unless said, or one of the tests'.
fn is_report(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let time = name
        .strip_prefix("fix_connections_")
        .and_then(|rest| rest.strip_suffix(".json"));
    let is_time = |time: &str| {
        time.len() == "YYYYmmdd_HHMMSS".len()
            && time
                .bytes()
                .enumerate()
                .all(|(place, byte)| (place == 8 && byte == b'_') || byte.is_ascii_digit())
    };
    name == "report.json" || time.is_some_and(is_time)
}

/// How a connection is named from this end.
#[must_use]
pub fn id(end: &End) -> String {
    format!("{}->{}", end.local, end.peer)
}

/// What an entry says was moved.
///
/// # Panics
/// If it does not say it.
#[must_use]
#[track_caller]
pub fn counts(entry: &Value) -> Counts {
    let number = |name: &str| {
        let number = entry[name].as_u64();
        number.unwrap_or_else(|| panic!("{name}: {entry}"))
    };
    Counts {
        in_bytes: number("in_bytes"),
        out_bytes: number("out_bytes"),
        in_calls: number("in_msgs"),
        out_calls: number("out_msgs"),
    }
}
