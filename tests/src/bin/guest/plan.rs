//! What the host wants to have run.

use std::{collections::BTreeMap, error::Error, fs, path::PathBuf};

use serde::Deserialize;

/// Where the host puts it.
const PATH: &str = "/plan.json";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    /// Kernel modules, each behind those that it needs.
    pub(crate) modules: Vec<PathBuf>,
    /// For all programs.
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) programs: Vec<Program>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Program {
    /// By which the host knows it.
    pub(crate) name: String,
    /// The program's path and its arguments.
    pub(crate) command: Vec<String>,
    /// After so long it is ended.
    pub(crate) limit_secs: u64,
}

impl Plan {
    pub(crate) fn read() -> Result<Self, Box<dyn Error>> {
        let text = fs::read_to_string(PATH).map_err(|error| format!("{PATH}: {error}"))?;
        Ok(serde_json::from_str(&text)?)
    }
}
