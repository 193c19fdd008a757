//! The query string of `/connz`.

use super::{
    address::Network,
    dialect::{self, Dialect},
    error::QueryError,
    filter::{self, Filter},
    pattern::Pattern,
    percent,
    ports::Ports,
    sort::{Order, Sort},
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
            counts_page: dialect.counts_page,
        }
    }

    /// Reads a query string without its `?`. Unknown parameters are ignored.
    ///
    /// # Errors
    ///
    /// Says which parameter has which bad value.
    pub fn parse(dialect: &Dialect, text: &str) -> Result<Self, QueryError> {
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
        match query.sort.key.needs_closed() {
            Some(key) if !query.state.shows_closed() => Err(QueryError::SortOfClosed { key }),
            _ => Ok(query),
        }
    }

    /// Reads the number of one connection, open or closed, and a query string, of which `tcp` and
    /// the conditions apply.
    ///
    /// # Errors
    ///
    /// Says which parameter has which bad value.
    pub fn parse_one(dialect: &Dialect, cid: &str, text: &str) -> Result<Self, QueryError> {
        let cid = Value::decode("cid", cid, dialect)?.unsigned()?;
        let mut query = Self::parse(dialect, text)?;
        query.filter.cid = Some(cid);
        // Whoever names it has asked for it.
        query.filter.with_self = true;
        query.state = StateFilter::All;
        query.offset = 0;
        query.limit = 1;
        Ok(query)
    }

    /// The direction that applies.
    #[must_use]
    pub fn effective_order(&self) -> Order {
        self.order.unwrap_or(self.sort.order)
    }
}

/// Puts one parameter's value in its place.
type Set = fn(&mut Query, &Value<'_>) -> Result<(), QueryError>;

/// The name of a parameter and where its value goes.
pub(super) type Parameter = (&'static str, Set);

/// The parameters of every dialect.
const PARAMETERS: [Parameter; 20] = [
    ("offset", |query, value| {
        // Through i64 because the value is echoed as a JSON integer, which ends at 2^63-1.
        let offset = match value.dialect().is_lenient {
            true => value.signed()?.max(0),
            false => value.unsigned::<i64>()?,
        };
        query.offset = offset.unsigned_abs();
        Ok(())
    }),
    ("limit", |query, value| {
        query.limit = match value.signed()? {
            limit @ 1.. => limit.unsigned_abs(),
            _ => value.dialect().default_limit,
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
        let named = dialect::named(value.dialect().states, value.text());
        query.state = value.parsed(StateFilter::parse(value.text()).or(named), expected)?;
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

/// What NATS's clients send besides. The kernel knows no users of NATS, no accounts and no MQTT:
/// `auth` asks for what rows would leave out, and the others for connections that are not known.
pub(super) const NATS_PARAMETERS: [Parameter; 4] = [
    ("auth", |_, value| value.boolean().map(drop)),
    ("user", unknowable),
    ("acc", unknowable),
    ("mqtt_client", unknowable),
];

fn unknowable(query: &mut Query, _: &Value<'_>) -> Result<(), QueryError> {
    query.filter.unknowable = true;
    Ok(())
}

fn network(value: &Value<'_>) -> Result<Network, QueryError> {
    value.parsed(Network::parse(value.text()), "an IP address or CIDR prefix")
}

fn ports(value: &Value<'_>) -> Result<Ports, QueryError> {
    value.parsed(Ports::parse(value.text()), "ports such as 80,5000-6000")
}
