//! Time on a worker is the time stamp counter, read once per iteration and passed on as an argument.
//!
//! A [`Tick`] is a point in time, a [`TickSpan`] a distance, a [`TickRate`] how many there are in a second. Tests use
//! a rate of one tick a nanosecond and times of their own.

use std::ops::{Add, Sub};
use std::time::{Duration, Instant};

/// A point in time: a value of the time stamp counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tick(pub u64);

/// A distance between two points in time, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TickSpan(pub u64);

impl Tick {
    /// The time from `earlier` to `self`; zero where `earlier` is the later one.
    #[inline(always)]
    pub fn since(self, earlier: Tick) -> TickSpan {
        TickSpan(self.0.saturating_sub(earlier.0))
    }
}

impl Add<TickSpan> for Tick {
    type Output = Tick;
    #[inline(always)]
    fn add(self, span: TickSpan) -> Tick {
        Tick(self.0.saturating_add(span.0))
    }
}

impl Sub<TickSpan> for Tick {
    type Output = Tick;
    #[inline(always)]
    fn sub(self, span: TickSpan) -> Tick {
        Tick(self.0.saturating_sub(span.0))
    }
}

/// How many ticks there are in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TickRate {
    hz: u64,
}

impl TickRate {
    /// One tick a nanosecond, for tests and simulations that bring their own time.
    pub const NANOSECONDS: TickRate = TickRate { hz: 1_000_000_000 };

    /// A rate of `hz` ticks a second; at least one.
    pub fn from_hz(hz: u64) -> TickRate {
        TickRate { hz: hz.max(1) }
    }

    /// Measures the time stamp counter against the system clock for 20 ms.
    pub fn measure() -> TickRate {
        let started = Instant::now();
        let first = now();
        while started.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        let ticks = now().since(first);
        let nanoseconds = started.elapsed().as_nanos().max(1);
        TickRate::from_hz((u128::from(ticks.0) * 1_000_000_000 / nanoseconds) as u64)
    }

    /// Ticks a second.
    pub fn hz(self) -> u64 {
        self.hz
    }

    /// A duration in ticks, rounded down.
    pub fn ticks(self, duration: Duration) -> TickSpan {
        let ticks = duration.as_nanos() * u128::from(self.hz) / 1_000_000_000;
        TickSpan(u64::try_from(ticks).unwrap_or(u64::MAX))
    }

    /// A number of ticks as a duration, rounded down to a nanosecond.
    pub fn duration(self, span: TickSpan) -> Duration {
        let nanoseconds = u128::from(span.0) * 1_000_000_000 / u128::from(self.hz);
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

/// The time stamp counter.
#[inline(always)]
pub fn now() -> Tick {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has the instruction, and Linux lets user space execute it.
    let ticks = unsafe { core::arch::x86_64::_rdtsc() };
    #[cfg(not(target_arch = "x86_64"))]
    compile_error!("only x86-64 is supported so far");
    Tick(ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_survive_the_way_to_ticks_and_back() {
        for hz in [1_000_000_000, 2_450_000_000, 999_999_999] {
            let rate = TickRate::from_hz(hz);
            for micros in [1u64, 5_000, 1_000_000, 86_400_000_000] {
                let duration = Duration::from_micros(micros);
                let back = rate.duration(rate.ticks(duration));
                assert!(duration.abs_diff(back) <= Duration::from_nanos(2), "{hz} {micros} {back:?}");
            }
        }
    }

    #[test]
    fn a_time_before_is_no_distance() {
        assert_eq!(Tick(5).since(Tick(7)), TickSpan(0));
        assert_eq!(Tick(7).since(Tick(5)), TickSpan(2));
    }

    #[test]
    fn the_measured_rate_is_that_of_a_processor() {
        let hz = TickRate::measure().hz();
        assert!((500_000_000..10_000_000_000).contains(&hz), "{hz}");
    }
}
