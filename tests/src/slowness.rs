//! How much slower than a usual machine this one is: a virtual machine without KVM is 10 to 30
//! times slower.
//!
//! `cargo xtask vm` says so in the variable `CONN_TRACE_TEST_SLOWNESS`. Tests wait so many times
//! longer, and those whose point is a large number take a number that is so many times smaller.

use std::{env, sync::LazyLock, time::Duration};

const VARIABLE: &str = "CONN_TRACE_TEST_SLOWNESS";

/// 1 where the variable is not set.
static SLOWNESS: LazyLock<u32> = LazyLock::new(|| {
    env::var(VARIABLE).map_or(1, |text| {
        let factor = text.parse().expect("a whole number");
        assert!(factor > 0, "{VARIABLE} is at least 1");
        factor
    })
});

/// A time that a usual machine is sure to keep, as long as this one needs.
#[must_use]
pub fn longer(usual: Duration) -> Duration {
    usual * *SLOWNESS
}

/// A number of connections that takes a usual machine some seconds, as many as this one manages,
/// but at least `least`, without which the test would not be the same. Says so where it is fewer.
///
/// # Panics
/// If the variable is not a positive number.
#[must_use]
pub fn fewer(usual: u32, least: u32) -> u32 {
    let count = (usual / *SLOWNESS).max(least).min(usual);
    if count < usual {
        println!(
            "{count} instead of {usual}: this machine is slow ({VARIABLE}={})",
            *SLOWNESS
        );
    }
    count
}
