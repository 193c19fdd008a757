//! conn-trace: see `conn-trace --help`.
#![forbid(unsafe_code)]

use std::{env, io::IsTerminal, process::ExitCode};

use anyhow::bail;
use clap::Parser;
use conn_trace::{
    agent,
    cli::{AgentArgs, Cli, Command, LogFormat},
    config::Configuration,
    config_command, connz, doctor, trace, watch,
};
use tracing::Level;
use tracing_subscriber::fmt;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Agent(args) => configured(&args),
        Command::Config(args) => config_command::run(&args),
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

/// The agent, with what the configuration says where neither flag nor environment does.
fn configured(args: &AgentArgs) -> anyhow::Result<ExitCode> {
    let configuration = Configuration::load(args.config.as_deref())?;
    let cli = Cli::with_configuration(env::args_os(), configuration.agent.flags());
    match cli.map(|cli| cli.command) {
        Ok(Command::Agent(args)) => serve(args, configuration),
        Ok(_) => bail!("the command line has changed"),
        Err(error) => {
            let path = configuration.path.unwrap_or_default();
            bail!("{}: [agent]: {error}", path.display());
        }
    }
}

fn serve(args: AgentArgs, configuration: Configuration) -> anyhow::Result<ExitCode> {
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
        .block_on(agent::run(args, configuration))?;
    Ok(ExitCode::SUCCESS)
}
