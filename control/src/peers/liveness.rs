//! Whether a peer lives, by what it last said and when, and which hellos are believed to be its own.
//!
//! Hellos are not authenticated. Who sees neither side's hellos can guess neither instance, and so can only make up a run
//! that echoes nothing: as long as one that echoes ours lives, that is ignored. A run that does echo ours has heard us, and
//! takes its place at once: the peer was restarted. One that does not is displaced by any other: if a made-up run could keep
//! its place, one on either side would keep both from hearing, and so from echoing, the other.

use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use carpool_dataplane::pool::hello::{Capabilities, Hello};

use super::{Arrival, Identity};

/// A peer is down after so many of its intervals without a hello.
const INTERVALS: u32 = 3;
/// The shortest silence that takes a peer down, whatever interval it announces.
const LEAST_SILENCE: Duration = Duration::from_millis(30);

/// What a peer last said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub at: Instant,
    pub router_id: u32,
    pub instance: u32,
    /// Which hellos of this run have come.
    pub numbers: Numbers,
    pub interval: Duration,
    /// It hears us.
    pub hears_us: bool,
    pub capabilities: Capabilities,
    /// The longest pooled packet that it takes, in bytes.
    pub largest: Option<NonZeroU16>,
    /// Hops that the hello came over.
    pub hops: Option<u8>,
}

/// What a hello is, beside those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The first one of a run of the peer.
    First,
    /// Newer than all before.
    Next(Numbers),
    /// Overtaken by a newer one on the way.
    Overtaken(Numbers),
    /// One that came already, or long ago, or of a run that does not prove to be.
    Stray,
}

impl Heard {
    /// What a hello says.
    pub fn new(hello: &Hello, numbers: Numbers, own: &Identity, arrival: Arrival, now: Instant) -> Heard {
        Heard {
            at: now,
            router_id: hello.router_id,
            instance: hello.instance,
            numbers,
            interval: Duration::from_millis(u64::from(hello.interval_ms)),
            hears_us: hello.heard_instance == own.instance,
            capabilities: hello.capabilities,
            largest: NonZeroU16::new(hello.largest_pooled_packet),
            hops: hello.outer_ttl.checked_sub(arrival.ttl).map(|routers| routers.saturating_add(1)),
        }
    }

    /// When it is silent for too long, if nothing more comes.
    pub fn silent_at(&self) -> Instant {
        self.at + (self.interval * INTERVALS).max(LEAST_SILENCE)
    }

    /// What a hello that comes now is, to who is `own` in this run.
    pub fn order(&self, hello: &Hello, own: u32, now: Instant) -> Order {
        let is_silent = now >= self.silent_at();
        if (hello.instance, hello.router_id) != (self.instance, self.router_id) {
            let is_proven = is_silent || !self.hears_us || hello.heard_instance == own;
            return if is_proven { Order::First } else { Order::Stray };
        }
        match self.numbers.with(hello.sequence) {
            // Its numbers began anew.
            Order::Stray if is_silent => Order::Next(Numbers::new(hello.sequence)),
            order => order,
        }
    }
}

/// The sequence numbers of the hellos that have come, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbers {
    newest: u32,
    /// Bit n: the one that is so many before the newest has come.
    seen: u64,
}

impl Numbers {
    /// One has come.
    pub fn new(sequence: u32) -> Numbers {
        Numbers { newest: sequence, seen: 1 }
    }

    /// Another one comes.
    fn with(self, sequence: u32) -> Order {
        let ahead = sequence.wrapping_sub(self.newest);
        if ahead != 0 && ahead <= u32::MAX / 2 {
            return Order::Next(Numbers { newest: sequence, seen: self.seen.checked_shl(ahead).unwrap_or(0) | 1 });
        }
        match 1u64.checked_shl(self.newest.wrapping_sub(sequence)) {
            Some(bit) if self.seen & bit == 0 => Order::Overtaken(Numbers { seen: self.seen | bit, ..self }),
            _ => Order::Stray,
        }
    }
}

/// Why a peer is not up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// No hello ever came.
    NeverHeard,
    /// Hellos came, but none for so long.
    Silent(Duration),
    /// Hellos come, but say that ours do not arrive.
    DoesNotHearUs,
}

impl std::fmt::Display for Down {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Down::NeverHeard => f.write_str("no hello has come from it"),
            Down::Silent(time) => write!(f, "no hello has come from it for {} ms", time.as_millis()),
            Down::DoesNotHearUs => f.write_str("its hellos come, but it does not hear ours"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_counts_once_and_only_if_it_is_not_old() {
        let mut numbers = Numbers::new(u32::MAX - 1);
        for (sequence, is_next, counts) in [
            (u32::MAX - 1, false, false),
            (u32::MAX, true, true),
            (2, true, true),
            (1, false, true),
            (1, false, false),
            (u32::MAX, false, false),
            (u32::MAX - 60, false, true),
            (u32::MAX - 61, false, false),
            (u32::MAX / 2 + 4, false, false),
            (70, true, true),
            (6, false, false),
            (7, false, true),
        ] {
            let order = numbers.with(sequence);
            assert_eq!((matches!(order, Order::Next(_)), order != Order::Stray), (is_next, counts), "{sequence}");
            if let Order::Next(after) | Order::Overtaken(after) = order {
                numbers = after;
            }
        }
    }
}
