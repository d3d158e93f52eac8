//! Which ids are free: those of one source port and one addressee are given out in turn, and none comes around before
//! the addressee has forgotten what it meant.
//!
//! A space is found by the addressee's address, never by a position in a table of peers: so however the configuration
//! moves peers about, an id that is still known somewhere is not given out a second time.
//!
//! A [`SpaceIndex`] that was kept may come to mean another space. That does no harm: none of the ids that were given out in
//! the old one means anything to anybody by then, and what was announced under them is past all use.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use super::IdSpace;
use crate::arch::{RateLimit, Tick, TickSpan};

/// Ids are freed in stretches: of 4096, where all 16 bits are used.
const STRETCHES: usize = 16;
const STRETCHES_BITS: u32 = STRETCHES.trailing_zeros();
/// Places that a space may be in.
const PROBED: usize = 16;

#[derive(Clone, Copy)]
struct Space {
    whose: IdSpace,
    next: u16,
    /// Whether `next` lies in a stretch that was found free. Else that is to be asked before it is given out: where it is
    /// not, none is before that stretch's time has come.
    is_open: bool,
    /// When an id of each stretch was last given out, if ever.
    given: [Option<Tick>; STRETCHES],
    /// The latest of these.
    latest: Tick,
    /// How many contexts may be reported unknown.
    losses: RateLimit,
}

/// Where a space is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceIndex(u32);

impl SpaceIndex {
    /// Of none.
    pub(super) const NONE: SpaceIndex = SpaceIndex(u32::MAX);

    /// The same for the same one only.
    #[inline(always)]
    pub(super) fn bits(self) -> u64 {
        self.0.into()
    }
}

/// The ids of all source ports and peers.
pub(super) struct IdSpaces {
    spaces: Box<[Option<Space>]>,
    /// The one that was asked for last: most packets go where the one before went.
    last: Option<(IdSpace, SpaceIndex)>,
    reuse: TickSpan,
    bits: u32,
    losses: RateLimit,
}

impl IdSpaces {
    /// Room for some `spaces` pairs of a peer and a source port, rounded up to a power of two; an id is free again when
    /// `reuse` has passed since it was given out. Ids have `bits` bits, 4 to 16. `losses` says how many of each space may be
    /// reported unknown.
    pub(super) fn new(spaces: usize, reuse: TickSpan, bits: u8, losses: RateLimit) -> IdSpaces {
        let spaces = spaces.clamp(1, 1 << 20).next_power_of_two();
        let bits = u32::from(bits).clamp(STRETCHES_BITS, u16::BITS);
        IdSpaces { spaces: vec![None; spaces].into(), last: None, reuse, bits, losses }
    }

    /// Where a space is: from now on, if there was none. None where there is no room for one more.
    #[inline(always)]
    pub(super) fn open(&mut self, whose: &IdSpace, now: Tick) -> Option<SpaceIndex> {
        self.last(whose).or_else(|| self.open_other(*whose, now))
    }

    /// Where this space is, if it is the one that was asked for last.
    #[inline(always)]
    pub(super) fn last(&self, whose: &IdSpace) -> Option<SpaceIndex> {
        self.last.as_ref().filter(|(last, _)| last == whose).map(|(_, index)| *index)
    }

    #[inline(never)]
    fn open_other(&mut self, whose: IdSpace, now: Tick) -> Option<SpaceIndex> {
        let index = self.find(whose).or_else(|| {
            let (reuse, losses) = (self.reuse, self.losses);
            // Forgotten everywhere, like a space that never was.
            let is_vacant = |space: &Option<Space>| space.is_none_or(|space| now.since(space.latest) >= reuse);
            let vacant = self.places(whose).find(|&at| self.spaces.get(at).is_some_and(is_vacant))?;
            let given = [None; STRETCHES];
            *self.spaces.get_mut(vacant)? = Some(Space { whose, next: 0, is_open: true, given, latest: now, losses });
            Some(SpaceIndex(vacant as u32))
        })?;
        // Also where the one that was asked for last has given way.
        self.last = Some((whose, index));
        Some(index)
    }

