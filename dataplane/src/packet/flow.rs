//! One number per flow: what keeps the packets of a flow on one path, in one bucket, in one pool.
//!
//! It spreads flows over equal-cost next hops and flow buckets. It is no defence against somebody who chooses ports
//! to collide.

use super::ipv4::{Ipv4Header, PROTOCOL_TCP, PROTOCOL_UDP};

const PROTOCOL_DCCP: u8 = 33;
const PROTOCOL_SCTP: u8 = 132;
const PROTOCOL_UDP_LITE: u8 = 136;

// Without structure: the first binary digits of the square roots of 2 and 3 behind the point, the last one set.
const SEED_ADDRESSES: u64 = 0x6a09_e667_f3bc_c909;
const SEED_REST: u64 = 0xbb67_ae85_84ca_a73b;

/// The hash of the flow a packet belongs to: over addresses, protocol and ports, or without ports for fragments, the
/// first one included (they must stay together), and for protocols that have none. `l3` are the bytes `header` was
/// read from. All 32 bits are well mixed: take as many as needed, from either end.
#[inline]
pub fn flow_hash(l3: &[u8], header: &Ipv4Header) -> u32 {
    let addresses = u64::from(header.src.to_bits()) << 32 | u64::from(header.dst.to_bits());
    let rest = u64::from(ports(l3, header)) << 8 | u64::from(header.protocol);
    let mixed = fold(addresses ^ SEED_ADDRESSES, rest ^ SEED_REST);
    let mixed = fold(mixed ^ SEED_REST, SEED_ADDRESSES);
    (mixed ^ (mixed >> 32)) as u32
}

/// Source and destination port, or 0 where there are none.
#[inline]
fn ports(l3: &[u8], header: &Ipv4Header) -> u32 {
    let has_ports =
        matches!(header.protocol, PROTOCOL_TCP | PROTOCOL_UDP | PROTOCOL_DCCP | PROTOCOL_SCTP | PROTOCOL_UDP_LITE);
    if !has_ports || header.is_fragment() {
        return 0;
    }
    header.payload(l3).and_then(|l4| l4.first_chunk::<4>()).map_or(0, |ports| u32::from_be_bytes(*ports))
}

/// Both halves of the product, folded: every bit of either factor reaches the middle of it.
#[inline]
const fn fold(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::packet::ipv4::tests::{packet, seal};

    fn hash(bytes: &mut [u8]) -> u32 {
        seal(bytes);
        flow_hash(bytes, &Ipv4Header::parse(bytes).unwrap())
    }

    fn flow(src: u32, dst: u32, protocol: u8, src_port: u16, dst_port: u16) -> u32 {
        let mut bytes = packet();
        bytes[9] = protocol;
        bytes[12..16].copy_from_slice(&Ipv4Addr::from(src).octets());
        bytes[16..20].copy_from_slice(&Ipv4Addr::from(dst).octets());
        bytes[20..22].copy_from_slice(&src_port.to_be_bytes());
        bytes[22..24].copy_from_slice(&dst_port.to_be_bytes());
        hash(&mut bytes)
    }

    /// Pearson's chi-squared of values over 64 buckets, by the low and by the high bits.
    fn unevenness(values: &[u32]) -> [f64; 2] {
        [0, 26].map(|shift| {
            let mut buckets = [0u32; 64];
            for value in values {
                buckets[(value >> shift) as usize % 64] += 1;
            }
            let expected = values.len() as f64 / 64.0;
            buckets.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum()
        })
    }

    #[test]
    fn packets_of_a_flow_share_their_hash_whatever_else_differs() {
        let first = hash(&mut packet());
        for (position, value) in [(1, 0), (4, 9), (8, 3), (27, 1)] {
            let mut bytes = packet();
            bytes[position] = value;
            assert_eq!(hash(&mut bytes), first, "byte {position}");
        }
    }

    #[test]
    fn every_part_of_the_five_tuple_counts() {
        let base = flow(0x0a000001, 0x0a000002, 17, 1000, 2000);
        assert_ne!(base, flow(0x0a000003, 0x0a000002, 17, 1000, 2000));
        assert_ne!(base, flow(0x0a000001, 0x0a000003, 17, 1000, 2000));
        assert_ne!(base, flow(0x0a000001, 0x0a000002, 6, 1000, 2000));
        assert_ne!(base, flow(0x0a000001, 0x0a000002, 17, 1001, 2000));
        assert_ne!(base, flow(0x0a000001, 0x0a000002, 17, 1000, 2001));
    }

    #[test]
    fn all_fragments_of_a_packet_share_a_hash() {
        let fragment = |flags: [u8; 2], first_port_byte: u8| {
            let mut bytes = packet();
            bytes[6..8].copy_from_slice(&flags);
            bytes[20] = first_port_byte;
            hash(&mut bytes)
        };
        assert_eq!(fragment([0x20, 0], 0x11), fragment([0x00, 0x10], 0x99));
    }

    #[test]
    fn protocols_without_ports_are_told_apart_by_addresses_alone() {
        assert_eq!(flow(1 << 24, 2 << 24, 1, 8, 0), flow(1 << 24, 2 << 24, 1, 0, 0));
    }

    #[test]
    fn a_packet_too_short_for_ports_has_a_hash() {
        let mut bytes = packet();
        bytes[3] = 22;
        let short = hash(&mut bytes);
        bytes[21] ^= 1;
        assert_eq!(hash(&mut bytes), short);
    }

    #[test]
    fn neighbouring_flows_spread_evenly() {
        // 63 degrees of freedom: above 120 in less than one of 50,000 random functions.
        let by_port: Vec<u32> = (0..8192u16).map(|n| flow(0x0a000001, 0x0a000002, 17, 16384 + 2 * n, 5060)).collect();
        let by_host: Vec<u32> = (0..8192).map(|n| flow(0x0a000000 + n, 0xc0000201, 17, 5060, 5060)).collect();
        let by_net: Vec<u32> = (0..8192).map(|n| flow(0xc0000201, n << 16 | 0x0100_0001, 6, 443, 443)).collect();
        for (what, values) in [("port", by_port), ("host", by_host), ("network", by_net)] {
            for chi_squared in unevenness(&values) {
                assert!(chi_squared < 120.0, "by {what}: {chi_squared}");
            }
        }
    }

    #[test]
    fn a_changed_bit_changes_half_of_the_hash() {
        let mut changed = 0;
        for bit in 0..32 {
            for base in 0..64u32 {
                let src = 0x0a00_0000 + base * 77;
                changed += (flow(src, 0x0b000001, 17, 1, 2) ^ flow(src ^ 1 << bit, 0x0b000001, 17, 1, 2)).count_ones();
            }
        }
        let mean = f64::from(changed) / (32.0 * 64.0);
        assert!((15.0..17.0).contains(&mean), "{mean} of 32 bits");
    }
}
