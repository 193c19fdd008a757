//! What a reader of events is told, as JSON.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::message::{LostMessages, ToldMessage};
use crate::{
    api::action::Acted,
    query::{Integer, Row},
    registry::{
        events::{Event, What},
        messages::Item,
    },
};

/// One event, or what stands for those that are missing.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "Event")]
pub(in crate::api) enum Told<'a> {
    /// Something happened to a connection.
    Happened(Box<Happened<'a>>),
    /// Events of any connections are missing here.
    Lost(Lost),
    /// A connection has moved data.
    Message(ToldMessage),
    /// Messages are missing here.
    LostMessages(LostMessages),
}

/// What happened to a connection.
#[derive(Serialize, JsonSchema)]
pub(in crate::api) struct Happened<'a> {
    /// The run of the agent, and a number that goes up by one with every event of any connection.
    id: String,
    /// What happened.
    #[schemars(extend("enum" = What::ALL.map(What::name)))]
    event: &'static str,
    /// When: the `start` or `stop` of the connection; of `policy`, when it acted.
    time: Timestamp,
    /// What a policy has done; with `policy` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<Acted<'a>>,
    /// The connection; of `closed`, its final row, which that of `policy` may be as well.
    connection: Row<'a>,
}

/// What stands for events that the agent has forgotten.
#[derive(Serialize, JsonSchema)]
pub(in crate::api) struct Lost {
    /// That of the last one that is missing.
    id: String,
    /// Always `lost`.
    #[schemars(extend("const" = LOST))]
    event: &'static str,
    /// How many. Left out where nobody knows: those of an earlier run of the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<Integer>,
}

const LOST: &str = "lost";

impl<'a> Told<'a> {
    pub(super) fn happened(id: String, event: &'a Event) -> Self {
        let connection = &event.connection;
        Self::Happened(Box::new(Happened {
            id,
            event: event.what.name(),
            time: match (event.what, &connection.end, &event.action) {
                (_, _, Some(record)) => record.time,
                (What::Closed, Some(end), None) => end.stop,
                (_, _, None) => connection.facts.start,
            },
            policy: event.action.as_deref().map(Acted::of),
            connection: Row::new(connection, event.now, event.now_ns, false),
        }))
    }

    pub(super) fn lost(id: String, lost: Option<u64>) -> Self {
        Self::Lost(Lost {
            id,
            event: LOST,
            lost: lost.map(Integer),
        })
    }

    pub(super) fn of_message(item: Item) -> Self {
        match item {
            Item::Message(message) => Self::Message(message.into()),
            Item::Lost(lost) => Self::LostMessages(LostMessages::new(lost)),
        }
    }

    /// The name of the event.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Happened(happened) => happened.event,
            Self::Lost(lost) => lost.event,
            Self::Message(message) => message.name(),
            Self::LostMessages(lost) => lost.name(),
        }
    }
}
