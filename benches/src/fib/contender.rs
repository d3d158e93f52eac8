//! What is measured: a table filled with the routes, and how a worker would ask it.

use std::hint::black_box;

/// Destinations looked up together, as many as a worker receives together.
pub const BURST: usize = 32;

/// A table's way to look up a burst.
pub trait Lookup {
    /// A destination in the form that the table takes.
    type Address: Copy;
    /// A next hop in the form that the table gives.
    type Hop: Copy + Default;

    /// Looks up as many destinations as both slices have, at most [`BURST`].
    fn burst(&mut self, destinations: &[Self::Address], hops: &mut [Self::Hop]);

    /// The next hop as the reference has it.
    fn plain(hop: Self::Hop) -> u16;

    /// Called before the bursts of a turn.
    fn prepare(&mut self) {}
}

/// A contender, whatever its table.
pub trait Contender<A> {
    /// Its name in the figures.
    fn name(&self) -> &'static str;

    /// Its way to look up, where it has several and the best counts.
    fn way(&self) -> Option<&'static str>;

    /// Called before the bursts of a turn.
    fn prepare(&mut self);

    /// Looks up all destinations, burst by burst.
    fn pass(&mut self, destinations: &[A]);

    /// The next hop of each destination.
    fn answers(&mut self, destinations: &[A]) -> Vec<u16>;
}

/// A table with its name.
pub struct Named<L> {
    pub name: &'static str,
    pub way: Option<&'static str>,
    pub lookup: L,
}

impl<L: Lookup> Contender<L::Address> for Named<L> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn way(&self) -> Option<&'static str> {
        self.way
    }

    fn prepare(&mut self) {
        self.lookup.prepare();
    }

    fn pass(&mut self, destinations: &[L::Address]) {
        let mut hops = [L::Hop::default(); BURST];
        for burst in destinations.chunks(BURST) {
            self.lookup.burst(burst, &mut hops[..burst.len()]);
            black_box(&mut hops);
        }
    }

    fn answers(&mut self, destinations: &[L::Address]) -> Vec<u16> {
        let mut answers = Vec::with_capacity(destinations.len());
        let mut hops = [L::Hop::default(); BURST];
        self.lookup.prepare();
        for burst in destinations.chunks(BURST) {
            self.lookup.burst(burst, &mut hops[..burst.len()]);
            answers.extend(hops.iter().take(burst.len()).map(|hop| L::plain(*hop)));
        }
        answers
    }
}
