//! How often something may happen.

use super::{Tick, TickRate, TickSpan};

/// A rate limit: the generic cell rate algorithm (ITU-T I.371), which needs one time and no timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// When the next one would come if all came at the even rate.
    expected: Tick,
    interval: TickSpan,
    tolerance: TickSpan,
}

impl RateLimit {
    /// `per_second` in the long run, at least 1, and `burst` at once after a quiet time, at least 1.
    pub fn new(rate: TickRate, per_second: u64, burst: u64) -> RateLimit {
        let interval = TickSpan((rate.hz() / per_second.max(1)).max(1));
        RateLimit {
            expected: Tick(0),
            interval,
            tolerance: TickSpan(interval.0.saturating_mul(burst.saturating_sub(1))),
        }
    }

    /// Whether one more may go now; counts it where it may.
    #[inline]
    pub fn admits(&mut self, now: Tick) -> bool {
        if self.expected > now + self.tolerance {
            return false;
        }
        self.expected = self.expected.max(now) + self.interval;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_let_through_and_then_the_even_rate() {
        let mut limit = RateLimit::new(TickRate::NANOSECONDS, 1000, 100);
        let start = Tick(5_000_000_000);
        assert_eq!((0..1000).filter(|_| limit.admits(start)).count(), 100);
        let later = start + TickSpan(10_000_000);
        assert_eq!((0..1000).filter(|_| limit.admits(later)).count(), 10, "one a millisecond");
    }
}
