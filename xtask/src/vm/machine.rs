//! From a kernel's files to the results of the tests on it.

use std::{
    env,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use serde_json::{Value, json};

use super::{
    End, Ran, Run,
    emulator::Emulator,
    guest::{self, Check, Report},
    image::{self, Base},
    kernels::{Expected, Kernel},
    modules,
    qemu::{Accelerator, Machine},
    source::Files,
};
use crate::{
    libtest::results::Outcome, process, programs::Programs, test::AGENT_VARIABLE,
    workspace::Workspace,
};

/// Machines that run at the same time.
const AT_A_TIME: usize = 2;
/// A test program that takes longer is stuck. The slowest takes five minutes where nothing but
/// emulation is there, and many times that beside other work.
const LIMIT_SECS: u64 = 1800;
/// How a long run is asked for: these variables go into the guest.
const LONG_RUN: &str = "CONN_TRACE_RANDOM_";
/// The one that says how long.
const LONG_RUN_SECONDS: &str = "CONN_TRACE_RANDOM_SECONDS";
/// Starts of an emulated machine that does not come as far as its init. Emulated CPUs fall over code
/// that the kernel is just patching: `int3` in `sched_clock_cpu`, in one of some ten boots of 7.2.
const EMULATED_BOOTS: u32 = 3;
/// An agent that has not refused by now runs.
const REFUSAL_LIMIT_SECS: u64 = 60;
/// How much more time than on the host tests get: they read it in `CONN_TRACE_TEST_SLOWNESS`.
const EMULATION_SLOWNESS: u32 = 15;

/// What is the same for each kernel.
pub(super) struct Host<'a> {
    workspace: &'a Workspace,
    programs: &'a Programs,
    filters: &'a [&'a str],
    base: Base,
    directory: PathBuf,
}

impl<'a> Host<'a> {
    pub(super) fn new(
        workspace: &'a Workspace,
        programs: &'a Programs,
        filters: &'a [&'a str],
    ) -> Result<Self> {
        process::step("making the guests' root file system");
        let directory = workspace.target.join("vm");
        let base = Base::new(programs, &directory.join("stripped"))?;
        Ok(Self {
            workspace,
            programs,
            filters,
            base,
            directory,
        })
    }

    pub(super) fn try_all(&self, kernels: &[Kernel], update: bool) -> Result<Vec<Run>> {
        process::step("fetching kernels that are not here yet");
        let files: Vec<_> = kernels
            .iter()
            .map(|kernel| kernel.source.obtain(self.workspace, &kernel.name, update))
            .collect();
        let Some(first) = files.iter().flatten().next() else {
            return Ok(kernels.iter().zip(files).map(unavailable).collect());
        };
        let emulator = match Emulator::obtain(self.workspace, update) {
            Ok(emulator) => emulator,
            Err(error) => {
                let without = |kernel| unavailable((kernel, Err(anyhow!("{error:#}"))));
                return Ok(kernels.iter().map(without).collect());
            }
        };
        let accelerator = Accelerator::find(&emulator, &first.image, &self.directory);
        process::step(match accelerator {
            Accelerator::Kvm => "starting virtual machines, with KVM",
            Accelerator::Tcg => "starting virtual machines, emulated: KVM does not work here",
        });
        // The newest first: they take longest, and what comes last may run alone.
        let queue = Mutex::new(kernels.iter().zip(files).enumerate().rev());
        let ended = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for _ in 0..AT_A_TIME {
                scope.spawn(|| {
                    loop {
                        let next = queue.lock().ok().and_then(|mut queue| queue.next());
                        let Some((place, (kernel, files))) = next else {
                            break;
                        };
                        let run = match files {
                            Ok(files) => self.try_one(kernel, &files, &emulator, accelerator),
                            Err(_) => Ok(unavailable((kernel, files))),
                        };
                        if let Ok(mut ended) = ended.lock() {
                            ended.push((place, run));
                        }
                    }
                });
            }
        });
        let mut ended = ended.into_inner().unwrap_or_default();
        ended.sort_by_key(|(place, _)| *place);
        ended.into_iter().map(|(_, run)| run).collect()
    }

    fn try_one(
        &self,
        kernel: &Kernel,
        files: &Files,
        emulator: &Emulator,
        accelerator: Accelerator,
    ) -> Result<Run> {
        let name = &kernel.name;
        let start = Instant::now();
        let modules = match &files.modules {
            Some(directory) => modules::load_order(directory)?,
            None => Vec::new(),
        };
        let directory = self.directory.join("guests").join(name);
        fs::create_dir_all(&directory).context("cannot make a directory")?;
        let root = directory.join("root.cpio");
        self.base
            .write(&root, &modules, self.plan(kernel, accelerator))?;
        let log = directory.join("report.log");
        let console = directory.join("console.log");
        process::note(&format!(
            "{name}: booting; its console is {}",
            console.display()
        ));

        let mut left = match accelerator {
            Accelerator::Kvm => 1,
            Accelerator::Tcg => EMULATED_BOOTS,
        };
        let attempt = loop {
            let machine =
                Machine::start(emulator, accelerator, &files.image, Some(&root), &console)?;
            let attempt = Attempt::follow(kernel, machine, &log)?;
            left -= 1;
            match &attempt.failure {
                Some(failure) if attempt.boot.is_none() && left > 0 => {
                    process::note(&format!("{name}: did not come up, once more: {failure}"));
                }
                _ => break attempt,
            }
        };
        // Nothing in it is of use to people.
        fs::remove_file(&root).context("cannot remove the root file system")?;
        let Attempt {
            report,
            failure,
            boot,
        } = attempt;
        let mut checks = report.checks;
        let said = fs::read(&console).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        checks.push(guest::kernel_log(&said));
        checks.extend(failure.map(|failure| machine_check(&failure, &said)));
        process::note(&format!("{name}: done in {} s", start.elapsed().as_secs()));
        Ok(Run {
            kernel: name.clone(),
            end: End::Ran(Ran {
                release: report.release,
                checks,
                boot: boot.unwrap_or_else(|| start.elapsed()),
                took: start.elapsed(),
                log,
            }),
        })
    }

    /// What the guest's init reads.
    fn plan(&self, kernel: &Kernel, accelerator: Accelerator) -> Value {
        let agent = image::agent_path();
        let limit_secs = LIMIT_SECS + long_run_secs();
        let programs: Vec<_> = match kernel.expected {
            Expected::Works => {
                // As `cargo xtask test` runs them.
                let arguments = ["--test-threads=1", "--nocapture"]
                    .into_iter()
                    .chain(self.filters.iter().copied());
                let arguments: Vec<_> = arguments.collect();
                self.programs
                    .end_to_end
                    .iter()
                    .map(|test| {
                        let path = image::test_path(&test.target);
                        let command: Vec<_> = [path.as_str()]
                            .into_iter()
                            .chain(arguments.iter().copied())
                            .collect();
                        json!({"name": test.target, "command": command, "limit_secs": limit_secs})
                    })
                    .collect()
            }
            Expected::Refusal(_) => ["agent", "doctor"]
                .map(|command| {
                    json!({
                        "name": command,
                        "command": [agent, command, "--listen", "127.0.0.1:8322"],
                        "limit_secs": REFUSAL_LIMIT_SECS,
                    })
                })
                .into(),
        };
        let slowness = match accelerator {
            Accelerator::Kvm => 1,
            Accelerator::Tcg => EMULATION_SLOWNESS,
        };
        let mut environment = json!({
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "RUST_BACKTRACE": "0",
            AGENT_VARIABLE: agent,
            "CONN_TRACE_TEST_SLOWNESS": slowness.to_string(),
        });
        for (name, value) in env::vars().filter(|(name, _)| name.starts_with(LONG_RUN)) {
            environment[name] = value.into();
        }
        json!({ "environment": environment, "programs": programs })
    }
}

