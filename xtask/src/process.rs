//! Child processes, and the lines that tell the user about them.

use std::{
    env,
    ffi::OsStr,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

/// Where Debian keeps daemons: not in an ordinary user's `PATH`.
const ADMIN_DIRS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Announces a step that may take a while.
pub(crate) fn step(what: &str) {
    eprintln!("==> {what}");
}

/// Reports a finding of the current step.
pub(crate) fn note(what: &str) {
    eprintln!("    {what}");
}

/// Reports something the user should know about, though the task goes on.
pub(crate) fn warn(what: &str) {
    eprintln!("warning: {what}");
}

/// Reports why the task ends here: a line for people, not a backtrace.
pub(crate) fn error(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}

/// Runs `command` with the user's own terminal, and fails if it does.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", name(command)))?;
    ensure!(status.success(), "{} failed: {status}", name(command));
    Ok(())
}

/// Runs `command` and returns what it wrote to its standard output.
///
/// Standard error stays the user's.
pub(crate) fn stdout_of(command: &mut Command) -> Result<String> {
    Ok(String::from_utf8_lossy(&bytes_of(command)?).into_owned())
}

/// As [`stdout_of`], for what is no text.
pub(crate) fn bytes_of(command: &mut Command) -> Result<Vec<u8>> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", name(command)))?;
    ensure!(
        output.status.success(),
        "{} failed: {}",
        name(command),
        output.status
    );
    Ok(output.stdout)
}

/// The first words of a command line: enough to know which command a message is about.
fn name(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(program.as_os_str());
    let mut name = program.to_string_lossy().into_owned();
    if let Some(first) = command.get_args().next() {
        name.push(' ');
        name.push_str(&first.to_string_lossy());
    }
    format!("`{name}`")
}

/// Whether this process runs with root's rights: its `/proc` entry belongs to its effective user.
pub(crate) fn is_root() -> Result<bool> {
    let own = fs::metadata("/proc/self").context("cannot read /proc/self")?;
    Ok(own.uid() == 0)
}

/// A program of ours with root's rights, by sudo where this process has none.
pub(crate) fn as_root(program: &Path) -> Result<Command> {
    if is_root()? {
        return Ok(Command::new(program));
    }
    let mut sudo = Command::new("sudo");
    sudo.arg(program);
    Ok(sudo)
}

/// Finds a program in `PATH` or among the system's daemons.
pub(crate) fn find_program(program: impl AsRef<OsStr>) -> Option<PathBuf> {
    let program = program.as_ref();
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(ADMIN_DIRS.map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|file| {
            fs::metadata(file)
                .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_the_command_and_its_first_argument() {
        let mut command = Command::new("/usr/bin/apt-get");
        command.args(["update", "-qq"]);
        assert_eq!(name(&command), "`apt-get update`");
        assert_eq!(name(&Command::new("true")), "`true`");
    }

    #[test]
    fn programs_are_found_by_name() {
        assert!(find_program("sh").is_some());
        assert_eq!(find_program("no-such-program-here"), None);
    }
}
