//! What there is of each service.

use std::{collections::BTreeMap, fmt};

use super::{
    connections::{self, Group},
    writer::{Label, Writer},
};
use crate::{
    config::ServiceSection,
    query::address_or_prefix,
    registry::services::{ServiceFigures, Share, Shares},
};

/// Beginning of the names of all series of services.
const PREFIX: &str = "conntrace_service";
/// The others of a breakdown, together. A process may have that name: it is one of them then.
const OTHER: &str = "other";
/// What is not known to speak anything.
const UNKNOWN: &str = "unknown";

/// A way to tell the connections of a service apart.
struct Breakdown {
    /// Names without their beginning: of the connections, and of those without a series of their own.
    names: [&'static str; 2],
    help: &'static str,
    label: &'static str,
    /// Connections by the value of the label, and those that came when there was no room.
    counts: fn(&ServiceFigures) -> (BTreeMap<String, u64>, u64),
}

const BREAKDOWNS: [Breakdown; 3] = [
    Breakdown {
        names: ["peer_connections", "peer_overflows"],
        help: "Open connections by client, or by prefix as configured: those of the largest, and `other`.",
        label: "client",
        counts: |service| counts(&service.clients, address_or_prefix),
    },
    Breakdown {
        names: ["endpoint_connections", "endpoint_overflows"],
        help: "Open connections by the port of the service: those of the largest, and `other`.",
        label: "port",
        counts: |service| counts(&service.ports, ToString::to_string),
    },
    Breakdown {
        names: ["owner_connections", "owner_overflows"],
        help: "Open connections by name of the process, which is empty where it is not known: those of the largest, and `other`.",
        label: "process",
        counts: |service| {
            counts(&service.processes, |name| {
                name.as_deref().unwrap_or_default().to_owned()
            })
        },
    },
];

/// Writes the families of all of them.
pub(super) fn write(
    writer: &mut Writer<'_>,
    services: &[(&ServiceFigures, Option<&ServiceSection>)],
) -> fmt::Result {
    let labels: Vec<[Label<'_>; 1]> = services
        .iter()
        .map(|(one, _)| [("service", &*one.service.name)])
        .collect();
    let groups: Vec<_> = services
        .iter()
        .zip(&labels)
        .map(|((one, _), labels)| Group::new(labels, &one.figures, &one.sampled))
        .collect();
    connections::write(writer, PREFIX, &groups)?;
    let all = || labels.iter().zip(services);
    let named = |name: &str| format!("{PREFIX}_{name}");
    writer.gauges(
        &named("idle_connections"),
        "Open connections without a message for as long as the service says.",
        all().map(|(labels, (one, _))| (&labels[..], one.figures.idle)),
    )?;
    writer.gauges(
        &named("connection_limit"),
        "Connections that are all right, as configured.",
        all().filter_map(|(labels, (_, section))| {
            Some((&labels[..], section.as_ref()?.connection_limit?))
        }),
    )?;
    for breakdown in BREAKDOWNS {
        let counts: Vec<_> = all()
            .map(|(labels, (one, _))| (&labels[..], (breakdown.counts)(one)))
            .collect();
        let [connections, overflows] = breakdown.names;
        let samples = counts.iter().flat_map(|(labels, (counts, _))| {
            let counts = counts.iter();
            counts.map(|(value, count)| ((*labels, [(breakdown.label, &**value)]), *count))
        });
        writer.gauges(&named(connections), breakdown.help, samples)?;
        writer.counters(
            &named(overflows),
            "Connections that are among the others because there were too many different ones.",
            counts
                .iter()
                .map(|(labels, (_, overflow))| (*labels, *overflow)),
        )?;
    }
    protocols(writer, services)
}

/// What the connections speak of services that want to know.
fn protocols(
    writer: &mut Writer<'_>,
    services: &[(&ServiceFigures, Option<&ServiceSection>)],
) -> fmt::Result {
    let samples = |count: fn(&Share) -> u64| {
        services.iter().flat_map(move |(one, _)| {
            let shares = one.protocols.iter().flat_map(|shares| &shares.top);
            shares.map(move |(spoken, share)| {
                let (protocol, version) = match spoken {
                    Some((protocol, version)) => (protocol.name(), *version),
                    None => (UNKNOWN, ""),
                };
                let service: &str = &one.service.name;
                let labels = [
                    ("service", service),
                    ("protocol", protocol),
                    ("version", version),
                ];
                (labels, count(share))
            })
        })
    };
    writer.gauges(
        &format!("{PREFIX}_protocol_connections"),
        "Open connections by what they speak, of services with `identify`; the version is that of the protocol.",
        samples(|share| share.current),
    )?;
    writer.counters(
        &format!("{PREFIX}_protocol_ended_connections"),
        "Connections that have ended or gone elsewhere by what they spoke, likewise.",
        samples(|share| share.total - share.current),
    )
}

/// Open connections by name, the others under a name of their own. What has the same name counts
/// together.
pub(super) fn counts<K>(
    shares: &Shares<K>,
    name: impl Fn(&K) -> String,
) -> (BTreeMap<String, u64>, u64) {
    let mut counts = BTreeMap::from([(OTHER.to_owned(), shares.other.current)]);
    for (key, share) in &shares.top {
        *counts.entry(name(key)).or_default() += share.current;
    }
    (counts, shares.overflow)
}
