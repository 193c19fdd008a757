//! Connections that come and go: connect, accept and close on loopback.

use std::{
    fmt,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
};

use anyhow::{Context as _, Result, ensure};
use conn_trace::kernel::{Tracer, ring::Record};
use nix::sys::socket::{setsockopt, sockopt::Linger};

use crate::{
    stats::median,
    thread::{cpu_time, on_cpu, on_cpu_while},
    variant::{Attached, Variant},
};

/// Connections in a measured window.
const CONNECTIONS: u32 = 3_000;

/// Connections before it.
const WARM_UP: u32 = 300;

/// A connection has two ends.
const SOCKETS: u64 = 2 * (WARM_UP + CONNECTIONS) as u64;

/// Connections that are timed together; a window's result is the median of its pieces.
const PIECE: u32 = 100;

/// What the client sends: classified by its first bytes, and in full.
const REQUEST: &[u8] = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";

/// Whether there is one on each connection.
#[derive(Clone, Copy)]
pub(crate) enum Request {
    None,
    One,
}

impl Request {
    /// What is compared.
    pub(crate) fn variants(self) -> &'static [Variant] {
        match self {
            Self::None => &[Variant::None, Variant::NoneAgain, Variant::ConnTrace],
            Self::One => &[
                Variant::None,
                Variant::NoneAgain,
                Variant::ConnTrace,
                Variant::FirstBytes,
            ],
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "without a message",
            Self::One => "one request on each",
        })
    }
}

/// Gives the CPU time of one socket under a variant, in ns, and makes sure that conn-trace has seen
/// all of them.
pub(crate) fn measure(variant: Variant, request: Request, cpu: usize) -> Result<f64> {
    let run = || run(request);
    // The table takes any number of connections one after the other.
    match variant.attach(0, &[])? {
        Attached::ConnTrace(mut tracer) => {
            let mut told = 0;
            let mut take = |record| told += u64::from(matches!(record, Record::FirstBytes(_)));
            let ns = on_cpu_while(cpu, run, || _ = tracer.drain(&mut take))?;
            tracer.drain(&mut take);
            seen_all(&tracer)?;
            let wanted = u64::from(variant == Variant::FirstBytes) * SOCKETS / 2;
            // Other programs' are among them.
            ensure!(
                told >= wanted && (wanted > 0 || told == 0),
                "first bytes of {told} connections, {wanted} wanted"
            );
            Ok(ns)
        }
        _other => on_cpu(cpu, run),
    }
}

/// Gives the CPU time of one socket in a window, after a warm-up.
fn run(request: Request) -> Result<f64> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen")?;
    for _ in 0..WARM_UP {
        open_and_close(&listener, request)?;
    }
    let mut pieces = Vec::new();
    for _ in 0..CONNECTIONS / PIECE {
        let start = cpu_time()?;
        for _ in 0..PIECE {
            open_and_close(&listener, request)?;
        }
        let took = cpu_time()? - start;
        // A connection has two ends.
        pieces.push(took.as_nanos() as f64 / f64::from(2 * PIECE));
    }
    Ok(median(pieces))
}

/// The server ends the connection. The client then closes with a reset, so that no socket in
/// TIME_WAIT stays behind: tens of thousands of them would slow later windows down.
fn open_and_close(listener: &TcpListener, request: Request) -> Result<()> {
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    if matches!(request, Request::One) {
        client.write_all(REQUEST)?;
        server.read_exact(&mut [0; REQUEST.len()])?;
    }
    let at_once = nix::libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(&client, Linger, &at_once)?;
    drop(server);
    drop(client);
    Ok(())
}

fn seen_all(tracer: &Tracer) -> Result<()> {
    let stats = tracer.table().stats();
    // Other programs' connections are among them.
    ensure!(
        stats.opened >= SOCKETS && stats.closed >= SOCKETS && stats.untracked == 0,
        "conn-trace has not seen all {SOCKETS} sockets: {stats:?}"
    );
    let lost = stats.ring_lost + stats.ring_lost_closed;
    ensure!(lost == 0, "{lost} records found no room in the ring");
    Ok(())
}
