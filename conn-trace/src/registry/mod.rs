//! The live set, its owners and the closed history: all agent state, owned by one thread.
//!
//! Readers ask over a bounded channel and get a copy. The thread also looks into the ring on its
//! own, every [`TICK`] or [`IDLE_TICK`], so that no program ever has to wake it.

mod audit;
mod cgroups;
pub mod connection;
mod container;
pub mod events;
mod existing;
mod facts;
mod first_bytes;
pub mod flags;
mod history;
mod live;
mod losses;
mod memberships;
pub mod messages;
mod names;
mod owners;
pub mod policies;
pub mod rates;
pub mod services;
pub mod snapshot;
mod state;
mod trace;
mod view;
mod visit;

use std::{
    collections::HashMap,
    io,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use thiserror::Error;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::sleep,
};

pub use self::facts::Own;
use self::{
    connection::Process,
    events::Batch,
    messages::{Choice, Told},
    policies::Notify,
    services::{Classify, Report},
    snapshot::{Scope, Snapshot, Status, Taken, Visitor},
    state::State,
};
use crate::kernel::{LoadError, Tracer, cgroups::Cgroups};

/// How long the ring is left alone after it had something. The default ring (8 MiB) takes 37,000 ends
/// of connections meanwhile, nearly two million per second.
const TICK: Duration = Duration::from_millis(20);
/// The same after it was empty: 370,000 ends per second, twice what one CPU can open. Each wake of an
/// idle machine costs some 0.1 ms.
const IDLE_TICK: Duration = Duration::from_millis(100);
/// The same while a policy waits for openings, which it has 50 ms to act on.
const PROMPT_TICK: Duration = Duration::from_millis(35);
/// Readers that may wait for an answer; one more waits to ask.
const WAITING_READERS: usize = 64;
/// Looking through all file tables is slow: not more often than this.
const OWNER_SCAN_INTERVAL: Duration = Duration::from_secs(5);

/// The registry's thread has ended.
#[derive(Clone, Copy, Debug, Error)]
#[error("the registry has stopped")]
pub struct Stopped;

/// What the agent can choose.
#[derive(Debug)]
pub struct Settings {
    /// Where cgroups are looked up, if they can be. Found before the programs are attached, so that
    /// no cgroup is removed unseen that they tell of.
    pub cgroups: Option<Cgroups>,
    /// Closed connections remembered.
    pub closed_history: usize,
    /// For how long.
    pub closed_history_age: Duration,
    /// Connections that the table takes.
    pub max_connections: u32,
    /// Which sockets are the agent's own.
    pub own: Own,
    /// Which services there are.
    pub classify: Box<dyn Classify>,
    /// Where policies send what they have done.
    pub notify: Box<dyn Notify>,
}

/// Reads connections for a reader, and answers it.
type Visit = Box<dyn FnOnce(&mut State) -> Result<(), LoadError> + Send>;

enum Command {
    Visit(Visit),
    Status(oneshot::Sender<Status>),
    Events(u64, oneshot::Sender<Batch>),
    Trace(Choice, oneshot::Sender<mpsc::Receiver<Told>>),
    OwnersFound(HashMap<u64, Process>),
    Report(oneshot::Sender<Report>),
    Reconfigure(Box<dyn Classify>, Vec<u16>, oneshot::Sender<()>),
    ResetPeak(String, oneshot::Sender<bool>),
    Stop,
}

/// A reader's way to the registry.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    news: watch::Receiver<u64>,
}

impl Handle {
    /// All connections of the scope, at the moment of the answer.
    ///
    /// # Errors
    /// If the registry has stopped.
    pub async fn snapshot(&self, scope: Scope) -> Result<Snapshot, Stopped> {
        self.visit(scope, Snapshot::new).await
    }

    /// Shows all connections of the scope, as they are at this moment, to the visitor that `begin`
    /// makes. It works in the registry's thread, where nothing is held for longer than it takes.
    ///
    /// # Errors
    /// If the registry has stopped.
    pub async fn visit<V: Visitor + Send + 'static>(
        &self,
        scope: Scope,
        begin: impl FnOnce(Taken) -> V + Send + 'static,
    ) -> Result<V, Stopped> {
        self.ask(|reply| {
            Command::Visit(Box::new(move |state| {
                // A reader that has gone needs no answer.
                let _ = reply.send(state.visit(scope, begin)?);
                Ok(())
            }))
        })
        .await
    }

    /// The agent's own figures.
    ///
    /// # Errors
    /// If the registry has stopped.
    pub async fn status(&self) -> Result<Status, Stopped> {
        self.ask(Command::Status).await
    }

    /// What is known of the host and of each service.
    ///
    /// # Errors
    /// If the registry has stopped.
    pub async fn report(&self) -> Result<Report, Stopped> {
        self.ask(Command::Report).await
    }

    /// Replaces the services, and the ports that the agent listens on.
    ///
    /// # Errors
    /// If the registry has stopped.
    pub async fn reconfigure(
        &self,
        classify: Box<dyn Classify>,
        ports: Vec<u16>,
    ) -> Result<(), Stopped> {
        self.ask(|reply| Command::Reconfigure(classify, ports, reply))
            .await
    }

    /// Lets the peak of a service begin anew at what is open now; whether there is such a service.
    ///
    /// # Errors
    /// If the registry has stopped.
    pub async fn reset_peak(&self, service: String) -> Result<bool, Stopped> {
        self.ask(|reply| Command::ResetPeak(service, reply)).await
    }

    /// Some of what happened after the event of this number.
    ///
    /// # Errors
    /// If the registry has stopped.
    pub async fn events(&self, after: u64) -> Result<Batch, Stopped> {
        self.ask(|reply| Command::Events(after, reply)).await
    }

    /// From now on, the messages of the connections that the reader chooses, until it goes.
    ///
    /// # Errors
    /// If the registry has stopped.
    pub async fn trace(&self, choice: Choice) -> Result<mpsc::Receiver<Told>, Stopped> {
        self.ask(|reply| Command::Trace(choice, reply)).await
    }

    /// The number of the last event, and a way to wait for the next.
    #[must_use]
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.clone()
    }

    /// Waits until the registry has stopped.
    pub async fn stopped(&self) {
        self.commands.closed().await;
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.commands
            .send(command(reply))
            .await
            .map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }
}

