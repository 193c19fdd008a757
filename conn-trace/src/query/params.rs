//! The query string of `/connz`.

use super::{
    address::Network,
    error::QueryError,
    filter::{self, Filter},
    pattern::Pattern,
    percent,
    ports::Ports,
    sort::{Order, Sort},
    state::StateFilter,
    value::Value,
};

/// Rows in a page when `limit` does not say: the documented default of WuKongIM's `/connz`.
pub const DEFAULT_LIMIT: u64 = 20;

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
}

impl Default for Query {
    fn default() -> Self {
        Self {
            offset: 0,
            limit: DEFAULT_LIMIT,
            sort: Sort::default(),
            order: None,
            state: StateFilter::Open,
            filter: Filter::default(),
            tcp: false,
        }
    }
}

impl Query {
    /// Reads a query string without its `?`. Unknown parameters are ignored.
    ///
    /// # Errors
    ///
    /// Says which parameter has which bad value.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        let mut query = Self::default();
        let mut seen = [false; PARAMETERS.len()];
        for pair in text.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            // A name that cannot be decoded is no name known here.
            let Some(name) = percent::decode(name) else {
                continue;
            };
            let known = PARAMETERS
                .iter()
                .zip(&mut seen)
                .find(|((known, _), _)| *known == name);
            let Some((&(parameter, set), seen)) = known else {
                continue;
            };
            if std::mem::replace(seen, true) {
                return Err(QueryError::Repeated { parameter });
            }
            set(&mut query, &Value::decode(parameter, value)?)?;
        }
        match query.sort.key.needs_closed() {
            Some(key) if !query.state.shows_closed() => Err(QueryError::SortOfClosed { key }),
            _ => Ok(query),
        }
    }

    /// The names of all parameters.
    pub fn parameters() -> impl Iterator<Item = &'static str> {
        PARAMETERS.iter().map(|(name, _)| *name)
    }

    /// The direction that applies.
    #[must_use]
    pub fn effective_order(&self) -> Order {
        self.order.unwrap_or(self.sort.order)
    }
}

/// Puts one parameter's value in its place.
type Set = fn(&mut Query, &Value<'_>) -> Result<(), QueryError>;

/// Every parameter there is.
const PARAMETERS: [(&str, Set); 20] = [
    ("offset", |query, value| {
        // Through i64 because the value is echoed as a JSON integer, which ends at 2^63-1.
        query.offset = value.unsigned::<i64>()?.unsigned_abs();
        Ok(())
    }),
    ("limit", |query, value| {
        query.limit = match value.signed()? {
            limit @ 1.. => limit.unsigned_abs(),
            _ => DEFAULT_LIMIT,
        };
        Ok(())
    }),
    ("subs", |_, value| value.subs()),
    ("sort", |query, value| {
        query.sort = value.parsed(
            Sort::parse(value.text()),
            "a sort key such as cid or bytes_to",
        )?;
        Ok(())
    }),
    ("order", |query, value| {
        query.order = Some(value.parsed(Order::parse(value.text()), "asc or desc")?);
        Ok(())
    }),
    ("state", |query, value| {
        let expected = "open, closed, any, all or a TCP state";
        query.state = value.parsed(StateFilter::parse(value.text()), expected)?;
        Ok(())
    }),
    ("cid", |query, value| {
        query.filter.cid = Some(value.unsigned()?);
        Ok(())
    }),
    ("ip", |query, value| {
        query.filter.ip = Some(network(value)?);
        Ok(())
    }),
    ("local_ip", |query, value| {
        query.filter.local_ip = Some(network(value)?);
        Ok(())
    }),
    ("port", |query, value| {
        query.filter.port = Some(ports(value)?);
        Ok(())
    }),
    ("local_port", |query, value| {
        query.filter.local_port = Some(ports(value)?);
        Ok(())
    }),
    ("direction", |query, value| {
        let direction = filter::direction(value.text());
        query.filter.direction = Some(value.parsed(direction, "in, out or unknown")?);
        Ok(())
    }),
    ("pid", |query, value| {
        query.filter.pid = Some(value.unsigned()?);
        Ok(())
    }),
    ("comm", |query, value| {
        query.filter.comm = Some(Pattern::new(value.name("a command name")?));
        Ok(())
    }),
    ("uid", |query, value| {
        query.filter.user = Some(value.name("a user name or number")?.into());
        Ok(())
    }),
    ("cgroup", |query, value| {
        query.filter.cgroup = Some(Pattern::new(value.name("a cgroup path")?));
        Ok(())
    }),
    ("netns", |query, value| {
        query.filter.netns = Some(value.unsigned()?);
        Ok(())
    }),
    ("service", |query, value| {
        query.filter.service = Some(value.name("a service name")?.to_owned());
        Ok(())
    }),
    ("self", |query, value| {
        query.filter.with_self = value.boolean()?;
        Ok(())
    }),
    ("tcp", |query, value| {
        query.tcp = value.boolean()?;
        Ok(())
    }),
];

fn network(value: &Value<'_>) -> Result<Network, QueryError> {
    value.parsed(Network::parse(value.text()), "an IP address or CIDR prefix")
}

fn ports(value: &Value<'_>) -> Result<Ports, QueryError> {
    value.parsed(Ports::parse(value.text()), "ports such as 80,5000-6000")
}
