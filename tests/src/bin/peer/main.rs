//! One end of the tests' connections. Does what the lines on standard input say and answers each
//! with a line: see `conn_trace_tests::protocol`. Ends with its input.

mod connection;
mod connections;
mod elsewhere;
mod opening;
mod pipes;
mod receive;
mod send;
mod shared;
mod short;
mod special;
mod system;
mod uring;
mod wait;

use std::{
    error::Error,
    ffi::{CString, OsString},
    fs,
    io::{self, BufRead, Write},
    net::SocketAddr,
    os::unix::ffi::OsStringExt,
    path::PathBuf,
    process::ExitCode,
};

use clap::Parser;
use conn_trace_tests::protocol::{Command, Reply};
use nix::sys::{
    prctl,
    resource::{Resource, getrlimit, setrlimit},
};

use crate::connections::Connections;

/// More than any test has connections.
const DESCRIPTORS: u64 = 20_000;

/// One end of the tests' connections.
#[derive(Parser)]
struct Options {
    /// Name of the process (`comm`), at most 15 bytes, any but NUL.
    #[arg(long)]
    name: OsString,
    /// Directory of the cgroup to enter.
    #[arg(long)]
    cgroup: Option<PathBuf>,
    /// Connect there, send, close the connection, and end: for a process that lives for a moment.
    #[arg(long)]
    once: Option<SocketAddr>,
    /// Make sockets of MPTCP.
    #[arg(long)]
    mptcp: bool,
    /// Bytes to send once.
    #[arg(long, default_value_t = 1)]
    bytes: usize,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let options = Options::parse();
    prctl::set_name(&CString::new(options.name.into_vec())?)?;
    if let Some(cgroup) = options.cgroup {
        fs::write(cgroup.join("cgroup.procs"), "0")?;
    }
    if options.mptcp {
        opening::use_mptcp();
    }
    if let Some(address) = options.once {
        short::connect(&[address], 1, options.bytes, 0)?;
        return Ok(ExitCode::SUCCESS);
    }
    // Tests open thousands of connections, and the usual limit is 1,024. Peers that run as
    // another user may not raise it, and have few.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let _ = setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS, most.max(DESCRIPTORS));
    let mut connections = Connections::default();
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let command: Command = serde_json::from_str(&line?)?;
        if matches!(command, Command::Exit) {
            break;
        }
        let reply = connections.execute(command).unwrap_or_else(failed);
        serde_json::to_writer(&mut out, &reply)?;
        writeln!(out)?;
        out.flush()?;
    }
    // Without running destructors: the kernel closes what is open.
    std::process::exit(0)
}

#[expect(clippy::needless_pass_by_value, reason = "the error ends here")]
fn failed(error: io::Error) -> Reply {
    Reply::Failed {
        errno: error.raw_os_error().unwrap_or(0),
        message: error.to_string(),
    }
}
