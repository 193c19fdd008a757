//! A place in a walk through a table that changes.
//!
//! A walk goes by number, and no connection has a number twice: each shows at most once, whatever
//! opens and closes meanwhile. What opened after the first page is left to the next walk, so that
//! a walk ends.

use std::fmt::{self, Display, Formatter};

use super::sort::Order;

/// Where a walk goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// At its first page.
    Start,
    /// Behind a row that was shown.
    Behind {
        /// The last number shown.
        last: u64,
        /// The highest number that there was at the first page.
        newest: u64,
    },
}

/// What asks for the first page.
const START: &str = "start";

impl Cursor {
    /// From the text of [`Display`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == START {
            return Some(Self::Start);
        }
        let (last, newest) = text.split_once('-')?;
        let number = |text: &str| {
            let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
            is_plain.then(|| text.parse().ok()).flatten()
        };
        Some(Self::Behind {
            last: number(last)?,
            newest: number(newest)?,
        })
    }

    /// Whether a connection is still to be shown.
    #[must_use]
    pub fn is_ahead(self, cid: u64, order: Order) -> bool {
        match (self, order) {
            (Self::Start, _) => true,
            (Self::Behind { last, newest }, Order::Ascending) => cid > last && cid <= newest,
            (Self::Behind { last, .. }, Order::Descending) => cid < last,
        }
    }

    /// Behind `last`, where the highest number is now `highest`.
    #[must_use]
    pub fn behind(self, last: u64, highest: u64) -> Self {
        let newest = match self {
            Self::Start => highest,
            Self::Behind { newest, .. } => newest,
        };
        Self::Behind { last, newest }
    }
}

impl Display for Cursor {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str(START),
            Self::Behind { last, newest } => write!(f, "{last}-{newest}"),
        }
    }
}
