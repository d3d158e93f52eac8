//! When packets are due: an open loop, which does not wait for anything that comes back.
//!
//! At a rate, the burst number j of b packets is due j·b/rate after the start. A sender that was held up catches up with
//! what it missed, but no more than [`MAX_CATCH_UP`] packets: what is beyond is skipped and counted, so that a pause of the machine that the
//! generator runs on does not become a flood that no load of that rate would have.

use std::time::Duration;

use carpool_dataplane::arch::{Tick, TickRate, TickSpan};

/// The most packets that are sent at once.
pub const MAX_BURST: u64 = 32;
/// Packets that are due within this time are sent together.
const BURST_SPAN: Duration = Duration::from_micros(5);
/// How much of what was missed is made up for: as many packets as are due in this time, but not more than
/// [`MAX_CATCH_UP`], which the queue of a virtual port has room for.
const CATCH_UP: Duration = Duration::from_millis(10);
const MAX_CATCH_UP: u64 = 256;

/// How much is to be sent, and how fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// At `pps` packets a second for a time.
    Rate { pps: u64, duration: Duration },
    /// As many packets as the port takes, for a time.
    Flood { duration: Duration },
    /// So many packets, at `pps` or, where that is none, as fast as the port takes them. None is skipped.
    Burst { pps: Option<u64>, packets: u64 },
}

/// Packets that are sent together at a rate.
pub fn burst_at(pps: u64) -> u64 {
    ((u128::from(pps) * BURST_SPAN.as_nanos() / 1_000_000_000) as u64).clamp(1, MAX_BURST)
}

/// Says how many packets are due.
#[derive(Clone, Debug)]
pub struct Pacer {
    start: Tick,
    hz: u64,
    /// 0: as many as possible.
    pps: u64,
    burst: u64,
    catch_up: u64,
    /// Packets to be due in all; `u64::MAX` where time alone ends it.
    planned: u64,
    until: Tick,
    issued: u64,
    skipped: u64,
    /// Nothing is due before.
    next: Tick,
}

impl Pacer {
    /// The first packet is due at `start`.
    pub fn new(load: Load, start: Tick, rate: TickRate) -> Pacer {
        let end = |duration| start + rate.ticks(duration);
        let (pps, planned, until) = match load {
            Load::Rate { pps, duration } => {
                let planned = u128::from(pps) * duration.as_nanos() / 1_000_000_000;
                (pps, u64::try_from(planned).unwrap_or(u64::MAX), Tick(u64::MAX))
            }
            Load::Flood { duration } => (0, u64::MAX, end(duration)),
            Load::Burst { pps, packets } => (pps.unwrap_or(0), packets, Tick(u64::MAX)),
        };
        let burst = if pps == 0 { MAX_BURST } else { burst_at(pps) };
        let catch_up = match load {
            Load::Rate { pps, .. } => {
                let due = u128::from(pps) * CATCH_UP.as_nanos() / 1_000_000_000;
                (due as u64 + burst).min(MAX_CATCH_UP)
            }
            Load::Flood { .. } | Load::Burst { .. } => u64::MAX,
        };
        Pacer { start, hz: rate.hz(), pps, burst, catch_up, planned, until, issued: 0, skipped: 0, next: start }
    }

    /// Takes the packets that are due now: at most [`MAX_BURST`].
    #[inline]
    pub fn take(&mut self, now: Tick) -> u64 {
        if now < self.next {
            return 0;
        }
        self.take_due(now)
    }

    fn take_due(&mut self, now: Tick) -> u64 {
        let position = self.issued + self.skipped;
        if self.is_finished(now) {
            return 0;
        }
        if self.pps == 0 {
            let count = self.burst.min(self.planned - position);
            self.issued += count;
            return count;
        }
        let bursts =
            u128::from(now.since(self.start).0) * u128::from(self.pps) / (u128::from(self.hz) * u128::from(self.burst));
        let bursts = bursts as u64 + 1;
        let due = bursts.saturating_mul(self.burst).min(self.planned).saturating_sub(position);
        let missed = due.saturating_sub(self.catch_up);
        self.skipped += missed;
        let count = (due - missed).min(self.burst);
        self.issued += count;
        if due - missed <= self.burst {
            let wait = (u128::from(bursts) * u128::from(self.burst) * u128::from(self.hz)).div_ceil(self.pps.into());
            self.next = self.start + TickSpan(u64::try_from(wait).unwrap_or(u64::MAX));
        }
        count
    }