/// One life of a machine.
struct Attempt {
    report: Report,
    failure: Option<String>,
    /// Until the first line of the guest's init.
    boot: Option<Duration>,
}

impl Attempt {
    fn follow(kernel: &Kernel, mut machine: Machine, log: &Path) -> Result<Self> {
        let name = &kernel.name;
        let start = Instant::now();
        let mut written = File::create(log).context("cannot write a log")?;
        let mut report = Report::new(kernel.expected);
        let mut boot = None;
        let result = machine.follow(|line| {
            // The log is for people; the results do not depend on it.
            let _ = writeln!(written, "{line}");
            if let Some(check) = report.line(line) {
                process::note(&format!("{name}: {check}"));
            }
            if report.release.is_some() {
                boot.get_or_insert_with(|| start.elapsed());
            }
        });
        let failure = match result {
            Ok(()) => report.end(),
            Err(error) => Some(format!("{error:#}, in {}", report.program)),
        };
        Ok(Self {
            report,
            failure,
            boot,
        })
    }
}

fn long_run_secs() -> u64 {
    let seconds = env::var(LONG_RUN_SECONDS).ok();
    // The test itself complains of what is no number.
    seconds
        .and_then(|seconds| seconds.parse().ok())
        .unwrap_or(0)
}

fn unavailable((kernel, files): (&Kernel, Result<Files>)) -> Run {
    let reason = files.err().map(|error| format!("{error:#}"));
    Run {
        kernel: kernel.name.clone(),
        end: End::Unavailable(reason.unwrap_or_default()),
    }
}

/// The machine itself has failed.
fn machine_check(failure: &str, console: &str) -> Check {
    const LAST_WORDS: usize = 30;
    let lines: Vec<_> = console.lines().collect();
    let last = lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n");
    Check {
        name: "machine".to_owned(),
        outcome: Outcome::Failed,
        output: format!("{failure}\n{last}\n"),
        took: Duration::ZERO,
    }
}
