//! Contexts that pooled packets name and nobody here knows: what a report to their sender says, and how often.
//!
//! However many packets name them, each context is reported once in a while, and reports leave at a bounded rate.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use std::net::IpAddr;

use std::time::Duration;

use arrayvec::ArrayVec;

use crate::arch::{Tick, TickRate, TickSpan};
use crate::pool::wire::report::MAX_CONTEXTS;

/// A context is not reported a second time within this: the first report may be on its way.
const AGAIN: Duration = Duration::from_millis(100);
/// The least time between two reports.
const BETWEEN: Duration = Duration::from_millis(5);
/// Contexts that are remembered to have been reported.
const REMEMBERED: usize = 256;

/// Whose contexts these are: ids mean something in pooled packets from one source port of one run of one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Which peer, as the caller numbers them.
    pub peer: u16,
    /// Its instance, as the pooled packets say ([`instance_towards`]).
    pub instance: u32,
    /// The UDP source port of its pooled packets.
    pub source_port: u16,
}

/// What pooled packets to `addressee` say that their instance is, where that of the sender's run is `instance`. One router
/// can be reached at several addresses, and ids are given out for each of them: they must not be taken for each other.
#[inline]
pub fn instance_towards(instance: u32, addressee: IpAddr) -> u32 {
    let bits = match addressee {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            bits as u64 ^ (bits >> 64) as u64 ^ 1 << 63
        }
    };
    let product = (bits ^ u64::from(instance) << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (product >> 32) as u32 ^ product as u32
}

impl Origin {
    /// The same for the same origin, and else likely far away.
    #[inline]
    pub(super) fn hash(self) -> u64 {
        let bits = u64::from(self.instance) << 32 | u64::from(self.peer) << 16 | u64::from(self.source_port);
        let product = bits.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        product ^ product >> 32
    }
}

/// Contexts to be reported.
pub struct UnknownContexts {
    recent: Box<[Option<Noted>]>,
    pending: ArrayVec<(Origin, u16), MAX_CONTEXTS>,
    latest: Option<Tick>,
    again: TickSpan,
    between: TickSpan,
}

#[derive(Clone, Copy)]
struct Noted {
    origin: Origin,
    context: u16,
    at: Tick,
}

impl UnknownContexts {
    /// None yet.
    pub fn new(rate: TickRate) -> UnknownContexts {
        UnknownContexts {
            recent: vec![None; REMEMBERED].into(),
            pending: ArrayVec::new(),
            latest: None,
            again: rate.ticks(AGAIN),
            between: rate.ticks(BETWEEN),
        }
    }

    /// Takes note of one, unless that was done a moment ago or too many wait already.
    pub(super) fn note(&mut self, origin: Origin, context: u16, now: Tick) {
        let at = (origin.hash() as usize).wrapping_add(usize::from(context)) % REMEMBERED;
        let Some(place) = self.recent.get_mut(at) else { return };
        let is_recent = place.is_some_and(|noted| {
            noted.origin == origin && noted.context == context && now.since(noted.at) < self.again
        });
        if !is_recent && self.pending.try_push((origin, context)).is_ok() {
            *place = Some(Noted { origin, context, at: now });
        }
    }

    /// What to report now: contexts of one origin. None where there are none, or a report left a moment ago.
    #[inline]
    pub fn take(&mut self, now: Tick) -> Option<(Origin, ArrayVec<u16, MAX_CONTEXTS>)> {
        let &(origin, _) = self.pending.first()?;
        if self.latest.is_some_and(|latest| now.since(latest) < self.between) {
            return None;
        }
        self.latest = Some(now);
        let mut contexts = ArrayVec::new();
        self.pending.retain(|(of, context)| *of != origin || contexts.try_push(*context).is_err());
        Some((origin, contexts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn two_addresses_of_one_router_have_contexts_of_their_own() {
        let addressees = ["198.51.100.7", "198.51.100.8", "2001:db8::7", "2001:db8::8", "::c633:6407"];
        let towards = addressees.map(|text| instance_towards(7, text.parse().expect("an address")));
        let distinct: std::collections::HashSet<u32> = towards.into_iter().collect();
        assert_eq!(distinct.len(), addressees.len());
        let other_run = instance_towards(8, addressees[0].parse().expect("an address"));
        assert!(!distinct.contains(&other_run));
    }

    fn origin(peer: u16) -> Origin {
        Origin { peer, instance: 1, source_port: 7665 }
    }

    #[test]
    fn a_context_is_reported_once_in_a_while() {
        let mut unknown = UnknownContexts::new(TickRate::NANOSECONDS);
        for packet in 0..50 {
            unknown.note(origin(0), 7, Tick(packet * MS));
        }
        assert_eq!(unknown.take(Tick(50 * MS)), Some((origin(0), [7].into_iter().collect())));
        unknown.note(origin(0), 7, Tick(99 * MS));
        assert_eq!(unknown.take(Tick(99 * MS)), None);
        unknown.note(origin(0), 7, Tick(100 * MS));
        assert!(unknown.take(Tick(100 * MS)).is_some(), "the first report may have been lost");
    }

    #[test]
    fn a_report_is_about_one_origin_and_they_leave_at_a_bounded_rate() {
        let mut unknown = UnknownContexts::new(TickRate::NANOSECONDS);
        for (peer, context) in [(0, 1), (1, 2), (0, 3)] {
            unknown.note(origin(peer), context, Tick(0));
        }
        assert_eq!(unknown.take(Tick(0)), Some((origin(0), [1, 3].into_iter().collect())));
        assert_eq!(unknown.take(Tick(4 * MS)), None);
        assert_eq!(unknown.take(Tick(5 * MS)), Some((origin(1), [2].into_iter().collect())));
        assert_eq!(unknown.take(Tick(50 * MS)), None);
    }

    #[test]
    fn no_flood_fills_more_than_one_report() {
        let mut unknown = UnknownContexts::new(TickRate::NANOSECONDS);
        for context in 0..10_000 {
            unknown.note(origin(0), context, Tick(0));
        }
        assert_eq!(unknown.take(Tick(0)).map(|(_, contexts)| contexts.len()), Some(MAX_CONTEXTS));
        assert_eq!(unknown.take(Tick(10 * MS)), None);
    }
}
