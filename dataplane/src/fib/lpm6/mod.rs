//! Longest prefix match for IPv6, all lengths, for full Internet tables.
//!
//! The upper 18 bits of an address choose a word; every five bits more choose a slot of the [`word`]'s node, of which
//! only the runs of equal slots are stored, until a node has nothing but leaves. So /48 is six steps from the root, and
//! a full table takes some three megabytes: a look-up that meets the second-level cache each time is worth more than one
//! with fewer steps that leaves it.
//!
//! One thread writes ([`Lpm6Writer`]); [`Lpm6::lookup_burst`] is wait-free. docs/fib.md has the drawing and the figures.

#[cfg(all(test, not(loom)))]
mod bounds_tests;
mod lookup;
mod lookup_avx512;
mod node;
#[cfg(all(test, not(loom)))]
mod tests;
mod trie;
mod word;
mod writer;

use std::io;
use std::net::Ipv6Addr;
use std::sync::Arc;

use super::arena::Arena;
use super::next_hop::EntryId;
use super::options::FibOptions;
use super::publication::{Domain, Section};
use super::stretch::IDENTITY;
use super::sync::{AtomicU16, AtomicU64};
use crate::arch::Simd;
pub use writer::Lpm6Writer;

/// Bits that choose a word of the root.
const ROOT_BITS: u32 = 18;
/// Words of the root.
const ROOTS: usize = 1 << ROOT_BITS;
/// Bits that choose a slot of a node.
const DIGIT: u32 = 5;

/// The table as workers see it.
#[derive(Debug)]
pub struct Lpm6 {
    domain: Arc<Domain>,
    /// The root, then the words of nodes that lead on.
    words: Arena<AtomicU64>,
    /// Leaves that are their own index, then those of nodes that end here.
    leaves: Arena<AtomicU16>,
    simd: Simd,
}

/// An empty table, whose readers are those of `domain`.
///
/// # Errors
/// Those of mmap(2): 520 MiB of address space are reserved, of which an empty table uses 2 MiB.
pub fn lpm6(domain: &Arc<Domain>) -> io::Result<(Lpm6Writer, Arc<Lpm6>)> {
    lpm6_with(domain, FibOptions::default())
}

/// As [`lpm6`], with other bounds (`leaves` bytes are for the leaves, as many for the words, and both once more for
/// [`Lpm6Writer::settle`]) or other instructions.
///
/// # Errors
/// Those of mmap(2).
pub fn lpm6_with(domain: &Arc<Domain>, options: FibOptions) -> io::Result<(Lpm6Writer, Arc<Lpm6>)> {
    let table = Arc::new(Lpm6 {
        domain: Arc::clone(domain),
        words: Arena::new(ROOTS + 2 * (options.leaves / size_of::<AtomicU64>()))?,
        leaves: Arena::new(IDENTITY + 2 * (options.leaves / size_of::<AtomicU16>()))?,
        simd: options.simd.min(Simd::detect()),
    });
    Ok((Lpm6Writer::new(Arc::clone(&table), options.retired), table))
}

impl Lpm6 {
    /// Looks up every destination (network byte order, as in the packet) and writes the leaf to the same place of
    /// `leaves`; as many as the shorter of both has. With a section of another domain than the table's, all are
    /// [`EntryId::NO_ROUTE`].
    #[inline]
    pub fn lookup_burst(&self, section: Section<'_>, destinations: &[[u8; 16]], leaves: &mut [EntryId]) {
        let count = destinations.len().min(leaves.len());
        let (Some(destinations), Some(leaves)) = (destinations.get(..count), leaves.get_mut(..count)) else { return };
        if section.is_of(&self.domain) {
            self.lookup_by_form(destinations, leaves);
        } else {
            leaves.fill(EntryId::NO_ROUTE);
        }
    }

    /// Looks up one destination.
    #[inline]
    pub fn lookup(&self, section: Section<'_>, destination: Ipv6Addr) -> EntryId {
        if section.is_of(&self.domain) { self.lookup_one(destination.to_bits()) } else { EntryId::NO_ROUTE }
    }
}
