//! Connections that come and go: connect, accept and close on loopback.

use std::net::{Ipv4Addr, TcpListener, TcpStream};

use anyhow::{Context as _, Result, ensure};
use conn_trace::kernel::Tracer;
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

/// Connections that are timed together; a window's result is the median of its pieces.
const PIECE: u32 = 100;

/// What is compared.
pub(crate) const VARIANTS: [Variant; 3] = [Variant::None, Variant::NoneAgain, Variant::ConnTrace];

/// Gives the CPU time of one socket under a variant, in ns, and makes sure that conn-trace has seen
/// all of them.
pub(crate) fn measure(variant: Variant, cpu: usize) -> Result<f64> {
    // The table takes any number of connections one after the other.
    match variant.attach(0, &[])? {
        Attached::ConnTrace(mut tracer) => {
            let drain = || _ = tracer.drain(drop);
            let ns = on_cpu_while(cpu, run, drain)?;
            seen_all(&tracer)?;
            Ok(ns)
        }
        _other => on_cpu(cpu, run),
    }
}

/// Gives the CPU time of one socket in a window, after a warm-up.
fn run() -> Result<f64> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen")?;
    for _ in 0..WARM_UP {
        open_and_close(&listener)?;
    }
    let mut pieces = Vec::new();
    for _ in 0..CONNECTIONS / PIECE {
        let start = cpu_time()?;
        for _ in 0..PIECE {
            open_and_close(&listener)?;
        }
        let took = cpu_time()? - start;
        // A connection has two ends.
        pieces.push(took.as_nanos() as f64 / f64::from(2 * PIECE));
    }
    Ok(median(pieces))
}

/// The server ends the connection. The client then closes with a reset, so that no socket in
/// TIME_WAIT stays behind: tens of thousands of them would slow later windows down.
fn open_and_close(listener: &TcpListener) -> Result<()> {
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
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
    let sockets = u64::from(2 * (WARM_UP + CONNECTIONS));
    // Other programs' connections are among them.
    ensure!(
        stats.opened >= sockets && stats.closed >= sockets && stats.untracked == 0,
        "conn-trace has not seen all {sockets} sockets: {stats:?}"
    );
    let lost = stats.ring_lost + stats.ring_lost_closed;
    ensure!(lost == 0, "{lost} records found no room in the ring");
    Ok(())
}
