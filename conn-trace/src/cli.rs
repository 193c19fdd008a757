//! The command line. Every flag is also an environment variable `CONN_TRACE_*`.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use jiff::SignedDuration;
use serde::Serialize;

use crate::{kernel::hooks::Variant, watch::WatchArgs};

/// Default listener: loopback, next to the port that NATS uses for the same purpose.
const LISTEN: &str = "127.0.0.1:8322";
/// Where the agent of this host answers.
pub(crate) const URL: &str = "http://127.0.0.1:8322";
/// 26 MiB of kernel memory for table and cold entries.
const MAX_CONNECTIONS: &str = "65536";
/// As NATS's `max_closed_clients`.
const CLOSED_HISTORY: &str = "10000";
const CLOSED_HISTORY_AGE: &str = "24h";
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

impl Cli {
    /// Reads the command line again, with what the configuration says in place of the defaults of
    /// `conn-trace agent`. Flags and environment go before it.
    ///
    /// # Errors
    /// If a value of the configuration is none that the flag takes.
    pub fn with_configuration<'a>(
        arguments: impl IntoIterator<Item = OsString>,
        values: impl IntoIterator<Item = (&'static str, &'a str)>,
    ) -> Result<Self, clap::Error> {
        let mut command = Self::command();
        for (flag, value) in values {
            let value = value.to_owned();
            command = command.mut_subcommand("agent", |agent| {
                agent.mut_arg(flag, |argument| argument.default_value(value))
            });
        }
        Self::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Trace connections and answer /connz until interrupted
    Agent(AgentArgs),
    /// Tell whether the agent would start here, and what is missing
    Doctor(DoctorArgs),
    /// Ask a running agent for its connections
    Connz(Box<ConnzArgs>),
    /// Check, show and explain the configuration of services
    Config(ConfigArgs),
    /// Follow what connections do: each opening, message and end, as it happens
    Trace(Box<TraceArgs>),
    /// Watch the connections to one peer: each as it comes and goes, statistics, and a report at the end
    Watch(Box<WatchArgs>),
}

/// Flags of `conn-trace config`.
#[derive(Args, Clone, Debug)]
pub struct ConfigArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What to do with the configuration.
#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Say whether it is sound; if not, with file, line and reason
    Check(ConfigFile),
    /// Print what holds: each flag and where its value is from, each service and its selectors
    Show(ConfigFile),
    /// Say why a connection of the running agent belongs to its service
    Explain(ExplainArgs),
}

/// Which file is meant.
#[derive(Args, Clone, Debug)]
pub struct ConfigFile {
    /// The configuration; without it /etc/conn-trace/config.toml if that exists
    #[arg(long, env = "CONN_TRACE_CONFIG", value_name = "PATH")]
    pub config: Option<PathBuf>,
}

/// Flags of `conn-trace config explain`.
#[derive(Args, Clone, Debug)]
pub struct ExplainArgs {
    /// Number of the connection
    #[arg(value_name = "CID")]
    pub cid: u64,

    /// Where the agent answers
    #[arg(long, env = "CONN_TRACE_URL", default_value = URL, value_name = "URL")]
    pub url: String,
}

/// Flags of `conn-trace agent`.
#[derive(Args, Clone, Debug)]
pub struct AgentArgs {
    /// The configuration; without it /etc/conn-trace/config.toml if that exists
    #[arg(long, env = "CONN_TRACE_CONFIG", value_name = "PATH")]
    pub config: Option<PathBuf>,

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

    /// How long to remember them: 90s, 15m, 24h
    #[arg(long, env = "CONN_TRACE_CLOSED_HISTORY_AGE", default_value = CLOSED_HISTORY_AGE,
          value_name = "DURATION", value_parser = age)]
    pub closed_history_age: Duration,

    /// Let web pages of any origin read the JSON endpoints
    #[arg(long, env = "CONN_TRACE_CORS", default_value_t = true, value_name = "BOOL",
          action = clap::ArgAction::Set)]
    pub cors: bool,

    /// Let POST /-/reload read the configuration anew, and POST /-/services/NAME/reset-peak reset a peak
    #[arg(long, env = "CONN_TRACE_RELOAD", default_value_t = false, value_name = "BOOL",
          action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub reload: bool,

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

/// Flags of `conn-trace connz`.
#[derive(Args, Clone, Debug)]
pub struct ConnzArgs {
    /// Where the agent answers
    #[arg(long, env = "CONN_TRACE_URL", default_value = URL, value_name = "URL")]
    pub url: String,

    /// Form of the output, instead of a table on a terminal and JSON elsewhere
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<OutputFormat>,

    /// Ask again every so many seconds
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub watch: Option<u64>,

    /// Which connections, and in which order.
    #[command(flatten)]
    pub parameters: ConnzParameters,
}

