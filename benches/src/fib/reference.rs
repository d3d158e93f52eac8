//! What every look-up must answer: the table cut into ranges of addresses with one next hop each.

use super::hop::NO_ROUTE;
use super::table::{Family, Table};

/// The longest match of every address, by binary search.
pub struct Reference {
    family: Family,
    /// Where a next hop begins to hold, in order; the first range begins with the first address.
    ranges: Vec<(u128, u16)>,
    /// For the upper 16 bits of an address: where among the ranges to begin.
    index: Vec<u32>,
}

impl Reference {
    /// The answers of this table.
    pub fn new(table: &Table) -> Reference {
        let family = table.family;
        let end = u128::MAX >> (128 - u32::from(family.bits()));
        let mut ranges: Vec<(u128, u16)> = Vec::new();
        let mut begin = |address: u128, hop: u16| match ranges.last_mut() {
            // A longer prefix that begins where a shorter one does hides it.
            Some(last) if last.0 == address => last.1 = hop,
            _ => ranges.push((address, hop)),
        };
        begin(0, NO_ROUTE);
        // The prefixes around the present one: last address and next hop.
        let mut around: Vec<(u128, u16)> = Vec::new();
        let outer = |around: &[(u128, u16)]| around.last().map_or(NO_ROUTE, |(_, hop)| *hop);
        for route in &table.routes {
            while let Some((last, _)) = around.pop_if(|(last, _)| *last < route.first) {
                begin(last + 1, outer(&around));
            }
            begin(route.first, route.hop);
            around.push((route.last(family.bits()), route.hop));
        }
        while let Some((last, _)) = around.pop() {
            if last < end {
                begin(last + 1, outer(&around));
            }
        }
        ranges.dedup_by(|next, before| next.1 == before.1);
        let shift = family.bits() - 16;
        let index = (0..=1u128 << 16)
            .map(|upper| ranges.partition_point(|(first, _)| *first >> shift < upper).saturating_sub(1) as u32)
            .collect();
        Reference { family, ranges, index }
    }

    /// The next hop of an address.
    pub fn lookup(&self, address: u128) -> u16 {
        let upper = (address >> (self.family.bits() - 16)) as usize;
        let bounds = self.index.get(upper).zip(self.index.get(upper + 1));
        let (from, to) = bounds.map_or((0, self.ranges.len()), |(from, to)| (*from as usize, *to as usize + 1));
        let some = self.ranges.get(from..to).unwrap_or(&self.ranges);
        let after = some.partition_point(|(first, _)| *first <= address);
        after.checked_sub(1).and_then(|at| some.get(at)).map_or(NO_ROUTE, |(_, hop)| *hop)
    }

    /// The ranges of addresses that have a route, first and last address of each, in order.
    pub fn announced(&self) -> Vec<(u128, u128)> {
        let end = u128::MAX >> (128 - u32::from(self.family.bits()));
        let ends = self.ranges.iter().skip(1).map(|(first, _)| first - 1).chain([end]);
        let mut announced: Vec<(u128, u128)> = Vec::new();
        for ((first, hop), last) in self.ranges.iter().zip(ends) {
            match announced.last_mut() {
                _ if *hop == NO_ROUTE => {}
                Some(before) if before.1 + 1 == *first => before.1 = last,
                _ => announced.push((*first, last)),
            }
        }
        announced
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fib::table::Route;

    fn reference(routes: &[(u128, u8, u16)]) -> Reference {
        let mut routes: Vec<Route> =
            routes.iter().map(|(first, length, hop)| Route { first: *first, length: *length, hop: *hop }).collect();
        routes.sort();
        Reference::new(&Table { family: Family::V4, routes })
    }

    #[test]
    fn the_longest_of_nested_prefixes_answers_and_the_shorter_one_again_behind_it() {
        let reference =
            reference(&[(0x0a00_0000, 8, 1), (0x0a00_0000, 16, 2), (0x0a00_ff00, 24, 3), (0xff00_0000, 8, 4)]);
        for (address, hop) in [
            (0x09ff_ffff, NO_ROUTE),
            (0x0a00_0000, 2),
            (0x0a00_feff, 2),
            (0x0a00_ff00, 3),
            (0x0a00_ffff, 3),
            (0x0a01_0000, 1),
            (0x0aff_ffff, 1),
            (0x0b00_0000, NO_ROUTE),
            (0xffff_ffff, 4),
        ] {
            assert_eq!(reference.lookup(address), hop, "{address:x}");
        }
        assert_eq!(reference.announced(), [(0x0a00_0000, 0x0aff_ffff), (0xff00_0000, 0xffff_ffff)]);
    }

    #[test]
    fn a_default_route_answers_everywhere() {
        let reference = reference(&[(0, 0, 9)]);
        assert_eq!([0, 0x7fff_ffff, 0xffff_ffff].map(|address| reference.lookup(address)), [9; 3]);
    }
}
