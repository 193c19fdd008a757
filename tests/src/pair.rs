//! Both ends of connections, each in its own process.

use std::{collections::HashMap, net::SocketAddr};

use crate::{
    peer::Peer,
    protocol::{Counts, End},
};

/// A connection: the same one, as its two processes name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The end that connected.
    pub client: End,
    /// The end that accepted.
    pub server: End,
}

/// Two processes, one of them listening.
#[derive(Debug)]
pub struct Two {
    /// Connects.
    pub client: Peer,
    /// Accepts.
    pub server: Peer,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Two {
    /// Starts `client` and `server`, the latter listening on 127.0.0.1.
    #[must_use]
    pub fn start() -> Self {
        Self::start_on("127.0.0.1:0")
    }

    /// Starts both, the server listening on this address.
    #[must_use]
    pub fn start_on(address: &str) -> Self {
        Self::of(Peer::start("client"), Peer::start("server"), address)
    }

    /// With processes that run already.
    #[must_use]
    pub fn of(client: Peer, mut server: Peer, address: &str) -> Self {
        let address = server.listen(address);
        Self {
            client,
            server,
            address,
        }
    }

    /// Opens a connection.
    #[track_caller]
    pub fn open(&mut self) -> Pair {
        self.open_many(1)[0]
    }

    /// Opens connections.
    #[track_caller]
    pub fn open_many(&mut self, count: u32) -> Vec<Pair> {
        self.open_to(self.address, count)
    }

    /// Opens connections to another address of the same listener.
    #[track_caller]
    pub fn open_to(&mut self, address: SocketAddr, count: u32) -> Vec<Pair> {
        // In parts that the queue of the listener takes.
        const PART: u32 = 100;
        let mut pairs = Vec::new();
        let mut left = count;
        while left > 0 {
            let part = left.min(PART);
            let clients = self.client.connect(address, part);
            pairs.extend(matched(clients, self.server.accept(part)));
            left -= part;
        }
        pairs
    }

    /// Sends from client to server, and takes it there: in chunks of so many bytes each.
    #[track_caller]
    pub fn forth(&mut self, pair: &Pair, bytes: u64, chunk: u64) {
        self.client.send(&pair.client, bytes, chunk);
        self.server.receive(&pair.server, bytes, chunk);
    }

    /// Sends from server to client, likewise.
    #[track_caller]
    pub fn back(&mut self, pair: &Pair, bytes: u64, chunk: u64) {
        self.server.send(&pair.server, bytes, chunk);
        self.client.receive(&pair.client, bytes, chunk);
    }

    /// What both processes counted: client, server.
    #[track_caller]
    pub fn reports(&mut self, pair: &Pair) -> (Counts, Counts) {
        (
            self.client.report(&pair.client),
            self.server.report(&pair.server),
        )
    }
}

/// Finds the two ends of each connection, by their addresses.
///
/// # Panics
/// If some end has no other.
#[must_use]
#[track_caller]
pub fn matched(clients: Vec<End>, servers: Vec<End>) -> Vec<Pair> {
    let by_peer: HashMap<_, _> = servers
        .into_iter()
        .map(|server| ((server.peer, server.local), server))
        .collect();
    clients
        .into_iter()
        .map(|client| Pair {
            client,
            server: by_peer[&(client.local, client.peer)],
        })
        .collect()
}
