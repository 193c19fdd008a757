//! Every parameter of `/connz`, and where its value goes.

use super::{
    address::Network,
    cursor::Cursor,
    dialect,
    error::QueryError,
    filter,
    format::Format,
    params::Query,
    pattern::Pattern,
    ports::Ports,
    sort::{Order, Sort},
    state::StateFilter,
    value::Value,
};

/// Puts one parameter's value in its place.
type Set = fn(&mut Query, &Value<'_>) -> Result<(), QueryError>;

/// The name of a parameter and where its value goes.
pub(super) type Parameter = (&'static str, Set);

/// The parameters of every dialect.
pub(super) const PARAMETERS: [Parameter; 25] = [
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
    ("flag", |query, value| {
        let flag = filter::flag(value.text());
        let expected = "idle_leak, close_wait_leak, over_limit or watchlist";
        query.filter.flag = Some(value.parsed(flag, expected)?);
        Ok(())
    }),
    ("protocol", |query, value| {
        let protocol = filter::protocol(value.text());
        let expected =
            "one of http, websocket, grpc, connect, tls, fix, nats, mqtt, redis, postgresql, ssh";
        query.filter.protocol = Some(value.parsed(protocol, expected)?);
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
    ("rates", |query, value| {
        query.rates = value.boolean()?;
        Ok(())
    }),
    ("cursor", |query, value| {
        let expected = "start or the next_cursor of a page";
        query.cursor = Some(value.parsed(Cursor::parse(value.text()), expected)?);
        Ok(())
    }),
    ("format", |query, value| {
        query.format = Some(value.parsed(Format::parse(value.text()), "json, ndjson or csv")?);
        Ok(())
    }),
];

/// Those of `/connz/events` alone.
pub(super) const EVENT_PARAMETERS: [Parameter; 1] = [("messages", |query, value| {
    query.messages = value.boolean()?;
    Ok(())
})];

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
