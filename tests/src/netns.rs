//! A network namespace of its own.

use std::{
    fs::{self, File},
    net::{TcpListener, TcpStream},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{self, Command, ExitStatus, Stdio},
    thread,
};

use nix::sched::{CloneFlags, setns, unshare};

use crate::{
    peer::{self, Peer},
    wait::eventually_equal,
};

/// A named network namespace, with its loopback up. Deleted when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one; `None` if the machine does not let us.
    #[must_use]
    pub fn new(purpose: &str) -> Option<Self> {
        let namespace = Self {
            name: format!("conn-trace-{}-{purpose}", process::id()),
        };
        let made = ip(&["netns", "add", &namespace.name]).is_some_and(|status| status.success())
            && namespace.run("ip", &["link", "set", "lo", "up"]);
        made.then_some(namespace)
    }

    /// The name by which `ip` knows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Does something inside. A socket stays in the namespace in which it was made.
    ///
    /// # Panics
    /// If that does.
    #[track_caller]
    pub fn inside<T: Send>(&self, action: impl FnOnce() -> T + Send) -> T {
        let enter = || {
            let file = File::open(self.path()).expect("the namespace");
            setns(file, CloneFlags::CLONE_NEWNET).expect("the namespace lets us in");
            action()
        };
        // A thread of its own: entering a namespace is for good.
        thread::scope(|scope| scope.spawn(enter).join()).expect("the action inside")
    }

    /// Sets a value in `/proc/sys/net`; whether the kernel has it.
    #[must_use]
    pub fn set(&self, name: &str, value: &str) -> bool {
        let path = Path::new("/proc/sys/net").join(name);
        self.inside(|| fs::write(path, value).is_ok())
    }

    /// The inode that names it to the kernel.
    ///
    /// # Panics
    /// If it is gone.
    #[must_use]
    pub fn inode(&self) -> u64 {
        fs::metadata(self.path()).expect("the namespace").ino()
    }

    /// The file that stands for it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// Runs a program inside to its end; whether that went well.
    #[must_use]
    pub fn run(&self, program: &str, arguments: &[&str]) -> bool {
        let mut command = self.command(program);
        command.args(arguments).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    /// Starts a peer inside.
    #[must_use]
    pub fn peer(&self, name: &str) -> Peer {
        let program = peer::program();
        let peer = Peer::start_by(self.command(program.to_str().expect("a path")), name);
        // `ip netns exec` becomes the peer, in the same process.
        let path = format!("/proc/{}/comm", peer.pid());
        eventually_equal("the peer runs in the namespace", &name.to_owned(), || {
            fs::read_to_string(&path)
                .unwrap_or_default()
                .trim_end()
                .to_owned()
        });
        peer
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }
}

/// Both ends of a connection in a network namespace, made by this process, which is outside.
///
/// # Panics
/// If it cannot be made.
#[must_use]
pub fn connected_in(namespace: &File) -> (TcpStream, TcpStream) {
    let connect = || {
        setns(namespace, CloneFlags::CLONE_NEWNET).expect("the namespace lets us in");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("an address");
        let client = TcpStream::connect(address).expect("a connection");
        let (server, _) = listener.accept().expect("a connection");
        (client, server)
    };
    // A thread of its own: entering a namespace is for good.
    thread::scope(|scope| scope.spawn(connect).join()).expect("the connection")
}

impl Drop for Namespace {
    fn drop(&mut self) {
        ip(&["netns", "delete", &self.name]);
    }
}

/// The inode of the calling thread's namespace.
///
/// # Panics
/// If the kernel does not say.
#[must_use]
pub fn own_inode() -> u64 {
    let place = Path::new("/proc/thread-self/ns/net");
    fs::metadata(place).expect("a namespace").ino()
}

/// Moves the calling thread, and what it starts from now on, to a new network namespace with its
/// loopback up, which goes away with them. False if the machine does not let us.
#[must_use]
pub fn leave_for_a_new_one() -> bool {
    unshare(CloneFlags::CLONE_NEWNET).is_ok()
        && ip(&["link", "set", "lo", "up"]).is_some_and(|status| status.success())
}

fn ip(arguments: &[&str]) -> Option<ExitStatus> {
    Command::new("ip")
        .args(arguments)
        .stderr(Stdio::null())
        .status()
        .ok()
}
