//! The path MTU to a peer, searched for with padded hellos: DPLPMTUD (RFC 8899).
//!
//! A probe is a hello of the length in question, sent beside the ordinary one, so that none is missed where a probe is lost.
//! The peer tells in its next hello how long the longest was that it received. One length is tried three times before it
//! is taken to be too long. What was found is confirmed again every few hellos: a path that changes is noticed by the
//! silence. Time is an argument; [`super::Peers`] calls.

use std::time::{Duration, Instant};

use carpool_dataplane::packet::ipv6::MIN_MTU;

/// What is taken to get through before anything is known (RFC 8899, 5.1.2, BASE_PLPMTU), in bytes of IP length: over IPv4.
const BASE: u16 = 1200;
/// What is taken to get through where not even that does: IPv4 hosts take as much (RFC 1122, 3.3.2).
const LEAST: u16 = 576;
/// A length is tried so often (RFC 8899, 5.1.2, MAX_PROBES).
const PROBES: u8 = 3;
/// The search ends where it is known as closely as this, in bytes.
const STEP: u16 = 8;
/// What was found is confirmed after so many hello intervals.
const CONFIRM: u32 = 5;
/// After so long a length that was too long is tried again (RFC 8899, 5.1.1, PMTU_RAISE_TIMER).
const RAISE: Duration = Duration::from_secs(600);

#[derive(Clone, Copy, Debug)]
struct Probe {
    length: u16,
    sent: u8,
}

/// What is known of the path MTU to one peer.
#[derive(Clone, Debug)]
pub struct PathMtu {
    /// What is taken to get through before anything is known.
    base: u16,
    /// What is taken to get through where not even that does.
    least: u16,
    /// The longest packet that makes sense.
    ceiling: u16,
    /// The longest packet that gets there, as far as is known.
    current: u16,
    /// Whether a probe of that length was received.
    is_confirmed: bool,
    /// The shortest length that is taken to be too long; above the ceiling where there is none.
    too_long: u16,
    /// A length that is likely to be right: tried first where it is possible.
    hint: u16,
    /// The one that is not answered yet.
    probe: Option<Probe>,
    /// When the next one may be sent.
    next: Instant,
    /// When lengths that were too long are tried again.
    raise: Instant,
}

impl PathMtu {
    /// Nothing is known but that no packet may be longer than `ceiling` bytes.
    pub fn new(ceiling: u16, now: Instant) -> PathMtu {
        PathMtu::above((BASE, LEAST), ceiling, now)
    }

    /// The same of a path over IPv6, all links of which take 1280 bytes (RFC 8200, 5): no less is ever believed (RFC 8201, 4).
    pub fn new6(ceiling: u16, now: Instant) -> PathMtu {
        PathMtu::above((MIN_MTU, MIN_MTU), ceiling, now)
    }

    fn above((base, least): (u16, u16), ceiling: u16, now: Instant) -> PathMtu {
        PathMtu {
            base,
            least,
            ceiling,
            current: base.min(ceiling),
            is_confirmed: false,
            too_long: ceiling.saturating_add(1),
            hint: ceiling,
            probe: None,
            next: now,
            raise: now + RAISE,
        }
    }

    /// The longest packet that may be sent, in bytes of IP length.
    pub fn current(&self) -> u16 {
        self.current
    }

    /// Whether the search is over.
    pub fn is_found(&self) -> bool {
        self.is_confirmed && self.too_long.saturating_sub(self.current) <= STEP
    }

    /// The route, or what the peer takes, has changed: the search begins anew where that allows other lengths.
    pub fn set_ceiling(&mut self, ceiling: u16, now: Instant) {
        if ceiling != self.ceiling {
            *self = PathMtu::above((self.base, self.least), ceiling, now);
        }
    }

