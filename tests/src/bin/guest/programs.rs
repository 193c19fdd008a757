//! Running one program, and ending what it leaves behind.

use std::{
    collections::BTreeMap,
    error::Error,
    fs::File,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use crate::plan::Program;

/// Between two looks for ended processes.
const PAUSE: Duration = Duration::from_millis(20);
/// All processes but this one.
const EVERYBODY: Pid = Pid::from_raw(-1);

/// Runs it and says how it ended, in a word the host knows: `0` is well.
pub(crate) fn run(
    program: &Program,
    environment: &BTreeMap<String, String>,
    output: &File,
) -> Result<String, Box<dyn Error>> {
    let (path, arguments) = program.command.split_first().ok_or("an empty command")?;
    let child = Command::new(path)
        .args(arguments)
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?)
        .spawn()
        .map_err(|error| format!("{path}: {error}"))?;
    let own = Pid::from_raw(i32::try_from(child.id())?);
    let deadline = Instant::now() + Duration::from_secs(program.limit_secs);
    let end = loop {
        // Orphans are ours to wait for, which is why the child is not waited for by itself.
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == own => break code.to_string(),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == own => break signal.to_string(),
            Ok(WaitStatus::StillAlive) => {}
            Ok(_) => continue,
            Err(error) => return Err(error.into()),
        }
        if Instant::now() > deadline {
            break format!("time-limit-of-{}-s", program.limit_secs);
        }
        thread::sleep(PAUSE);
    };
    end_all_others()?;
    Ok(end)
}

/// The next program finds the machine as this one found it.
fn end_all_others() -> Result<(), Errno> {
    loop {
        match kill(EVERYBODY, Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(error),
        }
        match waitpid(None, None) {
            Ok(_) => {}
            Err(Errno::ECHILD) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
