//! What a policy has done, as JSON: in `/services/{name}`, in events and for webhooks.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    query::{Integer, Row},
    registry::{
        flags::Flag,
        policies::{Action, Bounds, Outcome, PolicyFigures, Record, Rule},
    },
};

/// A policy and its counts.
#[derive(Serialize, JsonSchema)]
pub(super) struct PolicyState<'a> {
    /// Name of the policy.
    name: &'a str,
    /// What it looks for.
    #[schemars(extend("enum" = Rule::KINDS))]
    kind: &'static str,
    /// What it does then.
    #[schemars(extend("enum" = Action::NAMES))]
    action: &'static str,
    /// Whether it only says what it would do.
    dry_run: bool,
    /// Open connections that it has found something in.
    flagged: Integer,
    /// What came of its actions: counts by outcome. A new configuration keeps them where the name is the
    /// same.
    outcomes: BTreeMap<&'static str, Integer>,
    /// Connections that there may be now. This and the next three are left out where there is no such limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    connections: Option<u32>,
    /// Connections of one client.
    #[serde(skip_serializing_if = "Option::is_none")]
    connections_per_client: Option<u32>,
    /// New connections in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    new_per_second: Option<u32>,
    /// Whether the limit is tightened by pressure.
    #[serde(skip_serializing_if = "Option::is_none")]
    is_tight: Option<bool>,
}

impl<'a> PolicyState<'a> {
    pub(super) fn of(figures: &'a PolicyFigures) -> Self {
        let policy = &figures.policy;
        let outcomes = figures.outcomes.iter();
        let Bounds {
            connections,
            connections_per_client,
            new_per_second,
        } = figures.bounds.unwrap_or_default();
        let is_adaptive = matches!(&policy.rule, Rule::Limit(limit) if limit.adaptive.is_some());
        Self {
            name: &policy.name,
            kind: policy.rule.kind(),
            action: policy.action.name(),
            dry_run: policy.dry_run,
            flagged: Integer(figures.flagged),
            outcomes: outcomes
                .map(|(outcome, count)| (outcome, Integer(count)))
                .collect(),
            connections,
            connections_per_client,
            new_per_second,
            is_tight: is_adaptive.then_some(figures.is_tight),
        }
    }
}

/// An action of a policy.
#[derive(Serialize, JsonSchema)]
pub(super) struct Acted<'a> {
    /// Name of the service.
    service: &'a str,
    /// Name of the policy.
    policy: &'a str,
    /// What the policy looks for.
    #[schemars(extend("enum" = Rule::KINDS))]
    kind: &'static str,
    /// What it does.
    #[schemars(extend("enum" = Action::NAMES))]
    action: &'static str,
    /// What came of it; `gone`: the connection had ended by then.
    #[schemars(extend("enum" = Outcome::NAMES))]
    outcome: &'static str,
    /// Why it failed. Left out where it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    /// What was found.
    #[schemars(extend("enum" = Flag::ALL.map(Flag::name)))]
    flag: &'static str,
    /// The same with figures, for people.
    reason: &'a str,
    /// Whether the figures of the connection are its last.
    #[serde(rename = "final")]
    is_final: bool,
}

impl<'a> Acted<'a> {
    pub(super) fn of(record: &'a Record) -> Self {
        Self {
            service: &record.service,
            policy: &record.policy,
            kind: record.kind,
            action: record.action.name(),
            outcome: record.outcome.name(),
            error: match &record.outcome {
                Outcome::Failed(reason) => Some(reason),
                Outcome::DryRun | Outcome::Done | Outcome::Gone => None,
            },
            flag: record.flag.name(),
            reason: &record.reason,
            is_final: record.is_final(),
        }
    }
}

/// An action of a policy, and the connection that it was for.
#[derive(Serialize, JsonSchema)]
pub(super) struct PolicyAction<'a> {
    /// When.
    time: Timestamp,
    #[serde(flatten)]
    acted: Acted<'a>,
    /// The connection as it was found; of one that was closed, its final row once that is known.
    connection: Row<'a>,
}

impl<'a> PolicyAction<'a> {
    pub(super) fn of(record: &'a Record) -> Self {
        Self {
            time: record.time,
            acted: Acted::of(record),
            connection: Row::new(&record.connection, record.seen, record.seen_ns, false),
        }
    }
}

/// The record as a webhook gets it.
///
/// # Errors
/// If it cannot be written as JSON, which should not be possible.
pub fn action_json(record: &Record) -> serde_json::Result<String> {
    serde_json::to_string(&PolicyAction::of(record))
}