    /// The length of the probe that is due now, if one is. Called with every hello; hellos are sent every `interval`.
    pub fn due(&mut self, interval: Duration, now: Instant) -> Option<u16> {
        if now < self.next {
            return None;
        }
        if let Some(probe) = &mut self.probe {
            if probe.sent < PROBES {
                probe.sent += 1;
                self.next = now + interval;
                return Some(probe.length);
            }
            let length = probe.length;
            self.lost(length, now);
        }
        if now >= self.raise && self.current < self.ceiling {
            (self.too_long, self.raise) = (self.ceiling.saturating_add(1), now + RAISE);
            self.hint = self.ceiling;
        }
        let length = self.candidate();
        self.probe = Some(Probe { length, sent: 1 });
        self.next = now + interval;
        Some(length)
    }

    /// The next length to try: first what is likely, then what is taken to get through, then halves of what is between.
    fn candidate(&self) -> u16 {
        if self.current < self.hint && self.hint < self.too_long {
            self.hint
        } else if !self.is_confirmed || self.is_found() {
            self.current
        } else {
            self.current.midpoint(self.too_long)
        }
    }

    /// The peer received a hello of this length.
    pub fn received(&mut self, length: u16, interval: Duration, now: Instant) {
        let Some(probe) = self.probe.filter(|probe| length >= probe.length) else { return };
        self.probe = None;
        if probe.length >= self.current {
            (self.current, self.is_confirmed) = (probe.length, true);
        }
        // The search goes on at once; what was found is confirmed later.
        self.next = if self.is_found() { now + interval * CONFIRM } else { now };
    }

    /// A router says of a probe of ours that no more than this gets through.
    pub fn told(&mut self, mtu: u16, now: Instant) {
        // RFC 1191, 3, and RFC 8201, 4: less than this is no honest answer.
        let mtu = mtu.max(self.least);
        if mtu >= self.too_long {
            return;
        }
        (self.probe, self.next, self.hint) = (None, now, mtu);
        if mtu < self.current {
            self.fall_back(mtu, mtu.saturating_add(1), now);
        } else {
            self.too_long = mtu.saturating_add(1);
        }
    }

    /// There is reason to think that the path has changed: what is known is confirmed at once, at most once an interval.
    pub fn doubt(&mut self, interval: Duration, now: Instant) -> bool {
        let has_time = self.next > now + interval;
        if has_time {
            self.next = now;
        }
        has_time
    }

    /// A probe was not received, as often as it was sent.
    fn lost(&mut self, length: u16, now: Instant) {
        self.probe = None;
        if length > self.current {
            self.too_long = self.too_long.min(length);
        } else {
            // What used to get through does not any more, or even the least that was hoped for is too much.
            self.fall_back(if length > self.base { self.base } else { self.least }, length, now);
        }
    }

