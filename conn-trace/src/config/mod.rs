//! The configuration file: settings of the agent, and the services.

mod agent;
mod policy;
mod service;
mod values;

use std::{
    collections::HashSet,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use thiserror::Error;
use toml::Spanned;

pub use self::{
    agent::AgentSection,
    service::{MetricPrefix, ServiceName, ServiceSection},
};
use crate::services::Matcher;

/// Where the file is looked for if nothing else is said; there need not be one.
pub const DEFAULT_PATH: &str = "/etc/conn-trace/config.toml";

/// A file larger than this is none that anybody has written.
const MOST_BYTES: u64 = 4 << 20;
/// Every connection may be compared with each.
const MOST_SERVICES: usize = 1000;

/// What a file says.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    agent: AgentSection,
    #[serde(default)]
    service: Vec<Spanned<ServiceSection>>,
}

/// A configuration that is sound.
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    /// The file that it is from, if there was one.
    pub path: Option<PathBuf>,
    /// What flags and environment do not say.
    pub agent: AgentSection,
    /// The services, in order.
    pub services: Vec<ServiceSection>,
}

/// Why a file is not taken. Nothing has changed then.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something in it is wrong.
    #[error("{}:{line}: {reason}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong, with the value.
        reason: String,
    },
}

impl Configuration {
    /// Reads `path`, or the [default](DEFAULT_PATH) if that exists.
    ///
    /// # Errors
    /// Names file, line and reason.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let chosen = path.unwrap_or(Path::new(DEFAULT_PATH));
        match read(chosen) {
            Ok(text) => Self::parse(chosen, &text),
            Err(error) if path.is_none() && error.kind() == io::ErrorKind::NotFound => {
                Ok(Self::default())
            }
            Err(source) => Err(ConfigError::Unreadable {
                path: chosen.to_owned(),
                source,
            }),
        }
    }

    /// Takes `text` for the contents of `path`.
    ///
    /// # Errors
    /// Names file, line and reason.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let wrong = |offset: usize, reason: String| ConfigError::Wrong {
            path: path.to_owned(),
            line: text[..offset.min(text.len())].matches('\n').count() + 1,
            reason,
        };
        let file: File = toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            wrong(start, error.message().replace('\n', "; "))
        })?;
        if let Some(one_more) = file.service.get(MOST_SERVICES) {
            let reason = format!("more than {MOST_SERVICES} services");
            return Err(wrong(one_more.span().start, reason));
        }
        let mut names = HashSet::new();
        let mut listeners: HashSet<SocketAddr> = HashSet::new();
        for service in &file.service {
            let section = service.get_ref();
            let fault = if !names.insert(&section.name) {
                Some(format!("name: a second service \"{}\"", section.name))
            } else if section
                .listen
                .is_some_and(|listen| listen.port() != 0 && !listeners.insert(listen))
            {
                Some("listen: the address of another service".to_owned())
            } else {
                section.fault()
            };
            if let Some(fault) = fault {
                let reason = format!("service \"{}\": {fault}", section.name);
                return Err(wrong(service.span().start, reason));
            }
            if let Some((start, fault)) = section.fault_of_policy() {
                let reason = format!("service \"{}\": {fault}", section.name);
                return Err(wrong(start, reason));
            }
        }
        Ok(Self {
            path: Some(path.to_owned()),
            agent: file.agent,
            services: file.service.into_iter().map(Spanned::into_inner).collect(),
        })
    }

    /// What finds the service of a connection.
    #[must_use]
    pub fn matcher(&self) -> Matcher {
        Matcher::new(self.services.iter().map(ServiceSection::watched).collect())
    }

    /// The service of this name.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&ServiceSection> {
        self.services.iter().find(|one| &**one.name == name)
    }
}

fn read(path: &Path) -> io::Result<String> {
    let file = fs::metadata(path)?;
    if file.len() > MOST_BYTES {
        let reason = format!("larger than {MOST_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    fs::read_to_string(path)
}

#[cfg(test)]
mod tests;
