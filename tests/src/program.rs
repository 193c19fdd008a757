//! Real servers, started for a test.

use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{sockets::is_listening, wait::eventually};

/// A running server. It is ended when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
}

impl Server {
    /// Starts it, and waits until it listens at `address`, without connecting to it.
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    #[track_caller]
    pub fn start(command: &mut Command, address: SocketAddr) -> Self {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        let mut server = Self { child };
        eventually("the server listens", || {
            let ended = server.child.try_wait().expect("a child");
            assert!(ended.is_none(), "the server ended: {ended:?}");
            is_listening(address).then_some(())
        });
        server
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end.
    ///
    /// # Panics
    /// If it cannot be asked.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).expect("a process id");
        kill(Pid::from_raw(pid), signal).expect("the server runs");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // By SIGTERM, so that it ends its own children; it may have ended itself.
        let _ = kill(
            Pid::from_raw(self.child.id().cast_signed()),
            Signal::SIGTERM,
        );
        let _ = self.child.wait();
    }
}
