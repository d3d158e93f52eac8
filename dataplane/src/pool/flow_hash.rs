//! The hashes that order is kept by: of a packet's flow, and of the pair of hosts it is between.
//!
//! They are made of sums and products of 32 bits, which vectors have. A product of two sums with a secret each is the NH of
//! UMAC (Black, Halevi, Krawczyk, Krovetz, Rogaway, CRYPTO 1999): who does not know the secrets cannot choose packets whose
//! products, or sums of products, are the same but by guessing, one in 2^32. Of its 64 bits one half is multiplied before both are
//! added: by an exclusive or of the halves, sums that differ by a multiple of 2^32 - 1 would often become the same.

use crate::arch::lanes::{Form, Lanes};

/// A random number, the same for the life of a worker, that makes flow hashes unpredictable to senders: otherwise
/// one could choose flows that crowd each other out of the order table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowSeed(pub u64);

/// The secrets of IPv4 hashes, made from a seed.
#[derive(Clone, Copy)]
pub(super) struct FlowKeys {
    source: u32,
    destination: u32,
    ports: u32,
    protocol: u32,
    pair: u32,
}

impl FlowSeed {
    /// Made anew wherever they are needed, which takes a few instructions.
    #[inline(always)]
    pub(super) fn keys(self) -> FlowKeys {
        // Two steps of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), cut short.
        let second = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let third = (second ^ second >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        FlowKeys {
            source: self.0 as u32,
            destination: (self.0 >> 32) as u32,
            ports: second as u32,
            protocol: (second >> 32) as u32,
            pair: (third >> 32) as u32 | 1,
        }
    }
}

/// The hashes of an IPv4 packet, by flow and by pair. Its source, destination and ports are little-endian words of what is on the
/// wire; no ports are zero.
#[inline(always)]
pub(super) fn hashes_ipv4(seed: FlowSeed, [source, destination, ports]: [u32; 3], protocol: u8) -> (u32, u32) {
    let (keys, protocol) = (seed.keys(), u32::from(protocol));
    let product = |a: u32, b: u32| u64::from(a) * u64::from(b);
    let addresses = product(source.wrapping_add(keys.source), destination.wrapping_add(keys.destination));
    let upper_layer = product(ports.wrapping_add(keys.ports), protocol.wrapping_add(keys.protocol));
    let pair = addresses.wrapping_add(product(protocol, keys.pair));
    let finish = |word: u64| {
        let mut hash = (word as u32).wrapping_mul(FINISH[1]).wrapping_add((word >> 32) as u32);
        hash = (hash ^ hash >> 16).wrapping_mul(FINISH[0]);
        hash = (hash ^ hash >> 15).wrapping_mul(FINISH[1]);
        hash ^ hash >> 16
    };
    (finish(addresses.wrapping_add(upper_layer)), finish(pair))
}

/// The same of eight.
#[inline(always)]
pub(super) fn hashes_of_lanes<F: Form>(
    form: F,
    keys: FlowKeys,
    [source, destination, ports]: [F::Lanes; 3],
    protocol: F::Lanes,
) -> (F::Lanes, F::Lanes) {
    let addresses = (source + form.splat(keys.source)).products(destination + form.splat(keys.destination));
    let upper_layer = (ports + form.splat(keys.ports)).products(protocol + form.splat(keys.protocol));
    let pair = addresses + protocol.products(form.splat(keys.pair));
    (finish_lanes(form, addresses + upper_layer), finish_lanes(form, pair))
}

#[inline(always)]
fn finish_lanes<F: Form>(form: F, wide: <F::Lanes as Lanes>::Wide) -> F::Lanes {
    let [lower, upper] = F::Lanes::halves(wide);
    let mut hash = lower * form.splat(FINISH[1]) + upper;
    hash = (hash ^ hash.shr::<16>()) * form.splat(FINISH[0]);
    hash = (hash ^ hash.shr::<15>()) * form.splat(FINISH[1]);
    hash ^ hash.shr::<16>()
}

/// With these every bit of a hash depends on many of what it is made from: the constants of `lowbias32` (Wellons, hash-prospector).
const FINISH: [u32; 2] = [0x7feb_352d, 0x846c_a68b];

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// Of so many words as there are sets of eight for as many flows: how many flows do not find a place in their set.
    fn crowded(hashes: &[u32], set_of: impl Fn(u32) -> u32) -> usize {
        let mut sets: HashMap<u32, usize> = HashMap::new();
        hashes.iter().for_each(|hash| *sets.entry(set_of(*hash)).or_default() += 1);
        sets.values().map(|flows| flows.saturating_sub(8)).sum()
    }

