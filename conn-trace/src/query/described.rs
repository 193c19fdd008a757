//! What every parameter of `/connz` means and takes, for programs that read it in OpenAPI.
//!
//! Each parameter of [`parameters`](super::parameters) has its line here.

use serde_json::{Value, json};

use super::{
    cursor::Cursor,
    derived,
    dialect::Dialect,
    format::Format,
    parameters::{EVENT_PARAMETERS, PARAMETERS, Parameter},
    sort::{Order, Sort},
    state::StateFilter,
    value,
};
use crate::protocol::Protocol;
use crate::registry::{
    connection::{Direction, TcpState},
    flags::Flag,
};

/// The description of one parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Described {
    /// Its name.
    pub name: &'static str,
    /// What it does, for people.
    pub text: &'static str,
    /// The JSON schema of its values.
    pub schema: Value,
}

/// Name, meaning, and the schema of the values that a dialect takes.
type Line = (&'static str, &'static str, fn(&Dialect) -> Value);

#[rustfmt::skip]
const LINES: [Line; 30] = [
    ("offset", "Rows skipped, after filter and sort. Past the end the page is empty.", offset),
    ("limit", "Rows in the page at most. 0 and below mean the default; the answer has the one that applied.", limit),
    ("subs", "Accepted for clients of other servers, and of no effect.", |dialect| words_and(value::booleans(dialect), "detail")),
    ("sort", "What rows are sorted by, in the direction of the vocabulary that the key is from; equal ones by `cid`. `stop` and `reason` need closed rows: `state=closed`, `any` or `all`.", sort),
    ("order", "Direction of the sort, where it is not to be that of the key.", |_| words(Order::ALL.map(Order::name))),
    ("state", "Which connections: open ones, the closed history, both, or those in one state of TCP. In either case, with `-` as with `_`, and by the names of `ss` as well.", states),
    ("cid", "The connection with this number.", |_| integer(0, u64::MAX)),
    ("ip", "Address of the peer, or a prefix of it.", |_| network()),
    ("local_ip", "Address of this end, or a prefix of it.", |_| network()),
    ("port", "Ports of the peer: numbers and ranges, of which none ends before it begins.", |_| ports()),
    ("local_port", "Ports of this end, likewise.", |_| ports()),
    ("direction", "Who opened the connection: `in` was accepted here.", direction),
    ("pid", "Process id of the owner.", |_| integer(0, u32::MAX)),
    ("comm", "Name of the owner: all of it, or its beginning and `*`.", |_| name()),
    ("uid", "Unix user of the socket, by name or number.", |_| name()),
    ("cgroup", "Path of the owner's cgroup: all of it, or its beginning and `*`.", |_| name()),
    ("netns", "Inode number of the network namespace.", |_| integer(0, u32::MAX)),
    ("service", "Name of a configured service.", |_| name()),
    ("flag", "What policies have found in the connection.", |_| words(Flag::ALL.map(Flag::name))),
    ("protocol", "What the connection speaks.", |_| words(Protocol::ALL.map(Protocol::name))),
    ("self", "Whether the agent's own connections are shown.", boolean),
    ("tcp", "Whether rows have a `tcp` object.", boolean),
    ("rates", "Whether open rows have what they move in a second. The first page of rates in a minute takes a second.", boolean),
    ("cursor", "Where a walk through all connections goes on, by `cid`: `start`, then the `next_cursor` of each page. Not with `offset`, nor with another `sort`.", |_| cursor()),
    ("format", "The form of the answer, whatever `Accept` says.", |_| words(Format::ALL.map(Format::name))),
    ("messages", "Whether each message is told as well: every send and receive call that moves data.", boolean),
    ("auth", "Accepted for clients of NATS, and of no effect.", boolean),
    ("user", "User of NATS. The kernel knows none: the page is empty.", |_| text()),
    ("acc", "Account of NATS. The kernel knows none: the page is empty.", |_| text()),
    ("mqtt_client", "MQTT client of NATS. The kernel knows none: the page is empty.", |_| text()),
];

impl Dialect {
    /// Every parameter that this dialect takes, as it takes it.
    pub fn described(&self) -> impl Iterator<Item = Described> {
        self.lines(PARAMETERS.iter().chain(self.parameters))
    }

    /// Those that only `/connz/events` takes.
    pub fn described_of_events(&self) -> impl Iterator<Item = Described> {
        self.lines(EVENT_PARAMETERS.iter())
    }

    fn lines<'a>(
        &self,
        names: impl Iterator<Item = &'a Parameter>,
    ) -> impl Iterator<Item = Described> {
        names.filter_map(|(known, _)| {
            let &(name, text, schema) = LINES.iter().find(|(name, ..)| name == known)?;
            let schema = schema(self);
            Some(Described { name, text, schema })
        })
    }
}

fn offset(dialect: &Dialect) -> Value {
    let minimum = if dialect.is_lenient { i64::MIN } else { 0 };
    with_default(integer(minimum, i64::MAX), 0)
}

fn limit(dialect: &Dialect) -> Value {
    with_default(integer(i64::MIN, i64::MAX), dialect.default_limit)
}

fn sort(_: &Dialect) -> Value {
    with_default(words(Sort::names()), "cid")
}

fn states(dialect: &Dialect) -> Value {
    let tcp = TcpState::ALL.map(TcpState::name);
    let own = dialect.states.iter().map(|(name, _)| *name);
    let all = StateFilter::WORDS.into_iter().chain(tcp).chain(own);
    with_default(words(all), "open")
}

fn direction(dialect: &Dialect) -> Value {
    let schema = words(Direction::ALL.map(derived::direction_name));
    match dialect.default_direction {
        Some(direction) => with_default(schema, derived::direction_name(direction)),
        None => schema,
    }
}

