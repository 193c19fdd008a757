//! The dialects of `/connz`: the agent's own, and NATS's below `/nats`.
//!
//! A dialect is data. There is one parser of parameters, one set of filters and one row; what is
//! said here is all that differs.

use super::{
    error::{self, QueryError},
    parameters::{NATS_PARAMETERS, Parameter},
    state::StateFilter,
};
use crate::registry::connection::Direction;

/// What one family of clients takes for granted.
#[derive(Clone, Copy, Debug)]
pub struct Dialect {
    /// What the paths of its endpoints begin with.
    pub prefix: &'static str,
    /// Rows in a page when `limit` does not say.
    pub default_limit: u64,
    /// Connections shown when `direction` does not say.
    pub default_direction: Option<Direction>,
    /// Whether `num_connections` counts the rows of the page and not those of all pages.
    pub counts_page: bool,
    /// Whether `cid` makes a page of one row, and its 0 means none.
    pub cid_is_page: bool,
    /// Whether parameters are read as NATS reads them: an empty value is none, the first of
    /// several counts, a negative offset is 0.
    pub is_lenient: bool,
    /// Whether 4xx bodies are JSON; else plain text.
    pub has_json_refusals: bool,
    /// The text that answers a bad parameter.
    pub refusal: fn(&QueryError) -> String,
    /// Values of `state` besides those of every dialect.
    pub(super) states: &'static [(&'static str, StateFilter)],
    /// Booleans besides those of every dialect, likewise.
    pub(super) booleans: &'static [(&'static str, bool)],
    /// Parameters besides those of every dialect.
    pub(super) parameters: &'static [Parameter],
}

impl Dialect {
    /// The agent's own, with the defaults of WuKongIM's `/connz`, whose clients read `msg` in the
    /// JSON of a refusal.
    pub const ROOT: Self = Self {
        prefix: "",
        default_limit: 20,
        default_direction: None,
        counts_page: false,
        cid_is_page: false,
        is_lenient: false,
        has_json_refusals: true,
        refusal: QueryError::to_string,
        states: &[],
        booleans: &[],
        parameters: &[],
    };

    /// That of nats-server's monitoring: the same figures for clients that rely on its defaults
    /// (`server/monitor.go` of nats-server 2.15).
    pub const NATS: Self = Self {
        prefix: "/nats",
        default_limit: 1024,
        // A server lists its clients.
        default_direction: Some(Direction::In),
        counts_page: true,
        cid_is_page: true,
        is_lenient: true,
        has_json_refusals: false,
        refusal: error::in_words_of_nats,
        // The numbers of NATS's `ConnState`, which its own clients keep states as.
        states: &[
            ("0", StateFilter::Open),
            ("1", StateFilter::Closed),
            ("2", StateFilter::All),
        ],
        // Go's strconv.ParseBool takes these as well.
        booleans: &[("t", true), ("f", false)],
        parameters: &NATS_PARAMETERS,
    };

    /// Every dialect there is.
    pub const ALL: [&Self; 2] = [&Self::ROOT, &Self::NATS];
}

/// What `text` stands for in a list of names, in either case.
pub(super) fn named<T: Copy>(names: &[(&str, T)], text: &str) -> Option<T> {
    names
        .iter()
        .find(|(name, _)| text.eq_ignore_ascii_case(name))
        .map(|&(_, value)| value)
}
