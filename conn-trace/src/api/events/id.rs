//! The id of an event: which run of the agent, and which of its events.

use std::fmt::{self, Display, Formatter};

use jiff::Timestamp;

/// Numbers begin anew with each run, so an id has the run as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EventId {
    /// When the agent started, in milliseconds.
    pub(super) run: i64,
    /// The number of the event; 0 is before the first.
    pub(super) number: u64,
}

impl EventId {
    pub(super) fn new(start: Timestamp, number: u64) -> Self {
        let run = start.as_millisecond();
        Self { run, number }
    }

    /// From the text of [`Display`].
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (run, number) = text.split_once('-')?;
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        (is_plain(run) && is_plain(number)).then_some(())?;
        Some(Self {
            run: run.parse().ok()?,
            // One more has to exist.
            number: number.parse().ok().filter(|&number| number < u64::MAX)?,
        })
    }
}

impl Display for EventId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.run, self.number)
    }
}
