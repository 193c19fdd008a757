//! What is asked, again and again and in random order.

use std::{
    io::{copy, sink},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::resource::UsageWho;

use super::{
    client::{Answered, Client},
    report::Samples,
};
use crate::{busy, random::Random, rounds::progress};

/// A question, and whom it goes to.
pub(super) struct Question {
    name: String,
    way: Way,
}

enum Way {
    /// A path of the server that this client talks to.
    Http { client: usize, path: String },
    /// The output of a program.
    Program(&'static [&'static str]),
}

impl Question {
    /// `client` is a position among those given to [`ask_all`].
    pub(super) fn http(name: impl Into<String>, client: usize, path: impl Into<String>) -> Self {
        let path = path.into();
        Self {
            name: name.into(),
            way: Way::Http { client, path },
        }
    }

    pub(super) fn program(command: &'static [&'static str]) -> Self {
        Self {
            name: command.join(" "),
            way: Way::Program(command),
        }
    }

    fn ask(&self, clients: &mut [Client]) -> Result<Answered> {
        match &self.way {
            Way::Http { client, path } => clients[*client].time(path),
            Way::Program(command) => output(command),
        }
        .with_context(|| self.name.clone())
    }
}

/// Asks all questions once for warmth, then once in each round.
pub(super) fn ask_all(
    questions: &[Question],
    clients: &mut [Client],
    rounds: u32,
    random: &mut Random,
) -> Result<Vec<Samples>> {
    let mut samples = Vec::new();
    for question in questions {
        let answered = question.ask(clients)?;
        samples.push(Samples::new(question.name.clone(), answered.bytes));
    }
    let mut order: Vec<usize> = (0..questions.len()).collect();
    for round in 1..=rounds {
        progress(&format!("round {round} of {rounds}"));
        random.shuffle(&mut order);
        for &place in &order {
            let answered = questions[place].ask(clients)?;
            samples[place].add(answered.took, answered.cpu);
        }
    }
    progress("");
    Ok(samples)
}

/// Runs a program and reads what it says.
fn output(command: &[&str]) -> Result<Answered> {
    let (program, arguments) = command.split_first().context("a program")?;
    let cpu = busy::cpu_time_of(UsageWho::RUSAGE_CHILDREN)?;
    let start = Instant::now();
    let mut child = Command::new(program)
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    let mut said = child.stdout.take().context("it has a standard output")?;
    let bytes = copy(&mut said, &mut sink())?;
    let status = child.wait()?;
    let took = start.elapsed();
    ensure!(status.success(), "{program} failed: {status}");
    let cpu = busy::cpu_time_of(UsageWho::RUSAGE_CHILDREN)? - cpu;
    Ok(Answered { took, cpu, bytes })
}