/// Flags of `conn-trace trace`.
#[derive(Args, Clone, Debug)]
pub struct TraceArgs {
    /// Where the agent answers
    #[arg(long, env = "CONN_TRACE_URL", default_value = URL, value_name = "URL")]
    pub url: String,

    /// Form of the output, instead of text on a terminal and JSON elsewhere
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<TraceFormat>,

    /// Which connections.
    #[command(flatten)]
    pub conditions: Conditions,
}

/// The parameters of `GET /connz`, under the names that they have there. The agent judges them.
#[derive(Args, Clone, Debug, Serialize)]
#[command(next_help_heading = "Which connections, as GET /connz")]
pub struct ConnzParameters {
    /// Rows to skip
    #[arg(long, value_name = "N")]
    pub offset: Option<String>,
    /// Rows to show, 20 unless said
    #[arg(long, value_name = "N")]
    pub limit: Option<String>,
    /// What to sort by: cid, start, idle, bytes_to, bytes_from, msgs_to, msgs_from, pending, rtt, …
    #[arg(long, value_name = "KEY")]
    pub sort: Option<String>,
    /// asc or desc, instead of the direction of the sort key
    #[arg(long, value_name = "ORDER")]
    pub order: Option<String>,
    /// open, closed, any, or a TCP state such as CLOSE_WAIT
    #[arg(long, value_name = "STATE")]
    pub state: Option<String>,
    /// Which connections.
    #[command(flatten)]
    #[serde(flatten)]
    pub conditions: Conditions,
    /// Ask for TCP's own figures, which JSON shows
    #[arg(long)]
    pub tcp: bool,
    /// Ask for bytes and messages per second, over a second or the time since the last such page
    #[arg(long)]
    pub rates: bool,
    /// Walk through all connections page by page: start, then the next_cursor of each page
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
}

/// The parameters of `GET /connz` that say which connections are meant, likewise.
#[derive(Args, Clone, Debug, Serialize)]
#[command(next_help_heading = "Which connections, as GET /connz")]
pub struct Conditions {
    /// The connection of this number
    #[arg(long, value_name = "CID")]
    pub cid: Option<String>,
    /// Address or CIDR prefix of the peer
    #[arg(long, value_name = "ADDR")]
    pub ip: Option<String>,
    /// Address or CIDR prefix of this end
    #[arg(long, value_name = "ADDR")]
    pub local_ip: Option<String>,
    /// Ports of the peer: 80,5000-6000
    #[arg(long, value_name = "PORTS")]
    pub port: Option<String>,
    /// Ports of this end
    #[arg(long, value_name = "PORTS")]
    pub local_port: Option<String>,
    /// in, out or unknown
    #[arg(long, value_name = "DIRECTION")]
    pub direction: Option<String>,
    /// Process id of the owner
    #[arg(long, value_name = "PID")]
    pub pid: Option<String>,
    /// Command name of the owner; a prefix with * at its end
    #[arg(long, value_name = "NAME")]
    pub comm: Option<String>,
    /// User that owns the socket, by name or number
    #[arg(long, value_name = "USER")]
    pub uid: Option<String>,
    /// Cgroup of the owner; a prefix with * at its end
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<String>,
    /// Network namespace, by its inode number
    #[arg(long, value_name = "INODE")]
    pub netns: Option<String>,
    /// Configured service
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// What policies have found: idle_leak, close_wait_leak, over_limit or watchlist
    #[arg(long, value_name = "FLAG")]
    pub flag: Option<String>,
    /// What it speaks: http, websocket, grpc, connect, tls, fix, nats, mqtt, redis, postgresql or ssh
    #[arg(long, value_name = "NAME")]
    pub protocol: Option<String>,
    /// Show the agent's own connections too
    #[arg(long = "self")]
    #[serde(rename = "self")]
    pub with_self: bool,
}

/// Form of the output of `conn-trace connz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// A table for people.
    Table,
    /// The agent's answer as it is.
    Json,
    /// One JSON object a line for each connection.
    Ndjson,
    /// A table for programs.
    Csv,
}

/// Form of the output of `conn-trace trace` and `watch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TraceFormat {
    /// A line for people.
    Text,
    /// One JSON object a line.
    Ndjson,
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

/// A time above 0.
fn age(text: &str) -> Result<Duration, String> {
    let age: SignedDuration = text.parse().map_err(|error| format!("{error}"))?;
    Duration::try_from(age)
        .ok()
        .filter(|age| !age.is_zero())
        .ok_or_else(|| "not above 0".to_owned())
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
            ("--closed-history-age", "-1h"),
            ("--closed-history-age", "0s"),
            ("--closed-history-age", "90"),
            ("--closed-history-age", "soon"),
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
