//! Time: jiffies and `CLOCK_BOOTTIME` to wall clock.
//!
//! Messages are stamped with jiffies, whose rate is a build option of the kernel. The resolution of
//! the coarse clocks is one tick (`KTIME_LOW_RES`, include/linux/hrtimer_defs.h).

use std::time::Duration;

use conn_trace_common::sample::Clock;
use jiff::Timestamp;
use nix::time::{ClockId, clock_getres, clock_gettime};
use thiserror::Error;

/// What Linux can be built with lies within these: 1000 to 24 ticks per second.
const TICKS_NS: std::ops::RangeInclusive<u64> = 1_000_000..=41_666_667;

/// The kernel's tick rate could not be told.
#[derive(Debug, Error)]
#[error("cannot tell the kernel's tick rate: its coarse clock has steps of {0:?}")]
pub struct RateError(Option<u64>);

/// One moment on all clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// `jiffies_64`.
    pub jiffies: u64,
    /// `CLOCK_BOOTTIME` in nanoseconds.
    pub boot_ns: u64,
    /// Wall clock.
    pub wall: Timestamp,
    wall_offset_ns: i128,
    ns_per_jiffy: u64,
    /// `CLOCK_BOOTTIME` at `jiffies_64` 0, which lies before the boot.
    epoch_ns: i128,
}

/// How the kernel's ticks and the wall clock relate to `CLOCK_BOOTTIME`.
///
/// Ticks are exact multiples of their length on the monotonic clock (`tick_do_update_jiffies64`,
/// kernel/time/tick-sched.c), so one stamp always means the same moment. A reading is never
/// earlier than its tick; the least difference seen is the nearest.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    ns_per_jiffy: u64,
    epoch_ns: i128,
    /// Wall clock less `CLOCK_BOOTTIME`.
    wall_offset_ns: i128,
}

/// Two readings of two clocks are never of the same instant. Unless they are further apart than
/// this, the wall clock has not been set, and one moment keeps one name from answer to answer.
const WALL_TOLERANCE_NS: i128 = 2_000_000;

/// A reading this much after its tick was taken after a suspend, during which ticks stood still.
const SUSPENDED_NS: i128 = 1_000_000_000;

impl Clocks {
    /// Asks for the rate, and finds the phase with a function that reads the clocks.
    ///
    /// # Errors
    /// If the rate is none that Linux has, or the function fails.
    pub fn measure<E: From<RateError>>(read: impl FnMut() -> Result<Clock, E>) -> Result<Self, E> {
        let mut ticks = Self {
            ns_per_jiffy: tick_ns()?,
            epoch_ns: i128::MAX,
            wall_offset_ns: 0,
        };
        ticks.adjust(next_tick(read)?);
        Ok(ticks)
    }

    fn adjust(&mut self, clock: Clock) {
        let ticked = i128::from(clock.jiffies) * i128::from(self.ns_per_jiffy);
        let epoch_ns = i128::from(clock.boot_ns) - ticked;
        if epoch_ns < self.epoch_ns || epoch_ns > self.epoch_ns.saturating_add(SUSPENDED_NS) {
            self.epoch_ns = epoch_ns;
        }
    }

    /// The moment of a clock reading.
    pub fn moment(&mut self, clock: Clock) -> Moment {
        self.adjust(clock);
        let offset_ns = Timestamp::now().as_nanosecond() - i128::from(boot_now_ns());
        if (offset_ns - self.wall_offset_ns).abs() > WALL_TOLERANCE_NS {
            self.wall_offset_ns = offset_ns;
        }
        Moment {
            jiffies: clock.jiffies,
            boot_ns: clock.boot_ns,
            wall: wall(clock.boot_ns, self.wall_offset_ns),
            wall_offset_ns: self.wall_offset_ns,
            ns_per_jiffy: self.ns_per_jiffy,
            epoch_ns: self.epoch_ns,
        }
    }
}

fn wall(boot_ns: u64, offset_ns: i128) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(boot_ns) + offset_ns).unwrap_or_default()
}

impl Moment {
    /// Wall clock of a `CLOCK_BOOTTIME` reading.
    #[must_use]
    pub fn wall_of(&self, boot_ns: u64) -> Timestamp {
        wall(boot_ns, self.wall_offset_ns)
    }

    /// `CLOCK_BOOTTIME` of a `jiffies_64` stamp: the beginning of its tick. Never later than this
    /// moment, and the same at every moment but for a suspend in between.
    #[must_use]
    pub fn boot_of_jiffies(&self, jiffies: u64) -> u64 {
        let boot_ns = i128::from(jiffies) * i128::from(self.ns_per_jiffy) + self.epoch_ns;
        u64::try_from(boot_ns.max(0)).map_or(self.boot_ns, |boot_ns| boot_ns.min(self.boot_ns))
    }

