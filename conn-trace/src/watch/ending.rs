//! What ends a watch.

use std::{io, os::fd::AsFd as _, thread};

use anyhow::Result;
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::stat::{SFlag, fstat},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use crate::terminal::wait_for_no_reader;

/// Why a watch has ended, as the report says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Interrupt,
    Terminate,
    /// Of standard input.
    EndOfInput,
    /// Nobody reads standard output any more.
    NoReader,
    /// The agent does not answer any more.
    Agent,
}

impl Ended {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::EndOfInput => "end_of_input",
            Self::NoReader => "no_reader",
            Self::Agent => "agent",
        }
    }
}

/// Listens to what ends the watch, but for the agent.
#[derive(Debug)]
pub(super) struct Ending {
    interrupt: Signal,
    terminate: Signal,
    others: mpsc::Receiver<Ended>,
}

impl Ending {
    /// Begins to listen.
    ///
    /// # Errors
    /// If the system does not let it.
    pub(super) fn listen() -> Result<Self> {
        let (sender, others) = mpsc::channel(2);
        let gone = sender.clone();
        thread::spawn(move || {
            wait_for_no_reader();
            // The watch may have ended.
            let _ = gone.blocking_send(Ended::NoReader);
        });
        if has_writer() {
            thread::spawn(move || {
                read_to_end();
                // As above.
                let _ = sender.blocking_send(Ended::EndOfInput);
            });
        }
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            others,
        })
    }

    /// Waits for the first of them.
    pub(super) async fn wait(&mut self) -> Ended {
        tokio::select! {
            _ = self.interrupt.recv() => Ended::Interrupt,
            _ = self.terminate.recv() => Ended::Terminate,
            // The thread that waits for the reader of the output holds the other side.
            ended = self.others.recv() => ended.unwrap_or(Ended::NoReader),
        }
    }
}

/// Whether standard input is a pipe or a socket whose other end is held by somebody. Where there is
/// nobody from the start, as for a job of cron, its end says nothing.
fn has_writer() -> bool {
    let input = io::stdin();
    let Ok(status) = fstat(&input) else {
        return false;
    };
    let kind = SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT;
    if ![SFlag::S_IFIFO, SFlag::S_IFSOCK].contains(&kind) {
        return false;
    }
    let mut watched = [PollFd::new(input.as_fd(), PollFlags::empty())];
    matches!(poll(&mut watched, PollTimeout::ZERO), Ok(0))
}

fn read_to_end() {
    // Whatever it says is not for us, and what cannot be read has no more to come.
    let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
}
