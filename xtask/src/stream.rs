//! Running a program so that the user sees its output at once and we have it afterwards.

use std::{
    io::{self, Read as _, Write},
    process::{Command, ExitStatus},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

/// How often to see whether the program has ended while it writes nothing.
const POLL: Duration = Duration::from_millis(100);

/// How long to read on after the program has ended, while something still writes.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Runs `command`, writes both its outputs in order to `user`, and returns them.
///
/// Ends with the program itself: a process that it left behind may hold the pipe open for ever.
pub(crate) fn run(mut command: Command, user: &mut impl Write) -> Result<(ExitStatus, String)> {
    let (mut reader, writer) = io::pipe().context("cannot make a pipe")?;
    command.stdout(writer.try_clone().context("cannot share a pipe")?);
    command.stderr(writer);
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    // It holds our copies of the pipe's writing end, without which the reader sees the end.
    drop(command);

    let (sender, chunks) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = [0; 8192];
        while let Ok(length @ 1..) = reader.read(&mut buffer) {
            if sender.send(buffer[..length].to_vec()).is_err() {
                break;
            }
        }
    });

    let mut output = Vec::new();
    let mut ended: Option<(ExitStatus, Instant)> = None;
    loop {
        match chunks.recv_timeout(POLL) {
            Ok(chunk) => {
                user.write_all(&chunk).context("cannot write")?;
                user.flush().context("cannot write")?;
                output.extend(chunk);
            }
            Err(RecvTimeoutError::Timeout) if ended.is_some() => break,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        match ended {
            None => {
                let status = child.try_wait().context("cannot wait")?;
                ended = status.map(|status| (status, Instant::now()));
            }
            Some((_, since)) if since.elapsed() > LAST_WORDS => break,
            Some(_) => {}
        }
    }
    let status = match ended {
        Some((status, _)) => status,
        None => child.wait().context("cannot wait")?,
    };
    Ok((status, String::from_utf8_lossy(&output).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> (ExitStatus, String) {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let mut seen = Vec::new();
        let (status, output) = run(command, &mut seen).expect("sh starts");
        assert_eq!(output.as_bytes(), seen);
        (status, output)
    }

    #[test]
    fn both_outputs_are_kept_in_order() {
        let (status, output) = shell("echo one; echo two >&2; echo three; exit 3");
        assert_eq!(status.code(), Some(3));
        assert_eq!(output, "one\ntwo\nthree\n");
    }

    #[test]
    fn a_process_left_behind_is_not_waited_for() {
        let start = Instant::now();
        let (status, output) = shell("sleep 20 & echo done");
        assert!(status.success());
        assert_eq!(output, "done\n");
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{:?}",
            start.elapsed()
        );
    }

    #[test]
    fn a_process_left_behind_that_writes_on_is_not_waited_for() {
        let script = "(for i in $(seq 400); do echo on; sleep 0.05; done) & echo done";
        let start = Instant::now();
        let (status, output) = shell(script);
        assert!(status.success());
        assert!(output.contains("done\n"));
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{:?}",
            start.elapsed()
        );
    }
}
