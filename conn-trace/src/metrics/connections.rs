//! What there is of the host as well as of each service.

use std::fmt;

use super::writer::{Label, Writer};
use crate::registry::services::{Causes, Figures, SampledSums};

/// Connections that are counted together.
pub(super) struct Group<'a> {
    labels: &'a [Label<'a>],
    figures: &'a Figures,
    sampled: &'a SampledSums,
}

/// Names without their beginning, what they mean, and where they come from.
type Families<V, const N: usize> = [(&'static str, &'static str, fn(&Group<'_>) -> V); N];

const GAUGES: Families<u64, 6> = [
    (
        "open_connections",
        "Connections whose handshake has ended, and that have not.",
        |group| group.figures.current(),
    ),
    (
        "connecting_connections",
        "Connections whose handshake has not ended.",
        |group| group.figures.tally.connecting,
    ),
    (
        "peak_connections",
        "Most connections that were open at the same time, since the start of the agent or the last reset of the peak.",
        |group| group.figures.tally.peak().connections,
    ),
    (
        "sampled_sockets",
        "Sockets of open connections that were looked at: round trip time, queues and retransmissions are theirs.",
        |group| group.sampled.sockets,
    ),
    (
        "pending_bytes",
        "Bytes that programs have written and peers not acknowledged, of sampled sockets.",
        |group| group.sampled.pending_bytes,
    ),
    (
        "receive_queue_bytes",
        "Bytes that have arrived and programs not read, of sampled sockets.",
        |group| group.sampled.recv_queue_bytes,
    ),
];

const COUNTERS: Families<u64, 8> = [
    (
        "connections_opened",
        "Connections whose handshake has ended since the start of the agent.",
        |group| group.figures.tally.opened,
    ),
    (
        "connections_joined",
        "Connections that were open already when they came to be counted here.",
        |group| group.figures.tally.joined,
    ),
    (
        "connections_left",
        "Connections that turned out to be counted elsewhere while they were open.",
        |group| group.figures.tally.left,
    ),
    ("receive_bytes", "Bytes that programs have read.", |group| {
        group.figures.moved().in_bytes
    }),
    (
        "transmit_bytes",
        "Bytes that programs have written.",
        |group| group.figures.moved().out_bytes,
    ),
    (
        "receive_messages",
        "Receive calls that moved data.",
        |group| group.figures.moved().in_msgs,
    ),
    (
        "transmit_messages",
        "Send calls that moved data.",
        |group| group.figures.moved().out_msgs,
    ),
    (
        "retransmitted_segments",
        "Segments that were sent again, as far as sockets were looked at.",
        |group| group.figures.tally.retransmitted + group.sampled.retransmitted,
    ),
];

/// Counts by cause.
type ByCause = fn(&Figures) -> &Causes;

const BY_CAUSE: [(&str, &str, ByCause); 2] = [
    (
        "connections_closed",
        "Connections that have ended, by cause. Those whose socket still exists follow with its end.",
        |figures| &figures.tally.closed,
    ),
    (
        "connect_failures",
        "Connections whose handshake never ended, by cause.",
        |figures| &figures.tally.failed,
    ),
];

impl<'a> Group<'a> {
    pub(super) fn new(
        labels: &'a [Label<'a>],
        figures: &'a Figures,
        sampled: &'a SampledSums,
    ) -> Self {
        Self {
            labels,
            figures,
            sampled,
        }
    }

    fn with(&self, name: &'static str, value: &'static str) -> (&'a [Label<'a>], [Label<'a>; 1]) {
        (self.labels, [(name, value)])
    }
}

/// Writes the families of these groups under names that begin with `prefix`.
pub(super) fn write(writer: &mut Writer<'_>, prefix: &str, groups: &[Group<'_>]) -> fmt::Result {
    let named = |name: &str| format!("{prefix}_{name}");
    writer.gauges(
        &named("connections"),
        "Connections by TCP state; CLOSED has those whose socket still exists.",
        groups.iter().flat_map(|group| {
            let states = group.figures.states.iter();
            states.map(|(state, count)| (group.with("state", state.name()), count))
        }),
    )?;
    for (name, help, figure) in GAUGES {
        let samples = groups.iter().map(|group| (group.labels, figure(group)));
        writer.gauges(&named(name), help, samples)?;
    }
    writer.gauges(
        &named("peak_timestamp_seconds"),
        "When there were as many open connections as the peak for the first time.",
        groups.iter().map(|group| {
            let at = group.figures.tally.peak().at;
            (group.labels, at.as_duration().as_secs_f64())
        }),
    )?;
    writer.gauges(
        &named("rtt_seconds"),
        "Mean of the smoothed round trip times of sampled sockets.",
        groups.iter().filter_map(|group| {
            let sums = group.sampled;
            let has_some = sums.with_rtt != 0;
            has_some.then(|| {
                let mean_us = sums.rtt_us as f64 / sums.with_rtt as f64;
                (group.labels, mean_us / 1e6)
            })
        }),
    )?;
    for (name, help, figure) in COUNTERS {
        let samples = groups.iter().map(|group| (group.labels, figure(group)));
        writer.counters(&named(name), help, samples)?;
    }
    for (name, help, causes) in BY_CAUSE {
        let samples = groups.iter().flat_map(|group| {
            let causes = causes(group.figures).iter();
            causes.map(|(cause, count)| (group.with("cause", cause.name()), count))
        });
        writer.counters(&named(name), help, samples)?;
    }
    let tallies = || {
        groups
            .iter()
            .map(|group| (group.labels, &group.figures.tally))
    };
    writer.histograms(
        &named("connection_duration_seconds"),
        "Time from the end of the handshake to the end, of connections that have ended.",
        tallies().map(|(labels, tally)| (labels, &tally.durations)),
    )?;
    writer.histograms(
        &named("connection_received_bytes"),
        "Bytes that programs had read, of connections that have ended.",
        tallies().map(|(labels, tally)| (labels, &tally.received)),
    )?;
    writer.histograms(
        &named("connection_sent_bytes"),
        "Bytes that programs had written, of connections that have ended.",
        tallies().map(|(labels, tally)| (labels, &tally.sent)),
    )
}
