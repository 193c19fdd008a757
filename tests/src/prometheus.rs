//! A real Prometheus that scrapes an agent, and what it answers.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};

use serde::Deserialize;
use tempfile::TempDir;

use crate::{
    agent::free_address,
    http::{Answer, Client, encoded},
    program::Server,
    wait::eventually,
};

/// A running Prometheus with data of its own.
#[derive(Debug)]
pub struct Prometheus {
    _server: Server,
    client: Client,
    /// Where it runs.
    _directory: TempDir,
}

/// A series at one moment.
#[derive(Clone, Debug, Deserialize)]
pub struct Sample {
    /// Its labels, the name among them.
    pub metric: BTreeMap<String, String>,
    value: (f64, String),
}

impl Sample {
    /// Its value.
    ///
    /// # Panics
    /// If it is no number.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.value.1.parse().expect("a number")
    }
}

/// A rule as Prometheus has evaluated it.
#[derive(Debug, Deserialize)]
pub struct Rule {
    /// Of the series or the alert.
    pub name: String,
    /// Its expression.
    pub query: String,
    /// `recording` or `alerting`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `ok` if it could be evaluated, `unknown` before.
    pub health: String,
}

#[derive(Deserialize)]
struct Reply<T> {
    data: T,
}

#[derive(Deserialize)]
struct Found {
    result: Vec<Sample>,
}

#[derive(Deserialize)]
struct Groups {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

impl Prometheus {
    /// Starts `program`, which scrapes the agent each second for each of these jobs, and evaluates the rules.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start(program: &Path, agent: SocketAddr, jobs: &[&str], rules: &str) -> Self {
        let directory = TempDir::new().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        let jobs = jobs.iter().map(|job| {
            format!("  - job_name: {job}\n    static_configs:\n      - targets: [\"{agent}\"]\n")
        });
        let configuration = format!(
            "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\n\
             rule_files: [rules.yml]\nscrape_configs:\n{}",
            jobs.collect::<String>()
        );
        fs::write(path("rules.yml"), rules).expect("a file");
        fs::write(path("prometheus.yml"), configuration).expect("a file");
        let address = free_address();
        let mut command = Command::new(program);
        command
            .current_dir(directory.path())
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address={address}"));
        let server = Server::start(&mut command, address);
        let client = Client::new(address);
        eventually("Prometheus is ready", || {
            let answer = client.get("/-/ready").ok()?;
            (answer.status == 200).then_some(())
        });
        Self {
            _server: server,
            client,
            _directory: directory,
        }
    }

    /// What an expression gives now; why it cannot be evaluated.
    ///
    /// # Errors
    /// With its answer.
    ///
    /// # Panics
    /// If it does not answer.
    pub fn query(&self, expression: &str) -> Result<Vec<Sample>, String> {
        let path = format!("/api/v1/query?query={}", encoded(expression));
        let Answer { status, body, .. } = self.client.get(&path).expect("an answer");
        if status != 200 {
            return Err(body);
        }
        let reply: Reply<Found> = serde_json::from_str(&body).map_err(|error| error.to_string())?;
        Ok(reply.data.result)
    }

    /// All its rules.
    ///
    /// # Panics
    /// If it does not tell.
    #[must_use]
    pub fn rules(&self) -> Vec<Rule> {
        let answer = self.client.get("/api/v1/rules").expect("an answer");
        let reply: Reply<Groups> = serde_json::from_str(&answer.body).expect("rules");
        let groups = reply.data.groups.into_iter();
        groups.flat_map(|group| group.rules).collect()
    }
}

/// Runs promtool with these arguments in a directory that has these files, and this on its standard
/// input: whether it found no fault, and what it said.
///
/// # Panics
/// If it does not run.
#[must_use]
pub fn promtool(
    program: &Path,
    arguments: &[&str],
    files: &[(&str, &str)],
    input: &str,
) -> (bool, String) {
    let directory = TempDir::new().expect("a directory");
    for (name, text) in files {
        fs::write(directory.path().join(name), text).expect("a file");
    }
    let standard_input = directory.path().join("input");
    fs::write(&standard_input, input).expect("a file");
    let output = Command::new(program)
        .args(arguments)
        .current_dir(directory.path())
        .stdin(Stdio::from(fs::File::open(standard_input).expect("a file")))
        .output()
        .expect("promtool runs");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (output.status.success(), said)
}
