//! Longest prefix match for IPv4, for full Internet tables: two dependent loads for a destination, in some five megabytes.
//!
//! The upper 19 bits of an address choose a word, the next five a slot of its [`stretch`](super::stretch): 524,288
//! stretches of thirty-two /24s. Where prefixes are longer than /24 the slot's leaf leads to a tail, eight words
//! that divide the last eight bits in the same way. A summary says of each /16 whether all its addresses have the same
//! leaf: traffic that goes all over the address space is decided there, in 128 KiB, most of the time.
//!
//! One thread writes ([`Lpm4Writer`]); [`Lpm4::lookup_burst`] is wait-free. docs/fib.md has the drawing and the figures.

#[cfg(all(test, not(loom)))]
mod bounds_tests;
#[cfg(all(test, not(loom)))]
mod live_tests;
mod lookup;
mod lookup_avx512;
mod routes;
#[cfg(all(test, not(loom)))]
mod tests;
mod words;
mod writer;

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::arena::Arena;
use super::next_hop::EntryId;
use super::options::FibOptions;
use super::publication::{Domain, Section};
use super::stretch::IDENTITY;
use super::sync::{AtomicU16, AtomicU64};
use crate::arch::Simd;
use lookup::BURST;
pub use writer::Lpm4Writer;

/// Words: one for each value of the upper 19 bits.
const WORDS: usize = 1 << 19;
/// Upper halves: one for each value of the upper 16 bits.
const HALVES: usize = 1 << 16;
/// Words of a /16.
const WORDS_OF_HALF: usize = WORDS / HALVES;
/// Words of a tail: one for each /27 of its /24.
const TAIL: usize = 8;
/// Room for tails: one for every sixteenth /24.
const TAILS: usize = 1 << 20;
/// In the summary: not all addresses of this /16 have the same leaf.
const MIXED: u16 = u16::MAX;

/// The table as workers see it.
#[derive(Debug)]
pub struct Lpm4 {
    domain: Arc<Domain>,
    words: Arena<AtomicU64>,
    /// The leaf of each /16 that has just one, else [`MIXED`].
    summary: Arena<AtomicU16>,
    leaves: Arc<Arena<AtomicU16>>,
    tails: Arena<AtomicU64>,
    simd: Simd,
}

/// An empty table, whose readers are those of `domain`.
///
/// # Errors
/// Those of mmap(2): 200 MiB of address space are reserved, of which an empty table uses little.
pub fn lpm4(domain: &Arc<Domain>) -> io::Result<(Lpm4Writer, Arc<Lpm4>)> {
    lpm4_with(domain, FibOptions::default())
}

/// As [`lpm4`], with other bounds or other instructions.
///
/// # Errors
/// Those of mmap(2).
pub fn lpm4_with(domain: &Arc<Domain>, options: FibOptions) -> io::Result<(Lpm4Writer, Arc<Lpm4>)> {
    let table = Arc::new(Lpm4 {
        domain: Arc::clone(domain),
        words: Arena::new(WORDS)?,
        summary: Arena::new(HALVES)?,
        leaves: Arc::new(Arena::new(IDENTITY + options.leaves / size_of::<AtomicU16>())?),
        tails: Arena::new(TAILS * TAIL)?,
        simd: options.simd.min(Simd::detect()),
    });
    Ok((Lpm4Writer::new(Arc::clone(&table), options.retired), table))
}

impl Lpm4 {
    /// Looks up every destination (host byte order) and writes the leaf to the same place of `leaves`; as many as the
    /// shorter of both has. With a section of another domain than the table's, all are [`EntryId::NO_ROUTE`].
    #[inline(always)]
    pub fn lookup_burst(&self, section: Section<'_>, destinations: &[u32], leaves: &mut [EntryId]) {
        // A full burst is what matters, and a call more or two are 5% of it.
        if let (Ok(destinations), Ok(leaves)) =
            (destinations.try_into(), <&mut [EntryId; BURST]>::try_from(&mut *leaves))
            && section.is_of(&self.domain)
        {
            self.lookup_whole(section.note(), destinations, leaves);
        } else {
            self.lookup_any(section, destinations, leaves);
        }
    }

    /// Looks up one destination.
    #[inline]
    pub fn lookup(&self, section: Section<'_>, destination: Ipv4Addr) -> EntryId {
        if section.is_of(&self.domain) { self.lookup_one(destination.to_bits()) } else { EntryId::NO_ROUTE }
    }
}
