//! Waiting for something to become true.

use std::{
    fmt::Debug,
    thread,
    time::{Duration, Instant},
};

use crate::slowness::longer;

/// Long enough for a busy machine; what is waited for usually takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// How long to wait for what has to come.
#[must_use]
pub fn patience() -> Duration {
    longer(PATIENCE)
}

/// Looks again and again until `look` gives something.
///
/// # Panics
/// After [`patience`], naming what was waited for.
#[track_caller]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let patience = patience();
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        thread::sleep(PAUSE);
    }
}

/// Looks again and again until `look` gives `expected`.
///
/// # Panics
/// After [`patience`], with what was seen last.
#[track_caller]
pub fn eventually_equal<T: PartialEq + Debug>(
    what: &str,
    expected: &T,
    mut look: impl FnMut() -> T,
) {
    let patience = patience();
    let deadline = Instant::now() + patience;
    loop {
        let seen = look();
        if seen == *expected {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "not within {patience:?}: {what}: expected {expected:?}, last seen {seen:?}"
        );
        thread::sleep(PAUSE);
    }
}
