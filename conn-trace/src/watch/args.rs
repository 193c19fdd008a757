//! Flags of `conn-trace watch`.

use std::path::PathBuf;

use clap::Args;

use super::target::CONFIG;
use crate::cli::{TraceFormat, URL};

/// Flags of `conn-trace watch`.
#[derive(Args, Clone, Debug)]
pub struct WatchArgs {
    /// Address or CIDR prefix of the peer, instead of that in DOWNSTREAM_IP or in the file of --config
    #[arg(long, value_name = "ADDR")]
    pub ip: Option<String>,

    /// Port of the peer
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,

    /// Lowest port of the service: the peer's where it was connected to, this end's where it was accepted
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub min_port: Option<u16>,

    /// Highest port of the service, likewise
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub max_port: Option<u16>,

    /// Seconds between two blocks of statistics
    #[arg(long, default_value_t = 5, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub interval: u64,

    /// File to which everything that is printed is appended
    #[arg(long, value_name = "PATH")]
    pub log_file: Option<PathBuf>,

    /// File for the report at the end, instead of fix_connections_YYYYmmdd_HHMMSS.json (UTC) here
    #[arg(long, value_name = "PATH")]
    pub report: Option<PathBuf>,

    /// Where the agent answers
    #[arg(long, env = "CONN_TRACE_URL", default_value = URL, value_name = "URL")]
    pub url: String,

    /// Form of the output, instead of text on a terminal and JSON elsewhere
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<TraceFormat>,

    /// Seconds to wait for an agent that does not answer any more
    #[arg(long, default_value_t = 10, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub patience: u64,

    /// JSON file whose downstream_ip is the peer where neither --ip nor DOWNSTREAM_IP is given
    #[arg(long, env = "CONN_TRACE_FIX_CONFIG", default_value = CONFIG, value_name = "PATH")]
    pub config: PathBuf,
}
