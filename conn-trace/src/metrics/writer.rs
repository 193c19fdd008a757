//! Families of series, one after the other.

use std::fmt;

use prometheus_client::{
    encoding::{
        DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, MetricEncoder,
        NoLabelSet,
    },
    metrics::MetricType,
    registry::Unit,
};

use crate::registry::services::Histogram;

/// A label and its value.
pub(super) type Label<'a> = (&'static str, &'a str);

/// No labels.
pub(super) const PLAIN: [Label<'static>; 0] = [];

/// Writes families; one without samples is left out.
pub(super) struct Writer<'a>(pub(super) DescriptorEncoder<'a>);

impl Writer<'_> {
    pub(super) fn gauges<L: EncodeLabelSet, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        self.family(
            name,
            help,
            MetricType::Gauge,
            samples,
            |mut series, value| series.encode_gauge(&value),
        )
    }

    /// Their samples are named with `_total` behind.
    pub(super) fn counters<L: EncodeLabelSet, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        self.family(
            name,
            help,
            MetricType::Counter,
            samples,
            |mut series, value| series.encode_counter::<NoLabelSet, _, u64>(&value, None),
        )
    }

    pub(super) fn histograms<'a, L: EncodeLabelSet, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, &'a Histogram<N>)>,
    ) -> fmt::Result {
        self.family(
            name,
            help,
            MetricType::Histogram,
            samples,
            |mut series, histogram| {
                let mut buckets: Vec<_> = histogram.buckets().collect();
                let below: u64 = buckets.iter().map(|(_, count)| count).sum();
                buckets.push((f64::INFINITY, histogram.count() - below));
                series.encode_histogram::<NoLabelSet>(
                    histogram.sum(),
                    histogram.count(),
                    &buckets,
                    None,
                )
            },
        )
    }

    /// A fact, in its labels. Its sample is named with `_info` behind.
    pub(super) fn info(&mut self, name: &str, help: &str, labels: &[Label<'_>]) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, None, MetricType::Info)?;
        family.encode_info(&labels)
    }

    fn family<L: EncodeLabelSet, V>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        samples: impl IntoIterator<Item = (L, V)>,
        encode: impl Fn(MetricEncoder<'_>, V) -> fmt::Result,
    ) -> fmt::Result {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let (name, unit) = unit_of(name);
        let mut family = self.0.encode_descriptor(name, help, unit.as_ref(), kind)?;
        for (labels, value) in samples {
            encode(family.encode_family(&labels)?, value)?;
        }
        Ok(())
    }
}

/// The unit at the end of a name, which OpenMetrics wants to be told.
fn unit_of(name: &str) -> (&str, Option<Unit>) {
    for unit in [Unit::Seconds, Unit::Bytes] {
        let rest = name.strip_suffix(unit.as_str());
        if let Some(rest) = rest.and_then(|rest| rest.strip_suffix('_')) {
            return (rest, Some(unit));
        }
    }
    (name, None)
}