    /// The next id, for [`IdSpaces::take`] to give out. None where all are in use.
    #[inline]
    pub(super) fn next(&mut self, index: SpaceIndex, now: Tick) -> Option<u16> {
        let (reuse, bits) = (self.reuse, self.bits);
        let space = self.space(index)?;
        if !space.is_open {
            let given = space.given.get(stretch(space.next, bits))?;
            space.is_open = given.is_none_or(|given| now.since(given) >= reuse);
        }
        space.is_open.then_some(space.next)
    }

    /// Gives out the id that [`IdSpaces::next`] named.
    #[inline]
    pub(super) fn take(&mut self, index: SpaceIndex, now: Tick) {
        let bits = self.bits;
        let Some(space) = self.space(index) else { return };
        let id = space.next;
        if let Some(given) = space.given.get_mut(stretch(id, bits)) {
            *given = Some(now);
        }
        space.next = id.wrapping_add(1) & mask(bits);
        space.is_open = stretch(id, bits) == stretch(space.next, bits);
        space.latest = now;
    }

    /// Takes back the id that was given out last, if this is it: it was not used.
    pub(super) fn take_back(&mut self, index: SpaceIndex, id: u16) {
        let bits = self.bits;
        if let Some(space) = self.space(index)
            && space.next == id.wrapping_add(1) & mask(bits)
        {
            (space.next, space.is_open) = (id, true);
        }
    }

    /// Whether one more context may be reported unknown.
    pub(super) fn may_lose(&mut self, index: SpaceIndex, now: Tick) -> bool {
        self.space(index).is_some_and(|space| space.losses.admits(now))
    }

    /// Where a space is, if there is one.
    pub(super) fn find(&self, whose: IdSpace) -> Option<SpaceIndex> {
        let is_there = |&at: &usize| self.spaces.get(at).is_some_and(|space| is_of(space, whose));
        self.places(whose).find(is_there).map(|at| SpaceIndex(at as u32))
    }

    #[inline]
    fn space(&mut self, index: SpaceIndex) -> Option<&mut Space> {
        self.spaces.get_mut(index.0 as usize)?.as_mut()
    }

    /// Where a space may be.
    #[inline]
    fn places(&self, whose: IdSpace) -> impl Iterator<Item = usize> + use<> {
        let (base, mask) = (whose.hash() as usize, self.spaces.len() - 1);
        (0..PROBED.min(mask + 1)).map(move |step| base.wrapping_add(step) & mask)
    }
}

#[inline]
fn is_of(space: &Option<Space>, whose: IdSpace) -> bool {
    space.as_ref().is_some_and(|space| space.whose == whose)
}

#[inline]
fn stretch(id: u16, bits: u32) -> usize {
    usize::from(id >> bits.saturating_sub(STRETCHES_BITS))
}

