//! PID 1 of a virtual machine of `cargo xtask vm`: prepares the machine, runs the programs of the
//! plan one after the other, and switches it off.
//!
//! What programs write goes to the second serial line as it is. Lines of this program itself
//! begin with [`MARK`], so that the host can tell where in the output it is.

mod machine;
mod plan;
mod programs;

use std::{
    error::Error,
    fmt::Display,
    fs::{File, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    process::ExitCode,
    thread,
    time::Duration,
};

use nix::{fcntl::OFlag, sys::reboot::RebootMode};

use crate::plan::Plan;

/// Begins each line of our own.
const MARK: &str = "#guest";
/// The first serial line is the kernel's console.
const REPORT: &str = "/dev/ttyS1";
/// The host takes a machine that is silent for a minute as dead.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    // Whatever went wrong, there is nothing to go back to: the kernel panics when PID 1 ends.
    if let Err(error) = run() {
        eprintln!("{MARK} failed {error}");
    }
    nix::unistd::sync();
    let Err(error) = nix::sys::reboot::reboot(RebootMode::RB_POWER_OFF);
    eprintln!("{MARK} cannot switch off: {error}");
    ExitCode::FAILURE
}

fn run() -> Result<(), Box<dyn Error>> {
    machine::mount_all()?;
    let mut report = Report::open()?;
    if let Err(error) = work(&mut report) {
        report.say("failed", error)?;
    }
    report.say("done", "")
}

fn work(report: &mut Report) -> Result<(), Box<dyn Error>> {
    let plan = Plan::read()?;
    thread::spawn(show_life);
    for problem in machine::prepare(&plan)? {
        report.say("note", problem)?;
    }
    report.say("ready", machine::kernel_release()?)?;
    for program in &plan.programs {
        report.say("program", &program.name)?;
        let end = programs::run(program, &plan.environment, &report.line)?;
        report.say("ended", format_args!("{} {end}", program.name))?;
    }
    Ok(())
}

/// The line to the host.
struct Report {
    line: File,
}

impl Report {
    fn open() -> Result<Self, Box<dyn Error>> {
        let line = OpenOptions::new()
            .read(true)
            .write(true)
            // A terminal that PID 1 opens becomes its controlling one, which sends signals.
            .custom_flags(OFlag::O_NOCTTY.bits())
            .open(REPORT)
            .map_err(|error| format!("{REPORT}: {error}"))?;
        Ok(Self { line })
    }

    fn say(&mut self, what: &str, of: impl Display) -> Result<(), Box<dyn Error>> {
        // A program may have left a line unfinished.
        let text = format!("\n{MARK} {what} {of}\n");
        self.line.write_all(text.as_bytes())?;
        Ok(())
    }
}

/// On the console, where it cannot stand in the middle of a program's line.
fn show_life() {
    loop {
        eprintln!("{MARK} alive");
        thread::sleep(SIGN_OF_LIFE);
    }
}
