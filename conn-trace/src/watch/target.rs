//! Which connections are watched.

use std::{
    env,
    fmt::{self, Display, Formatter},
    fs, io,
    path::{Path, PathBuf},
    process,
};

use serde::Deserialize;
use thiserror::Error;

use super::{args::WatchArgs, row::Row};
use crate::{client::Parameters, query::Network};

/// Where the peer is configured, unless said.
pub(super) const CONFIG: &str = "/etc/fix-monitor/config.json";
/// The variable with its address.
const VARIABLE: &str = "DOWNSTREAM_IP";

/// A peer, and the ports of its service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Address or CIDR prefix of the peer.
    pub(super) ip: String,
    /// Port of the peer, if one was asked for.
    pub(super) port: Option<u16>,
    /// Ports of the service, from lowest to highest, if a range was asked for.
    pub(super) ports: Option<(u16, u16)>,
}

/// Why it is not known what to watch.
#[derive(Debug, Error)]
pub(super) enum TargetError {
    #[error(
        "which peer? None of these says: --ip, the variable {VARIABLE}, or downstream_ip in {}, which does not exist",
        .0.display()
    )]
    Missing(PathBuf),
    #[error("cannot read {}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} is not what is expected there, such as {{\"downstream_ip\": \"203.0.113.7\"}}", path.display())]
    Malformed {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("{origin}: expected an address or a CIDR prefix, got {text:?}")]
    Address { origin: String, text: String },
    #[error("--min-port {low} is above --max-port {high}")]
    Ports { low: u16, high: u16 },
}

/// What is read of the file.
#[derive(Deserialize)]
struct Config {
    downstream_ip: String,
}

impl Target {
    /// As flags, environment and file say, the first of them that names a peer.
    pub(super) fn of(args: &WatchArgs) -> Result<Self, TargetError> {
        Self::from(args, env::var(VARIABLE).ok())
    }

    fn from(args: &WatchArgs, variable: Option<String>) -> Result<Self, TargetError> {
        let ports = match (args.min_port, args.max_port) {
            (None, None) => None,
            (low, high) => Some((low.unwrap_or(1), high.unwrap_or(u16::MAX))),
        };
        if let Some((low, high)) = ports.filter(|(low, high)| low > high) {
            return Err(TargetError::Ports { low, high });
        }
        let variable = variable.filter(|text| !text.is_empty());
        let (origin, ip) = match (&args.ip, variable) {
            (Some(ip), _) => ("--ip".to_owned(), ip.clone()),
            (None, Some(ip)) => (VARIABLE.to_owned(), ip),
            (None, None) => (
                format!("downstream_ip in {}", args.config.display()),
                configured(&args.config)?,
            ),
        };
        if Network::parse(&ip).is_none() {
            return Err(TargetError::Address { origin, text: ip });
        }
        Ok(Self {
            ip,
            port: args.port,
            ports,
        })
    }

    /// What the agent is asked for.
    pub(super) fn parameters(&self) -> Parameters {
        let port = self.port.map(|port| ("port".to_owned(), port.to_string()));
        [("ip".to_owned(), self.ip.clone())]
            .into_iter()
            .chain(port)
            .collect()
    }

    /// Whether a connection of the peer is meant: none by which this process asks the agent, and if
    /// there is a range, its service has one of the ports. Of what the agent does not know who
    /// connected, either end may be the service.
    pub(super) fn takes(&self, row: &Row) -> bool {
        if row.pid == Some(process::id()) {
            return false;
        }
        let Some((low, high)) = self.ports else {
            return true;
        };
        let is_in = |port| (low..=high).contains(&port);
        match &*row.direction {
            "out" => is_in(row.port),
            "in" => is_in(row.local_port),
            _ => is_in(row.port) || is_in(row.local_port),
        }
    }
}

impl Display for Target {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.ip)?;
        if let Some(port) = self.port {
            write!(f, ", port {port} there")?;
        }
        if let Some((low, high)) = self.ports {
            write!(f, ", service ports {low} to {high}")?;
        }
        Ok(())
    }
}

