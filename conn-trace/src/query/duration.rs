//! Durations as NATS writes them.

use std::fmt::{self, Display, Formatter};

use arrayvec::ArrayString;
use serde::{Serialize, Serializer};

/// As long as the longest, `584942417355y45d15h30m15s`. A page has three for each row, and it takes
/// several times as long to write each part of them by way of [`fmt`](std::fmt).
type Text = ArrayString<32>;

const NANOS_PER_MICRO: u64 = 1_000;
const NANOS_PER_MILLI: u64 = 1_000_000;
const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Whole seconds as `uptime` and `idle` have them: `15s`, `4m5s`, `1h14m15s`, `2d3h4m5s`,
/// `1y20d22h3m30s`. The largest unit that is not zero decides, every smaller one is written.
/// Years have 365 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds(pub u64);

impl Seconds {
    /// Without the fraction, as NATS does.
    #[must_use]
    pub fn from_nanos(nanos: u64) -> Self {
        Self(nanos / NANOS_PER_SECOND)
    }
}

impl Seconds {
    fn text(self) -> Text {
        let (minutes, s) = (self.0 / 60, self.0 % 60);
        let (hours, m) = (minutes / 60, minutes % 60);
        let (days, h) = (hours / 24, hours % 24);
        let (y, d) = (days / 365, days % 365);
        let parts = [(y, "y"), (d, "d"), (h, "h"), (m, "m"), (s, "s")];
        let first = parts.iter().position(|&(number, _)| number > 0);
        let mut text = Text::new();
        for &(number, unit) in &parts[first.unwrap_or(parts.len() - 1)..] {
            push(&mut text, number);
            text.push_str(unit);
        }
        text
    }
}

impl Display for Seconds {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

/// Nanoseconds as Go prints a `time.Duration`: `999ns`, `338µs`, `1.039368ms`, `1m47.9s`,
/// `1h0m0s`, `0s`. Exporters parse it with Go's own parser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoDuration(pub u64);

impl GoDuration {
    /// From microseconds, the kernel's unit of round trip times.
    #[must_use]
    pub fn from_micros(micros: u32) -> Self {
        Self(u64::from(micros) * NANOS_PER_MICRO)
    }
}

impl GoDuration {
    fn text(self) -> Text {
        let nanos = self.0;
        let mut text = Text::new();
        match nanos {
            0 => text.push_str("0s"),
            1..NANOS_PER_MICRO => decimal(&mut text, nanos, 1, "ns"),
            NANOS_PER_MICRO..NANOS_PER_MILLI => decimal(&mut text, nanos, NANOS_PER_MICRO, "µs"),
            NANOS_PER_MILLI..NANOS_PER_SECOND => decimal(&mut text, nanos, NANOS_PER_MILLI, "ms"),
            _ => {
                let minutes = nanos / NANOS_PER_SECOND / 60;
                let (h, m) = (minutes / 60, minutes % 60);
                if h > 0 {
                    push(&mut text, h);
                    text.push('h');
                }
                if minutes > 0 {
                    push(&mut text, m);
                    text.push('m');
                }
                decimal(
                    &mut text,
                    nanos % (60 * NANOS_PER_SECOND),
                    NANOS_PER_SECOND,
                    "s",
                );
            }
        }
        text
    }
}

impl Display for GoDuration {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

/// `nanos` in a unit of a power of ten, with as many decimals as it takes.
fn decimal(text: &mut Text, nanos: u64, unit: u64, name: &str) {
    push(text, nanos / unit);
    let (mut fraction, mut digit) = (nanos % unit, unit / 10);
    if fraction > 0 {
        text.push('.');
    }
    while fraction > 0 {
        push(text, fraction / digit);
        fraction %= digit;
        digit /= 10;
    }
    text.push_str(name);
}

fn push(text: &mut Text, number: u64) {
    text.push_str(itoa::Buffer::new().format(number));
}

#[cfg(test)]
mod tests {
    use super::{GoDuration, Seconds};

    #[test]
    fn seconds() {
        const DAY: u64 = 86_400;
        for (seconds, text) in [
            (0, "0s"),
            (15, "15s"),
            (59, "59s"),
            (60, "1m0s"),
            (245, "4m5s"),
            (3_600, "1h0m0s"),
            (4_455, "1h14m15s"),
            (DAY - 1, "23h59m59s"),
            (DAY, "1d0h0m0s"),
            (2 * DAY + 11_045, "2d3h4m5s"),
            (365 * DAY - 1, "364d23h59m59s"),
            (365 * DAY, "1y0d0h0m0s"),
            (385 * DAY + 79_410, "1y20d22h3m30s"),
        ] {
            assert_eq!(Seconds(seconds).to_string(), text);
        }
    }

    #[test]
    fn fractions_of_seconds_are_dropped() {
        assert_eq!(Seconds::from_nanos(999_999_999), Seconds(0));
        assert_eq!(Seconds::from_nanos(1_999_999_999), Seconds(1));
        assert_eq!(
            Seconds::from_nanos(u64::MAX).to_string(),
            "584y343d23h34m33s"
        );
    }

    #[test]
    fn go_durations() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (999, "999ns"),
            (1_000, "1µs"),
            (1_100, "1.1µs"),
            (15_000, "15µs"),
            (338_000, "338µs"),
            (999_999, "999.999µs"),
            (1_000_000, "1ms"),
            (1_039_368, "1.039368ms"),
            (1_000_001, "1.000001ms"),
            (1_000_000_000, "1s"),
            (1_500_000_000, "1.5s"),
            (59_999_999_999, "59.999999999s"),
            (60_000_000_000, "1m0s"),
            (107_900_000_000, "1m47.9s"),
            (3_600_000_000_000, "1h0m0s"),
            (u64::MAX, "5124095h34m33.709551615s"),
        ] {
            assert_eq!(GoDuration(nanos).to_string(), text);
        }
        assert_eq!(
            GoDuration::from_micros(u32::MAX).to_string(),
            "1h11m34.967295s"
        );
    }
}
