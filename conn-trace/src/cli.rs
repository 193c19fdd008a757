//! The command line. Every flag is also an environment variable `CONN_TRACE_*`.

use std::net::SocketAddr;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::kernel::hooks::Variant;

/// Default listener: loopback, next to the port that NATS uses for the same purpose.
const LISTEN: &str = "127.0.0.1:8322";
/// 26 MiB of kernel memory for table and cold entries.
const MAX_CONNECTIONS: &str = "65536";
/// As NATS's `max_closed_clients`.
const CLOSED_HISTORY: &str = "10000";
/// 2^23 slots take 1.6 GiB.
const MOST_CONNECTIONS: i64 = 1 << 22;
/// About half a KiB each.
const MOST_HISTORY: u64 = 10_000_000;

/// Every TCP connection of this host, counted in the kernel, answered as connz.
#[derive(Debug, Parser)]
#[command(version, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Trace connections and answer /connz until interrupted
    Agent(AgentArgs),
    /// Tell whether the agent would start here, and what is missing
    Doctor(DoctorArgs),
}

/// Flags of `conn-trace agent`.
#[derive(Args, Clone, Debug)]
pub struct AgentArgs {
    /// Address and port of the HTTP API
    #[arg(long, env = "CONN_TRACE_LISTEN", default_value = LISTEN, value_name = "ADDR:PORT")]
    pub listen: SocketAddr,

    /// Connections that the kernel table takes; more are counted as untracked
    #[arg(long, env = "CONN_TRACE_MAX_CONNECTIONS", default_value = MAX_CONNECTIONS, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=MOST_CONNECTIONS))]
    pub max_connections: u32,

    /// Closed connections to remember
    #[arg(long, env = "CONN_TRACE_CLOSED_HISTORY", default_value = CLOSED_HISTORY, value_name = "N",
          value_parser = clap::value_parser!(u64).range(0..=MOST_HISTORY))]
    pub closed_history: u64,

    /// Let web pages of any origin read the JSON endpoints
    #[arg(long, env = "CONN_TRACE_CORS", default_value_t = true, value_name = "BOOL",
          action = clap::ArgAction::Set)]
    pub cors: bool,

    /// Least severity to log
    #[arg(
        long,
        env = "CONN_TRACE_LOG_LEVEL",
        default_value = "info",
        value_name = "LEVEL"
    )]
    pub log_level: LogLevel,

    /// Form of the log, which goes to standard error
    #[arg(
        long,
        env = "CONN_TRACE_LOG_FORMAT",
        default_value = "text",
        value_name = "FORMAT"
    )]
    pub log_format: LogFormat,

    /// How to see messages, instead of the first way that the kernel takes
    #[arg(long, env = "CONN_TRACE_HOOKS", value_name = "VARIANT")]
    pub hooks: Option<Variant>,

    /// Log every state change from inside the kernel programs (costs time; for debugging)
    #[arg(long, env = "CONN_TRACE_KERNEL_LOG", default_value_t = false, value_name = "BOOL",
          action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub kernel_log: bool,
}

/// Flags of `conn-trace doctor`.
#[derive(Args, Clone, Debug)]
pub struct DoctorArgs {
    /// Address and port that the agent would listen on
    #[arg(long, env = "CONN_TRACE_LISTEN", default_value = LISTEN, value_name = "ADDR:PORT")]
    pub listen: SocketAddr,

    /// How to see messages, instead of the first way that the kernel takes
    #[arg(long, env = "CONN_TRACE_HOOKS", value_name = "VARIANT")]
    pub hooks: Option<Variant>,

    /// Answer as JSON
    #[arg(long)]
    pub json: bool,
}

/// Least severity to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Only what stops the agent.
    Error,
    /// And what could not be counted.
    Warn,
    /// And start and stop.
    Info,
    /// And requests.
    Debug,
    /// Everything.
    Trace,
}

impl From<LogLevel> for tracing::Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_of_the_agent_has_its_variable() {
        let cli = Cli::command();
        let agent = cli.find_subcommand("agent").expect("the agent");
        for argument in agent
            .get_arguments()
            .filter(|argument| argument.get_id() != "help")
        {
            let flag = argument.get_long().expect("a long flag");
            let variable = format!("CONN_TRACE_{}", flag.to_uppercase().replace('-', "_"));
            assert_eq!(argument.get_env().expect("a variable"), variable.as_str());
        }
    }

    #[test]
    fn bad_values_are_named() {
        for (flag, value) in [
            ("--listen", "8322"),
            ("--max-connections", "0"),
            ("--max-connections", "5000000"),
            ("--closed-history", "-1"),
            ("--log-format", "xml"),
            ("--hooks", "kprobe"),
        ] {
            let argument = format!("{flag}={value}");
            let error = Cli::try_parse_from(["conn-trace", "agent", &argument]).expect_err(value);
            let message = error.to_string();
            assert!(
                message.contains(flag) && message.contains(value),
                "{message}"
            );
        }
    }
}
