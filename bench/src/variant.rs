//! What sits on the message hooks while a window is measured.

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use anyhow::{Context as _, Result, bail, ensure};
use conn_trace::kernel::{
    Options, Tracer,
    floor::Floor,
    table::{Entry, Table},
};
use serde::Serialize;

use crate::{
    bpftrace::Bpftrace,
    load::{Ends, Load},
    traced::Traced,
};

/// The agent's own default, so that its table is as large as with users.
const MAX_CONNECTIONS: u32 = 65_536;

/// Something that can be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Variant {
    /// No hook: what every other variant is compared with.
    None,
    /// The same once more: how much two equal windows differ on this machine.
    NoneAgain,
    /// Empty programs: what no program on these hooks can go below.
    Floor,
    /// conn-trace's programs.
    ConnTrace,
    /// The same, while somebody reads the messages of another connection.
    TracedOther,
    /// The same, while somebody reads the messages of the load's own connections.
    TracedOwn,
    /// The same, while first bytes are wanted of all connections that open from now on.
    FirstBytes,
    /// A bpftrace script that keeps the same counters.
    Bpftrace,
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::NoneAgain => "none again",
            Self::Floor => "floor",
            Self::ConnTrace => "conn-trace",
            Self::TracedOther => "traced else",
            Self::TracedOwn => "traced",
            Self::FirstBytes => "first bytes",
            Self::Bpftrace => "bpftrace",
        })
    }
}

/// A variant in place. Dropping it takes it away.
pub(crate) enum Attached {
    Nothing,
    Floor(#[expect(dead_code, reason = "held until it is dropped")] Floor),
    ConnTrace(Box<Tracer>),
    Traced(Traced),
    Bpftrace(Bpftrace),
}

impl Variant {
    /// Whether its counters are compared with the load, event by event.
    pub(crate) fn counts(self) -> bool {
        matches!(
            self,
            Self::ConnTrace | Self::TracedOther | Self::TracedOwn | Self::FirstBytes
        )
    }

    /// Puts it on the hooks.
    pub(crate) fn attach(self, pairs: usize, load: &[Ends]) -> Result<Attached> {
        Ok(match self {
            Self::None | Self::NoneAgain => Attached::Nothing,
            Self::Floor => Attached::Floor(Floor::attach()?),
            Self::ConnTrace => Attached::ConnTrace(Box::new(conn_trace()?)),
            Self::TracedOther => Attached::Traced(Traced::other()?),
            Self::TracedOwn => Attached::Traced(Traced::own(load)?),
            Self::FirstBytes => {
                let tracer = conn_trace()?;
                tracer.table().want_first_bytes(|_| true, |_| true);
                Attached::ConnTrace(Box::new(tracer))
            }
            // Its maps have to hold other programs' sockets too.
            Self::Bpftrace => Attached::Bpftrace(Bpftrace::attach(2 * pairs)?),
        })
    }
}

impl Attached {
    /// Makes sure that it has counted what `load` did, and takes it away.
    ///
    /// Gives the number of the load's events that conn-trace has counted.
    pub(crate) fn finish(self, load: &Load) -> Result<u64> {
        match self {
            Self::Nothing | Self::Floor(_) => Ok(0),
            Self::ConnTrace(tracer) => {
                counted_all(tracer.table(), load).context("conn-trace has miscounted")
            }
            Self::Traced(traced) => traced.finish(load),
            Self::Bpftrace(running) => {
                let counted = running.finish()?;
                let (messages, bytes) = (load.all_events(), load.all_bytes());
                // It counts other programs' messages too, and cannot tell which socket is whose.
                ensure!(
                    counted.messages >= messages && counted.bytes >= bytes,
                    "bpftrace has counted {counted:?} of {messages} messages, {bytes} bytes"
                );
                Ok(0)
            }
        }
    }
}

/// conn-trace's programs, attached.
pub(crate) fn conn_trace() -> Result<Tracer> {
    let mut tracer = Tracer::load(Options {
        max_connections: MAX_CONNECTIONS,
        kernel_log: false,
        variant: None,
    })?;
    tracer.attach()?;
    Ok(tracer)
}

/// Compares the counters of both ends of every connection with what was done; gives their sum.
pub(crate) fn counted_all(table: &Table, load: &Load) -> Result<u64> {
    let mut events = 0;
    let mut entries = HashMap::new();
    table.scan(
        |entry| _ = entries.insert(addresses(&entry), entry),
        |_detached| (),
    );
    let done = load.done();
    for Ends { client, server } in load.ends() {
        let (Some(sender), Some(receiver)) = (
            entries.get(&(*client, *server)),
            entries.get(&(*server, *client)),
        ) else {
            bail!("it does not know the connection {client} to {server}");
        };
        let [sender, receiver] = [sender.hot, receiver.hot];
        let moved = [sender.out_msgs, receiver.in_msgs];
        let moved_bytes = [sender.out_bytes, receiver.in_bytes];
        let unmoved = [
            sender.in_msgs,
            sender.in_bytes,
            receiver.out_msgs,
            receiver.out_bytes,
        ];
        ensure!(
            moved == [done.messages; 2] && moved_bytes == [done.bytes; 2] && unmoved == [0; 4],
            "connection {client} to {server}: {done:?}, but {sender:?}, {receiver:?}"
        );
        events += moved.iter().sum::<u64>();
    }
    Ok(events)
}

/// Local and peer address; the load uses IPv4 alone.
pub(crate) fn addresses(entry: &Entry) -> (SocketAddr, SocketAddr) {
    let address = |bytes: &[u8; 16], port| {
        let [a, b, c, d, ..] = *bytes;
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), port)
    };
    let cold = &entry.cold;
    (
        address(&cold.local_address, cold.local_port),
        address(&cold.peer_address, cold.peer_port),
    )
}
