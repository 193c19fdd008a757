//! Expositions of made-up connections.

mod flood;
mod guide;
mod prefixed;
mod strict;
mod values;

use std::{collections::HashMap, net::Ipv4Addr, path::Path, sync::Arc, time::Duration};

use super::{Exposition, Form, Process};
use crate::{
    config::Configuration,
    query::tests::fixture::{NOW, healthy},
    registry::{services::report::tests::report, snapshot::Snapshot},
};

/// Of an agent with this configuration that has seen these connections.
fn exposition(configuration: &str, snapshot: &Snapshot) -> Exposition {
    let configuration = Configuration::parse(Path::new("c.toml"), configuration).unwrap();
    let status = healthy(snapshot.open.len() as u64);
    let report = report(Box::new(configuration.matcher()), snapshot, status);
    let addresses: HashMap<_, _> = configuration
        .services
        .iter()
        .map(|one| (Arc::clone(&one.name), Ipv4Addr::new(10, 0, 0, 5).into()))
        .collect();
    Exposition {
        report,
        configuration: Arc::new(configuration),
        only: None,
        version: "0.1.0".to_owned(),
        host: "host".to_owned(),
        addresses,
        process: Process {
            resident_bytes: Some(1 << 20),
            cpu_time: Some(Duration::from_millis(1500)),
            open_fds: Some(30),
            start: NOW,
        },
        last_scrape: Some(Duration::from_millis(3)),
    }
}

/// Its series by name and labels, read strictly; both forms have to say the same.
fn series(exposition: Exposition) -> strict::Series {
    let exposition = Arc::new(exposition);
    let [text, open] = [Form::Text, Form::OpenMetrics]
        .map(|form| strict::parse(&exposition.text(form).unwrap(), form));
    assert!(text == open);
    text
}
