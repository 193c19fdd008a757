//! How often each endpoint was asked.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Serialize, Serializer};

/// Every endpoint there is. Only these are counted: strangers' paths must not take memory.
pub(super) const ENDPOINTS: [&str; 5] = ["/", "/connz", "/health", "/healthz", "/varz"];

/// One counter per endpoint; serialized as a map from path to count.
#[derive(Debug, Default)]
pub(super) struct Requests([AtomicU64; ENDPOINTS.len()]);

impl Requests {
    pub(super) fn count(&self, path: &str) {
        if let Some(endpoint) = ENDPOINTS.iter().position(|endpoint| *endpoint == path) {
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
