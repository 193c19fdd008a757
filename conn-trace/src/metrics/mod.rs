//! Metrics in the formats of Prometheus and OpenMetrics, from one report: pure functions.
//!
//! The number of series follows from the configuration alone. What peers can make as many of as they
//! like, addresses and names, is shown of the largest, and of the others together.

mod agent;
mod connections;
mod policies;
mod prefixed;
mod services;
mod writer;

use std::{collections::HashMap, fmt, net::IpAddr, sync::Arc, time::Duration};

use jiff::Timestamp;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, prometheus_text, text},
    registry::Registry,
};

use self::{connections::Group, writer::Writer};
use crate::{
    config::{Configuration, ServiceSection},
    registry::services::{Report, ServiceFigures},
};

/// Beginning of the names of the agent's own series.
const PREFIX: &str = "conntrace";

/// The form of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Prometheus's own, version 0.0.4.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Form {
    /// All, with what clients ask for them by. Prometheus 3 names a way to escape other names than ours.
    pub const MEDIA_TYPES: [(Self, &str); 9] = [
        (Self::Text, "text/plain; version=0.0.4"),
        (Self::Text, "text/plain"),
        (
            Self::OpenMetrics,
            "application/openmetrics-text; version=1.0.0",
        ),
        (
            Self::OpenMetrics,
            "application/openmetrics-text; version=1.0.0; escaping=allow-utf-8",
        ),
        (
            Self::OpenMetrics,
            "application/openmetrics-text; version=1.0.0; escaping=underscores",
        ),
        (
            Self::OpenMetrics,
            "application/openmetrics-text; version=1.0.0; escaping=dots",
        ),
        (
            Self::OpenMetrics,
            "application/openmetrics-text; version=1.0.0; escaping=values",
        ),
        (
            Self::OpenMetrics,
            "application/openmetrics-text; version=0.0.1",
        ),
        (Self::OpenMetrics, "application/openmetrics-text"),
    ];

    /// For the header of the answer.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What one answer shows.
#[derive(Debug)]
pub struct Exposition {
    /// All figures of connections.
    pub report: Report,
    /// The configuration that they belong to.
    pub configuration: Arc<Configuration>,
    /// The only service to be shown; `None` shows all, the host and the agent.
    pub only: Option<Arc<str>>,
    /// Version of the agent.
    pub version: String,
    /// Name of the host.
    pub host: String,
    /// This host's address, by the service with a prefix of its own.
    pub addresses: HashMap<Arc<str>, IpAddr>,
    /// The agent's process.
    pub process: Process,
    /// How long the answer before took.
    pub last_scrape: Option<Duration>,
}

/// What the agent takes of the host, where it is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Process {
    /// Resident memory.
    pub resident_bytes: Option<u64>,
    /// User and system time of all threads.
    pub cpu_time: Option<Duration>,
    /// Open file descriptors.
    pub open_fds: Option<u64>,
    /// When it started.
    pub start: Timestamp,
}

impl Exposition {
    /// The text of the answer.
    ///
    /// # Errors
    /// None that comes from here: a text takes everything.
    pub fn text(self: &Arc<Self>, form: Form) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Arc::clone(self)));
        let mut text = String::new();
        match form {
            Form::Text => prometheus_text::encode(&mut text, &registry)?,
            Form::OpenMetrics => text::encode(&mut text, &registry)?,
        }
        Ok(text)
    }

    /// The services that are shown, with what the configuration says of them. While a new one is
    /// being put in force it may know others.
    fn services(&self) -> Vec<(&ServiceFigures, Option<&ServiceSection>)> {
        let only = self.only.as_deref();
        let services = self.report.services.iter();
        services
            .filter(|one| only.is_none_or(|only| *one.service.name == *only))
            .map(|one| (one, self.configuration.service(&one.service.name)))
            .collect()
    }
}

impl Collector for Exposition {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut writer = Writer(encoder);
        let Report { host, sampled, .. } = &self.report;
        if self.only.is_none() {
            connections::write(&mut writer, PREFIX, &[Group::new(&[], host, sampled)])?;
            agent::write(&mut writer, self)?;
            policies::write_deliveries(&mut writer, &self.report.deliveries)?;
        }
        let services = self.services();
        services::write(&mut writer, &services)?;
        policies::write(&mut writer, services.iter().map(|(one, _)| *one))?;
        prefixed::write(&mut writer, self, &services)
    }
}

#[cfg(test)]
mod tests;
