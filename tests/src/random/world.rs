//! Does random operations and tells the model what came of them.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
};

use fastrand::Rng;
use nix::errno::Errno;

use super::{
    action::{amount, choose},
    connection::{Connection, ModelEnd},
    ending::{By, Side},
    fleet::Fleet,
    model::{Key, Model},
    ways::{is_message_per_call, is_without_message},
};
use crate::{
    pair::matched,
    protocol::{Command, End, ReceiveWay, Reply, UringMode, Way},
};

/// Operations that are under way at the same time.
const AT_ONCE: usize = 24;

/// Processes, their connections, and the dice.
#[derive(Debug)]
pub struct World {
    pub(super) rng: Rng,
    /// The processes.
    pub fleet: Fleet,
    /// What they did.
    pub model: Model,
    has_uring: bool,
    /// Connections to keep open, about.
    population: usize,
    /// Operations so far, by name.
    pub done: BTreeMap<&'static str, u64>,
}

pub(super) struct Step {
    pub(super) slot: usize,
    pub(super) command: Command,
    what: What,
}

enum What {
    OnEnd(Key),
    Open { server: usize },
}

impl World {
    /// Starts so many processes.
    #[must_use]
    pub fn new(seed: u64, processes: usize, population: usize) -> Self {
        let mut fleet = Fleet::start(processes);
        Self {
            rng: Rng::with_seed(seed),
            has_uring: matches!(fleet.peer(0).ask(&Command::ProbeUring), Reply::Done),
            fleet,
            model: Model::default(),
            population,
            done: BTreeMap::new(),
        }
    }

    /// The dice.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// Counts an operation.
    pub fn did(&mut self, name: &'static str) {
        *self.done.entry(name).or_default() += 1;
    }

    /// Some operations at the same time, each on another connection.
    pub fn round(&mut self) {
        let mut held = self.model.held();
        let mut steps = Vec::new();
        let mut busy = HashSet::new();
        for _ in 0..self.rng.usize(1..=AT_ONCE) {
            let is_few = held.len() < 2 * self.population;
            let odds = if is_few { 3 } else { 30 };
            if held.is_empty() || self.rng.u32(..odds) == 0 {
                steps.push(self.opening());
                continue;
            }
            let key = held.swap_remove(self.rng.usize(..held.len()));
            if busy.insert(key.0) {
                steps.push(self.on_end(key));
            }
        }
        for step in &steps {
            self.fleet.peer(step.slot).tell(&step.command);
        }
        let mut opened = Vec::new();
        let mut failed = Vec::new();
        for step in steps {
            let reply = self.fleet.peer(step.slot).reply();
            self.did(name(&step.command));
            match step.what {
                What::Open { server } => opened.push((step.slot, server, ends(reply))),
                What::OnEnd(key) => {
                    if !self.apply(key, &step.command, &reply) {
                        failed.push(key);
                    }
                }
            }
        }
        for key in failed {
            self.recount(key);
        }
        self.accept(opened);
    }

    pub(super) fn on_end(&mut self, key: Key) -> Step {
        let connection = &self.model.connections[&key.0];
        Step {
            slot: connection.end(key.1).slot,
            command: choose(&mut self.rng, connection, key.1, self.has_uring),
            what: What::OnEnd(key),
        }
    }

    fn opening(&mut self) -> Step {
        let (slot, server) = self.two_slots();
        let address = self.fleet.target(server, &mut self.rng);
        let command = match self.rng.u32(..10) {
            0 => Command::ConnectWithData {
                address,
                bytes: amount(&mut self.rng, 1000),
            },
            1 => Command::ConnectWithoutWaiting { address },
            _ => Command::Connect {
                address,
                from: None,
                count: self.rng.u32(1..=4),
            },
        };
        Step {
            slot,
            command,
            what: What::Open { server },
        }
    }

    pub(super) fn two_slots(&mut self) -> (usize, usize) {
        let one = self.rng.usize(..self.fleet.len());
        let two = (one + self.rng.usize(1..self.fleet.len())) % self.fleet.len();
        (one, two)
    }

    /// Accepts what was opened.
    pub(super) fn accept(&mut self, opened: Vec<(usize, usize, Vec<End>)>) {
        let mut by_server: BTreeMap<usize, Vec<(usize, End)>> = BTreeMap::new();
        for (client, server, ends) in opened {
            let ends = ends.into_iter().map(|end| (client, plain(end)));
            by_server.entry(server).or_default().extend(ends);
        }
        for (server, clients) in by_server {
            let count = u32::try_from(clients.len()).expect("a few");
            let accepted = self.fleet.accept(server, count);
            let slots: HashMap<End, usize> =
                clients.iter().map(|&(slot, end)| (end, slot)).collect();
            for pair in matched(clients.into_iter().map(|(_, end)| end).collect(), accepted) {
                let ends = [(pair.client, slots[&pair.client]), (pair.server, server)];
                self.enter(ends);
            }
        }
    }