#[inline]
fn mask(bits: u32) -> u16 {
    u16::MAX >> u16::BITS.saturating_sub(bits)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;
    use crate::arch::TickRate;

    const REUSE: TickSpan = TickSpan(1000);

    fn space(host: u8) -> IdSpace {
        IdSpace { addressee: Ipv4Addr::new(192, 0, 2, host).into(), source_port: 7665 }
    }

    fn spaces(spaces: usize, bits: u8) -> IdSpaces {
        IdSpaces::new(spaces, REUSE, bits, RateLimit::new(TickRate::NANOSECONDS, 1000, 3))
    }

    fn given(spaces: &mut IdSpaces, whose: IdSpace, now: u64) -> Option<u16> {
        let index = spaces.open(&whose, Tick(now))?;
        let id = spaces.next(index, Tick(now))?;
        spaces.take(index, Tick(now));
        Some(id)
    }

    fn take_back(spaces: &mut IdSpaces, whose: IdSpace, id: u16) {
        let index = spaces.find(whose).expect("a space");
        spaces.take_back(index, id);
    }

    #[test]
    fn ids_are_given_out_in_turn_and_then_no_more() {
        for bits in [4, 10, 16] {
            let mut spaces = spaces(1, bits);
            for id in 0..1u32 << bits {
                assert_eq!(given(&mut spaces, space(1), 5), Some(id as u16));
            }
            assert_eq!(given(&mut spaces, space(1), 1004), None);
            assert_eq!(given(&mut spaces, space(1), 1005), Some(0));
        }
    }

    #[test]
    fn an_id_that_was_not_used_is_the_next_one_again() {
        let mut spaces = spaces(1, 16);
        let index = spaces.open(&space(1), Tick(0)).expect("room");
        assert_eq!((spaces.next(index, Tick(0)), spaces.next(index, Tick(0))), (Some(0), Some(0)));
        for id in 0..4096 {
            assert_eq!(given(&mut spaces, space(1), 0), Some(id));
        }
        take_back(&mut spaces, space(1), 4095);
        assert_eq!(given(&mut spaces, space(1), 1), Some(4095));
        assert_eq!(given(&mut spaces, space(1), 1), Some(4096), "the first of a stretch");
        take_back(&mut spaces, space(1), 4096);
        assert_eq!(given(&mut spaces, space(1), 1), Some(4096));
        take_back(&mut spaces, space(1), 4095);
        assert_eq!(given(&mut spaces, space(1), 1), Some(4097), "others have been given out since");
    }

    #[test]
    fn a_space_gives_way_only_when_all_have_forgotten_it() {
        let mut spaces = spaces(1, 16);
        assert_eq!(given(&mut spaces, space(1), 0), Some(0));
        assert_eq!(given(&mut spaces, space(2), 999), None);
        assert_eq!(given(&mut spaces, space(2), 1000), Some(0));
        assert_eq!(given(&mut spaces, space(1), 1500), None);
    }

    #[test]
    fn a_space_is_found_whichever_was_asked_for_last() {
        let mut spaces = spaces(1, 16);
        let index = spaces.open(&space(1), Tick(0));
        assert_eq!((spaces.open(&space(1), Tick(1)), spaces.open(&space(2), Tick(1))), (index, None));
        assert!(spaces.open(&space(2), Tick(1000)).is_some(), "it takes the place");
        assert_eq!(spaces.open(&space(1), Tick(1000)), None);
        assert_eq!(spaces.find(space(1)), None);
    }

    #[test]
    fn ports_and_addressees_have_ids_of_their_own() {
        let mut spaces = spaces(3, 16);
        assert_eq!(given(&mut spaces, space(1), 0), Some(0));
        assert_eq!(given(&mut spaces, IdSpace { source_port: 7666, ..space(1) }, 0), Some(0));
        assert_eq!(given(&mut spaces, space(2), 0), Some(0));
        assert_eq!(given(&mut spaces, space(1), 0), Some(1));
    }

    #[test]
    fn each_space_has_so_many_losses() {
        let mut spaces = spaces(2, 16);
        for host in [1, 2] {
            assert_eq!(spaces.find(space(host)), None, "nothing was announced");
            given(&mut spaces, space(host), 0);
            let index = spaces.find(space(host)).expect("a space");
            assert_eq!((0..9).filter(|_| spaces.may_lose(index, Tick(0))).count(), 3);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn no_id_comes_again_too_early(
            steps in prop::collection::vec((1u64..400, 1u32..9000, 1u8..4, any::<bool>()), 1..60),
        ) {
            let mut spaces = spaces(2, 16);
            let mut at = std::collections::HashMap::new();
            let mut now = 0;
            for (wait, ids, host, is_taken_back) in steps {
                now += wait;
                for _ in 0..ids {
                    let Some(id) = given(&mut spaces, space(host), now) else { break };
                    if let Some(before) = at.insert((host, id), now) {
                        prop_assert!(now - before >= REUSE.0);
                    }
                }
                if is_taken_back && let Some(id) = given(&mut spaces, space(host), now) {
                    take_back(&mut spaces, space(host), id);
                }
            }
        }
    }
}
