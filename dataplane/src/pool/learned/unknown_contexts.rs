//! Contexts that pooled packets name and nobody here knows: what a report to their sender says, and how often.
//!
//! However many packets name them, each context is reported once in a while, and reports leave at a bounded rate. Origins
//! take turns, and no peer has more than its share of the places: whoever makes up contexts keeps no others from being
//! reported.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use std::net::IpAddr;
use std::time::Duration;

use arrayvec::ArrayVec;

use super::{MULTIPLIERS, bits_of, mix};
use crate::arch::{Tick, TickRate, TickSpan};
use crate::pool::wire::report::MAX_CONTEXTS;

/// A context is not reported a second time within this: the first report may be on its way.
const AGAIN: Duration = Duration::from_millis(100);
/// The least time between two reports.
const BETWEEN: Duration = Duration::from_millis(5);
/// Contexts that are remembered to have been reported.
const REMEMBERED: usize = 1024;
/// Origins that have contexts to be reported at one time, and those of one peer.
const ORIGINS: usize = 32;
const ORIGINS_OF_A_PEER: usize = 4;

/// Whose contexts these are: ids mean something in pooled packets from one source port of one run of one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The peer's address, which stays the same wherever a new configuration has the peer.
    pub peer: IpAddr,
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
        let [multiplier, other, ..] = MULTIPLIERS;
        mix(bits_of(self.peer, self.source_port) ^ multiplier, u64::from(self.instance) ^ other)
    }
}

/// Contexts to be reported.
pub struct UnknownContexts {
    recent: Box<[Option<Noted>]>,
    pending: [Option<Pending>; ORIGINS],
    /// How many of these there are.
    origins: usize,
    /// Whose turn it is.
    turn: usize,
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

struct Pending {
    origin: Origin,
    contexts: ArrayVec<u16, MAX_CONTEXTS>,
}

impl UnknownContexts {
    /// None yet.
    pub fn new(rate: TickRate) -> UnknownContexts {
        UnknownContexts {
            recent: vec![None; REMEMBERED].into(),
            pending: [const { None }; ORIGINS],
            origins: 0,
            turn: 0,
            latest: None,
            again: rate.ticks(AGAIN),
            between: rate.ticks(BETWEEN),
        }
    }

    /// Takes note of one, unless that was done a moment ago or too many wait already.
    pub(super) fn note(&mut self, origin: Origin, context: u16, now: Tick) {
        let at = (origin.hash() as usize).wrapping_add(usize::from(context)) % REMEMBERED;
        let is_recent =
            |noted: Noted| noted.origin == origin && noted.context == context && now.since(noted.at) < self.again;
        if !self.recent.get(at).copied().flatten().is_some_and(is_recent)
            && self.list_of(origin).is_some_and(|contexts| contexts.try_push(context).is_ok())
            && let Some(place) = self.recent.get_mut(at)
        {
            *place = Some(Noted { origin, context, at: now });
        }
    }

    /// The contexts of an origin that are to be reported. None where there is no room for one more origin.
    fn list_of(&mut self, origin: Origin) -> Option<&mut ArrayVec<u16, MAX_CONTEXTS>> {
        let origins = || self.pending.iter().map(|pending| pending.as_ref().map(|pending| pending.origin));
        let at = match origins().position(|other| other == Some(origin)) {
            Some(at) => at,
            None => {
                let of_peer = origins().flatten().filter(|other| other.peer == origin.peer).count();
                let vacant = origins().position(|other| other.is_none());
                let at = vacant.filter(|_| of_peer < ORIGINS_OF_A_PEER)?;
                *self.pending.get_mut(at)? = Some(Pending { origin, contexts: ArrayVec::new() });
                self.origins += 1;
                at
            }
        };
        self.pending.get_mut(at)?.as_mut().map(|pending| &mut pending.contexts)
    }

    /// When there is something to report, if there is: now, where that is past.
    #[inline]
    pub fn deadline(&self) -> Option<Tick> {
        (self.origins > 0).then(|| self.latest.map_or(Tick(0), |latest| latest + self.between))
    }

    /// What to report now: contexts of one origin. None where there are none, or a report left a moment ago.
    #[inline]
    pub fn take(&mut self, now: Tick) -> Option<(Origin, ArrayVec<u16, MAX_CONTEXTS>)> {
        if self.deadline()? > now {
            return None;
        }
        self.latest = Some(now);
        let mut turns = (0..ORIGINS).map(|step| (self.turn + step) % ORIGINS);
        let at = turns.find(|&at| self.pending.get(at).is_some_and(Option::is_some))?;
        self.turn = (at + 1) % ORIGINS;
        let Pending { origin, contexts } = self.pending.get_mut(at)?.take()?;
        self.origins -= 1;
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

    fn origin(peer: u8) -> Origin {
        Origin { peer: [192, 0, 2, peer].into(), instance: 1, source_port: 7665 }
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

    #[test]
    fn whoever_makes_up_origins_keeps_no_other_peer_from_being_reported() {
        let mut unknown = UnknownContexts::new(TickRate::NANOSECONDS);
        let mut now = Tick(0);
        for round in 0..50 {
            for number in 0..1000 {
                let made_up = Origin { instance: 1000 * round + number, source_port: number as u16, ..origin(0) };
                unknown.note(made_up, number as u16, now);
            }
            unknown.note(origin(1), round as u16, now);
            let own_turn = (0..=ORIGINS_OF_A_PEER).find_map(|_| {
                now = now + TickSpan(5 * MS);
                unknown.take(now).filter(|(of, _)| *of == origin(1))
            });
            assert_eq!(own_turn.map(|(_, contexts)| contexts.to_vec()), Some(vec![round as u16]), "round {round}");
        }
    }

    #[test]
    fn what_is_to_be_reported_has_a_deadline() {
        let mut unknown = UnknownContexts::new(TickRate::NANOSECONDS);
        assert_eq!(unknown.deadline(), None);
        unknown.note(origin(0), 1, Tick(7 * MS));
        assert!(unknown.deadline().is_some_and(|deadline| deadline <= Tick(7 * MS)));
        assert!(unknown.take(Tick(7 * MS)).is_some());
        assert_eq!(unknown.deadline(), None);
        unknown.note(origin(0), 2, Tick(8 * MS));
        assert_eq!(unknown.deadline(), Some(Tick(12 * MS)));
    }
}
