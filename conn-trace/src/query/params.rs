//! The query string of `/connz`, and of `/connz/{cid}`.

use super::{
    cursor::Cursor,
    dialect::Dialect,
    error::{QueryError, Quoted},
    filter::Filter,
    format::Format,
    parameters::{EVENT_PARAMETERS, PARAMETERS, Parameter},
    percent,
    sort::{Order, Sort, SortKey},
    state::StateFilter,
    value::Value,
};

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Rows skipped after filter and sort; at most `i64::MAX`, since it is echoed.
    pub offset: u64,
    /// Rows in the page at most; never 0, at most `i64::MAX`.
    pub limit: u64,
    /// What the rows are sorted by.
    pub sort: Sort,
    /// Direction of the sort, where it is not to be that of the key.
    pub order: Option<Order>,
    /// Which states are shown.
    pub state: StateFilter,
    /// Which rows are shown.
    pub filter: Filter,
    /// Whether rows carry TCP's own figures.
    pub tcp: bool,
    /// Whether rows carry rates.
    pub rates: bool,
    /// Whether a reader of events gets messages as well.
    pub messages: bool,
    /// Where a walk through all rows goes on.
    pub cursor: Option<Cursor>,
    /// The form of the answer, where `Accept` is not to decide.
    pub format: Option<Format>,
    /// Whether `num_connections` counts the rows of the page and not those of all pages.
    pub counts_page: bool,
}

impl Default for Query {
    /// That of the agent's own dialect.
    fn default() -> Self {
        Self::new(&Dialect::ROOT)
    }
}

impl Query {
    /// What an empty query string asks for.
    #[must_use]
    pub fn new(dialect: &Dialect) -> Self {
        Self {
            offset: 0,
            limit: dialect.default_limit,
            sort: Sort::default(),
            order: None,
            state: StateFilter::Open,
            filter: Filter {
                direction: dialect.default_direction,
                ..Filter::default()
            },
            tcp: false,
            rates: false,
            messages: false,
            cursor: None,
            format: None,
            counts_page: dialect.counts_page,
        }
    }

    /// Reads a query string without its `?`. Unknown parameters are ignored.
    ///
    /// # Errors
    ///
    /// Says which parameter has which bad value.
    pub fn parse(dialect: &Dialect, text: &str) -> Result<Self, QueryError> {
        let query = Self::read(dialect, text, &[])?;
        if query.cursor.is_some() {
            let excluded = [
                ("offset", query.offset != 0),
                ("sort", query.sort.key != SortKey::Cid),
            ];
            if let Some(&(other, _)) = excluded.iter().find(|(_, is_given)| *is_given) {
                return Err(QueryError::CursorWith { other });
            }
        }
        match query.sort.key.needs_closed() {
            Some(key) if !query.state.shows_closed() => Err(QueryError::SortOfClosed { key }),
            _ => Ok(query),
        }
    }

    /// The same, with another number of rows where `limit` does not say.
    ///
    /// # Errors
    ///
    /// Says which parameter has which bad value.
    pub fn parse_with_limit(
        dialect: &Dialect,
        text: &str,
        default_limit: u64,
    ) -> Result<Self, QueryError> {
        let dialect = Dialect {
            default_limit,
            ..*dialect
        };
        Self::parse(&dialect, text)
    }

    /// Each parameter by itself, those of one endpoint alone among them.
    fn read(dialect: &Dialect, text: &str, own: &[Parameter]) -> Result<Self, QueryError> {
        let mut query = Self::new(dialect);
        let mut seen = Vec::new();
        for pair in text.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            // A name that cannot be decoded is no name known here.
            let Some(name) = percent::decode(name) else {
                continue;
            };
            let known = PARAMETERS
                .iter()
                .chain(dialect.parameters)
                .chain(own)
                .find(|(known, _)| *known == name);
            let Some(&(parameter, set)) = known else {
                continue;
            };
            match seen.contains(&parameter) {
                true if dialect.is_lenient => continue,
                true => return Err(QueryError::Repeated { parameter }),
                false => seen.push(parameter),
            }
            let value = Value::decode(parameter, value, dialect)?;
            if dialect.is_lenient && value.text().is_empty() {
                continue;
            }
            set(&mut query, &value)?;
        }
        if dialect.cid_is_page {
            query.filter.cid = query.filter.cid.filter(|cid| *cid != 0);
            query.limit = query.filter.cid.map_or(query.limit, |_| 1);
        }
        query.rates |= query.sort.key.is_rate();
        Ok(query)
    }

    /// The names of all parameters.
    pub fn parameters() -> impl Iterator<Item = &'static str> {
        PARAMETERS.iter().map(|(name, _)| *name)
    }

    /// Reads the number of one connection, open or closed, and a query string, of which `tcp` and
    /// the conditions apply.
    ///
    /// # Errors
    ///
    /// Says which parameter has which bad value.
    pub fn parse_one(dialect: &Dialect, cid: &str, text: &str) -> Result<Self, QueryError> {
        let cid = Value::decode("cid", cid, dialect)?.unsigned()?;
        let mut query = Self::read(dialect, text, &[])?;
        query.filter.cid = Some(cid);
        // Whoever names it has asked for it.
        query.filter.with_self = true;
        query.state = StateFilter::All;
        query.offset = 0;
        query.limit = 1;
        Ok(query)
    }

    /// Reads the conditions for events, which come in lines or as `text/event-stream`.
    ///
    /// # Errors
    ///
    /// Says which parameter has which bad value.
    pub fn parse_events(dialect: &Dialect, text: &str) -> Result<Self, QueryError> {
        let query = Self::read(dialect, text, &EVENT_PARAMETERS)?;
        match query.format {
            None | Some(Format::Ndjson) => Ok(query),
            Some(other) => Err(QueryError::Unexpected {
                parameter: "format",
                expected: "ndjson, or none for server-sent events",
                value: Quoted::new(other.name()),
            }),
        }
    }

    /// The direction that applies.
    #[must_use]
    pub fn effective_order(&self) -> Order {
        self.order.unwrap_or(self.sort.order)
    }
}