    fn fall_back(&mut self, current: u16, too_long: u16, now: Instant) {
        self.current = current.min(self.ceiling);
        self.is_confirmed = false;
        self.too_long = too_long.max(self.current.saturating_add(1));
        self.raise = now + RAISE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INTERVAL: Duration = Duration::from_millis(200);

    /// A path that lets packets of this length through, hello by hello; returns the time at the end.
    fn pass(mtu: &mut PathMtu, path: u16, hellos: u32, mut now: Instant) -> Instant {
        for _ in 0..hellos {
            if let Some(length) = mtu.due(INTERVAL, now).filter(|length| *length <= path) {
                mtu.received(length, INTERVAL, now + Duration::from_millis(1));
            }
            now += INTERVAL;
        }
        now
    }

    #[test]
    fn a_path_that_takes_all_is_known_after_one_probe() {
        let now = Instant::now();
        let mut mtu = PathMtu::new(9000, now);
        assert_eq!((mtu.current(), mtu.is_found()), (1200, false));
        assert_eq!(mtu.due(INTERVAL, now), Some(9000));
        mtu.received(9000, INTERVAL, now);
        assert_eq!((mtu.current(), mtu.is_found()), (9000, true));
        assert_eq!(mtu.due(INTERVAL, now + 4 * INTERVAL), None);
        assert_eq!(mtu.due(INTERVAL, now + 5 * INTERVAL), Some(9000), "confirmed from time to time");
    }

    #[test]
    fn a_probe_that_is_lost_once_or_twice_is_not_too_long() {
        let now = Instant::now();
        let mut mtu = PathMtu::new(1500, now);
        for sent in 0..3 {
            assert_eq!(mtu.due(INTERVAL, now + INTERVAL * sent), Some(1500));
        }
        mtu.received(1500, INTERVAL, now + INTERVAL * 2);
        assert_eq!((mtu.current(), mtu.is_found()), (1500, true));
    }

    #[test]
    fn hellos_shorter_than_the_probe_confirm_nothing() {
        let now = Instant::now();
        let mut mtu = PathMtu::new(1500, now);
        mtu.due(INTERVAL, now);
        mtu.received(56, INTERVAL, now);
        assert_eq!((mtu.current(), mtu.is_found()), (1200, false));
    }

    #[test]
    fn what_does_not_get_through_any_more_is_noticed_and_searched_for_again() {
        let now = Instant::now();
        let mut mtu = PathMtu::new(1500, now);
        let now = pass(&mut mtu, 1500, 3, now);
        assert_eq!(mtu.current(), 1500);
        let noticed = pass(&mut mtu, 1400, 8, now);
        assert!(mtu.current() <= 1400, "after three probes");
        pass(&mut mtu, 1400, 40, noticed);
        assert!((1392..=1400).contains(&mtu.current()) && mtu.is_found(), "{mtu:?}");
    }

    #[test]
    fn a_path_that_widens_is_found_when_it_is_tried_again() {
        let now = Instant::now();
        let mut mtu = PathMtu::new(1500, now);
        let now = pass(&mut mtu, 1400, 40, now);
        pass(&mut mtu, 1500, 40, now);
        assert!(mtu.current() <= 1400, "not at once");
        pass(&mut mtu, 1500, 10, now + RAISE);
        assert_eq!(mtu.current(), 1500);
    }

    #[test]
    fn what_a_router_says_of_a_probe_is_tried_next() {
        let now = Instant::now();
        let mut mtu = PathMtu::new(9000, now);
        assert_eq!(mtu.due(INTERVAL, now), Some(9000));
        mtu.told(1400, now);
        assert_eq!((mtu.current(), mtu.due(INTERVAL, now)), (1200, Some(1400)));
        mtu.received(1400, INTERVAL, now);
        assert_eq!((mtu.current(), mtu.is_found()), (1400, true));
        mtu.told(1300, now);
        assert_eq!((mtu.current(), mtu.is_found()), (1300, false), "shorter ones from now on");
        mtu.told(68, now);
        assert_eq!(mtu.current(), 576, "no less than this, whatever is said");
        mtu.told(5000, now);
        assert_eq!(mtu.current(), 576, "nobody raises it");
    }

    #[test]
    fn no_path_over_ipv6_is_taken_to_have_less_than_every_link_takes() {
        let now = Instant::now();
        let mut mtu = PathMtu::new6(1500, now);
        assert_eq!((mtu.current(), mtu.due(INTERVAL, now)), (1280, Some(1500)));
        mtu.told(1279, now);
        assert_eq!(mtu.current(), 1280);
        let now = pass(&mut mtu, 1279, 40, now);
        assert_eq!(mtu.current(), 1280, "a path that loses everything is not one with a smaller MTU");
        mtu.set_ceiling(1400, now);
        pass(&mut mtu, 1400, 20, now);
        assert_eq!((mtu.current(), mtu.is_found()), (1400, true));
    }

    #[test]
    fn a_doubt_brings_one_probe_in_an_interval() {
        let now = Instant::now();
        let mut mtu = PathMtu::new(1500, now);
        let now = pass(&mut mtu, 1500, 1, now);
        assert!(mtu.doubt(INTERVAL, now));
        assert_eq!(mtu.due(INTERVAL, now), Some(1500));
        assert!(!mtu.doubt(INTERVAL, now), "that one is under way");
    }

    proptest! {
        #[test]
        fn every_path_mtu_is_found(ceiling in 128u16..=9000, path in 576u16..=9000) {
            let now = Instant::now();
            let mut mtu = PathMtu::new(ceiling, now);
            pass(&mut mtu, path, 100, now);
            let expected = ceiling.min(path);
            prop_assert!(mtu.is_found());
            prop_assert!(mtu.current() <= expected && expected - mtu.current() <= STEP, "{} of {expected}", mtu.current());
        }
    }
}
