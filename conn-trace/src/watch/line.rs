//! What is printed, as JSON for programs.

use jiff::Timestamp;
use serde::Serialize;

use super::{entry::Entry, item::Item, report::Stats, state::Change};

/// A line for programs.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Line<'a> {
    Watch {
        time: Timestamp,
        what: &'a str,
    },
    Open {
        time: Timestamp,
        #[serde(flatten)]
        connection: Entry<'a>,
    },
    New {
        time: Timestamp,
        #[serde(flatten)]
        connection: Entry<'a>,
    },
    Ended {
        time: Timestamp,
        #[serde(flatten)]
        connection: Entry<'a>,
    },
    Failed {
        time: Timestamp,
        #[serde(flatten)]
        connection: Entry<'a>,
    },
    Statistics {
        time: Timestamp,
        stats: Stats,
        active_connections: Vec<Entry<'a>>,
        recent_disconnected: Vec<Entry<'a>>,
    },
    Lost {
        time: Timestamp,
        #[serde(skip_serializing_if = "Option::is_none")]
        lost: Option<u64>,
    },
    AgentGone {
        time: Timestamp,
        patience_seconds: u64,
    },
    AgentBack {
        time: Timestamp,
    },
    Report {
        time: Timestamp,
        path: &'a str,
    },
}

impl<'a> Line<'a> {
    /// The line of an item.
    pub(super) fn of(item: &'a Item<'a>) -> Self {
        match *item {
            Item::Begins { state, what } => Self::Watch {
                time: state.since,
                what,
            },
            Item::Change(change) => match change {
                Change::Open(row) => Self::Open {
                    time: row.start,
                    connection: Entry::active(row, row.start),
                },
                Change::New(row) => Self::New {
                    time: row.start,
                    connection: Entry::active(row, row.start),
                },
                Change::Ended(ended) => Self::Ended {
                    time: ended.stop,
                    connection: Entry::ended(ended),
                },
                Change::Failed(failed) => Self::Failed {
                    time: failed.stop,
                    connection: Entry::ended(failed),
                },
            },
            Item::Statistics(state, now) => {
                let active = state.active.values();
                Self::Statistics {
                    time: now,
                    stats: Stats::of(state),
                    active_connections: active.map(|row| Entry::active(row, now)).collect(),
                    recent_disconnected: state.last_ended().map(Entry::ended).collect(),
                }
            }
            Item::Lost(lost, time) => Self::Lost { time, lost },
            Item::Gone(patience_seconds, time) => Self::AgentGone {
                time,
                patience_seconds,
            },
            Item::Back(time) => Self::AgentBack { time },
            Item::Report(path, time) => Self::Report { time, path },
        }
    }
}