    /// Whether nothing will be due any more.
    #[inline]
    pub fn is_finished(&self, now: Tick) -> bool {
        self.issued + self.skipped >= self.planned || now >= self.until
    }

    /// Packets that were due and are not made up for.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Packets that are due together.
    pub fn burst(&self) -> u64 {
        self.burst
    }

    /// A number that no sequence number reaches.
    pub fn limit(&self) -> u64 {
        self.planned
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn pacer(load: Load) -> Pacer {
        Pacer::new(load, Tick(SECOND), TickRate::NANOSECONDS)
    }

    #[test]
    fn low_rates_are_sent_packet_by_packet_and_high_ones_in_bursts() {
        assert_eq!([1, 200_000, 1_000_000, 6_400_000, 50_000_000].map(burst_at), [1, 1, 5, 32, 32]);
    }

    #[test]
    fn each_packet_of_a_low_rate_is_due_at_its_own_time() {
        let mut pacer = pacer(Load::Rate { pps: 1000, duration: Duration::from_millis(3) });
        let due: Vec<u64> =
            (0..4000).filter(|microseconds| pacer.take(Tick(SECOND + microseconds * 1000)) == 1).collect();
        assert_eq!(due, [0, 1000, 2000]);
        assert!(pacer.is_finished(Tick(SECOND)));
    }

    #[test]
    fn what_a_long_pause_missed_is_skipped_and_counted() {
        let mut pacer = pacer(Load::Rate { pps: 1_000_000, duration: Duration::from_secs(1) });
        let late = Tick(SECOND + 10_000_000);
        let caught_up: u64 = (0..100).map(|_| pacer.take(late)).sum();
        assert_eq!((caught_up, pacer.skipped()), (MAX_CATCH_UP, 10_005 - MAX_CATCH_UP));
    }

    #[test]
    fn of_a_burst_nothing_is_skipped() {
        for pps in [None, Some(1_000_000)] {
            let mut pacer = pacer(Load::Burst { pps, packets: 5000 });
            let late = Tick(2 * SECOND);
            let sent: u64 = (0..5000).map(|_| pacer.take(late)).sum();
            assert_eq!((sent, pacer.skipped()), (5000, 0));
        }
    }

    #[test]
    fn a_flood_ends_with_its_time() {
        let mut pacer = pacer(Load::Flood { duration: Duration::from_secs(1) });
        assert_eq!(pacer.take(Tick(2 * SECOND - 1)), MAX_BURST);
        assert_eq!(pacer.take(Tick(2 * SECOND)), 0);
        assert!(pacer.is_finished(Tick(2 * SECOND)));
    }

    proptest! {
        #[test]
        fn never_more_than_a_burst_ahead_and_never_behind_but_for_what_is_skipped(
            pps in 1..100_000_000u64, milliseconds in 1..50u64, steps in prop::collection::vec(0..300_000u64, 1..200),
        ) {
            let mut pacer = pacer(Load::Rate { pps, duration: Duration::from_millis(milliseconds) });
            let planned = pps * milliseconds / 1000;
            let mut now = SECOND;
            let mut issued = 0;
            for step in steps {
                now += step;
                loop {
                    let count = pacer.take(Tick(now));
                    prop_assert!(count <= pacer.burst());
                    issued += count;
                    if count == 0 {
                        break;
                    }
                }
                let ideal = (u128::from(now - SECOND) * u128::from(pps) / 1_000_000_000) as u64;
                let position = issued + pacer.skipped();
                prop_assert!(position <= planned && position <= ideal + pacer.burst());
                prop_assert!(position >= ideal.min(planned), "{} of {}", position, ideal);
                prop_assert_eq!(pacer.is_finished(Tick(now)), position == planned);
            }
        }

        #[test]
        fn who_is_asked_often_enough_skips_nothing(pps in 1..10_000_000u64, microseconds in 1..100u64) {
            let mut pacer = pacer(Load::Rate { pps, duration: Duration::from_millis(3) });
            let mut issued = 0;
            for at in (0..3_100).step_by(microseconds as usize).chain([3_200]) {
                loop {
                    match pacer.take(Tick(SECOND + at * 1000)) {
                        0 => break,
                        count => issued += count,
                    }
                }
            }
            // The queue of a port bounds what is made up for.
            let bounded = pps * microseconds / 1_000_000 > MAX_CATCH_UP - MAX_BURST;
            prop_assert!(bounded || pacer.skipped() == 0);
            prop_assert_eq!(issued + pacer.skipped(), pps * 3 / 1000);
        }
    }
}
