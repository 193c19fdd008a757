//! Values that several sections have.

use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, de::Error as _};

use crate::query::Quoted;

/// A time above 0, as `90s`, `15m` or `24h`.
pub(super) fn time(text: &str) -> Option<Duration> {
    let time: SignedDuration = text.parse().ok()?;
    Duration::try_from(time).ok().filter(|time| !time.is_zero())
}

/// The same, refused in words.
pub(super) fn duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    time(&text).map(Some).ok_or_else(|| {
        D::Error::custom(format!(
            "expected a time above 0 such as 90s or 15m, got {}",
            Quoted::new(&text)
        ))
    })
}

/// One of these, by its name.
pub(super) fn choose<'de, D: Deserializer<'de>, T: Copy>(
    deserializer: D,
    key: &str,
    all: &[T],
    name: impl Fn(T) -> &'static str,
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    let found = all.iter().find(|one| name(**one) == text);
    found.copied().ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|one| name(*one)).collect();
        D::Error::custom(format!(
            "{key}: expected one of {}, got {}",
            names.join(", "),
            Quoted::new(&text)
        ))
    })
}
