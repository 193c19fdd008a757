//! The agent under test, started as its users start it.

use std::{
    collections::HashMap,
    env,
    ffi::OsString,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    process::{self, Child, Command, ExitStatus, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::de::DeserializeOwned;
use tempfile::NamedTempFile;

use crate::{
    connz::{Page, Row, Varz},
    http::{Answer, Client},
    protocol::End,
    wait::{eventually, eventually_equal},
};

/// `cargo xtask test` names the program in it.
const PROGRAM: &str = "CONN_TRACE_BIN";
/// More rows than any test has.
const ALL: u64 = 1_000_000;

/// The program under test.
///
/// # Panics
/// If the variable is missing.
#[must_use]
pub fn program() -> PathBuf {
    let path = env::var_os(PROGRAM);
    assert!(
        path.is_some(),
        "{PROGRAM} has to name the conn-trace to test"
    );
    path.unwrap_or_default().into()
}

/// A running agent. It is killed when dropped.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    client: Client,
    log: NamedTempFile,
    /// Whose rows have been seen, by `cid`: the kernel may choose a port again within seconds on loopback
    /// (`net.ipv4.tcp_tw_reuse`), and then ends that differ have the same addresses.
    seen: Mutex<HashMap<u64, u32>>,
}

impl Agent {
    /// Starts it and waits until it is healthy. It remembers more closed connections than by
    /// default, so that those of other programs of the host do not push out those of the test.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with(&["--closed-history", "300000"])
    }

    /// Starts it with arguments and waits until it is healthy.
    ///
    /// # Panics
    /// If it ends or does not become healthy.
    #[must_use]
    #[track_caller]
    pub fn start_with(arguments: &[&str]) -> Self {
        Self::start_by(Command::new(program()), arguments)
    }

    /// Starts it by a command that ends in running it.
    ///
    /// # Panics
    /// If it ends or does not become healthy.
    #[must_use]
    #[track_caller]
    pub fn start_by(command: Command, arguments: &[&str]) -> Self {
        let agent = Self::spawn(command, arguments);
        agent.wait_until(&[200])
    }

    /// Starts it with arguments and waits until it answers, healthy or not.
    ///
    /// # Panics
    /// If it ends or does not answer.
    #[must_use]
    #[track_caller]
    pub fn start_unhealthy(arguments: &[&str]) -> Self {
        let agent = Self::spawn(Command::new(program()), arguments);
        agent.wait_until(&[200, 503])
    }

    /// Ends it by SIGTERM, and starts it anew at the same address with these arguments, after something
    /// that it does not see.
    ///
    /// # Panics
    /// If it does not end well, or does not become healthy.
    #[must_use]
    #[track_caller]
    pub fn restart(self, meanwhile: impl FnOnce(), arguments: &[&str]) -> Self {
        let address = self.address;
        self.stop();
        meanwhile();
        Self::spawn_at(address, Command::new(program()), arguments).wait_until(&[200])
    }

    #[track_caller]
    fn spawn(command: Command, arguments: &[&str]) -> Self {
        Self::spawn_at(free_address(), command, arguments)
    }

    #[track_caller]
    fn spawn_at(address: SocketAddr, mut command: Command, arguments: &[&str]) -> Self {
        let log = NamedTempFile::new().expect("a file for the log");
        let child = command
            .args(["agent", "--listen", &address.to_string()])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.reopen().expect("a descriptor"))
            .spawn()
            .expect("the agent starts");
        Self {
            child,
            address,
            client: Client::new(address),
            log,
            seen: Mutex::default(),
        }
    }

    /// Waits for `/healthz` with one of these status codes.
    #[track_caller]
    fn wait_until(mut self, statuses: &[u16]) -> Self {
        eventually("the agent is healthy", || {
            let ended = self.child.try_wait().expect("a child");
            assert!(ended.is_none(), "the agent ended: {ended:?}");
            let answer = self.client.get("/healthz").ok()?;
            statuses.contains(&answer.status).then_some(())
        });
        self
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard error.
    ///
    /// # Panics
    /// If the file cannot be read.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log.path()).expect("a text")
    }

    /// The answer to `GET`, of whatever status.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.client.get(path).expect("an answer")
    }

    /// The client, for other methods and for errors.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// `/connz` with this query string.
    #[track_caller]
    pub fn connz(&self, query: &str) -> Page {
        self.json(&format!("/connz?{query}"))
    }

    /// All rows that this query string finds, on one page.
    #[track_caller]
    pub fn rows(&self, query: &str) -> Vec<Row> {
        let page = self.connz(&format!("{query}&limit={ALL}"));
        assert_eq!(
            page.connections.len() as u64,
            page.total,
            "rows on one page"
        );
        page.connections
    }

    /// `/varz`.
    #[track_caller]
    pub fn varz(&self) -> Varz {
        self.json("/varz")
    }

    #[track_caller]
    fn json<T: DeserializeOwned>(&self, path: &str) -> T {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        serde_json::from_str(&answer.body)
            .unwrap_or_else(|error| panic!("{path}: {error}: {}", answer.body))
    }

    /// Rows of this end, in the states that `state` means.
    #[track_caller]
    pub fn rows_of(&self, end: &End, state: &str) -> Vec<Row> {
        let (local, peer) = (end.local, end.peer);
        self.rows(&format!(
            "state={state}&local_ip={}&local_port={}&ip={}&port={}",
            local.ip(),
            local.port(),
            peer.ip(),
            peer.port()
        ))
    }

    /// The same without those that are known to be another end's.
    #[track_caller]
    fn own_rows_of(&self, end: &End, state: &str) -> Vec<Row> {
        let mut rows = self.rows_of(end, state);
        let seen = self.seen.lock().expect("no test has failed meanwhile");
        rows.retain(|row| seen.get(&row.cid).is_none_or(|id| *id == end.id));
        rows
    }

    /// The one row of an end that is open.
    #[track_caller]
    pub fn open(&self, end: &End) -> Row {
        self.one(end, "open")
    }

    /// The one row of an end.
    #[track_caller]
    pub fn one(&self, end: &End, state: &str) -> Row {
        let mut rows = self.own_rows_of(end, state);
        let brief: Vec<_> = rows.iter().map(brief).collect();
        assert_eq!(
            rows.len(),
            1,
            "{state} rows of {end:?}: {brief:?}; {:?}\n{rows:#?}",
            self.varz().conn_trace
        );
        let row = rows.remove(0);
        let mut seen = self.seen.lock().expect("no test has failed meanwhile");
        seen.insert(row.cid, end.id);
        row
    }

    /// Waits until an end is closed, and gives its one row.
    #[track_caller]
    pub fn closed(&self, end: &End) -> Row {
        eventually_equal("open rows of a closed end", &0, || {
            self.own_rows_of(end, "open").len()
        });
        let row = self.one(end, "closed");
        assert_eq!(row.state, "CLOSED", "{row:#?}");
        let stop = row.stop.expect("a closed row has a stop");
        assert!(row.start <= stop, "{row:#?}");
        assert!(row.start <= row.last_activity, "{row:#?}");
        assert!(row.last_activity <= stop, "{row:#?}");
        assert!(
            row.reason.as_ref().is_some_and(|text| !text.is_empty()),
            "{row:#?}"
        );
        row
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If it has gone.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).expect("a process id");
        kill(Pid::from_raw(pid), signal).expect("the agent runs");
    }

    /// Stops it in its tracks, until [`thaw`](Self::thaw), and waits until all its threads stand.
    ///
    /// # Panics
    /// If they do not.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
        let tasks = format!("/proc/{}/task", self.pid());
        eventually("all threads of the agent are stopped", || {
            fs::read_dir(&tasks)
                .ok()?
                .flatten()
                .all(|task| {
                    let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
                    stat.rsplit_once(") ")
                        .is_some_and(|(_, rest)| rest.starts_with('T'))
                })
                .then_some(())
        });
    }

    /// Lets it go on. On a slow machine it has stood longer than it keeps an idle connection, so
    /// that it is asked over another one.
    pub fn thaw(&mut self) {
        self.client = Client::new(self.address);
        self.signal(Signal::SIGCONT);
    }

    /// Waits for its end after a signal.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        eventually("the agent ends", || self.child.try_wait().expect("a child"))
    }

    /// Ends it by SIGTERM and sees that it ended well.
    #[track_caller]
    pub fn stop(mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.wait();
        assert!(status.success(), "{status}: {}", self.log());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("log of the agent:\n{}", self.log());
        }
    }
}