fn boolean(dialect: &Dialect) -> Value {
    with_default(words(value::booleans(dialect)), "0")
}

fn integer(minimum: impl Into<Value>, maximum: impl Into<Value>) -> Value {
    json!({"type": "integer", "minimum": minimum.into(), "maximum": maximum.into()})
}

fn words<'a>(words: impl IntoIterator<Item = &'a str>) -> Value {
    json!({"type": "string", "enum": words.into_iter().collect::<Vec<_>>()})
}

fn words_and(mut all: Vec<&str>, another: &'static str) -> Value {
    all.push(another);
    with_default(words(all), "0")
}

fn text() -> Value {
    json!({"type": "string"})
}

fn name() -> Value {
    json!({"type": "string", "minLength": 1})
}

fn network() -> Value {
    json!({
        "type": "string",
        "format": "ip-network",
        "examples": ["192.0.2.1", "10.0.0.0/8", "2001:db8::/32", "fe80::1%2"],
    })
}

fn cursor() -> Value {
    let pattern = format!("^({}|[0-9]{{1,18}}-[0-9]{{1,18}})$", Cursor::Start);
    json!({"type": "string", "pattern": pattern, "examples": ["start", "20-1234"]})
}

fn ports() -> Value {
    json!({"type": "string", "format": "ports", "examples": ["80", "80,5000-6000"]})
}

fn with_default(mut schema: Value, default: impl Into<Value>) -> Value {
    schema["default"] = default.into();
    schema
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Query;

    #[test]
    fn every_parameter_is_described_and_no_other() {
        for dialect in Dialect::ALL {
            let known = PARAMETERS.iter().chain(dialect.parameters);
            let known: Vec<_> = known.map(|(name, _)| *name).collect();
            let described: Vec<_> = dialect.described().map(|found| found.name).collect();
            assert_eq!(described, known);
            let described = dialect.described_of_events().map(|found| found.name);
            let known = EVENT_PARAMETERS.map(|(name, _)| name);
            assert_eq!(described.collect::<Vec<_>>(), known);
        }
        let all = Dialect::ALL
            .map(|dialect| dialect.described().count() + dialect.described_of_events().count());
        assert_eq!(all.iter().max(), Some(&LINES.len()));
    }

    /// A value of every schema is taken: each word, both ends of each range, each example.
    #[test]
    fn described_values_are_taken() {
        for dialect in Dialect::ALL {
            for Described { name, schema, .. } in dialect.described() {
                let one = |key: &str| schema.get(key).cloned();
                let many = |key: &str| schema[key].as_array().cloned().unwrap_or_default();
                let mut values: Vec<Value> = ["minimum", "maximum", "default"]
                    .into_iter()
                    .filter_map(one)
                    .collect();
                values.extend(many("enum"));
                values.extend(many("examples"));
                if values.is_empty() {
                    values.push("any text".into());
                }
                for value in values {
                    let value = value.as_str().map_or(value.to_string(), str::to_owned);
                    let query = format!("state=any&{name}={}", value.replace('%', "%25"));
                    let query = query.trim_start_matches(match name {
                        "state" => "state=any&",
                        _ => "",
                    });
                    let parsed = Query::parse(dialect, query);
                    assert!(parsed.is_ok(), "{query}: {parsed:?}");
                }
            }
        }
    }

    #[test]
    fn flags_of_events_are_taken_there_alone() {
        for dialect in Dialect::ALL {
            for Described { name, schema, .. } in dialect.described_of_events() {
                for word in schema["enum"].as_array().unwrap() {
                    let query = format!("{name}={}", word.as_str().unwrap());
                    assert!(Query::parse_events(dialect, &query).is_ok(), "{query}");
                }
                let query = format!("{name}=no-such-word");
                let refused = Query::parse_events(dialect, &query)
                    .unwrap_err()
                    .to_string();
                let expected = r#": expected 0, 1, true or false, got "no-such-word""#;
                assert_eq!(refused, format!("{name}{expected}"));
                assert_eq!(Query::parse(dialect, &query), Ok(Query::new(dialect)));
                let twice = format!("{name}=1&{name}=0");
                let read = Query::parse_events(dialect, &twice);
                assert_eq!(read.is_ok_and(|query| query.messages), dialect.is_lenient);
            }
        }
    }

    /// What is one beyond a range, and what is no word, is not.
    #[test]
    fn other_values_are_refused() {
        for dialect in Dialect::ALL {
            for Described { name, schema, .. } in dialect.described() {
                let mut values = Vec::new();
                if let Some(maximum) = schema["maximum"].as_u64() {
                    values.push((i128::from(maximum) + 1).to_string());
                }
                if let Some(minimum) = schema["minimum"].as_i64() {
                    values.push((i128::from(minimum) - 1).to_string());
                }
                if ["enum", "format", "pattern"]
                    .iter()
                    .any(|key| schema.get(key).is_some())
                {
                    values.push("no-such-word".to_owned());
                }
                if schema.get("minLength").is_some() && !dialect.is_lenient {
                    values.push(String::new());
                }
                for value in values {
                    let parsed = Query::parse(dialect, &format!("{name}={value}"));
                    assert!(parsed.is_err(), "{name}={value}");
                }
            }
        }
    }

    #[test]
    fn defaults_are_those_that_apply() {
        for dialect in Dialect::ALL {
            let said: Vec<String> = dialect
                .described()
                .filter_map(|Described { name, schema, .. }| {
                    let default = schema.get("default")?;
                    let text = default.as_str().map_or(default.to_string(), str::to_owned);
                    Some(format!("{name}={text}"))
                })
                .collect();
            let query = Query::parse(dialect, &said.join("&")).unwrap();
            assert_eq!(query, Query::new(dialect));
        }
    }
}
