//! The JSON schemas of what rows are made of; those of the rows follow from their fields.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{
    duration::{GoDuration, Seconds},
    row::{Address, Integer},
};
use crate::registry::rates::PerSecond;

/// JavaScript and jq hold integers up to this one.
pub(super) const LARGEST_CID: u64 = (1 << 53) - 1;

/// A type that is written in place.
macro_rules! in_place {
    ($type:ty, $name:literal, $schema:tt) => {
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

in_place!(Integer, "Integer", {
    "type": "integer",
    "format": "int64",
    "minimum": 0,
    "maximum": i64::MAX,
});

in_place!(PerSecond, "PerSecond", {
    "type": "number",
    "minimum": 0,
    "examples": [0.0, 1250.5],
});

in_place!(Address<'_>, "Address", {
    "type": "string",
    "pattern": r"^([0-9]{1,3}(\.[0-9]{1,3}){3}|[0-9a-f:.]+(%[0-9]+)?)$",
    "examples": ["192.0.2.1", "2001:db8::1", "fe80::1%2"],
});

in_place!(Seconds, "Seconds", {
    "type": "string",
    "pattern": "^(((([0-9]+y)?[0-9]+d)?[0-9]+h)?[0-9]+m)?[0-9]+s$",
    "examples": ["15s", "1h14m15s", "1y20d22h3m30s"],
});

in_place!(GoDuration, "Duration", {
    "type": "string",
    "pattern": "^(([0-9]+h)?[0-9]+m)?[0-9]+(\\.[0-9]+)?(ns|µs|ms|s)$",
    "examples": ["338µs", "1.039368ms", "1m47.9s"],
});
