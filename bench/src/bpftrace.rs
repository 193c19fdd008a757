//! bpftrace with a script that keeps the same four counters, for comparison.

use std::{
    io::{self, BufRead as _, BufReader},
    path::Path,
    process::{Child, Command},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const SCRIPT: &str = include_str!("messages.bt");

/// What the script prints when it begins. bpftrace shows the line once all probes are attached.
const READY: &str = "counting";

/// bpftrace compiles its script with LLVM, which takes a second or two on a busy machine.
const START: Duration = Duration::from_secs(60);

/// It prints its maps when it ends, a line for each socket.
const END: Duration = Duration::from_secs(120);

/// Entries that bpftrace gives a map by itself.
const USUAL_KEYS: usize = 4096;

/// The files of the tracepoints that bpftrace asks about.
const EVENTS: &str = "/sys/kernel/tracing/events";

/// A running bpftrace. Dropping it kills it.
pub(crate) struct Bpftrace {
    child: Child,
    lines: Receiver<String>,
}

/// What all sockets of the host have moved while it ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

/// The version, as bpftrace says it.
pub(crate) fn version() -> Result<String> {
    let output = Command::new("bpftrace")
        .arg("--version")
        .output()
        .context("cannot start bpftrace: `cargo xtask setup --for bench` installs it")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Mounts the files of the tracepoints where the host has not, for this thread and the programs
/// that it starts: the host itself stays as it is.
pub(crate) fn ensure_tracefs() -> Result<()> {
    if Path::new(EVENTS).exists() {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWNS).context("cannot have mounts of our own")?;
    let none = None::<&str>;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(none, "/", none, private, none).context("cannot keep mounts from the host")?;
    let tracefs = Some("tracefs");
    mount(
        tracefs,
        "/sys/kernel/tracing",
        tracefs,
        MsFlags::empty(),
        none,
    )
    .context("cannot mount tracefs, which bpftrace needs")
}

impl Bpftrace {
    /// Starts it and waits until it counts.
    pub(crate) fn attach(sockets: usize) -> Result<Self> {
        let (reader, writer) = io::pipe()?;
        let keys = sockets.next_power_of_two().max(USUAL_KEYS).to_string();
        // If this program is killed, bpftrace must not go on: it would slow the host down for ever.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "INT", "bpftrace", "-B", "line", "-e", SCRIPT])
            // The second is the name since 0.19.
            .env("BPFTRACE_MAP_KEYS_MAX", &keys)
            .env("BPFTRACE_MAX_MAP_KEYS", &keys)
            .stdout(writer.try_clone()?)
            .stderr(writer);
        let child = command.spawn().context("cannot start bpftrace")?;
        // It holds our copies of the pipe's writing end, without which the reader sees the end.
        drop(command);
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            let mut lines = BufReader::new(reader).lines();
            while let Some(Ok(line)) = lines.next() {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let running = Self { child, lines };
        let mut said = Vec::new();
        while let Ok(line) = running.lines.recv_timeout(START) {
            if line == READY {
                return Ok(running);
            }
            said.push(line);
        }
        bail!("bpftrace does not count: {}", said.join(" / "))
    }

    /// Ends it and gives what it counted.
    pub(crate) fn finish(mut self) -> Result<Counted> {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, Signal::SIGINT).context("cannot stop bpftrace")?;
        let mut counted = Counted::default();
        loop {
            match self.lines.recv_timeout(END) {
                Ok(line) => counted.add(&line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => bail!("bpftrace does not stop"),
            }
        }
        let status = self.child.wait()?;
        ensure!(status.success(), "bpftrace failed: {status}");
        Ok(counted)
    }
}

impl Drop for Bpftrace {
    fn drop(&mut self) {
        // Both do nothing after `finish`.
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("warning: cannot stop bpftrace: {error}");
        }
    }
}

impl Counted {
    /// Adds a line like `@in_bytes[-131387612345]: 640`.
    fn add(&mut self, line: &str) {
        let number = line
            .rsplit_once("]: ")
            .and_then(|(_, number)| number.parse::<u64>().ok())
            .unwrap_or(0);
        if line.starts_with("@in_messages[") || line.starts_with("@out_messages[") {
            self.messages += number;
        } else if line.starts_with("@in_bytes[") || line.starts_with("@out_bytes[") {
            self.bytes += number;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_maps_add_up() {
        let mut counted = Counted::default();
        let output = "Attaching 3 probes...\ncounting\n\n@in_bytes[-131387612345]: 640\n\
             @in_bytes[0xffff8881]: 64\n@in_messages[1]: 11\n@out_messages[2]: 12\n@other[3]: 5\n";
        for line in output.lines() {
            counted.add(line);
        }
        let expected = Counted {
            messages: 23,
            bytes: 704,
        };
        assert_eq!(counted, expected);
    }

    #[test]
    fn the_script_says_when_it_is_ready() {
        assert!(SCRIPT.contains(&format!("printf(\"{READY}\\n\")")));
    }
}
