//! Results: times of answers, in tables.

use std::{fmt, time::Duration};

use serde::Serialize;

use crate::stats::Summary;

/// How long the answers to one question took.
#[derive(Debug, Serialize)]
pub(super) struct Samples {
    name: String,
    /// Of the first answer; what has moved since makes little difference.
    bytes: u64,
    /// From the question to the end of the answer.
    ms: Vec<f64>,
    /// CPU time of whoever answered.
    cpu_ms: Vec<f64>,
}

impl Samples {
    pub(super) fn new(name: String, bytes: u64) -> Self {
        Self {
            name,
            bytes,
            ms: Vec::new(),
            cpu_ms: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, took: Duration, cpu: Duration) {
        self.ms.push(took.as_secs_f64() * 1e3);
        self.cpu_ms.push(cpu.as_secs_f64() * 1e3);
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn summary(&self) -> Summary {
        Summary::of(&self.ms)
    }

    pub(super) fn cpu(&self) -> Summary {
        Summary::of(&self.cpu_ms)
    }

    /// The question that took the most CPU time of these, and the one in the middle.
    pub(super) fn slowest_and_median(of: &[Self]) -> [&Self; 2] {
        let mut sorted: Vec<&Self> = of.iter().collect();
        sorted.sort_by(|a, b| a.cpu().median.total_cmp(&b.cpu().median));
        [sorted[sorted.len() - 1], sorted[sorted.len() / 2]]
    }
}

/// Questions about the same: the first is what the others are compared with.
#[derive(Debug, Serialize)]
pub(super) struct Table {
    pub(super) heading: String,
    pub(super) lines: Vec<Samples>,
    /// Whether to say how many times longer the others take.
    pub(super) has_ratios: bool,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [ratio, cpu_ratio] = match self.has_ratios {
            true => ["x first", "x first"],
            false => ["", ""],
        };
        writeln!(f, "{}", self.heading)?;
        let head = [
            "", "bytes", "ms", "± MAD", ratio, "CPU ms", "± MAD", cpu_ratio,
        ];
        write_line(f, head)?;
        for (place, line) in self.lines.iter().enumerate() {
            let [time, cpu] = [Samples::summary, Samples::cpu].map(|of| {
                let own = of(line);
                let first = (self.has_ratios && place > 0).then(|| of(&self.lines[0]));
                let ratio = first.map(|first| own.ratio_to(first));
                [
                    format!("{:.2}", own.median),
                    format!("{:.2}", own.mad),
                    ratio.map_or(String::new(), |ratio| {
                        ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"))
                    }),
                ]
            });
            let bytes = line.bytes.to_string();
            let cells = [
                &line.name, &bytes, &time[0], &time[1], &time[2], &cpu[0], &cpu[1], &cpu[2],
            ];
            write_line(f, cells.map(String::as_str))?;
        }
        Ok(())
    }
}

fn write_line(f: &mut fmt::Formatter<'_>, cells: [&str; 8]) -> fmt::Result {
    let [name, rest @ ..] = cells;
    let widths = [10, 10, 9, 9, 10, 9, 9];
    let mut line = format!("  {name:<30}");
    for (cell, width) in rest.into_iter().zip(widths) {
        line += &format!("{cell:>width$}");
    }
    writeln!(f, "{}", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(name: &str, ms: [u64; 3]) -> Samples {
        let mut samples = Samples::new(name.to_owned(), 7);
        for ms in ms {
            samples.add(Duration::from_millis(ms), Duration::from_millis(2 * ms));
        }
        samples
    }

    #[test]
    fn others_are_compared_with_the_first() {
        let table = Table {
            heading: "a page".to_owned(),
            lines: vec![samples("one", [10, 11, 9]), samples("two", [31, 30, 29])],
            has_ratios: true,
        };
        let text = table.to_string();
        let lines: Vec<_> = text.lines().collect();
        let cells = |line: &str| {
            line.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            cells(lines[2]),
            ["one", "7", "10.00", "1.00", "20.00", "2.00"],
            "{text}"
        );
        assert_eq!(
            cells(lines[3]),
            ["two", "7", "30.00", "1.00", "3.00", "60.00", "2.00", "3.00"],
            "{text}"
        );
    }

    #[test]
    fn the_slowest_of_several_is_found() {
        let all = [
            samples("b", [2, 2, 2]),
            samples("c", [3, 3, 3]),
            samples("a", [1, 1, 1]),
        ];
        let [slowest, median] = Samples::slowest_and_median(&all);
        assert_eq!((&*slowest.name, &*median.name), ("c", "b"));
    }
}