fn configured(path: &Path) -> Result<String, TargetError> {
    let text = fs::read_to_string(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => TargetError::Missing(path.to_owned()),
        _ => TargetError::Unreadable {
            path: path.to_owned(),
            source,
        },
    })?;
    match serde_json::from_str::<Config>(&text) {
        Ok(config) => Ok(config.downstream_ip),
        Err(source) => Err(TargetError::Malformed {
            path: path.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use clap::Parser;
    use tempfile::TempDir;

    use super::{Target, WatchArgs};
    use crate::{
        cli::{Cli, Command},
        watch::row::tests::row,
    };

    fn args(arguments: &[&str]) -> WatchArgs {
        let all = ["conn-trace", "watch"].iter().chain(arguments);
        let Command::Watch(args) = Cli::try_parse_from(all).expect("arguments").command else {
            panic!("another command");
        };
        *args
    }

    fn with_file(directory: &TempDir, text: &str, arguments: &[&str]) -> WatchArgs {
        let path = directory.path().join("config.json");
        std::fs::write(&path, text).expect("a file");
        let mut args = args(arguments);
        args.config = path;
        args
    }

    #[test]
    fn flag_comes_before_variable_and_variable_before_file() {
        let directory = TempDir::new().expect("a directory");
        let file = r#"{"downstream_ip": "10.0.0.3", "more": 1}"#;
        let ip = |arguments: &[&str], variable: Option<&str>| {
            let args = with_file(&directory, file, arguments);
            let target = Target::from(&args, variable.map(str::to_owned));
            target.expect("a target").ip
        };
        assert_eq!(ip(&["--ip=10.0.0.1"], Some("10.0.0.2")), "10.0.0.1");
        assert_eq!(ip(&[], Some("10.0.0.2")), "10.0.0.2");
        assert_eq!(ip(&[], Some("")), "10.0.0.3");
        assert_eq!(ip(&[], None), "10.0.0.3");
        assert_eq!(ip(&["--ip=2001:db8::/32"], None), "2001:db8::/32");
    }

    #[test]
    fn what_cannot_be_used_is_named_with_its_reason() {
        let directory = TempDir::new().expect("a directory");
        let said = |args: &WatchArgs, variable: Option<&str>| {
            let error = Target::from(args, variable.map(str::to_owned)).expect_err("an error");
            let source = error.source().map(ToString::to_string).unwrap_or_default();
            format!("{error}: {source}")
        };
        let mut missing = args(&[]);
        missing.config = directory.path().join("none.json");
        let message = said(&missing, None);
        for part in ["--ip", "DOWNSTREAM_IP", "none.json"] {
            assert!(message.contains(part), "{message}");
        }
        for (file, reason) in [
            ("{", "EOF while parsing"),
            ("{}", "missing field `downstream_ip`"),
            (r#"{"downstream_ip": 7}"#, "expected a string"),
            (r#"{"downstream_ip": "fix.example"}"#, "fix.example"),
        ] {
            let message = said(&with_file(&directory, file, &[]), None);
            assert!(
                message.contains("config.json") && message.contains(reason),
                "{message}"
            );
        }
        assert!(said(&args(&["--ip=nowhere"]), None).contains("--ip: expected"));
        assert!(said(&args(&[]), Some("10.0.0.0/33")).contains("DOWNSTREAM_IP: expected"));
        let message = said(
            &args(&["--ip=::1", "--min-port=6000", "--max-port=5000"]),
            None,
        );
        assert!(
            message.contains("--min-port 6000 is above --max-port 5000"),
            "{message}"
        );
    }

    #[test]
    fn values_outside_their_range_are_refused_with_their_flag() {
        for (flag, value) in [
            ("--port", "0"),
            ("--port", "65536"),
            ("--min-port", "0"),
            ("--max-port", "fix"),
            ("--interval", "0"),
            ("--patience", "-1"),
        ] {
            let argument = format!("{flag}={value}");
            let error = Cli::try_parse_from(["conn-trace", "watch", "--ip=::1", &argument])
                .expect_err("an error")
                .to_string();
            assert!(error.contains(flag) && error.contains(value), "{error}");
        }
    }

    #[test]
    fn range_is_that_of_the_service_whichever_end_it_is() {
        let target = |arguments: &[&str]| {
            let arguments: Vec<_> = ["--ip=10.0.0.1"].iter().chain(arguments).copied().collect();
            Target::from(&args(&arguments), None).expect("a target")
        };
        let range = target(&["--min-port=5000", "--max-port=6000"]);
        for (direction, port, local_port, is_meant) in [
            ("out", 5001, 40_000, true),
            ("out", 40_000, 5001, false),
            ("in", 40_000, 6000, true),
            ("in", 5000, 40_000, false),
            ("unknown", 5000, 40_000, true),
            ("unknown", 40_000, 5000, true),
            ("unknown", 40_000, 6001, false),
        ] {
            let mut row = row(1);
            (row.port, row.local_port) = (port, local_port);
            row.direction = direction.to_owned();
            assert_eq!(range.takes(&row), is_meant, "{row:?}");
            assert!(target(&[]).takes(&row));
            row.pid = Some(std::process::id());
            assert!(!target(&[]).takes(&row));
        }
        assert_eq!(target(&["--min-port=5000"]).ports, Some((5000, u16::MAX)));
        assert_eq!(target(&["--max-port=5000"]).ports, Some((1, 5000)));
        let parameters = target(&["--port=9878"]).parameters();
        let expected = [("ip", "10.0.0.1"), ("port", "9878")];
        assert_eq!(
            parameters,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }
}
