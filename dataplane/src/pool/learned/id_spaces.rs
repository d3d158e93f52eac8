//! Which ids are free: those of one source port and one addressee are given out in turn, and none comes around before
//! the addressee has forgotten what it meant.
//!
//! A space is found by the addressee's address, never by a position in a table of peers: so however the configuration
//! moves peers about, an id that is still known somewhere is not given out a second time.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use super::IdSpace;
use crate::arch::{Tick, TickSpan};

/// Ids are freed in stretches of 4096.
const STRETCHES: usize = 16;
const STRETCH_BITS: u32 = 12;

#[derive(Clone, Copy)]
struct Space {
    whose: IdSpace,
    next: u16,
    /// When an id of each stretch was last given out, if ever.
    given: [Option<Tick>; STRETCHES],
    /// The latest of these.
    latest: Tick,
}

/// The ids of all source ports and peers.
pub(super) struct IdSpaces {
    spaces: Box<[Option<Space>]>,
    reuse: TickSpan,
}

impl IdSpaces {
    /// Room for `spaces` pairs of a peer and a source port; an id is free again when `reuse` has passed since it was
    /// given out.
    pub(super) fn new(spaces: usize, reuse: TickSpan) -> IdSpaces {
        IdSpaces { spaces: vec![None; spaces].into(), reuse }
    }

    /// The next id. None where all are in use, or where there is no room for one more space.
    pub(super) fn next(&mut self, whose: IdSpace, now: Tick) -> Option<u16> {
        let reuse = self.reuse;
        let known = self.spaces.iter().position(|space| space.is_some_and(|space| space.whose == whose));
        let at = known.or_else(|| {
            // Forgotten everywhere, like a space that never was.
            let is_vacant = |space: &Option<Space>| space.is_none_or(|space| now.since(space.latest) >= reuse);
            self.spaces.iter().position(is_vacant)
        })?;
        let entry = self.spaces.get_mut(at)?;
        let fresh = Space { whose, next: 0, given: [None; STRETCHES], latest: now };
        let space = match entry {
            Some(space) if space.whose == whose => space,
            _ => entry.insert(fresh),
        };
        let id = space.next;
        let begins_stretch = id.trailing_zeros() >= STRETCH_BITS;
        let given = space.given.get_mut(usize::from(id >> STRETCH_BITS))?;
        if begins_stretch && given.is_some_and(|given| now.since(given) < reuse) {
            return None;
        }
        *given = Some(now);
        space.next = id.wrapping_add(1);
        space.latest = now;
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    const REUSE: TickSpan = TickSpan(1000);

    fn space(host: u8) -> IdSpace {
        IdSpace { addressee: Ipv4Addr::new(192, 0, 2, host).into(), source_port: 7665 }
    }

    #[test]
    fn ids_are_given_out_in_turn_and_then_no_more() {
        let mut spaces = IdSpaces::new(1, REUSE);
        for id in 0..=u16::MAX {
            assert_eq!(spaces.next(space(1), Tick(5)), Some(id));
        }
        assert_eq!(spaces.next(space(1), Tick(1004)), None);
        assert_eq!(spaces.next(space(1), Tick(1005)), Some(0));
    }

    #[test]
    fn a_space_gives_way_only_when_all_have_forgotten_it() {
        let mut spaces = IdSpaces::new(1, REUSE);
        assert_eq!(spaces.next(space(1), Tick(0)), Some(0));
        assert_eq!(spaces.next(space(2), Tick(999)), None);
        assert_eq!(spaces.next(space(2), Tick(1000)), Some(0));
        assert_eq!(spaces.next(space(1), Tick(1500)), None);
    }

    #[test]
    fn ports_and_addressees_have_ids_of_their_own() {
        let mut spaces = IdSpaces::new(3, REUSE);
        assert_eq!(spaces.next(space(1), Tick(0)), Some(0));
        assert_eq!(spaces.next(IdSpace { source_port: 7666, ..space(1) }, Tick(0)), Some(0));
        assert_eq!(spaces.next(space(2), Tick(0)), Some(0));
        assert_eq!(spaces.next(space(1), Tick(0)), Some(1));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn no_id_comes_again_too_early(steps in prop::collection::vec((1u64..400, 1u32..9000, 1u8..4), 1..60)) {
            let mut spaces = IdSpaces::new(2, REUSE);
            let mut given = std::collections::HashMap::new();
            let mut now = Tick(0);
            for (wait, ids, host) in steps {
                now = now + TickSpan(wait);
                for _ in 0..ids {
                    let Some(id) = spaces.next(space(host), now) else { break };
                    if let Some(before) = given.insert((host, id), now) {
                        prop_assert!(now.since(before) >= REUSE);
                    }
                }
            }
        }
    }
}
