//! A reader that takes nothing but what the formats allow.
//!
//! Prometheus text 0.0.4 (`exposition_formats.md` of prometheus/docs) and OpenMetrics 1.0.0.

use std::collections::{BTreeMap, BTreeSet};

use super::Form;

/// Values by name and labels.
pub(super) type Series = BTreeMap<String, f64>;

/// A family while its samples are read.
#[derive(Default)]
struct Family {
    name: String,
    kind: String,
    has_unit: bool,
    buckets: BTreeMap<Labels, Vec<(f64, f64)>>,
}

type Labels = BTreeMap<String, String>;

/// Reads all series.
pub(super) fn parse(text: &str, form: Form) -> Series {
    let body = match form {
        Form::Text => text,
        Form::OpenMetrics => text.strip_suffix("# EOF\n").expect("the end"),
    };
    assert!(body.ends_with('\n'), "an end of line");
    let (mut series, mut names) = (Series::new(), BTreeSet::new());
    let mut family = Family::default();
    for line in body.strip_suffix('\n').unwrap().split('\n') {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').expect(line);
            assert!(!text.trim().is_empty(), "{line}");
            assert!(is_name(name) && names.insert(name.to_owned()), "{line}");
            family.finish(&series);
            family = Family {
                name: name.to_owned(),
                ..Family::default()
            };
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect(line);
            assert!(name == family.name && family.kind.is_empty(), "{line}");
            family.kind = kind.to_owned();
        } else if let Some(unit) = line.strip_prefix("# UNIT ") {
            let (name, unit) = unit.split_once(' ').expect(line);
            assert_eq!(form, Form::OpenMetrics, "{line}");
            assert!(name == family.name && name.ends_with(&format!("_{unit}")));
            assert!(!family.has_unit, "{line}");
            family.has_unit = true;
        } else {
            let (name, labels, value) = sample(line);
            family.take(form, &name, &labels, value);
            let key = format!("{name}{labels:?}").replace(": ", "=");
            assert!(series.insert(key, value).is_none(), "twice: {line}");
        }
    }
    family.finish(&series);
    series
}

impl Family {
    fn take(&mut self, form: Form, name: &str, labels: &Labels, value: f64) {
        let rest = name.strip_prefix(&*self.name).expect(name);
        let is_counter = self.kind == "counter";
        let fits = match (&*self.kind, form, rest) {
            ("gauge", _, "") => true,
            ("counter", Form::Text, "") => name.ends_with("_total"),
            ("counter", Form::OpenMetrics, "_total") | ("info", Form::OpenMetrics, "_info") => true,
            ("histogram", _, "_sum" | "_count" | "_bucket") => true,
            _ => false,
        };
        assert!(fits, "{name} in a {} {}", self.kind, self.name);
        assert!(
            value.is_finite() && (value >= 0.0 || !is_counter),
            "{name} {value}"
        );
        if rest == "_bucket" {
            let mut labels = labels.clone();
            let bound = labels.remove("le").expect("a bound").parse().unwrap();
            self.buckets.entry(labels).or_default().push((bound, value));
        }
    }

    fn finish(&self, series: &Series) {
        for (labels, buckets) in &self.buckets {
            assert!(buckets.is_sorted_by(|one, next| one.0 < next.0 && one.1 <= next.1));
            let (bound, all) = *buckets.last().unwrap();
            let count = format!("{}_count{labels:?}", self.name).replace(": ", "=");
            assert_eq!((bound, all), (f64::INFINITY, series[&count]), "{count}");
        }
    }
}

fn is_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(is_plain)
}

/// Name, labels and value of a line.
fn sample(line: &str) -> (String, Labels, f64) {
    let end = line.find(['{', ' ']).expect(line);
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = Labels::new();
    if let Some(list) = rest.strip_prefix('{') {
        rest = list;
        loop {
            let (label, after) = rest.split_once("=\"").expect(line);
            assert!(is_name(label), "{line}");
            let (mut value, after) = quoted(after);
            if label == "le" {
                // 1 and 1e+06 in one form are 1.0 and 1000000.0 in the other.
                value = value.parse::<f64>().expect(line).to_string();
            }
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
            match after.strip_prefix(',') {
                Some(next) => rest = next,
                None => break rest = after.strip_prefix('}').expect(line),
            }
        }
    }
    let value = rest.strip_prefix(' ').expect(line);
    (name.to_owned(), labels, value.parse().expect(line))
}

/// The value of a label, and what follows its closing quote.
fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => match characters.next().expect(text).1 {
                'n' => value.push('\n'),
                c @ ('\\' | '"') => value.push(c),
                other => panic!("\\{other} in {text}"),
            },
            c => value.push(c),
        }
    }
    panic!("no closing quote: {text}")
}