    /// The same for a 32-bit stamp, which is ambiguous after 2^31 ticks (25 days at 1000 Hz).
    #[must_use]
    pub fn boot_of_jiffies32(&self, jiffies: u32) -> u64 {
        let ago = (self.jiffies as u32).wrapping_sub(jiffies) as i32;
        self.boot_of_jiffies(self.jiffies.saturating_sub(u64::try_from(ago).unwrap_or(0)))
    }

    /// A number of ticks in milliseconds.
    #[must_use]
    pub fn jiffies_to_ms(&self, jiffies: u64) -> u64 {
        jiffies.saturating_mul(self.ns_per_jiffy) / 1_000_000
    }
}

/// `CLOCK_BOOTTIME` in nanoseconds.
#[must_use]
pub fn boot_now_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |time| {
        u64::try_from(Duration::from(time).as_nanos()).unwrap_or(u64::MAX)
    })
}

/// The length of a tick in nanoseconds.
fn tick_ns() -> Result<u64, RateError> {
    let resolution = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).map_err(|_| RateError(None))?;
    let ns = u64::try_from(Duration::from(resolution).as_nanos()).unwrap_or(u64::MAX);
    if TICKS_NS.contains(&ns) {
        Ok(ns)
    } else {
        Err(RateError(Some(ns)))
    }
}

/// The first reading after a tick.
fn next_tick<E>(mut read: impl FnMut() -> Result<Clock, E>) -> Result<Clock, E> {
    let before = read()?;
    loop {
        let now = read()?;
        if now.jiffies != before.jiffies {
            return Ok(now);
        }
        std::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment() -> Moment {
        Moment {
            jiffies: 0x1_0000_0010,
            boot_ns: 10_000_000_000,
            wall: Timestamp::from_second(1_700_000_000).expect("in range"),
            wall_offset_ns: 1_699_999_990_000_000_000,
            ns_per_jiffy: 4_000_000,
            // The moment is 1 ms after its tick.
            epoch_ns: 9_999_000_000 - 0x1_0000_0010 * 4_000_000,
        }
    }

    #[test]
    fn stamps_become_boot_time() {
        assert_eq!(moment().boot_of_jiffies(0x1_0000_0010 - 250), 8_999_000_000);
        assert_eq!(moment().boot_of_jiffies(u64::MAX), 10_000_000_000);
        assert_eq!(moment().boot_of_jiffies(0), 0);
    }

    #[test]
    fn short_stamps_cross_the_wrap() {
        assert_eq!(moment().boot_of_jiffies32(0x0000_0010), 9_999_000_000);
        assert_eq!(
            moment().boot_of_jiffies32(0xffff_fff0),
            9_999_000_000 - 32 * 4_000_000
        );
        assert_eq!(moment().boot_of_jiffies32(0x0000_0020), 9_999_000_000);
    }

    #[test]
    fn boot_time_becomes_wall_time() {
        assert_eq!(
            moment().wall_of(9_500_000_000).to_string(),
            "2023-11-14T22:13:19.5Z"
        );
        assert_eq!(
            moment().wall_of(11_000_000_000).to_string(),
            "2023-11-14T22:13:21Z"
        );
    }

    #[test]
    fn a_stamp_is_one_moment_whenever_it_is_asked_for() {
        let mut clocks = Clocks {
            ns_per_jiffy: 4_000_000,
            epoch_ns: i128::MAX,
            wall_offset_ns: 0,
        };
        // Ticks at 7, 11, 15, … ms, read 1, 0 and 3 ms later.
        let readings = [(1, 8), (2, 11), (9, 42)].map(|(jiffies, ms)| Clock {
            jiffies,
            boot_ns: ms * 1_000_000,
        });
        let stamps = readings.map(|reading| clocks.moment(reading).boot_of_jiffies(1));
        assert_eq!(stamps, [8_000_000, 7_000_000, 7_000_000]);
        // After an hour's sleep the same tick lies an hour later.
        let asleep_ns = 3_600_000_000_000;
        let woken = Clock {
            jiffies: 10,
            boot_ns: 43_000_000 + asleep_ns,
        };
        let stamp = clocks.moment(woken).boot_of_jiffies(10);
        assert_eq!(stamp, 43_000_000 + asleep_ns);
    }

    #[test]
    fn this_kernel_tells_its_rate() {
        let ns = tick_ns().expect("a rate");
        assert!(
            [100, 250, 300, 1000].contains(&((1_000_000_000 + ns / 2) / ns)),
            "{ns} ns"
        );
    }

    #[test]
    fn the_phase_is_that_of_the_first_tick() {
        let mut boot_ns = 0_u64;
        let clocks = Clocks::measure::<RateError>(|| {
            boot_ns += 1_000;
            Ok(Clock {
                jiffies: boot_ns / 50_000,
                boot_ns,
            })
        })
        .expect("a tick");
        assert_eq!(clocks.epoch_ns, 50_000 - i128::from(clocks.ns_per_jiffy));
    }
}
