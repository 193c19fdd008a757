//! conn-trace: see `conn-trace --help`.
#![forbid(unsafe_code)]

use std::{io::IsTerminal, process::ExitCode};

use clap::Parser;
use conn_trace::{
    agent,
    cli::{AgentArgs, Cli, Command, LogFormat},
    connz, doctor, trace, watch,
};
use tracing::Level;
use tracing_subscriber::fmt;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Agent(args) => serve(args),
        Command::Doctor(args) => doctor::run(&args).map_err(anyhow::Error::from),
        Command::Connz(args) => connz::run(&args),
        Command::Trace(args) => trace::run(&args),
        Command::Watch(args) => watch::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("conn-trace: {error:#}");
        ExitCode::FAILURE
    })
}

fn serve(args: AgentArgs) -> anyhow::Result<ExitCode> {
    let log = fmt()
        .with_max_level(Level::from(args.log_level))
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(agent::run(args))?;
    Ok(ExitCode::SUCCESS)
}
