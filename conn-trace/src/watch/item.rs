//! Something to print.

use jiff::Timestamp;

use super::{
    line::Line,
    state::{Change, State},
    text,
};
use crate::cli::TraceFormat;

/// Something to print.
#[derive(Debug)]
pub(super) enum Item<'a> {
    /// The watch begins.
    Begins {
        state: &'a State,
        what: &'a str,
    },
    Change(&'a Change),
    Statistics(&'a State, Timestamp),
    /// Events of any connection are missing, or nobody knows how many.
    Lost(Option<u64>, Timestamp),
    /// The agent does not answer any more; how long it is waited for, in seconds.
    Gone(u64, Timestamp),
    /// It answers again.
    Back(Timestamp),
    /// The report was written there.
    Report(&'a str, Timestamp),
}

impl Item<'_> {
    /// Its lines, each with its end.
    pub(super) fn lines(&self, format: TraceFormat) -> serde_json::Result<String> {
        match format {
            TraceFormat::Text => Ok(text::lines(self)),
            TraceFormat::Ndjson => Ok(serde_json::to_string(&Line::of(self))? + "\n"),
        }
    }
}
