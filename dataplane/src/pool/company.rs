//! How likely company is: what an adaptive rule asks before a packet waits.
//!
//! For each pool key that opened a pool lately, a moving average of one question: did another packet of the key come
//! within the window after one that opened a pool? That is what waiting is worth, whatever the traffic: for packets at
//! random times with rate r the answer tends to 1 - exp(-r * window), for regular ones it is 0 or 1, and for bursts it
//! tells of the burst and not of the pauses, as a mean distance would. A packet that leaves at once opens a pool of the
//! moment, so that the average goes on learning while nobody waits.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use super::open_pools::PoolKey;
use crate::arch::{Tick, TickSpan};

/// An average of 1.
const CERTAIN: u16 = u16::MAX;

/// A packet waits where at least one in four of its like had company.
const WORTH_WAITING: u16 = CERTAIN / 4;

/// Each answer counts for 1 / 2^3 in the average. From nothing, three packets in close succession make the next one
/// wait; from certainty, eleven that wait in vain make the twelfth leave at once. Two answers far off what is usual do
/// not pass the threshold from an average of 5% (50 packets/s and 1 ms).
const WEIGHT: u32 = 3;

/// 2^12 windows of silence halve what was learned: 4 s at 1 ms.
const HALF_LIFE: u32 = 12;

/// 64 bytes of entries.
const WAYS: usize = 4;

/// What is known of one pool key.
#[derive(Clone, Copy)]
struct Entry {
    /// When a packet last opened a pool.
    opened: Tick,
    /// Some bits of the key's hash, never 0; 0 where nothing is known.
    tag: u32,
    /// The average, of [`CERTAIN`].
    average: u16,
    /// Whether it is still to be seen if that packet gets company.
    is_pending: bool,
}

impl Entry {
    #[inline]
    fn opens(&mut self, window: TickSpan, now: Tick) -> bool {
        let silence = now.since(self.opened);
        self.learn(silence <= window);
        if silence.0 >> HALF_LIFE > window.0 {
            let halvings = (silence.0 >> HALF_LIFE).checked_div(window.0).unwrap_or(u64::MAX);
            self.average = self.average.checked_shr(halvings.min(16) as u32).unwrap_or(0);
        }
        self.opened = now;
        self.is_pending = true;
        self.average >= WORTH_WAITING
    }

    #[inline]
    fn learn(&mut self, had_company: bool) {
        if self.is_pending {
            self.is_pending = false;
            match had_company {
                true => self.average += (CERTAIN - self.average) >> WEIGHT,
                false => self.average -= self.average >> WEIGHT,
            }
        }
    }
}

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Set([Entry; WAYS]);

/// What is known of all pool keys: a set-associative table of fixed size that forgets the oldest of a set.
pub(super) struct Company {
    sets: Box<[Set]>,
    /// How far a 64-bit hash is shifted right to give a set.
    shift: u32,
}

impl Company {
    /// A table for some `keys` keys, rounded up to a power of two of sets.
    pub(super) fn new(keys: usize) -> Company {
        let sets = keys.div_ceil(WAYS).clamp(2, 1 << 24).next_power_of_two();
        let nothing = Entry { opened: Tick(0), tag: 0, average: 0, is_pending: false };
        Company { sets: vec![Set([nothing; WAYS]); sets].into(), shift: 64 - sets.trailing_zeros() }
    }

    /// A packet opens the pool of `key` at `now`. Whether company within `window` is likely enough to wait for.
    #[inline]
    pub(super) fn opens(&mut self, key: PoolKey, window: TickSpan, now: Tick) -> bool {
        let Some(entry) = self.entry(key) else { return true };
        entry.opens(window, now)
    }

    /// What [`opens`](Company::opens) would say; nothing is learned.
    #[inline]
    pub(super) fn would_wait(&self, key: PoolKey, window: TickSpan, now: Tick) -> bool {
        let known = self.sets.get(self.place(key)).and_then(|Set(set)| set.iter().find(|entry| entry.tag == tag(key)));
        known.is_some_and(|entry| { *entry }.opens(window, now))
    }

    /// The packet that opened the pool of `key` has company.
    #[inline]
    pub(super) fn came(&mut self, key: PoolKey) {
        if let Some(entry) = self.entry(key) {
            entry.learn(true);
        }
    }