/// An address of this host that nobody uses. Its port is below those that the kernel gives to
/// outgoing connections (from 32768), so that none of these takes it before the server does.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn free_address() -> SocketAddr {
    const FIRST: u16 = 12_000;
    const COUNT: u32 = 20_000;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    (0..COUNT)
        .map(|_| {
            // Test programs that run at the same time begin at different places.
            let next = process::id().wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
            FIRST + u16::try_from(next % COUNT).expect("a port")
        })
        .find_map(|port| {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port))
                .ok()?
                .local_addr()
                .ok()
        })
        .expect("a free port")
}

/// What tells rows of one end apart, on a line that fits into a summary.
fn brief(row: &Row) -> String {
    let Row {
        cid,
        direction,
        state,
        start,
        stop,
        close_cause,
        preexisting,
        ..
    } = row;
    format!("{cid} {direction} {state} {start} to {stop:?} {close_cause:?} {preexisting}")
}

/// Runs the program to its end with these arguments: status, standard output, standard error.
///
/// # Panics
/// If it does not start.
#[must_use]
pub fn run(mut command: Command, arguments: &[&str]) -> (ExitStatus, String, String) {
    let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
    let output = command
        .args(arguments)
        .output()
        .expect("the program starts");
    (
        output.status,
        String::from_utf8(output.stdout).expect("a text"),
        String::from_utf8(output.stderr).expect("a text"),
    )
}
