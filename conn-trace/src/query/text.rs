//! Values of parameters as they stand in a configuration.

use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Deserializer, de};

use super::{
    address::Network, derived, error::Quoted, filter, filter::User, pattern::Pattern, ports::Ports,
};
use crate::registry::connection::Direction;

/// A value that is text, read by `parse`.
fn parsed<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    expected: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).ok_or_else(|| {
        de::Error::custom(format!("expected {expected}, got {}", Quoted::new(&text)))
    })
}

fn not_empty(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, "an IP address or CIDR prefix", Self::parse)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, "a name", |text| {
            not_empty(text).map(Self::new)
        })
    }
}

impl<'de> Deserialize<'de> for Direction {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, "in, out or unknown", filter::direction)
    }
}

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PortsVisitor)
    }
}

struct PortsVisitor;

impl de::Visitor<'_> for PortsVisitor {
    type Value = Ports;

    fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("a port, or ports such as \"5000-6000\"")
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Ports, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Ports, E> {
        Ports::parse(text).ok_or_else(|| {
            let expected = "a port from 0 to 65535, or ports such as \"5000-6000\"";
            E::custom(format!("expected {expected}, got {}", Quoted::new(text)))
        })
    }
}

impl<'de> Deserialize<'de> for User {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UserVisitor)
    }
}

struct UserVisitor;

impl de::Visitor<'_> for UserVisitor {
    type Value = User;

    fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("the name or number of a user")
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<User, E> {
        match u32::try_from(number) {
            Ok(uid) => Ok(uid.to_string().as_str().into()),
            Err(_) => Err(E::custom(format!(
                "expected the number of a user, got {number}"
            ))),
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<User, E> {
        not_empty(text)
            .map(User::from)
            .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

impl Display for Pattern {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => f.write_str(text),
            Self::Prefix(text) => write!(f, "{text}*"),
        }
    }
}

impl Display for Direction {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(derived::direction_name(*self))
    }
}
