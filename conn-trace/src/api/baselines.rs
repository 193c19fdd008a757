//! Looks at the counters that rates are made from. Taken when somebody asks for rates, so that
//! nobody pays for them otherwise.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::registry::rates::Baseline;

/// Rates over less time say more about the moment than about the connection.
pub(super) const SHORTEST_WINDOW: Duration = Duration::from_secs(1);
/// Whoever asks more rarely waits for a new look: what was minutes ago is no rate of now.
const LONGEST_WINDOW: Duration = Duration::from_secs(60);

/// The last two looks, at least [`SHORTEST_WINDOW`] apart.
#[derive(Debug, Default)]
pub(super) struct Baselines(Mutex<Vec<Arc<Baseline>>>);

impl Baselines {
    /// The latest look that is old enough at `now_ns`, and not too old.
    pub(super) fn before(&self, now_ns: u64) -> Option<Arc<Baseline>> {
        let looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let windows = SHORTEST_WINDOW.as_nanos()..=LONGEST_WINDOW.as_nanos();
        looks
            .iter()
            .rev()
            .find(|look| windows.contains(&look.age_ns(now_ns).into()))
            .cloned()
    }

    /// Keeps a look at `now_ns` instead of the oldest, if it is time for one.
    pub(super) fn keep(&self, now_ns: u64, look: impl FnOnce() -> Baseline) {
        const LOOKS: usize = 2;
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = looks
            .last()
            .is_none_or(|last| u128::from(last.age_ns(now_ns)) >= SHORTEST_WINDOW.as_nanos());
        if !is_due {
            return;
        }
        looks.push(Arc::new(look()));
        if looks.len() > LOOKS {
            looks.remove(0);
        }
    }
}
