//! Results: from samples to tables.

use std::{fmt, fs, path::Path};

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::Value;

use crate::{stats::Summary, variant::Variant};

/// Writes everything of a run to a file.
pub(crate) fn write_json(file: &Path, report: &Value) -> Result<()> {
    fs::write(file, format!("{report:#}\n"))
        .with_context(|| format!("cannot write {}", file.display()))
}

/// Everything that was measured under one load.
#[derive(Debug, Serialize)]
pub(crate) struct Series {
    /// What the sockets do, for the heading.
    pub(crate) load: String,
    /// What the times are divided by.
    pub(crate) per: &'static str,
    /// CPU time of each round, in ns.
    pub(crate) samples: Vec<Samples>,
}

/// The rounds of a variant.
#[derive(Debug, Serialize)]
pub(crate) struct Samples {
    pub(crate) variant: Variant,
    pub(crate) ns: Vec<f64>,
}

/// A line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Row {
    variant: Variant,
    /// In ns, per event.
    total: Summary,
    /// What it took more than the same round's window without hooks, in ns.
    added: Summary,
    /// How many times the empty programs' cost it adds.
    to_floor: Option<f64>,
    /// How many times conn-trace's cost it adds.
    to_conn_trace: Option<f64>,
}

impl Series {
    /// A series without samples.
    pub(crate) fn new(load: String, per: &'static str, variants: &[Variant]) -> Self {
        let samples = variants.iter().map(|variant| Samples {
            variant: *variant,
            ns: Vec::new(),
        });
        Self {
            load,
            per,
            samples: samples.collect(),
        }
    }

    /// Adds a round's result.
    pub(crate) fn add(&mut self, variant: Variant, ns: f64) {
        if let Some(samples) = self
            .samples
            .iter_mut()
            .find(|known| known.variant == variant)
        {
            samples.ns.push(ns);
        }
    }

    /// One row for each variant; each has been measured in every round.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let added = |samples: &Samples| {
            let none = self.of(Variant::None).map_or(&[][..], |none| &none.ns);
            let differences: Vec<f64> = samples.ns.iter().zip(none).map(|(a, b)| a - b).collect();
            Summary::of(&differences)
        };
        let ratio = |own: &Samples, to: Variant| {
            let is_nothing = matches!(own.variant, Variant::None | Variant::NoneAgain);
            let to = self.of(to).filter(|_| !is_nothing)?;
            added(own).ratio_to(added(to))
        };
        self.samples
            .iter()
            .map(|samples| Row {
                variant: samples.variant,
                total: Summary::of(&samples.ns),
                added: added(samples),
                to_floor: ratio(samples, Variant::Floor),
                to_conn_trace: ratio(samples, Variant::ConnTrace),
            })
            .collect()
    }

    fn of(&self, variant: Variant) -> Option<&Samples> {
        self.samples
            .iter()
            .find(|samples| samples.variant == variant)
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: CPU time, ns per {}", self.load, self.per)?;
        writeln!(
            f,
            "  {:<12}{:>10}{:>10}{:>8}{:>10}{:>14}",
            "variant", "total", "added", "± MAD", "x floor", "x conn-trace"
        )?;
        for row in self.rows() {
            write!(f, "  {:<12}{:>10.1}", row.variant, row.total.median)?;
            if row.variant == Variant::None {
                writeln!(f, "{:>10}{:>8.1}", "", row.total.mad)?;
                continue;
            }
            let times = |ratio: Option<f64>| ratio.map_or("-".to_owned(), |x| format!("{x:.2}"));
            writeln!(
                f,
                "{:>+10.1}{:>8.1}{:>10}{:>14}",
                row.added.median,
                row.added.mad,
                times(row.to_floor),
                times(row.to_conn_trace)
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series() -> Series {
        let variants = [Variant::None, Variant::Floor, Variant::ConnTrace];
        let mut series = Series::new("1 pair".to_owned(), "event", &variants);
        // The second round is slow as a whole: only differences count.
        for (none, floor, conn_trace) in [(1000.0, 1030.0, 1060.0), (5000.0, 5032.0, 5064.0)] {
            series.add(Variant::None, none);
            series.add(Variant::Floor, floor);
            series.add(Variant::ConnTrace, conn_trace);
        }
        series
    }

    #[test]
    fn a_variant_is_compared_within_its_round() {
        let rows = series().rows();
        assert_eq!(
            rows[2].added,
            Summary {
                median: 62.0,
                mad: 2.0,
            }
        );
        assert_eq!(rows[2].to_floor, Some(2.0));
        assert_eq!(rows[1].to_conn_trace, Some(0.5));
        assert_eq!(rows[0].to_floor, None);
    }

    #[test]
    fn the_table_is_aligned() {
        let text = series().to_string();
        let rows: Vec<_> = text.lines().skip(1).collect();
        let width = rows[0].chars().count();
        assert_eq!(rows[2].chars().count(), width, "{text}");
        assert_eq!(rows[3].chars().count(), width, "{text}");
        assert!(rows[3].ends_with("1.00"), "{text}");
    }
}
