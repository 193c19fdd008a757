//! How often each endpoint was asked.

use std::{
    borrow::Cow,
    sync::atomic::{AtomicU64, Ordering},
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use serde_json::Map;

use super::asked::ENDPOINTS;
use crate::query::Integer;

/// What stands for the number of a connection in the path of an endpoint.
const NUMBER: &str = "{cid}";

/// One counter per endpoint; serialized as a map from path to count. Only endpoints are counted:
/// strangers' paths must not take memory.
#[derive(Debug, Default)]
pub(super) struct Requests([AtomicU64; ENDPOINTS.len()]);

impl Requests {
    /// Counts a request for `path`, which is without the prefix of its dialect.
    pub(super) fn count(&self, path: &str) {
        let is_at = |endpoint: &str| match endpoint.strip_suffix(NUMBER) {
            Some(parent) => path
                .strip_prefix(parent)
                .is_some_and(|number| !number.is_empty() && !number.contains('/')),
            None => endpoint == path,
        };
        if let Some(endpoint) = ENDPOINTS.iter().position(|endpoint| is_at(endpoint)) {
            // Nothing is ordered by it.
            self.0[endpoint].fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Serialize for Requests {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        serializer.collect_map(ENDPOINTS.iter().zip(counts))
    }
}

impl JsonSchema for Requests {
    fn schema_name() -> Cow<'static, str> {
        "Requests".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let count = generator.subschema_for::<Integer>();
        let counts = ENDPOINTS.map(|path| (path.to_owned(), count.clone().into()));
        json_schema!({
            "description": "Requests by path, which is without the prefix of its dialect.",
            "type": "object",
            "properties": Map::from_iter(counts),
            "required": ENDPOINTS,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{ENDPOINTS, Requests};

    #[test]
    fn each_path_counts_for_one_endpoint() {
        let requests = Requests::default();
        for path in [
            "/connz",
            "/connz/7",
            "/connz/x",
            "/connz/",
            "/connz/7/8",
            "/",
            "",
            "/nothing",
        ] {
            requests.count(path);
        }
        let counts = serde_json::to_value(&requests).unwrap();
        let expected = [("/", 1), ("/connz", 1), ("/connz/{cid}", 2)];
        for endpoint in ENDPOINTS {
            let count = expected.iter().find(|(path, _)| *path == endpoint);
            assert_eq!(counts[endpoint], count.map_or(0, |(_, count)| *count));
        }
    }
}
