//! Medians: one slow round must not move a result.

use serde::Serialize;

/// A middle and how far the values lie from it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    /// Median absolute deviation: half of the values lie no farther from the median.
    pub(crate) mad: f64,
}

impl Summary {
    /// Of at least one value.
    pub(crate) fn of(values: &[f64]) -> Self {
        let middle = median(values.to_vec());
        let deviations = values.iter().map(|value| (value - middle).abs()).collect();
        Self {
            median: middle,
            mad: median(deviations),
        }
    }

    /// This middle as a multiple of another one; `None` where noise could have made either.
    pub(crate) fn ratio_to(self, other: Self) -> Option<f64> {
        (self.stands_out() && other.stands_out()).then(|| self.median / other.median)
    }

    fn stands_out(self) -> bool {
        self.median > self.mad
    }
}

/// Of at least one value.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len().is_multiple_of(2) {
        f64::midpoint(values[half - 1], values[half])
    } else {
        values[half]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wild_value_changes_little() {
        let summary = Summary::of(&[10.0, 12.0, 11.0, 9000.0, 9.0]);
        assert_eq!(summary.median.to_bits(), 11.0_f64.to_bits());
        assert_eq!(summary.mad.to_bits(), 1.0_f64.to_bits());
    }

    #[test]
    fn an_even_number_of_values_has_a_middle() {
        let summary = Summary::of(&[1.0, 4.0, 2.0, 3.0]);
        assert_eq!(summary.median.to_bits(), 2.5_f64.to_bits());
        assert_eq!(summary.mad.to_bits(), 1.0_f64.to_bits());
    }

    #[test]
    fn noise_has_no_ratio() {
        let clear = |median| Summary { median, mad: 1.0 };
        assert_eq!(clear(30.0).ratio_to(clear(10.0)), Some(3.0));
        assert_eq!(clear(30.0).ratio_to(clear(0.5)), None);
        assert_eq!(clear(-30.0).ratio_to(clear(10.0)), None);
    }
}