/// The running registry. Stopping it detaches the programs.
#[derive(Debug)]
pub struct Registry {
    handle: Handle,
    thread: JoinHandle<Result<(), LoadError>>,
}

impl Registry {
    /// Takes over the attached programs.
    ///
    /// # Errors
    /// If the connections that exist cannot be read, or no thread can be had.
    pub fn start(tracer: Tracer, settings: Settings) -> Result<Self, StartError> {
        let mut state = State::new(tracer, settings);
        state.examine_existing()?;
        let (commands, inbox) = mpsc::channel(WAITING_READERS);
        let owners = commands.clone();
        let news = state.events.news();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        let thread = thread::Builder::new()
            .name("registry".into())
            .spawn(move || runtime.block_on(run(state, inbox, owners)))?;
        Ok(Self {
            handle: Handle { commands, news },
            thread,
        })
    }

    /// A way to ask it.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Ends the thread and detaches the programs; when it returns they are gone.
    ///
    /// # Errors
    /// If the registry had ended with an error before.
    pub fn stop(self) -> Result<(), LoadError> {
        // A closed channel means that it has ended already; joining tells why.
        let _ = self.handle.commands.blocking_send(Command::Stop);
        self.thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// The registry did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A program could not be run.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// No thread.
    #[error("registry thread: {0}")]
    Thread(#[from] io::Error),
}

async fn run(
    mut state: State,
    mut inbox: mpsc::Receiver<Command>,
    owners: mpsc::Sender<Command>,
) -> Result<(), LoadError> {
    let mut pause = TICK;
    let mut last_scan = Instant::now();
    let mut scanning = false;
    loop {
        state.audit()?;
        state.review_undecided()?;
        if !scanning && last_scan.elapsed() >= OWNER_SCAN_INTERVAL && state.wants_owners() {
            last_scan = Instant::now();
            scanning = look_for_owners(&state, owners.clone());
        }
        tokio::select! {
            () = sleep(pause) => {
                pause = match state.catch_up()? {
                    true => TICK,
                    false if state.members.has_prompt_policies() => PROMPT_TICK,
                    false => IDLE_TICK,
                };
            }
            command = inbox.recv() => match command {
                Some(Command::Visit(visit)) => {
                    visit(&mut state)?;
                    if !scanning && last_scan.elapsed() >= OWNER_SCAN_INTERVAL && state.has_ownerless() {
                        last_scan = Instant::now();
                        scanning = look_for_owners(&state, owners.clone());
                    }
                }
                Some(Command::Status(reply)) => {
                    let _ = reply.send(state.status()?);
                }
                Some(Command::Events(after, reply)) => {
                    let _ = reply.send(state.events.after(after));
                }
                Some(Command::Trace(choice, reply)) => {
                    let _ = reply.send(state.trace(choice)?);
                    pause = TICK;
                }
                Some(Command::OwnersFound(found)) => {
                    scanning = false;
                    state.owners_found(found);
                }
                Some(Command::Report(reply)) => {
                    let _ = reply.send(state.report()?);
                }
                Some(Command::Reconfigure(classify, ports, reply)) => {
                    state.reconfigure(classify, ports)?;
                    let _ = reply.send(());
                }
                Some(Command::ResetPeak(service, reply)) => {
                    let _ = reply.send(state.members.reset_peak(&service, services::now()));
                }
                Some(Command::Stop) | None => return Ok(()),
            },
        }
    }
}

/// Looks for the owners of silent sockets on a thread of its own. Whether there is one.
fn look_for_owners(state: &State, owners: mpsc::Sender<Command>) -> bool {
    let wanted = state.ownerless();
    let spawned = thread::Builder::new().name("owners".into()).spawn(move || {
        // The registry may have stopped meanwhile.
        let _ = owners.blocking_send(Command::OwnersFound(owners::find(&wanted)));
    });
    if let Err(error) = &spawned {
        tracing::warn!(%error, "cannot look for owners");
    }
    spawned.is_ok()
}
