//! conn-trace with somebody who reads the messages of connections.

use std::{
    collections::HashSet,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
};

use anyhow::{Context as _, Result, ensure};
use conn_trace::kernel::{Tracer, table::Entry};

use crate::{
    load::{Ends, Load},
    variant::{addresses, conn_trace, counted_all},
};

/// The tracer, and what was read.
pub(crate) struct Traced {
    tracer: Box<Tracer>,
    read: u64,
    /// Whether that are the load's own messages.
    is_own: bool,
    #[expect(dead_code, reason = "kept open until it is dropped")]
    other: Option<[TcpStream; 2]>,
}

impl Traced {
    /// Traces a connection on which nothing moves.
    pub(crate) fn other() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen")?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        let (server, _) = listener.accept()?;
        let ends = Ends {
            client: client.local_addr()?,
            server: server.local_addr()?,
        };
        Self::of(&[ends], Some([client, server]))
    }

    /// Traces the load's own connections.
    pub(crate) fn own(load: &[Ends]) -> Result<Self> {
        Self::of(load, None)
    }

    fn of(ends: &[Ends], other: Option<[TcpStream; 2]>) -> Result<Self> {
        let mut tracer = conn_trace()?;
        // Otherwise an entry is made with the first message only.
        tracer.list_existing()?;
        let wanted: HashSet<(SocketAddr, SocketAddr)> = ends
            .iter()
            .flat_map(|Ends { client, server }| [(*client, *server), (*server, *client)])
            .collect();
        let mut found = 0;
        let table = tracer.table();
        let trace = |entry: Entry| {
            if wanted.contains(&addresses(&entry)) {
                table.set_traced(entry.slot, entry.hot.cookie, entry.hot.generation, true);
                found += 1;
            }
        };
        table.scan(trace, |_detached| ());
        ensure!(
            found == wanted.len(),
            "it knows {found} of {} ends",
            wanted.len()
        );
        Ok(Self {
            tracer: Box::new(tracer),
            read: 0,
            is_own: other.is_none(),
            other,
        })
    }

    /// Takes what is in the ring.
    pub(crate) fn read(&mut self) {
        let read = &mut self.read;
        self.tracer.drain_messages(|_message| *read += 1);
    }

    /// Makes sure that all was counted and told, or said to be lost.
    pub(crate) fn finish(mut self, load: &Load) -> Result<u64> {
        self.read();
        let lost = self.tracer.table().stats().ring_lost_messages;
        let told = self.read + lost;
        let expected = if self.is_own { load.all_events() } else { 0 };
        ensure!(
            told == expected,
            "{} messages told and {lost} lost of {expected}",
            self.read
        );
        counted_all(self.tracer.table(), load).context("conn-trace has miscounted")
    }
}
