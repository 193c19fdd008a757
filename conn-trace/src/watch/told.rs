//! What the agent tells.

use jiff::Timestamp;
use serde::Deserialize;

use super::row::Row;

/// A line of `/connz/events`.
#[derive(Debug, Deserialize)]
pub(super) struct Told {
    pub(super) id: String,
    #[serde(flatten)]
    pub(super) what: What,
}

/// What has happened.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum What {
    Opened {
        connection: Row,
    },
    Established {
        connection: Row,
    },
    Closed {
        connection: Row,
    },
    Lost {
        lost: Option<u64>,
    },
    /// What becomes of the connection is told by itself.
    Policy {},
}

impl What {
    /// The connection, if it is about one.
    pub(super) fn row(&self) -> Option<&Row> {
        match self {
            Self::Opened { connection }
            | Self::Established { connection }
            | Self::Closed { connection } => Some(connection),
            Self::Lost { .. } | Self::Policy {} => None,
        }
    }
}

/// What is used of `/connz`, and which run of the agent it is of.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) run: Timestamp,
    pub(super) now: Timestamp,
    pub(super) connections: Vec<Row>,
}