    /// Flows as they are numbered: by address, by port, by both.
    fn numbered(count: u32) -> [Vec<[u32; 3]>; 4] {
        let words = |of: &dyn Fn(u32) -> [u32; 3]| (0..count).map(|n| of(n).map(u32::to_be)).collect();
        [
            words(&|n| [0x0a00_0001, 0x0a00_0002, 0x4e20_7530 + n]),
            words(&|n| [0x0a00_0001 + n, 0x0a00_0002, 0x4e20_7530]),
            words(&|n| [0x0a00_0001, 0xc0a8_0000 + n, 0x4e20_7530]),
            words(&|n| [0x0a00_0001 + n % 16, 0xc0a8_0000 + n / 16 % 16, (0x4e20 + 2 * (n / 256)) << 16 | 0x7530]),
        ]
    }

    #[test]
    fn flows_that_are_numbered_crowd_no_more_than_random_ones_whatever_the_seed() {
        const FLOWS: u32 = 4096;
        for seed in [0, 1, u64::MAX, 0x0123_4567_89ab_cdef, 1 << 63, 0xffff_ffff, 0x8000_0000_8000_0000] {
            for flows in numbered(FLOWS) {
                let hashes: Vec<u32> = flows.iter().map(|words| hashes_ipv4(FlowSeed(seed), *words, 17).0).collect();
                // Twice as many places as flows: of random hashes, some 20 of 4096 find their set full.
                let sets = FLOWS / 4;
                assert!(crowded(&hashes, |hash| hash % sets) < 80, "{seed:x}: lower bits of {:x?}", flows[0]);
                assert!(crowded(&hashes, |hash| hash / (u32::MAX / sets + 1)) < 80, "{seed:x}: upper bits");
                let distinct: HashMap<_, _> = hashes.iter().map(|hash| (hash, ())).collect();
                assert!(distinct.len() + 4 > hashes.len(), "{seed:x}: {} of {FLOWS}", distinct.len());
            }
        }
    }

    #[test]
    fn a_hash_depends_on_every_bit_in_every_bit() {
        const SEEDS: u64 = 256;
        for bit in 0..96 {
            let mut changes = [0; 32];
            for number in 0..SEEDS {
                let seed = FlowSeed(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5eed);
                let mut words = [0x0100_000a, 0x0200_000a, 0x3075_204e];
                let before = hashes_ipv4(seed, words, 17);
                words[bit / 32] ^= 1 << (bit % 32);
                let after = hashes_ipv4(seed, words, 17);
                let changed = before.0 ^ after.0;
                changes.iter_mut().enumerate().for_each(|(at, count)| *count += changed >> at & 1);
                assert_eq!(before.1 != after.1, bit < 64, "of addresses alone is the hash by pair");
            }
            for (at, count) in changes.into_iter().enumerate() {
                assert!((70..=186).contains(&count), "bit {bit} changes bit {at} {count} of {SEEDS} times");
            }
        }
    }

    #[test]
    fn calls_with_the_same_port_at_both_ends_have_hashes_of_their_own() {
        const FLOWS: u32 = 4096;
        // Of random hashes 0.002 in all would be there twice. With this seed it is 38 while a sum's halves are folded by exclusive or.
        for seed in [0xbee8_2f65_e75c_e355, 0x0123_4567_89ab_cdef] {
            let port = |n: u32| 16384 + n;
            let words = |n| [0x0a00_0001, 0x0a00_0002, port(n) << 16 | port(n)].map(u32::to_be);
            let distinct: std::collections::HashSet<_> =
                (0..FLOWS).map(|n| hashes_ipv4(FlowSeed(seed), words(n), 17).0).collect();
            assert!(distinct.len() + 4 > FLOWS as usize, "{seed:x}: {} of {FLOWS}", distinct.len());
        }
    }

    #[test]
    fn ports_that_no_secret_was_needed_for_do_not_have_the_same_hash() {
        const SEEDS: u64 = 200_000;
        for differ in [0x5555_5555, 0x3333_3333, 0x1111_1111] {
            let same = (0..SEEDS).filter(|number| {
                let seed = FlowSeed(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number << 7);
                let of = |ports: u32| hashes_ipv4(seed, [0x0100_000a, 0x0200_000a, ports], 17).0;
                of(0x3075_204e) == of(0x3075_204e + differ)
            });
            assert!(same.count() < 2, "{differ:x}");
        }
    }
}
