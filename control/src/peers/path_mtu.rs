//! The path MTU to a peer, searched for with padded hellos: DPLPMTUD (RFC 8899).
//!
//! A probe is a hello of the length in question, sent beside the ordinary one, so that none is missed where a probe is lost.
//! The peer tells in its next hello how long the longest was that it received. A length is taken to be too long when it was
//! tried three times, its report had more than a round trip to come, and ordinary hellos were reported meanwhile: what is
//! lost together with those says nothing of lengths, and the search stands still. A report that comes later all the same
//! counts. What was found is confirmed again and again: a path that changes is noticed by the silence. Time is an argument;
//! [`super::Peers`] calls.

use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use carpool_dataplane::packet::ipv6::MIN_MTU;

/// What is taken to get through before anything is known (RFC 8899, 5.1.2, BASE_PLPMTU), in bytes of IP length: over IPv4.
const BASE: u16 = 1200;
/// What is taken to get through where not even that does: IPv4 hosts take as much (RFC 1122, 3.3.2).
const LEAST: u16 = 576;
/// A length is tried so often (RFC 8899, 5.1.2, MAX_PROBES).
const PROBES: u8 = 3;
/// The search ends where it is known as closely as this, in bytes.
const STEP: u16 = 8;
/// What was found is confirmed after so many hello intervals, and no sooner than after [`SECOND`].
const CONFIRM: u32 = 5;
/// No timer ends sooner (RFC 8899, 5.1.1, PROBE_TIMER), and a router is believed to know better no more often than this.
const SECOND: Duration = Duration::from_secs(1);
/// A report is waited for so many round trips, and so many hello intervals.
const PATIENCE: u32 = 3;
/// What a round trip is taken to last until one was measured (RFC 8085, 3.1.1).
const UNMEASURED: Duration = SECOND;
/// The longest round trip that is believed.
const LONGEST_ROUND_TRIP: Duration = Duration::from_secs(10);
/// A probe can be reported, or quoted by a router, for so long.
const REMEMBERED: Duration = Duration::from_secs(30);
/// After so long a length that was too long is tried again (RFC 8899, 5.1.1, PMTU_RAISE_TIMER).
const RAISE: Duration = Duration::from_secs(600);

/// The length that is tried.
#[derive(Clone, Copy, Debug)]
struct Probe {
    length: u16,
    /// So often, since reports last came without a gap.
    sent: u8,
    /// When it was sent first of those.
    first: Instant,
}

/// A probe that was sent.
#[derive(Clone, Copy, Debug)]
struct Sent {
    sequence: u32,
    length: u16,
    at: Instant,
}

/// Somebody said that what is known does not hold any more, which is being tried.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    /// What gets through, they say.
    mtu: u16,
    /// The newest probe before: whoever quotes a newer one has seen what was sent to find out.
    newest: Option<u32>,
    /// The search for more that it interrupts, and when its next step was due: doubts that come to nothing do not hold it up.
    interrupted: Option<(Probe, Instant)>,
}

/// What a router on the way quotes of the packet that was too long for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quoted {
    /// A hello.
    Hello {
        /// Its sequence number.
        sequence: u32,
        /// Its length in bytes of IP length.
        length: u16,
    },
    /// A pooled packet, of which nobody remembers the sequence number.
    PooledPacket {
        /// Its length in bytes of IP length.
        length: u16,
    },
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
    /// Nothing of any length was received. What was too long meanwhile may have been lost for that reason.
    all_lost: bool,
    /// The shortest length that is taken to be too long; above the ceiling where there is none.
    too_long: u16,
    /// A length that is likely to be right: tried first where it is possible.
    hint: u16,
    /// The one that is not answered yet.
    probe: Option<Probe>,
    /// Those that nothing was heard of yet, and no longer one of: the last of them at the end.
    sent: ArrayVec<Sent, 16>,
    /// From a probe to its report, as measured last.
    round_trip: Option<Duration>,
    /// When the peer last told of any hello, padded or not.
    reported_at: Instant,
    doubt: Option<Doubt>,
    doubted_at: Option<Instant>,
    /// When the next one may be sent.
    next: Instant,
    /// When lengths that were too long are tried again, if the search is over.
    raise: Instant,
}

