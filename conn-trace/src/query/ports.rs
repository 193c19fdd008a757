//! `port` and `local_port`: numbers and ranges.

use std::{
    fmt::{self, Display, Formatter},
    ops::RangeInclusive,
};

/// A set of ports, such as `80,5000-6000`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports(Vec<RangeInclusive<u16>>);

impl Ports {
    /// From a comma list of numbers and ranges. A range that ends before it begins is a mistake.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.split(',').map(range).collect::<Option<_>>().map(Self)
    }

    /// Whether the port is in the set.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|range| range.contains(&port))
    }
}

impl Display for Ports {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (at, range) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            match (range.start(), range.end()) {
                (first, last) if first == last => write!(f, "{comma}{first}")?,
                (first, last) => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = first.parse().ok()?..=last.parse().ok()?;
    (!range.is_empty()).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::Ports;

    #[test]
    fn numbers_and_ranges() {
        let ports = Ports::parse("80,5000-6000,65535").unwrap();
        for port in [80, 5000, 5500, 6000, 65535] {
            assert!(ports.contains(port), "{port}");
        }
        for port in [0, 79, 81, 4999, 6001, 65534] {
            assert!(!ports.contains(port), "{port}");
        }
        assert!(Ports::parse("0").unwrap().contains(0));
    }

    #[test]
    fn what_are_no_ports() {
        for text in [
            "",
            ",",
            "80,",
            "65536",
            "-1",
            "1-",
            "-",
            "1-2-3",
            "6000-5000",
            "http",
            " 80",
        ] {
            assert_eq!(Ports::parse(text), None, "{text}");
        }
    }
}
