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

/// One counter per endpoint; serialized as a map from path to count. Only endpoints are counted:
/// strangers' paths must not take memory.
#[derive(Debug, Default)]
pub(super) struct Requests([AtomicU64; ENDPOINTS.len()]);

impl Requests {
    /// Counts a request for `path`, which is without the prefix of its dialect.
    pub(super) fn count(&self, path: &str) {
        // The names of endpoints go before what stands for any number or name.
        let exact = ENDPOINTS.iter().position(|endpoint| *endpoint == path);
        let found = exact.or_else(|| ENDPOINTS.iter().position(|endpoint| is_at(endpoint, path)));
        if let Some(endpoint) = found {
            // Nothing is ordered by it.
            self.0[endpoint].fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Whether `path` is that of the endpoint, in which `{cid}` and `{name}` stand for any segment.
fn is_at(endpoint: &str, path: &str) -> bool {
    let (mut wanted, mut given) = (endpoint.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some(any), Some(segment)) if any.starts_with('{') && !segment.is_empty() => {}
            (Some(wanted), Some(given)) if wanted == given => {}
            _ => return false,
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
            "/connz/7/services",
            "/services/im",
            "/services/im/connz",
            "/services//connz",
            "/",
            "",
            "/nothing",
        ] {
            requests.count(path);
        }
        let counts = serde_json::to_value(&requests).unwrap();
        let expected = [
            ("/", 1),
            ("/connz", 1),
            ("/connz/{cid}", 2),
            ("/connz/{cid}/services", 1),
            ("/services/{name}", 1),
            ("/services/{name}/connz", 1),
        ];
        for endpoint in ENDPOINTS {
            let count = expected.iter().find(|(path, _)| *path == endpoint);
            assert_eq!(counts[endpoint], count.map_or(0, |(_, count)| *count));
        }
    }
}
