//! The series of the FIX exporter, for services that say under which prefix.
//!
//! It had a series for each connection; here the oldest have one, and the others are counted.

use std::{collections::BTreeMap, fmt, ops::AddAssign, sync::Arc};

use super::{Exposition, services::counts, writer::Writer};
use crate::{
    config::{MetricPrefix, ServiceSection},
    query::SocketName,
    registry::{connection::Facts, services::ServiceFigures},
};

/// A service and how it is called.
struct Named<'a> {
    figures: &'a ServiceFigures,
    ip: String,
    target: String,
}

/// Values by labels. Services that share prefix and target are one.
type Sums<const N: usize> = BTreeMap<[String; N], u64>;

/// Writes the families of each prefix.
pub(super) fn write(
    writer: &mut Writer<'_>,
    exposition: &Exposition,
    services: &[(&ServiceFigures, Option<&ServiceSection>)],
) -> fmt::Result {
    let mut by_prefix: BTreeMap<&MetricPrefix, Vec<Named<'_>>> = BTreeMap::new();
    for (figures, section) in services {
        let Some(section) = section else { continue };
        let Some(prefix) = &section.metric_prefix else {
            continue;
        };
        let address = exposition.addresses.get(&figures.service.name);
        by_prefix.entry(prefix).or_default().push(Named {
            figures,
            ip: address.map(ToString::to_string).unwrap_or_default(),
            target: section.target(),
        });
    }
    let now_ns = exposition.report.now_ns;
    for (prefix, services) in by_prefix {
        family(writer, prefix, &exposition.host, now_ns, &services)?;
    }
    Ok(())
}

fn family(
    writer: &mut Writer<'_>,
    prefix: &MetricPrefix,
    host: &str,
    now_ns: u64,
    services: &[Named<'_>],
) -> fmt::Result {
    let named = |name: &str| format!("{prefix}_{name}");
    let sums = |figure: fn(&ServiceFigures) -> u64| {
        let all = services.iter();
        sum(all.map(|one| {
            (
                [&*one.ip, &one.target].map(str::to_owned),
                figure(one.figures),
            )
        }))
    };
    let with_ip = |sums: Sums<2>| {
        let all = sums.into_iter();
        all.map(|([ip, target], count)| {
            (
                [("host", host.to_owned()), ("ip", ip), ("target", target)],
                count,
            )
        })
    };
    writer.counters(
        &named("connections"),
        "Connections since the start of the agent, those included that were open then.",
        with_ip(sums(|one| {
            one.figures.tally.opened + one.figures.tally.joined
        })),
    )?;
    writer.gauges(
        &named("connections_active"),
        "Open connections.",
        with_ip(sums(|one| one.figures.current())),
    )?;
    writer.gauges(
        &named("connections_peak"),
        "Most connections that were open at the same time; of several services with one target, the sum.",
        with_ip(sums(|one| one.figures.tally.peak().connections)),
    )?;
    let mut durations = BTreeMap::new();
    for one in services {
        for facts in one.figures.oldest.iter().filter(is_known) {
            let ends = [&facts.local, &facts.peer].map(|end| SocketName(end).to_string());
            let age_ns = now_ns.saturating_sub(facts.start_ns);
            // Two networks may have the same addresses.
            let longest = durations.entry((ends, &one.target)).or_insert(age_ns);
            *longest = age_ns.max(*longest);
        }
    }
    writer.gauges(
        &named("connection_duration_seconds"),
        "Age of open connections, of the 100 oldest of each service.",
        durations.iter().map(|(([local, remote], target), age_ns)| {
            let labels = [
                ("host", host),
                ("local_addr", local),
                ("remote_addr", remote),
                ("target", target),
            ];
            (labels, *age_ns as f64 / 1e9)
        }),
    )?;
    let omitted = services.iter().map(|one| {
        let shown = one.figures.oldest.iter().filter(is_known);
        let left_out = one
            .figures
            .figures
            .current()
            .saturating_sub(shown.count() as u64);
        ([one.target.clone()], left_out)
    });
    writer.gauges(
        &named("connections_omitted"),
        "Open connections without a series of their own in the family of durations.",
        sum(omitted)
            .into_iter()
            .map(|([target], count)| ([("host", host.to_owned()), ("target", target)], count)),
    )?;
    let by_port = services.iter().flat_map(|one| {
        let (ports, _) = counts(&one.figures.ports, ToString::to_string);
        let ports = ports.into_iter();
        ports.map(|(port, count)| ([port, one.target.clone()], count))
    });
    writer.gauges(
        &named("connections_by_port"),
        "Open connections by the port of the service: those of the largest, and `other`.",
        sum(by_port).into_iter().map(|([port, target], count)| {
            (
                [
                    ("host", host.to_owned()),
                    ("port", port),
                    ("target", target),
                ],
                count,
            )
        }),
    )
}

/// Whether both ends are known. This end's port of a connection that has just opened may not be yet.
fn is_known(facts: &&Arc<Facts>) -> bool {
    facts.local.port != 0 && facts.peer.port != 0
}

fn sum<const N: usize>(parts: impl Iterator<Item = ([String; N], u64)>) -> Sums<N> {
    let mut sums = Sums::new();
    for (labels, part) in parts {
        sums.entry(labels).or_default().add_assign(part);
    }
    sums
}
