//! A process that is one end of connections and does what it is told.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command as Process, ExitStatus, Stdio},
};

use crate::{
    protocol::{Command, Counts, End, ReceiveWay, Reply, Way},
    wait::eventually,
};

/// More than any test leaves in the queue.
const BACKLOG: i32 = 1024;

/// A running peer. It is killed when dropped.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    commands: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
    /// Name of the process (`comm`).
    pub name: String,
}

impl Peer {
    /// Starts a process with this name.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start(name: &str) -> Self {
        Self::start_by(Process::new(program()), name)
    }

    /// Starts one whose sockets are MPTCP's.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start_mptcp(name: &str) -> Self {
        let mut command = Process::new(program());
        command.arg("--mptcp");
        Self::start_by(command, name)
    }

    /// Starts it by a command that ends in running the peer, such as `ip netns exec NAME peer`.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start_by(mut command: Process, name: &str) -> Self {
        let mut child = command
            .args(["--name", name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the peer starts");
        Self {
            commands: child.stdin.take(),
            replies: BufReader::new(child.stdout.take().expect("a pipe")),
            child,
            name: name.to_owned(),
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a command whose reply is taken later with [`reply`](Self::reply).
    ///
    /// # Panics
    /// If the peer has gone.
    pub fn tell(&mut self, command: &Command) {
        let pipe = self.commands.as_mut().expect("the peer runs");
        let mut line = serde_json::to_vec(command).expect("a command");
        line.push(b'\n');
        pipe.write_all(&line).expect("the peer listens");
    }

    /// The next reply.
    ///
    /// # Panics
    /// If the peer has gone.
    pub fn reply(&mut self) -> Reply {
        let mut line = String::new();
        self.replies.read_line(&mut line).expect("a pipe");
        assert!(!line.is_empty(), "peer {} has gone", self.name);
        serde_json::from_str(&line).expect("a reply")
    }

    /// Does the command and gives the reply.
    pub fn ask(&mut self, command: &Command) -> Reply {
        self.tell(command);
        self.reply()
    }

    /// Listens and gives the address.
    #[track_caller]
    pub fn listen(&mut self, address: &str) -> SocketAddr {
        let address = address.parse().expect("an address");
        match self.ask(&Command::Listen {
            address,
            backlog: BACKLOG,
        }) {
            Reply::Address(address) => address,
            other => panic!("{}: listen: {other:?}", self.name),
        }
    }

    /// Listens on 127.0.0.1 with a queue for one connection, and gives the address.
    #[track_caller]
    pub fn listen_for_one(&mut self) -> SocketAddr {
        let address = (Ipv4Addr::LOCALHOST, 0).into();
        match self.ask(&Command::Listen {
            address,
            backlog: 0,
        }) {
            Reply::Address(address) => address,
            other => panic!("{}: listen: {other:?}", self.name),
        }
    }

    /// Takes connections from the queue.
    #[track_caller]
    pub fn accept(&mut self, count: u32) -> Vec<End> {
        self.ends(&Command::Accept { count })
    }

    /// Opens connections.
    #[track_caller]
    pub fn connect(&mut self, address: SocketAddr, count: u32) -> Vec<End> {
        let from = None;
        self.ends(&Command::Connect {
            address,
            from,
            count,
        })
    }

    /// Opens a connection from this address and port.
    #[track_caller]
    pub fn connect_from(&mut self, from: SocketAddr, address: SocketAddr) -> End {
        self.ends(&Command::Connect {
            address,
            from: Some(from),
            count: 1,
        })[0]
    }

    /// Sends in chunks.
    #[track_caller]
    pub fn send(&mut self, end: &End, bytes: u64, chunk: u64) -> Counts {
        self.send_by(end, bytes, Way::Send { chunk })
    }

    /// Sends in some way.
    #[track_caller]
    pub fn send_by(&mut self, end: &End, bytes: u64, way: Way) -> Counts {
        let moved = self.moved(&Command::Send {
            id: end.id,
            bytes,
            way,
        });
        assert_eq!(moved.out_bytes, bytes, "the peer's own count");
        moved
    }

    /// Receives exactly so much.
    #[track_caller]
    pub fn receive(&mut self, end: &End, bytes: u64, chunk: u64) -> Counts {
        let id = end.id;
        let moved = self.moved(&Command::Receive { id, bytes, chunk });
        assert_eq!(moved.in_bytes, bytes, "the peer's own count");
        moved
    }

    /// Receives exactly so much in some way.
    #[track_caller]
    pub fn receive_by(&mut self, end: &End, bytes: u64, way: ReceiveWay) -> Counts {
        let id = end.id;
        self.moved(&Command::ReceiveBy { id, bytes, way })
    }

    /// Receives to the end of the stream.
    #[track_caller]
    pub fn receive_to_end(&mut self, end: &End) -> Counts {
        self.moved(&Command::ReceiveToEnd { id: end.id })
    }

    /// Closes.
    #[track_caller]
    pub fn close(&mut self, ends: &[End]) {
        let ids = ends.iter().map(|end| end.id).collect();
        self.done(&Command::Close { ids });
    }

    /// Closes by a reset.
    #[track_caller]
    pub fn reset(&mut self, end: &End) {
        self.done(&Command::Reset { id: end.id });
    }

    /// Everything moved over a connection, as the process counted it.
    #[track_caller]
    pub fn report(&mut self, end: &End) -> Counts {
        self.counts(&Command::Report { id: end.id })
    }

    /// A command that gives counts.
    #[track_caller]
    pub fn counts(&mut self, command: &Command) -> Counts {
        self.tell(command);
        self.counted()
    }

    /// The counts that a command told earlier gives.
    #[track_caller]
    pub fn counted(&mut self) -> Counts {
        match self.reply() {
            Reply::Counts(counts) => counts,
            other => panic!("{}: {other:?}", self.name),
        }
    }

    /// A command that moves data.
    #[track_caller]
    pub fn moved(&mut self, command: &Command) -> Counts {
        match self.ask(command) {
            Reply::Moved(counts) => counts,
            other => panic!("{}: {command:?}: {other:?}", self.name),
        }
    }

    /// A command that gives connections.
    #[track_caller]
    pub fn ends(&mut self, command: &Command) -> Vec<End> {
        match self.ask(command) {
            Reply::Ends(ends) => ends,
            other => panic!("{}: {command:?}: {other:?}", self.name),
        }
    }

    /// A command that gives nothing.
    #[track_caller]
    pub fn done(&mut self, command: &Command) {
        match self.ask(command) {
            Reply::Done => {}
            other => panic!("{}: {command:?}: {other:?}", self.name),
        }
    }

    /// A command that fails; gives the error's number.
    #[track_caller]
    pub fn failure(&mut self, command: &Command) -> i32 {
        match self.ask(command) {
            Reply::Failed { errno, .. } => errno,
            other => panic!("{}: {command:?}: {other:?}", self.name),
        }
    }

    /// Waits until a command told earlier sleeps in the kernel, in a socket call.
    ///
    /// # Panics
    /// If it does not.
    pub fn wait_until_blocked(&self) {
        let place = format!("/proc/{}/wchan", self.pid());
        eventually("the peer sleeps in a socket call", || {
            let place = std::fs::read_to_string(&place).ok()?;
            // Otherwise it runs (`0`) or waits for a command (`pipe_read`).
            (!place.contains("pipe") && place != "0").then_some(())
        });
    }

    /// Ends it with SIGKILL and waits until it is gone.
    ///
    /// # Panics
    /// If it cannot be waited for.
    pub fn kill(&mut self) {
        self.child.kill().expect("a signal");
        self.child.wait().expect("the peer's end");
    }

    /// Lets it end by itself, with its connections open.
    ///
    /// # Panics
    /// If it cannot be waited for.
    pub fn exit(&mut self) -> ExitStatus {
        self.tell(&Command::Exit);
        self.child.wait().expect("the peer's end")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, which cargo puts two levels above the test programs' own files.
///
/// # Panics
/// If the test program does not know where it is.
#[must_use]
pub fn program() -> PathBuf {
    let test = env::current_exe().expect("own path");
    let directory = test.ancestors().nth(2).expect("target/<profile>/deps");
    directory.join("conn-trace-peer")
}
