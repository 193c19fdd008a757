//! One virtual machine, from its start to its end.

use std::{
    fs::{self, OpenOptions},
    io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::emulator::Emulator;

/// What the guest's memory has to hold: its root file system, up to 100,000 connections.
const MEMORY: &str = "2048M";
/// Tests need two processors for what happens at the same time.
const PROCESSORS: &str = "2";
/// Of 19 at most.
const NICENESS: &str = "10";
/// The guest shows life every 10 s.
const SILENCE: Duration = Duration::from_secs(90);
/// Between two looks at the console.
const LOOK: Duration = Duration::from_millis(500);
/// What a kernel says that looks for its root file system in vain.
const NO_ROOT: &str = "Unable to mount root fs";
/// A machine that says this is of no use any more.
const FATAL: [&str; 3] = ["Kernel panic", "KVM internal error", NO_ROOT];

/// What executes the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accelerator {
    Kvm,
    /// Emulation, by translating code.
    Tcg,
}

impl Accelerator {
    /// KVM where it works: the device may be there and not for us, or not able to run a kernel.
    pub(super) fn find(emulator: &Emulator, image: &Path, directory: &Path) -> Self {
        let is_open = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .is_ok();
        if is_open && boots(emulator, image, directory) {
            Self::Kvm
        } else {
            Self::Tcg
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// Whether a kernel without any root file system comes as far as missing it.
fn boots(emulator: &Emulator, image: &Path, directory: &Path) -> bool {
    const BOOT: Duration = Duration::from_secs(15);
    let console = directory.join("kvm.log");
    let Ok(mut machine) = Machine::start(emulator, Accelerator::Kvm, image, None, &console) else {
        return false;
    };
    let deadline = Instant::now() + BOOT;
    let mut said = String::new();
    while Instant::now() < deadline {
        // The panic ends the machine: what it said last is read after its end.
        let has_ended = machine.child.try_wait().is_ok_and(|ended| ended.is_some());
        said.push_str(&machine.console_news().unwrap_or_default());
        if said.contains(NO_ROOT) {
            return true;
        }
        if has_ended {
            return false;
        }
        thread::sleep(LOOK);
    }
    false
}

/// A running machine; it ends with this value, with this program, or by itself.
pub(super) struct Machine {
    child: Child,
    lines: Receiver<String>,
    console: PathBuf,
    console_read: u64,
}

impl Machine {
    /// Boots a kernel. `console` gets what the kernel says.
    pub(super) fn start(
        emulator: &Emulator,
        accelerator: Accelerator,
        image: &Path,
        root: Option<&Path>,
        console: &Path,
    ) -> Result<Self> {
        // QEMU may be slower to open it than we are to look.
        fs::write(console, "").with_context(|| format!("cannot write {}", console.display()))?;
        // QEMU dies with the thread that starts it, however that ends. It leaves the CPUs to the tests
        // on this machine, which mostly wait.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nice", "-n", NICENESS]);
        emulator.add_to(&mut command);
        command
            .args(["-accel", accelerator.name(), "-cpu", "max"])
            .args(["-smp", PROCESSORS, "-m", MEMORY])
            .args([
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
                "-no-reboot",
            ])
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .args(["-serial", "stdio"])
            .arg("-kernel")
            .arg(image)
            // A panic ends the machine. Its threads are at the mercy of other programs of the
            // host: being late is no sign of a fault, and a clock that runs unevenly for it is better
            // than one whose every reading leaves the machine.
            .args([
                "-append",
                "console=ttyS0 rdinit=/init panic=-1 oops=panic nowatchdog tsc=reliable",
            ]);
        if let Some(root) = root {
            command.arg("-initrd").arg(root);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(
                fs::File::create(console.with_extension("qemu.log"))
                    .context("cannot write QEMU's log")?,
            )
            .spawn()
            .context("cannot start setpriv")?;
        let output = child.stdout.take().context("QEMU has no output")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            let mut reader = BufReader::new(output);
            let mut line = Vec::new();
            while let Ok(1..) = reader.read_until(b'\n', &mut line) {
                let text = String::from_utf8_lossy(&line);
                if sender
                    .send(text.trim_end_matches(['\r', '\n']).to_owned())
                    .is_err()
                {
                    break;
                }
                line.clear();
            }
        });
        Ok(Self {
            child,
            lines,
            console: console.to_path_buf(),
            console_read: 0,
        })
    }

    /// Gives each line that the guest reports to `read`, until the machine is off.
    ///
    /// # Errors
    /// If the machine is silent for too long, or its kernel panics.
    pub(super) fn follow(&mut self, mut read: impl FnMut(&str)) -> Result<()> {
        let mut heard = Instant::now();
        loop {
            match self.lines.recv_timeout(LOOK) {
                Ok(line) => {
                    heard = Instant::now();
                    read(&line);
                }
                Err(RecvTimeoutError::Timeout) => {
                    let news = self.console_news()?;
                    if !news.is_empty() {
                        heard = Instant::now();
                    }
                    if let Some(line) = fatal_line(&news) {
                        bail!("{line}");
                    }
                    if heard.elapsed() > SILENCE {
                        bail!("the machine has been silent for {} s", SILENCE.as_secs());
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let status = self.child.wait().context("cannot wait for QEMU")?;
        if let Some(line) = fatal_line(&self.console_news()?) {
            bail!("{line}");
        }
        if !status.success() {
            let log = self.console.with_extension("qemu.log");
            let said = fs::read_to_string(log).unwrap_or_default();
            bail!("QEMU ended with {status}: {}", said.trim_end());
        }
        Ok(())
    }

    /// What the kernel has said since the last look.
    fn console_news(&mut self) -> Result<String> {
        let mut file = fs::File::open(&self.console)
            .with_context(|| format!("cannot read {}", self.console.display()))?;
        file.seek(SeekFrom::Start(self.console_read))?;
        let mut news = Vec::new();
        self.console_read += file.read_to_end(&mut news)? as u64;
        Ok(String::from_utf8_lossy(&news).into_owned())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn fatal_line(console: &str) -> Option<&str> {
    console
        .lines()
        .find(|line| FATAL.iter().any(|fatal| line.contains(fatal)))
        .map(str::trim)
}
