//! What waits, in the order in which it came: places that are filled and vacated in any order, linked by age.
//!
//! Nothing is allocated after construction, and every operation takes the same time however much waits.

/// No place.
pub(super) const NONE: u16 = u16::MAX;

/// Items in a fixed number of places.
pub(super) struct Waiting<I> {
    places: Box<[Place<I>]>,
    vacant: u16,
    oldest: u16,
    newest: u16,
    len: usize,
}

struct Place<I> {
    item: Option<I>,
    /// The next older one.
    older: u16,
    /// The next newer one; of a vacant place the next vacant one.
    newer: u16,
}

impl<I> Waiting<I> {
    /// So many places, at most 65535, all of them vacant.
    pub fn new(places: u16) -> Waiting<I> {
        let place = |at: u16| Place { item: None, older: NONE, newer: if at + 1 < places { at + 1 } else { NONE } };
        let vacant = if places > 0 { 0 } else { NONE };
        Waiting { places: (0..places).map(place).collect(), vacant, oldest: NONE, newest: NONE, len: 0 }
    }

    /// Where the next item will be. None where every place is taken.
    #[inline]
    pub fn next_place(&self) -> Option<u16> {
        (self.vacant != NONE).then_some(self.vacant)
    }

    /// Adds an item, the newest of all; gives it back where there is no place for it.
    #[inline]
    pub fn push(&mut self, item: I) -> Result<u16, I> {
        let at = self.vacant;
        let Some(place) = self.places.get_mut(usize::from(at)) else { return Err(item) };
        self.vacant = place.newer;
        *place = Place { item: Some(item), older: self.newest, newer: NONE };
        self.link(self.newest, at);
        self.newest = at;
        self.len += 1;
        Ok(at)
    }

    /// Takes an item out.
    #[inline]
    pub fn remove(&mut self, at: u16) -> Option<I> {
        let place = self.places.get_mut(usize::from(at))?;
        let item = place.item.take()?;
        let (older, newer) = (place.older, place.newer);
        *place = Place { item: None, older: NONE, newer: self.vacant };
        self.vacant = at;
        self.link(older, newer);
        match self.places.get_mut(usize::from(newer)) {
            Some(place) => place.older = older,
            None => self.newest = older,
        }
        self.len -= 1;
        Some(item)
    }

    /// The item at a place.
    #[inline]
    pub fn get(&self, at: u16) -> Option<&I> {
        self.places.get(usize::from(at))?.item.as_ref()
    }

    /// The item at a place, to be changed.
    #[inline]
    pub fn get_mut(&mut self, at: u16) -> Option<&mut I> {
        self.places.get_mut(usize::from(at))?.item.as_mut()
    }

    /// The item that has been here longest, and where it is.
    #[inline]
    pub fn oldest(&self) -> Option<(u16, &I)> {
        Some((self.oldest, self.get(self.oldest)?))
    }

    /// All items, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &I)> {
        (0u16..).zip(self.places.iter()).filter_map(|(at, place)| Some((at, place.item.as_ref()?)))
    }

    /// How many items there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Has `newer` follow `older`.
    #[inline]
    fn link(&mut self, older: u16, newer: u16) {
        match self.places.get_mut(usize::from(older)) {
            Some(place) => place.newer = newer,
            None => self.oldest = newer,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn items_are_found_at_their_places_and_the_oldest_is_the_one_that_came_first(
            steps in prop::collection::vec(prop::option::of(any::<prop::sample::Index>()), 0..200),
        ) {
            let mut waiting = Waiting::new(5);
            let mut model: Vec<(u16, u32)> = Vec::new();
            for (number, step) in (0u32..).zip(steps) {
                match step {
                    None => {
                        let expected = waiting.next_place();
                        match waiting.push(number) {
                            Ok(at) => {
                                prop_assert_eq!(expected, Some(at));
                                model.push((at, number));
                            }
                            Err(back) => prop_assert_eq!((back, model.len(), expected), (number, 5, None)),
                        }
                    }
                    Some(_) if model.is_empty() => prop_assert_eq!(waiting.remove(0), None),
                    Some(which) => {
                        let (at, number) = model.remove(which.index(model.len()));
                        prop_assert_eq!(waiting.remove(at), Some(number));
                        prop_assert_eq!(waiting.remove(at), None);
                    }
                }
                prop_assert_eq!(waiting.len(), model.len());
                prop_assert_eq!(waiting.oldest().map(|(at, item)| (at, *item)), model.first().copied());
                prop_assert!(model.iter().all(|(at, number)| waiting.get(*at) == Some(number)));
            }
        }
    }
}