impl PathMtu {
    /// Nothing is known but that no packet may be longer than `ceiling` bytes. The peer has just told of a hello of ours.
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
            all_lost: false,
            too_long: ceiling.saturating_add(1),
            hint: ceiling,
            probe: None,
            sent: ArrayVec::new(),
            round_trip: None,
            reported_at: now,
            doubt: None,
            doubted_at: None,
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
            let (round_trip, reported_at) = (self.round_trip, self.reported_at);
            *self = PathMtu { round_trip, reported_at, ..PathMtu::above((self.base, self.least), ceiling, now) };
        }
    }

    /// The length of the probe that is due now, if one is; [`PathMtu::sent`] says that it has left. Called with every hello;
    /// hellos come and go every `interval`.
    pub fn due(&mut self, interval: Duration, now: Instant) -> Option<u16> {
        if self.is_silent(interval, now) || now < self.next {
            return None;
        }
        if let Some(probe) = self.probe {
            if probe.sent < PROBES {
                return Some(probe.length);
            }
            self.lost(probe.length);
        }
        if !self.is_found() {
            self.raise = now + RAISE;
        } else if now >= self.raise && self.current < self.ceiling {
            (self.too_long, self.hint) = (self.ceiling.saturating_add(1), self.ceiling);
            // Where it is known that closely anyway, the search stays over: the ceiling is tried once, and not again at once.
            self.raise = now + RAISE;
        }
        let length = self.candidate();
        self.probe = Some(Probe { length, sent: 0, first: now });
        Some(length)
    }

    /// The probe that was due has left with this sequence number.
    pub fn sent(&mut self, sequence: u32, interval: Duration, now: Instant) {
        let (spacing, patience) = (self.spacing(interval), self.patience(interval));
        let Some(probe) = &mut self.probe else { return };
        if probe.sent == 0 {
            probe.first = now;
        }
        probe.sent += 1;
        let wait = if probe.sent < PROBES { spacing } else { patience };
        self.next = match self.doubt {
            // What a router says is likely to be true: the answer to the first probe is waited for, not to the last.
            Some(_) if probe.sent == PROBES => (probe.first + patience).max(now + self.round_trip.unwrap_or(spacing)),
            _ => now + wait,
        };
        let length = probe.length;
        if self.sent.is_full() {
            self.sent.remove(0);
        }
        self.sent.push(Sent { sequence, length, at: now });
    }

    /// The next length to try: first what is likely, then what is taken to get through, then halves of what is between.
    fn candidate(&self) -> u16 {
        if self.doubt.is_some() {
            self.current
        } else if self.current < self.hint && self.hint < self.too_long {
            self.hint
        } else if !self.is_confirmed || self.is_found() {
            self.current
        } else {
            self.current.midpoint(self.too_long)
        }
    }

    /// The peer tells that the longest hello it received, since it last told, had this length; not 0.
    pub fn received(&mut self, length: u16, interval: Duration, now: Instant) {
        if self.is_silent(interval, now) {
            self.begin_again(now);
        }
        self.reported_at = now;
        self.sent.retain(|sent| now.saturating_duration_since(sent.at) <= REMEMBERED);
        // It confirms all that are not longer.
        let Some(reported) = self.sent.iter().map(|sent| sent.length).filter(|sent| *sent <= length).max() else {
            return;
        };
        self.measure(reported, now);
        self.sent.retain(|sent| sent.length > reported);
        if self.probe.is_some_and(|probe| probe.length <= reported) {
            self.probe = None;
            self.next = now;
        }
        if reported < self.current {
            return;
        }
        let was_all_lost = std::mem::take(&mut self.all_lost);
        if was_all_lost || reported >= self.too_long {
            // It was not too long, or nobody knows whether it was.
            self.too_long = self.ceiling.saturating_add(1);
            self.hint = self.ceiling;
        }
        (self.current, self.is_confirmed) = (reported, true);
        let interrupted = self.doubt.take().and_then(|doubt| doubt.interrupted);
        if let Some((probe, next)) = interrupted
            && self.probe.is_none()
            && probe.length > self.current
            && probe.length < self.too_long
        {
            (self.probe, self.next) = (Some(probe), next.max(now));
        }
        // The search goes on at once; what was found is confirmed later.
        if self.probe.is_none() && self.is_found() {
            self.next = now + (interval * CONFIRM).max(SECOND);
        }
    }

    /// Takes the time from the only probe of this length to its report; of several, from the first one, if that is longer than
    /// what was known.
    fn measure(&mut self, length: u16, now: Instant) {
        let mut sent = self.sent.iter().filter(|sent| sent.length == length).map(|sent| sent.at);
        let Some(first) = sent.next() else { return };
        let time = now.saturating_duration_since(first).min(LONGEST_ROUND_TRIP);
        let is_certain = sent.next().is_none();
        self.round_trip = if is_certain { Some(time) } else { self.round_trip.max(Some(time)) };
    }

    /// A router says that no more than `mtu` bytes get through. Whether a probe is to be sent at once.
    pub fn told(&mut self, mtu: u16, quoted: Quoted, interval: Duration, now: Instant) -> bool {
        // RFC 1191, 3, and RFC 8201, 4: less than this is no honest answer.
        let mtu = mtu.max(self.least);
        let sequence = match quoted {
            Quoted::Hello { sequence, length } => {
                let was_sent = |sent: &Sent| (sent.sequence, sent.length) == (sequence, length);
                if !self.sent.iter().any(was_sent) {
                    return false;
                }
                Some(sequence)
            }
            // Not one of ours, or of a time when they were longer.
            Quoted::PooledPacket { length } if length > self.current || mtu >= self.current => return false,
            Quoted::PooledPacket { .. } => None,
        };
        if mtu < self.current {
            return self.told_of_less(mtu, sequence, interval, now);
        }
        let too_long = mtu.saturating_add(1);
        let is_news = too_long < self.too_long;
        if is_news {
            self.too_long = too_long;
            (self.probe, self.next, self.hint) = (None, now, mtu);
        }
        is_news
    }

    /// RFC 8899, 4.6.2: anybody can say that less gets through than is known to. It is tried, once in a while, and what a
    /// router says of that is believed: nobody else has seen those probes.
    fn told_of_less(&mut self, mtu: u16, sequence: Option<u32>, interval: Duration, now: Instant) -> bool {
        match (self.doubt, sequence) {
            (Some(doubt), Some(sequence)) if doubt.newest.is_none_or(|newest| is_newer(sequence, newest)) => {
                (self.probe, self.next, self.hint) = (None, now, mtu);
                self.fall_back(mtu, mtu.saturating_add(1));
                true
            }
            (Some(_), _) => false,
            (None, _) => {
                // Two thirds of the time, and more, are left to the search for more.
                let pause = (self.spacing(interval) * PATIENCE).max(SECOND);
                if self.doubted_at.is_some_and(|doubted_at| now < doubted_at + pause) {
                    return false;
                }
                let newest = self.sent.last().map(|sent| sent.sequence);
                let interrupted = self.probe.take().filter(|probe| probe.length > self.current);
                let interrupted = interrupted.map(|probe| (probe, self.next));
                (self.doubt, self.doubted_at) = (Some(Doubt { mtu, newest, interrupted }), Some(now));
                self.next = now;
                true
            }
        }
    }

    /// How long the report of a probe is waited for.
    fn patience(&self, interval: Duration) -> Duration {
        (interval.max(self.round_trip.unwrap_or(UNMEASURED)) * PATIENCE).max(SECOND)
    }

    /// The time from one probe of a length to the next.
    fn spacing(&self, interval: Duration) -> Duration {
        interval.max(self.round_trip.unwrap_or_default()).max(SECOND / PATIENCE)
    }

    /// Whether the peer tells of no hello at all, for so long that all probes of a length can have been lost with them.
    fn is_silent(&self, interval: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.reported_at) > self.spacing(interval) * 7 / 4
    }

    /// The peer tells of hellos again: what was lost before counts for nothing.
    fn begin_again(&mut self, now: Instant) {
        if let Some(probe) = &mut self.probe {
            probe.sent = 0;
            self.next = now;
        }
        if let Some((probe, next)) = self.doubt.as_mut().and_then(|doubt| doubt.interrupted.as_mut()) {
            (probe.sent, *next) = (0, now);
        }
    }

    /// A probe was not received, as often as it was sent.
    fn lost(&mut self, length: u16) {
        self.probe = None;
        if length > self.current {
            self.too_long = self.too_long.min(length);
        } else if let Some(doubt) = self.doubt {
            self.hint = doubt.mtu;
            self.fall_back(doubt.mtu, length);
        } else {
            // What used to get through does not any more, or even the least that was hoped for is too much.
            self.all_lost = length <= self.base;
            self.fall_back(if self.all_lost { self.least } else { self.base }, length);
        }
    }

    fn fall_back(&mut self, current: u16, too_long: u16) {
        self.current = current.min(self.ceiling);
        (self.is_confirmed, self.doubt) = (false, None);
        self.too_long = too_long.max(self.current.saturating_add(1));
    }
}

/// Whether a sequence number comes after another; they wrap.
fn is_newer(sequence: u32, than: u32) -> bool {
    sequence.wrapping_sub(than).wrapping_sub(1) < u32::MAX / 2
}

#[cfg(test)]
#[path = "path_mtu_tests.rs"]
mod tests;
