//! Other programs, for as long as this one lives.

use std::{
    env,
    ffi::OsStr,
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

/// A running program. Dropping it kills it.
pub(super) struct Running {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Running {
    /// Starts `program`.
    pub(super) fn start<A: AsRef<OsStr>>(
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self> {
        let program = program.as_ref();
        // If this program is killed, none of them must go on.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let said = child.stdout.take().context("it has a standard output")?;
        Ok(Self {
            child,
            said: BufReader::new(said),
        })
    }

    /// This program once more, with a hidden command.
    pub(super) fn own<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Result<Self> {
        Self::start(env::current_exe()?, arguments)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it writes.
    pub(super) fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        ensure!(line.ends_with('\n'), "a program ended early");
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("warning: cannot stop a program: {error}");
        }
    }
}