    /// What is known of `key`; nothing, in place of the oldest of its set, where that is so.
    #[inline]
    fn entry(&mut self, key: PoolKey) -> Option<&mut Entry> {
        let (place, tag) = (self.place(key), tag(key));
        let Set(entries) = self.sets.get_mut(place)?;
        let way = match entries.iter().position(|entry| entry.tag == tag) {
            Some(way) => way,
            None => {
                let (way, oldest) = entries.iter_mut().enumerate().min_by_key(|(_, entry)| entry.opened)?;
                *oldest = Entry { opened: Tick(0), tag, average: 0, is_pending: false };
                way
            }
        };
        entries.get_mut(way)
    }

    /// The set that a key is in.
    #[inline(always)]
    fn place(&self, key: PoolKey) -> usize {
        (key.hash() >> self.shift) as usize
    }
}

/// What a key is known by in its set.
#[inline(always)]
fn tag(key: PoolKey) -> u32 {
    (key.hash() >> 8) as u32 | 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::rule::{Dscp, RuleIndex};
    use super::*;

    const WINDOW: TickSpan = TickSpan(1000);

    fn key(group: u16) -> PoolKey {
        PoolKey::new(group, RuleIndex(0), Dscp::default(), 0, 0)
    }

    /// Whether each of these packets would wait, where none that waits or leaves is joined by another.
    fn waits(company: &mut Company, times: impl IntoIterator<Item = u64>) -> Vec<bool> {
        times.into_iter().map(|time| company.opens(key(1), WINDOW, Tick(time))).collect()
    }

    #[test]
    fn three_packets_in_close_succession_make_the_fourth_wait() {
        let mut company = Company::new(16);
        assert_eq!(waits(&mut company, [5000, 5100, 5200, 5300]), [false, false, false, true]);
    }

    #[test]
    fn a_dozen_packets_that_waited_in_vain_make_the_next_one_leave() {
        let mut company = Company::new(16);
        waits(&mut company, (0..100).map(|n| 5000 + n * 10));
        let waited = waits(&mut company, (0..20).map(|n| 10_000 + n * 2000)).iter().filter(|waits| **waits).count();
        assert!((8..=12).contains(&waited), "{waited}");
    }

    #[test]
    fn what_was_learned_fades_in_silence() {
        let mut company = Company::new(16);
        waits(&mut company, (0..100).map(|n| 5000 + n * 10));
        assert!(company.opens(key(1), WINDOW, Tick(1_000_000)), "a short pause is forgotten over");
        assert!(!company.opens(key(1), WINDOW, Tick(1_000_000 + 3 * 4096 * 1000)), "a long one is not");
    }

    proptest! {
        /// Catches: an answer that is not what is said when the pool opens, and one that teaches something.
        #[test]
        fn what_would_be_said_of_a_pool_is_what_is_said_when_it_opens(
            steps in prop::collection::vec((0u16..6, 0u64..3000, any::<bool>(), 0u8..3), 0..300),
        ) {
            let (mut asked, mut other) = (Company::new(4), Company::new(4));
            let mut now = 5000;
            for (number, later, comes, times) in steps {
                now += if later == 0 { 5_000_000 } else { later };
                let (key, now) = (key(number), Tick(now));
                for _ in 0..times {
                    asked.would_wait(key, WINDOW, now);
                }
                let would = asked.would_wait(key, WINDOW, now);
                prop_assert_eq!(would, asked.opens(key, WINDOW, now));
                prop_assert_eq!(would, other.opens(key, WINDOW, now));
                if comes {
                    asked.came(key);
                    other.came(key);
                }
            }
        }
    }

    #[test]
    fn keys_learn_apart_and_the_oldest_is_forgotten_first() {
        let mut company = Company::new(4);
        waits(&mut company, (0..10).map(|n| 5000 + n * 10));
        assert!(!company.opens(key(2), WINDOW, Tick(5100)), "another key knows nothing of this one");
        assert!(company.opens(key(1), WINDOW, Tick(5200)));
        for stranger in 3..100 {
            company.opens(key(stranger), WINDOW, Tick(5300));
        }
        assert!(!company.opens(key(1), WINDOW, Tick(5400)), "what was displaced is new");
    }
}
