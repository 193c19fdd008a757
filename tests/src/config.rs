//! A configuration file of the agent.

use std::{fs, path::PathBuf};

use tempfile::TempDir;

use crate::agent::Agent;

/// A configuration that can be changed.
#[derive(Debug)]
pub struct Config {
    directory: TempDir,
}

impl Config {
    /// A file of this text.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let directory = TempDir::new().expect("a directory");
        let config = Self { directory };
        config.write(text);
        config
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("config.toml")
    }

    /// Replaces the text.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, text: &str) {
        fs::write(self.path(), text).expect("a file");
    }

    /// Starts an agent with it, and with more arguments.
    ///
    /// # Panics
    /// If it does not become healthy.
    #[must_use]
    #[track_caller]
    pub fn agent(&self, more: &[&str]) -> Agent {
        let path = self.path();
        let path = path.to_str().expect("a plain path");
        Agent::start_with(&[&["--config", path], more].concat())
    }
}
