//! The processes that hold the connections.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use fastrand::Rng;
use nix::errno::Errno;

use crate::{
    agent::free_address,
    netns,
    peer::Peer,
    protocol::{Command, Counts, End, Reply},
    wait::eventually,
};

/// More than are opened at the same time.
const BACKLOG: i32 = 1024;

/// How a process that is being replaced ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// SIGKILL.
    Kill,
    /// By itself, with connections open.
    Exit,
    /// It becomes another program; its connections are close-on-exec.
    Exec,
}

/// A process, and where others reach it.
#[derive(Debug)]
pub struct Process {
    /// It.
    pub peer: Peer,
    targets: Vec<SocketAddr>,
}

/// All processes.
#[derive(Debug)]
pub struct Fleet {
    processes: Vec<Process>,
    started: u32,
    /// Every port that one of them ever listened on, or that nobody may listen on: they tell
    /// these connections from those of other programs. They are not among those that the kernel
    /// gives to outgoing connections.
    pub ports: HashSet<u16>,
    /// Inode of the network namespace that they are in.
    pub netns: u64,
    /// Where nobody ever listens.
    pub nobody: SocketAddr,
}

impl Fleet {
    /// Starts so many.
    #[must_use]
    pub fn start(count: usize) -> Self {
        let nobody = free_address();
        let mut fleet = Self {
            processes: Vec::new(),
            started: 0,
            ports: HashSet::from([nobody.port()]),
            netns: netns::own_inode(),
            nobody,
        };
        for slot in 0..count {
            let process = fleet.make(slot);
            fleet.processes.push(process);
        }
        fleet
    }

    /// The listening address differs from slot to slot: families and loopback addresses.
    fn make(&mut self, slot: usize) -> Process {
        let any6 = IpAddr::from(Ipv6Addr::UNSPECIFIED);
        let one6 = IpAddr::from(Ipv6Addr::LOCALHOST);
        let v4 = |last| IpAddr::from(Ipv4Addr::new(127, 0, 0, last));
        let mapped = IpAddr::from(Ipv4Addr::LOCALHOST.to_ipv6_mapped());
        let (listen, targets) = match slot % 4 {
            0 => (
                IpAddr::from(Ipv4Addr::UNSPECIFIED),
                (1..6).map(v4).collect(),
            ),
            1 => (any6, vec![v4(1), mapped, one6]),
            2 => (one6, vec![one6]),
            _ => (v4(9), vec![v4(9)]),
        };
        self.started += 1;
        let mut peer = Peer::start(&format!("random-{}", self.started));
        let port = listen_anywhere(&mut peer, listen);
        self.ports.insert(port);
        let targets: Vec<IpAddr> = targets;
        Process {
            peer,
            targets: targets
                .into_iter()
                .map(|ip| SocketAddr::new(ip, port))
                .collect(),
        }
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.processes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }

    /// The process with this number.
    pub fn peer(&mut self, slot: usize) -> &mut Peer {
        &mut self.processes[slot].peer
    }

    /// Its id and name.
    #[must_use]
    pub fn owner(&self, slot: usize) -> (u32, &str) {
        let peer = &self.processes[slot].peer;
        (peer.pid(), &peer.name)
    }

    /// An address that it is reached at.
    #[must_use]
    pub fn target(&self, slot: usize, rng: &mut Rng) -> SocketAddr {
        let targets = &self.processes[slot].targets;
        targets[rng.usize(..targets.len())]
    }

    /// Whether it takes both families.
    #[must_use]
    pub fn is_dual(&self, slot: usize) -> bool {
        let targets = &self.processes[slot].targets;
        targets.iter().any(SocketAddr::is_ipv4) && targets.iter().any(SocketAddr::is_ipv6)
    }

    /// Takes connections that wait.
    #[track_caller]
    pub fn accept(&mut self, slot: usize, count: u32) -> Vec<End> {
        self.peer(slot).accept(count)
    }

    /// What the process itself has counted.
    #[track_caller]
    pub fn report(&mut self, slot: usize, id: u32) -> Counts {
        match self.peer(slot).ask(&Command::Report { id }) {
            Reply::Counts(counts) => counts,
            other => panic!("report: {other:?}"),
        }
    }

    /// Ends a process and starts another in its place.
    pub fn replace(&mut self, slot: usize, departure: Departure) {
        let peer = self.peer(slot);
        match departure {
            Departure::Kill => peer.kill(),
            Departure::Exit => assert!(peer.exit().success(), "the peer's exit"),
            Departure::Exec => {
                peer.tell(&Command::Exec);
                let name = format!("/proc/{}/comm", peer.pid());
                eventually("the peer is another program", || {
                    let name = std::fs::read_to_string(&name).ok()?;
                    (name.trim_end() == "sleep").then_some(())
                });
            }
        }
        let process = self.make(slot);
        self.processes[slot] = process;
    }
}

/// Listens on some port. One that is free on 127.0.0.1 may be in use on other addresses.
fn listen_anywhere(peer: &mut Peer, ip: IpAddr) -> u16 {
    loop {
        let port = free_address().port();
        let listen = Command::Listen {
            address: SocketAddr::new(ip, port),
            backlog: BACKLOG,
        };
        match peer.ask(&listen) {
            Reply::Address(_) => return port,
            Reply::Failed { errno, .. } if Errno::from_raw(errno) == Errno::EADDRINUSE => {}
            other => panic!("listen: {other:?}"),
        }
    }
}