    fn enter(&mut self, ends: [(End, usize); 2]) {
        let number = self.model.next_number();
        let ends = ends.map(|(end, slot)| {
            let (pid, name) = self.fleet.owner(slot);
            ModelEnd::new(end, slot, pid, name)
        });
        let slot = ends[0].slot;
        let id = ends[0].end.id;
        let mut connection = Connection::new(number, ends);
        // What it sent with the SYN, if anything.
        let counts = self.fleet.report(slot, id);
        connection.note(Side::Client, &format!("opened, {counts:?}"));
        connection.add(Side::Client, counts, true);
        self.model.connections.insert(number, connection);
    }

    /// Tells the model; false if the call failed half way.
    pub(super) fn apply(&mut self, key: Key, command: &Command, reply: &Reply) -> bool {
        let (number, side) = key;
        let connection = self.model.connections.get_mut(&number).expect("known");
        connection.note(side, &format!("{command:?}: {reply:?}"));
        let is_whole = connection.is_whole();
        connection.end_mut(side).was_registered |= is_registered(command);
        let other = connection.end(side.other());
        let (is_left, other_has_fin) = (!other.is_held, other.has_fin);
        match (command, reply) {
            (
                Command::Send { .. } | Command::SendFromChild { .. } | Command::Fill { .. },
                Reply::Moved(counts),
            ) => {
                let way = match command {
                    Command::Send { way, .. } => *way,
                    _ => Way::Send { chunk: 1 },
                };
                if matches!(command, Command::SendFromChild { .. }) {
                    connection.end_mut(side).is_shared = true;
                }
                connection.add(side, *counts, is_message_per_call(way));
                if is_left {
                    connection.is_broken = true;
                    connection.ending.refused(side);
                }
            }
            (
                Command::ReceiveToEnd { .. } | Command::ReceiveNothing { .. },
                Reply::Moved(counts),
            ) => {
                let unread = connection.unread(side);
                connection.add(side, *counts, true);
                if is_whole
                    && Some(counts.in_bytes) != unread
                    && matches!(command, Command::ReceiveToEnd { .. })
                {
                    panic!("the stream ended early: {}", connection.story());
                }
                let is_at_end =
                    counts.in_bytes == 0 || matches!(command, Command::ReceiveToEnd { .. });
                if other_has_fin && is_at_end {
                    connection.ending.fin_was_read(side);
                }
            }
            (_, Reply::Moved(counts)) => {
                if let Command::ReceiveBy { way, .. } = command
                    && is_without_message(*way)
                {
                    connection.end_mut(side).spliced += counts.in_bytes;
                }
                connection.add(side, *counts, true);
            }
            (Command::Peek { .. }, Reply::Count(_)) => {}
            (Command::ShutdownWrite { .. }, Reply::Done) => connection.shut_write(side),
            (Command::Close { .. }, Reply::Done) => connection.close(side, By::Call, false),
            (Command::Reset { .. }, Reply::Done) => connection.close(side, By::Call, true),
            (Command::ReceiveNothing { .. }, Reply::Failed { errno, .. })
                if Errno::from_raw(*errno) == Errno::EAGAIN => {}
            (_, Reply::Failed { errno, .. }) if !is_whole => {
                if is_left
                    && matches!(
                        command,
                        Command::Send { .. } | Command::SendUntilError { .. }
                    )
                {
                    connection.is_broken = true;
                    connection.ending.refused(side);
                }
                if matches!(Errno::from_raw(*errno), Errno::ECONNRESET | Errno::EPIPE) {
                    connection.ending.was_reset(side);
                }
                return false;
            }
            _ => panic!("unexpected: {}", connection.story()),
        }
        true
    }

    /// Asks the process what it has counted, after a call that failed.
    fn recount(&mut self, (number, side): Key) {
        let connection = self.model.connections.get_mut(&number).expect("known");
        let end = connection.end(side);
        let counts = self.fleet.report(end.slot, end.end.id);
        connection.recount(side, counts);
        connection.note(side, &format!("counted {counts:?}"));
    }
}

pub(super) fn ends(reply: Reply) -> Vec<End> {
    match reply {
        Reply::Ends(ends) => ends,
        other => panic!("no connection: {other:?}"),
    }
}

fn plain(end: End) -> End {
    let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    End {
        id: end.id,
        local: plain(end.local),
        peer: plain(end.peer),
    }
}

fn is_registered(command: &Command) -> bool {
    let mode = match command {
        Command::Send {
            way: Way::Uring { mode, .. },
            ..
        }
        | Command::ReceiveBy {
            way: ReceiveWay::Uring { mode, .. },
            ..
        } => *mode,
        _ => return false,
    };
    matches!(mode, UringMode::Registered)
}

fn name(command: &Command) -> &'static str {
    match command {
        Command::Connect { .. } => "connect",
        Command::ConnectWithData { .. } => "connect with data",
        Command::ConnectWithoutWaiting { .. } => "connect without waiting",
        Command::Send { .. } => "send",
        Command::SendFromChild { .. } => "send from a child",
        Command::SendUntilError { .. } => "send until error",
        Command::Fill { .. } => "fill",
        Command::Receive { .. } => "receive",
        Command::ReceiveToEnd { .. } => "receive to the end",
        Command::ReceiveNothing { .. } => "receive nothing",
        Command::ReceiveBy { .. } => "receive in some way",
        Command::Peek { .. } => "peek",
        Command::ShutdownWrite { .. } => "shutdown",
        Command::Close { .. } => "close",
        Command::Reset { .. } => "reset",
        _ => "other",
    }
}
