//! The load: small messages over TCP pairs of one process on loopback.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::{random::Random, stats::median, thread::cpu_time};

/// Small, so that the kernel's own work on a message is as short as it gets.
pub(crate) const MESSAGE_BYTES: usize = 64;

/// Send calls before each measured window: the caches and the CPU's clock settle, and the hooks
/// meet every socket.
const WARM_UP_LOOPS: usize = 20_000;

/// Between warm-up and measuring, and well above TCP's shortest retransmission timeout of 200 ms:
/// a receiver that was idle for longer acknowledges the next 16 messages at once, without timers
/// (`tcp_event_data_recv` in net/ipv4/tcp_input.c). Attaching takes longer for some variants than
/// for others; without this pause those would look some 300 ns faster.
const PAUSE: Duration = Duration::from_millis(500);

/// Visits that are timed together. A window's result is the median of its pieces, which an
/// interrupt or another program's burst does not move.
const PIECE: usize = 500;

/// Pairs on one listening address: well below the usual 28,000 ports for outgoing connections.
const PAIRS_PER_ADDRESS: usize = 10_000;

/// Both ends of a connection.
struct Pair {
    client: TcpStream,
    server: TcpStream,
}

/// Where a connection lies, as its client sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) client: SocketAddr,
    pub(crate) server: SocketAddr,
}

/// What both ends of a connection have done: one sent, the other received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    /// Messages in the last window and its warm-up.
    pub(crate) messages: u64,
    /// Bytes since the connection was opened.
    pub(crate) bytes: u64,
}

/// Open connections, and the order in which they are used.
pub(crate) struct Load {
    pairs: Vec<Pair>,
    ends: Vec<Ends>,
    warm_up: Vec<u32>,
    order: Vec<u32>,
    runs: u64,
}

impl Load {
    /// Opens the connections and makes an order of at least `loops` visits, every pair as often.
    pub(crate) fn open(pairs: usize, loops: usize, random: &mut Random) -> Result<Self> {
        let mut load = Self {
            pairs: Vec::with_capacity(pairs),
            ends: Vec::with_capacity(pairs),
            warm_up: passes(pairs, WARM_UP_LOOPS, random),
            order: passes(pairs, loops, random),
            runs: 0,
        };
        let mut address = u32::from(Ipv4Addr::LOCALHOST);
        while load.pairs.len() < pairs {
            let listener = TcpListener::bind((Ipv4Addr::from(address), 0))
                .context("cannot listen on loopback")?;
            let server = listener.local_addr()?;
            let more = (pairs - load.pairs.len()).min(PAIRS_PER_ADDRESS);
            for _ in 0..more {
                let pair = connect(&listener, server).with_context(|| {
                    format!("cannot open connection {} of {pairs}", load.pairs.len() + 1)
                })?;
                load.ends.push(Ends {
                    client: pair.client.local_addr()?,
                    server,
                });
                load.pairs.push(pair);
            }
            address += 1;
        }
        Ok(load)
    }

    /// Warms up, then uses the connections in their order. Gives the CPU time of one event in ns.
    pub(crate) fn run(&mut self) -> Result<f64> {
        self.runs += 1;
        visit(&mut self.pairs, &self.warm_up)?;
        thread::sleep(PAUSE);
        let mut pieces = Vec::with_capacity(self.order.len().div_ceil(PIECE));
        for piece in self.order.chunks(PIECE) {
            let start = cpu_time()?;
            visit(&mut self.pairs, piece)?;
            let took = cpu_time()? - start;
            pieces.push(took.as_nanos() as f64 / (2 * piece.len()) as f64);
        }
        Ok(median(pieces))
    }

    /// One byte from each client to its server.
    pub(crate) fn send_byte(&mut self) -> Result<()> {
        for Pair { client, server } in &mut self.pairs {
            client.write_all(b"G")?;
            server.read_exact(&mut [0])?;
        }
        Ok(())
    }

    /// Message events in a window and its warm-up: each visit is a send and a receive.
    pub(crate) fn all_events(&self) -> u64 {
        2 * (self.warm_up.len() + self.order.len()) as u64
    }

    /// Bytes sent and bytes received by them.
    pub(crate) fn all_bytes(&self) -> u64 {
        self.all_events() * MESSAGE_BYTES as u64
    }

    /// Where each connection lies.
    pub(crate) fn ends(&self) -> &[Ends] {
        &self.ends
    }

    /// What each connection has done: all the same, by the way the orders are made.
    pub(crate) fn done(&self) -> Done {
        let messages = self.all_events() / 2 / self.pairs.len() as u64;
        Done {
            messages,
            bytes: messages * self.runs * MESSAGE_BYTES as u64,
        }
    }
}

/// Random orders of all pairs, one after the other, until there are enough visits.
fn passes(pairs: usize, at_least: usize, random: &mut Random) -> Vec<u32> {
    let mut all: Vec<u32> = (0..pairs as u32).collect();
    let mut order = Vec::with_capacity(at_least + pairs);
    while order.len() < at_least {
        random.shuffle(&mut all);
        order.extend(&all);
    }
    order
}

fn connect(listener: &TcpListener, server: SocketAddr) -> Result<Pair> {
    let client = TcpStream::connect(server)?;
    // Nothing travels back that would acknowledge: Nagle's algorithm would wait for 40 ms.
    client.set_nodelay(true)?;
    let (server, _) = listener.accept()?;
    Ok(Pair { client, server })
}

/// One send and one receive on each pair of the order.
fn visit(pairs: &mut [Pair], order: &[u32]) -> Result<()> {
    let sent = [0x55; MESSAGE_BYTES];
    let mut received = [0; MESSAGE_BYTES];
    for index in order {
        let pair = &mut pairs[*index as usize];
        let moved = (pair.client.write(&sent)?, pair.server.read(&mut received)?);
        // A message in parts would be more events than were asked for.
        ensure!(
            moved == (MESSAGE_BYTES, MESSAGE_BYTES),
            "a message of {MESSAGE_BYTES} bytes was moved in parts: {moved:?}"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_visits_every_pair_as_often() {
        let order = passes(3, 10, &mut Random::new(1));
        assert_eq!(order.len(), 12);
        for pair in 0..3 {
            assert_eq!(order.iter().filter(|visit| **visit == pair).count(), 4);
        }
    }

    #[test]
    fn what_was_done_is_known() {
        let mut load = Load::open(3, 10, &mut Random::new(1)).expect("loopback works");
        load.run().expect("it runs");
        load.run().expect("it runs");
        let visits = 6667 + 4;
        assert_eq!(load.order.len(), 12);
        assert_eq!(load.all_events(), 2 * 3 * visits);
        assert_eq!(
            load.done(),
            Done {
                messages: visits,
                bytes: 2 * visits * 64,
            }
        );
    }
}
