//! What policies have found and done.

use std::{collections::BTreeMap, fmt};

use super::writer::Writer;
use crate::registry::{
    policies::{Deliveries, Rule},
    services::ServiceFigures,
};

/// Writes the families of the policies of these services.
pub(super) fn write<'a>(
    writer: &mut Writer<'_>,
    services: impl Iterator<Item = &'a ServiceFigures> + Clone,
) -> fmt::Result {
    let policies = services.flat_map(|one| {
        let service = &*one.service.name;
        one.policies.iter().map(move |policy| (service, policy))
    });
    writer.counters(
        "conntrace_policy_actions",
        "What policies have done, by outcome.",
        policies.clone().flat_map(|(service, figures)| {
            let policy = &figures.policy;
            figures.outcomes.iter().map(move |(outcome, count)| {
                let labels = [
                    ("service", service),
                    ("policy", &*policy.name),
                    ("action", policy.action.name()),
                    ("outcome", outcome),
                ];
                (labels, count)
            })
        }),
    )?;
    let labels = |service, name| [("service", service), ("policy", name)];
    writer.gauges(
        "conntrace_policy_flagged_connections",
        "Open connections that a policy has found something in.",
        policies
            .clone()
            .map(|(service, one)| (labels(service, &*one.policy.name), one.flagged)),
    )?;
    writer.gauges(
        "conntrace_policy_tight",
        "Whether pressure has tightened an adaptive limit.",
        policies
            .filter(|(_, one)| {
                matches!(&one.policy.rule, Rule::Limit(limit) if limit.adaptive.is_some())
            })
            .map(|(service, one)| (labels(service, &*one.policy.name), u64::from(one.is_tight))),
    )
}

/// Writes what became of the records for webhooks, by host: the rest of a URL may be a secret.
pub(super) fn write_deliveries(writer: &mut Writer<'_>, all: &[Deliveries]) -> fmt::Result {
    let mut by_host: BTreeMap<&str, [u64; 4]> = BTreeMap::new();
    for one in all {
        let counts = [one.waiting, one.delivered, one.failures, one.dropped];
        let sums = by_host.entry(&one.host).or_default();
        for (sum, count) in sums.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    let of = |place: usize| {
        let by_host = by_host.iter();
        by_host.map(move |(host, counts)| ([("host", *host)], counts[place]))
    };
    writer.gauges(
        "conntrace_webhook_waiting_records",
        "Records that wait for a webhook.",
        of(0),
    )?;
    writer.counters(
        "conntrace_webhook_delivered_records",
        "Records that a webhook has taken.",
        of(1),
    )?;
    writer.counters(
        "conntrace_webhook_failures",
        "Tries to send a record that failed.",
        of(2),
    )?;
    writer.counters(
        "conntrace_webhook_dropped_records",
        "Records that were given up.",
        of(3),
    )
}
