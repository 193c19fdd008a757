//! Figures that are known exactly, or between two bounds.

use std::fmt;

use crate::protocol::Counts;

/// A number between two bounds, both included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Not less than this.
    pub least: u64,
    /// Not more than this.
    pub most: u64,
}

impl Span {
    /// A number that is known.
    #[must_use]
    pub const fn exact(value: u64) -> Self {
        Self {
            least: value,
            most: value,
        }
    }

    /// Its value, if it is known.
    #[must_use]
    pub fn value(self) -> Option<u64> {
        (self.least == self.most).then_some(self.least)
    }

    /// Whether it may be this.
    #[must_use]
    pub fn holds(self, value: u64) -> bool {
        (self.least..=self.most).contains(&value)
    }

    /// The sum.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            least: self.least + other.least,
            most: self.most + other.most,
        }
    }

    /// What came after `base`.
    #[must_use]
    pub fn since(self, base: Self) -> Self {
        Self {
            least: self.least.saturating_sub(base.most),
            most: self.most.saturating_sub(base.least),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value() {
            Some(value) => value.fmt(f),
            None => write!(f, "{}..={}", self.least, self.most),
        }
    }
}

/// What one end has moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spans {
    /// Bytes received.
    pub in_bytes: Span,
    /// Bytes sent.
    pub out_bytes: Span,
    /// Receive calls that moved data.
    pub in_calls: Span,
    /// Send calls that moved data.
    pub out_calls: Span,
}

impl Spans {
    /// What a process has counted.
    #[must_use]
    pub const fn exact(counts: Counts) -> Self {
        Self {
            in_bytes: Span::exact(counts.in_bytes),
            out_bytes: Span::exact(counts.out_bytes),
            in_calls: Span::exact(counts.in_calls),
            out_calls: Span::exact(counts.out_calls),
        }
    }

    /// The sums.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            in_bytes: self.in_bytes.plus(other.in_bytes),
            out_bytes: self.out_bytes.plus(other.out_bytes),
            in_calls: self.in_calls.plus(other.in_calls),
            out_calls: self.out_calls.plus(other.out_calls),
        }
    }

    /// What an agent shows that has been there since `base`: bytes of the whole life, calls since.
    #[must_use]
    pub fn counted_since(self, base: Self) -> Self {
        Self {
            in_calls: self.in_calls.since(base.in_calls),
            out_calls: self.out_calls.since(base.out_calls),
            ..self
        }
    }

    /// Whether it may be this.
    #[must_use]
    pub fn holds(self, counts: Counts) -> bool {
        self.in_bytes.holds(counts.in_bytes)
            && self.out_bytes.holds(counts.out_bytes)
            && self.in_calls.holds(counts.in_calls)
            && self.out_calls.holds(counts.out_calls)
    }
}

impl fmt::Display for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "in {} bytes in {} calls, out {} bytes in {} calls",
            self.in_bytes, self.in_calls, self.out_bytes, self.out_calls
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_add_up_and_are_both_included() {
        let sum = Span::exact(3).plus(Span { least: 1, most: 4 });
        assert_eq!(sum, Span { least: 4, most: 7 });
        assert!(sum.holds(4) && sum.holds(7) && !sum.holds(3) && !sum.holds(8));
        assert_eq!((sum.value(), Span::exact(9).value()), (None, Some(9)));
    }

    #[test]
    fn bytes_are_of_the_whole_life_and_calls_since_the_agent_counts() {
        let base = Spans::exact(Counts {
            in_bytes: 10,
            out_bytes: 20,
            in_calls: 1,
            out_calls: 2,
        });
        let now = base.plus(Spans::exact(Counts {
            in_bytes: 5,
            out_bytes: 6,
            in_calls: 3,
            out_calls: 4,
        }));
        let shown = Counts {
            in_bytes: 15,
            out_bytes: 26,
            in_calls: 3,
            out_calls: 4,
        };
        assert!(now.counted_since(base).holds(shown));
        assert!(!now.holds(shown));
        let one_lost = Counts {
            in_calls: 2,
            ..shown
        };
        assert!(!now.counted_since(base).holds(one_lost));
    }
}
