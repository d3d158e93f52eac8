//! Finds stream packets: reads the few header fields that pooling depends on and asks the rules.
//!
//! Called once per forwarded packet where rules exist. Packets are read with bounds checked, so a packet that was
//! never validated is merely no stream packet.

use super::flow_hash::{FlowSeed, hashes_ipv4};
use super::rule::{Dscp, RuleIndex, RuleSet};
use crate::packet::ipv6::{self, Ipv6Header};
use crate::packet::ipv6_extension::UpperLayer;
use crate::packet::ipv6_plain;

/// Where a packet comes from and goes to, in host byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// Of an IPv4 packet.
    V4 { source: u32, destination: u32 },
    /// Of an IPv6 packet.
    V6 { source: u128, destination: u128 },
}

/// What pooling wants to know of an IP packet. Integers are in host byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamFields {
    /// Source and destination.
    pub addresses: Addresses,
    /// IP protocol number: that of the upper layer.
    pub protocol: u8,
    /// Whether the protocol has ports and the packet carries them: no fragment does, as later ones have none.
    pub has_ports: bool,
    /// Zero where there are no ports.
    pub source_port: u16,
    /// Zero where there are no ports.
    pub destination_port: u16,
    /// Class.
    pub dscp: Dscp,
    /// The ECN field (RFC 3168), 0 to 3; anything but 0 is ECN-capable.
    pub ecn: u8,
    /// Length of the packet in bytes, header included.
    pub length: u16,
    /// Whether this is a fragment, the first included.
    pub is_fragment: bool,
    /// Hash of addresses, protocol and ports: packets that must stay in order have the same.
    pub flow: u32,
    /// Hash of what a fragment tells of its flow: addresses and, in IPv4, protocol (in IPv6 only the first may say it).
    pub pair: u32,
}

/// What a packet is to the packet pooler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detected {
    /// A stream packet that its rule admits.
    Stream(RuleIndex),
    /// A packet to be forwarded as it is, and why.
    Ordinary(Ordinary),
}

/// Why a packet is forwarded as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordinary {
    /// No rule is for it.
    NoRule,
    /// Its rule says that it is never pooled.
    NeverPooled(RuleIndex),
    /// Its rule is for shorter packets.
    TooLarge(RuleIndex),
    /// Fragments are never pooled.
    Fragment,
}

const MORE_FRAGMENTS: u16 = 0x2000;
const FRAGMENT_OFFSET: u16 = 0x1fff;

impl StreamFields {
    /// Reads an IP packet that starts with its header and ends with its last byte (no link padding). None where it is no
    /// such packet, or what it carries cannot be found.
    #[inline]
    pub fn read(packet: &[u8], seed: FlowSeed) -> Option<StreamFields> {
        match packet.first() {
            Some(0x60..=0x6f) => StreamFields::read6(packet, seed),
            _ => StreamFields::read4(packet, seed),
        }
    }

    /// The same where it is known to be an IPv4 packet.
    #[inline(always)]
    pub fn read4(packet: &[u8], seed: FlowSeed) -> Option<StreamFields> {
        let header = packet.first_chunk::<20>()?;
        let &[version_ihl, _, l0, l1, ..] = header;
        let length = u16::from_be_bytes([l0, l1]);
        let header_length = usize::from(version_ihl & 0x0f) * 4;
        if version_ihl >> 4 != 4 || header_length < 20 || usize::from(length) != packet.len() {
            return None;
        }
        Some(StreamFields::of_ipv4(header, packet.get(header_length..)?, seed))
    }

    /// The same of a packet with this header, which is sound, and this payload.
    #[inline(always)]
    pub fn of_ipv4(header: &[u8; 20], payload: &[u8], seed: FlowSeed) -> StreamFields {
        let &[_, tos, l0, l1, _, _, f0, f1, _, protocol, _, _, ref addresses @ ..] = header;
        let length = u16::from_be_bytes([l0, l1]);
        let is_fragment = u16::from_be_bytes([f0, f1]) & (MORE_FRAGMENTS | FRAGMENT_OFFSET) != 0;
        // Read as one word, as they are compared.
        let addresses = u64::from_be_bytes(*addresses);
        let (source, destination) = ((addresses >> 32) as u32, addresses as u32);
        let ports = match payload.first_chunk::<4>() {
            Some(&ports) if has_ports(protocol) && !is_fragment => Some(ports),
            _ => None,
        };
        let has_ports = ports.is_some();
        let ports = u32::from_be_bytes(ports.unwrap_or_default());
        let words = [source, destination, ports].map(u32::swap_bytes);
        let (flow, pair) = hashes_ipv4(seed, words, protocol);
        StreamFields {
            addresses: Addresses::V4 { source, destination },
            protocol,
            has_ports,
            source_port: (ports >> 16) as u16,
            destination_port: ports as u16,
            dscp: Dscp::of_tos(tos),
            ecn: tos & 3,
            length,
            is_fragment,
            flow,
            pair,
        }
    }

    /// The same where it is known to be an IPv6 packet. The flow label is not part of the flow: nothing makes a source give
    /// all packets that must stay in order the same.
    #[inline]
    pub fn read6(packet: &[u8], seed: FlowSeed) -> Option<StreamFields> {
        let header = Ipv6Header::parse(packet).ok()?;
        let length = u16::try_from(packet.len()).ok().filter(|_| header.total_len() == packet.len())?;
        let upper = UpperLayer::find(&header, packet).ok()?;
        let is_fragment = upper.is_fragment();
        let ports = match upper.bytes(&header, packet).first_chunk::<4>() {
            Some(&ports) if has_ports(upper.protocol) && !is_fragment => Some(ports),
            _ => None,
        };
        let [p0, p1, p2, p3] = ports.unwrap_or_default();
        let (source, destination) = (header.src.to_bits(), header.dst.to_bits());
        let pair = pair_hash6(seed, source, destination);
        Some(StreamFields {
            addresses: Addresses::V6 { source, destination },
            protocol: upper.protocol,
            has_ports: ports.is_some(),
            source_port: u16::from_be_bytes([p0, p1]),
            destination_port: u16::from_be_bytes([p2, p3]),
            dscp: Dscp::of_tos(header.traffic_class),
            ecn: header.ecn(),
            length,
            is_fragment,
            flow: flow_hash(pair ^ u64::from(upper.protocol) << 32, u32::from_be_bytes([p0, p1, p2, p3])),
            pair: (pair >> 32) as u32,
        })
    }

    /// The same of a plain IPv6 packet that starts like this.
    #[inline(always)]
    pub fn of_plain6(start: &[u8; ipv6_plain::START], seed: FlowSeed) -> StreamFields {
        let (header, ports) = start.split_at(ipv6::HEADER_LEN);
        let (fixed, addresses) = header.split_at(8);
        let (source, destination) = addresses.split_at(16);
        let fixed = u64::from_be_bytes(fixed.first_chunk().copied().unwrap_or_default());
        let address = |bytes: &[u8]| u128::from_be_bytes(bytes.first_chunk().copied().unwrap_or_default());
        let (source, destination) = (address(source), address(destination));
        let (protocol, tos) = ((fixed >> 8) as u8, (fixed >> 52) as u8);
        let has_ports = has_ports(protocol);
        let ports = u32::from_be_bytes(ports.first_chunk().copied().unwrap_or_default());
        let ports = if has_ports { ports } else { 0 };
        let pair = pair_hash6(seed, source, destination);
        StreamFields {
            addresses: Addresses::V6 { source, destination },
            protocol,
            has_ports,
            source_port: (ports >> 16) as u16,
            destination_port: ports as u16,
            dscp: Dscp::of_tos(tos),
            ecn: tos & 3,
            length: ((fixed >> 16) as u16).saturating_add(ipv6::HEADER_LEN as u16),
            is_fragment: false,
            flow: flow_hash(pair ^ u64::from(protocol) << 32, ports),
            pair: (pair >> 32) as u32,
        }
    }

    /// DSCP and ECN as they stand in the IP header.
    #[inline(always)]
    pub fn tos(&self) -> u8 {
        self.dscp.value() << 2 | self.ecn
    }

    /// Whether it is an IPv6 packet.
    #[inline(always)]
    pub fn is_ipv6(&self) -> bool {
        matches!(self.addresses, Addresses::V6 { .. })
    }
}

/// Decides what a packet is to the packet pooler: the first rule that matches, and whether it admits the packet's size.
#[inline(always)]
pub fn detect(rules: &RuleSet, fields: &StreamFields) -> Detected {
    if fields.is_fragment {
        return Detected::Ordinary(Ordinary::Fragment);
    }
    match rules.first_match(fields) {
        Some(index) => admit(rules, index, fields.length),
        None => Detected::Ordinary(Ordinary::NoRule),
    }
}

/// What a packet of this length is that the rule at `index` is for.
#[inline(always)]
fn admit(rules: &RuleSet, index: RuleIndex, length: u16) -> Detected {
    match rules.get(index) {
        Some(rule) if !rule.pool => Detected::Ordinary(Ordinary::NeverPooled(index)),
        Some(rule) if length <= rule.max_size => Detected::Stream(index),
        Some(_) => Detected::Ordinary(Ordinary::TooLarge(index)),
        None => Detected::Ordinary(Ordinary::NoRule),
    }
}

/// TCP, UDP, DCCP, SCTP and UDP-Lite start with source and destination port.
pub(super) const PROTOCOLS_WITH_PORTS: [u8; 5] = [6, 17, 33, 132, 136];

#[inline(always)]
fn has_ports(protocol: u8) -> bool {
    PROTOCOLS_WITH_PORTS.contains(&protocol)
}

/// Multiplies to 128 bits and folds: every bit of the product's halves depends on many of either factor's.
#[inline(always)]
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ (product >> 64) as u64
}

#[inline(always)]
fn pair_hash6(seed: FlowSeed, source: u128, destination: u128) -> u64 {
    // Both factors have the seed in them: nobody outside can choose one that makes the product zero.
    let turned = seed.0.rotate_left(32);
    let half = mix(source as u64 ^ seed.0, (source >> 64) as u64 ^ turned ^ 0x9e37_79b9_7f4a_7c15);
    mix(half ^ destination as u64, (destination >> 64) as u64 ^ turned ^ 0xd6e8_feb8_6659_fd93)
}

#[inline(always)]
fn flow_hash(pair: u64, ports: u32) -> u32 {
    (mix(pair ^ u64::from(ports), 0xd6e8_feb8_6659_fd93) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::rule::{Match, Rule};
    use super::*;

    const SEED: FlowSeed = FlowSeed(0x0123_4567_89ab_cdef);

    fn udp(length: u16) -> Vec<u8> {
        let mut packet = vec![0u8; usize::from(length)];
        packet[0] = 0x45;
        packet[1] = 46 << 2 | 1;
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        packet[8] = 64;
        packet[9] = 17;
        packet[12..16].copy_from_slice(&[10, 0, 0, 1]);
        packet[16..20].copy_from_slice(&[10, 0, 0, 2]);
        if length >= 24 {
            packet[20..24].copy_from_slice(&[0x13, 0x88, 0x40, 0x00]);
        }
        packet
    }

    #[test]
    fn a_udp_packet_is_read_field_by_field() {
        let fields = StreamFields::read(&udp(60), SEED).expect("a sound packet");
        assert_eq!(fields.addresses, Addresses::V4 { source: 0x0a00_0001, destination: 0x0a00_0002 });
        assert_eq!((fields.source_port, fields.destination_port, fields.has_ports), (5000, 16384, true));
        assert_eq!((fields.dscp.value(), fields.ecn, fields.length, fields.is_fragment), (46, 1, 60, false));
    }

    #[test]
    fn ports_are_found_behind_options() {
        let mut packet = udp(64);
        packet[0] = 0x46;
        packet[20..24].copy_from_slice(&[1, 1, 1, 0]);
        packet[24..28].copy_from_slice(&[0, 7, 0, 9]);
        let fields = StreamFields::read(&packet, SEED).expect("a sound packet");
        assert_eq!((fields.source_port, fields.destination_port), (7, 9));
    }

    #[test]
    fn fragments_have_no_ports_and_the_pair_of_their_flow() {
        let whole = StreamFields::read(&udp(60), SEED).expect("a sound packet");
        for flags in [[0x20, 0x00], [0x20, 0x05], [0x00, 0x05]] {
            let mut packet = udp(60);
            packet[6..8].copy_from_slice(&flags);
            let fields = StreamFields::read(&packet, SEED).expect("a sound packet");
            assert!(fields.is_fragment && !fields.has_ports, "{flags:?}");
            assert_eq!(fields.pair, whole.pair);
            assert_eq!(detect(&everything(), &fields), Detected::Ordinary(Ordinary::Fragment));
        }
        let mut dont_fragment = udp(60);
        dont_fragment[6] = 0x40;
        assert!(!StreamFields::read(&dont_fragment, SEED).expect("a sound packet").is_fragment);
    }

    fn everything() -> RuleSet {
        let rule = |name: &str, max_size| Rule { max_size, ..Rule::new(name, Match::default()) };
        RuleSet::new(vec![rule("small", 300), rule("large", 1500)]).expect("a sound set")
    }

    #[test]
    fn a_packet_too_large_for_its_rule_does_not_fall_through() {
        let at = |length| detect(&everything(), &StreamFields::read(&udp(length), SEED).expect("a sound packet"));
        assert_eq!(at(300), Detected::Stream(RuleIndex(0)));
        assert_eq!(at(301), Detected::Ordinary(Ordinary::TooLarge(RuleIndex(0))));
        let fields = StreamFields::read(&udp(60), SEED).expect("a sound packet");
        assert_eq!(detect(&RuleSet::default(), &fields), Detected::Ordinary(Ordinary::NoRule));
    }

    #[test]
    fn a_packet_whose_rule_says_never_does_not_fall_through() {
        let never = Rule { pool: false, ..Rule::new("never", Match { protocol: Some(17), ..Match::default() }) };
        let rules = RuleSet::new(vec![never, Rule::new("all", Match::default())]).expect("a sound set");
        let fields = StreamFields::read(&udp(60), SEED).expect("a sound packet");
        assert_eq!(detect(&rules, &fields), Detected::Ordinary(Ordinary::NeverPooled(RuleIndex(0))));
        let other = StreamFields { protocol: 6, ..fields };
        assert_eq!(detect(&rules, &other), Detected::Stream(RuleIndex(1)));
    }

    #[test]
    fn what_is_no_whole_ip_packet_is_not_read() {
        assert!(StreamFields::read(&udp(20), SEED).is_some());
        let mut padded = udp(40);
        padded.push(0);
        let mut version6 = udp(40);
        version6[0] = 0x65;
        let mut short_header = udp(40);
        short_header[0] = 0x44;
        let mut long_header = udp(40);
        long_header[0] = 0x4f;
        for packet in [padded, version6, short_header, long_header, udp(60)[..59].to_vec(), vec![]] {
            assert_eq!(StreamFields::read(&packet, SEED), None, "{packet:02x?}");
        }
    }

    #[test]
    fn flows_differ_by_each_field_and_by_seed() {
        let base = udp(60);
        let hash = |packet: &[u8], seed| StreamFields::read(packet, seed).expect("a sound packet").flow;
        for at in [9, 12, 15, 16, 19, 20, 21, 22, 23] {
            let mut other = base.clone();
            other[at] ^= if at == 9 { 17 ^ 6 } else { 1 };
            assert_ne!(hash(&base, SEED), hash(&other, SEED), "byte {at} does not matter");
        }
        assert_ne!(hash(&base, SEED), hash(&base, FlowSeed(1)));
        let mut class = base.clone();
        class[1] = 0;
        assert_eq!(hash(&base, SEED), hash(&class, SEED), "a flow that changes class stays in order");
    }

    /// A UDP packet of 60 bytes over IPv6, with extension headers of these kinds, eight bytes each.
    fn udp6(kinds: &[u8]) -> Vec<u8> {
        let mut packet = vec![0u8; 40];
        packet[..8].copy_from_slice(&[0x6b, 0x91, 0x23, 0x45, 0, 20 + 8 * kinds.len() as u8, 17, 64]);
        (packet[8], packet[23], packet[24], packet[39]) = (0x20, 1, 0x20, 2);
        let mut chain: Vec<u8> = kinds.iter().flat_map(|_| [17, 0, 0, 0, 0, 0, 0, 0]).collect();
        for (at, kind) in kinds.iter().enumerate() {
            let said_at = if at == 0 { &mut packet[6] } else { &mut chain[8 * (at - 1)] };
            *said_at = *kind;
        }
        packet.extend(chain);
        packet.extend([0x13, 0x88, 0x40, 0x00]);
        packet.extend([0; 16]);
        packet
    }

    #[test]
    fn an_ipv6_packet_is_read_field_by_field_and_behind_its_extension_headers() {
        for kinds in [&[][..], &[0], &[60, 43], &[44]] {
            let packet = udp6(kinds);
            let fields = StreamFields::read(&packet, SEED).expect("a sound packet");
            let (source, destination) = (0x20 << 120 | 1, 0x20 << 120 | 2);
            assert_eq!(fields.addresses, Addresses::V6 { source, destination });
            assert_eq!((fields.protocol, fields.source_port, fields.destination_port), (17, 5000, 16384), "{kinds:?}");
            assert_eq!((fields.dscp.value(), fields.ecn, usize::from(fields.length)), (46, 1, packet.len()));
            assert!(fields.has_ports && !fields.is_fragment && fields.is_ipv6());
        }
    }

    #[test]
    fn ipv6_fragments_have_no_ports_and_the_pair_of_their_flow() {
        let whole = StreamFields::read(&udp6(&[]), SEED).expect("a sound packet");
        for (offset, protocol) in [([0, 1], 17), ([0, 9], 17), ([0, 8], 60)] {
            let mut packet = udp6(&[44]);
            packet[40] = protocol;
            packet[42..44].copy_from_slice(&offset);
            let fields = StreamFields::read(&packet, SEED).expect("a sound packet");
            assert!(fields.is_fragment && !fields.has_ports, "{offset:?}");
            assert_eq!(fields.pair, whole.pair, "whatever the fragmentable part begins with");
        }
    }

    #[test]
    fn ipv6_flows_differ_by_each_field_and_by_seed_and_not_by_flow_label() {
        let base = udp6(&[]);
        let hash = |packet: &[u8], seed| StreamFields::read(packet, seed).expect("a sound packet").flow;
        for at in (8..40).chain(40..44) {
            let mut other = base.clone();
            other[at] ^= 1;
            assert_ne!(hash(&base, SEED), hash(&other, SEED), "byte {at} does not matter");
        }
        assert_ne!(hash(&base, SEED), hash(&base, FlowSeed(1)));
        let mut label = base.clone();
        label[3] = 0;
        assert_eq!(hash(&base, SEED), hash(&label, SEED));
        let mut padded = base.clone();
        padded.push(0);
        assert_eq!(StreamFields::read(&padded, SEED), None);
        assert_eq!(StreamFields::read(&udp6(&[60; 9]), SEED), None, "nobody knows what it carries");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut packet in proptest::collection::vec(any::<u8>(), 0..80), version in 0u8..3) {
            if let Some(first) = packet.first_mut().filter(|_| version > 0) {
                *first = if version == 1 { 0x45 } else { 0x60 };
            }
            if let Some(fields) = StreamFields::read(&packet, SEED) {
                prop_assert_eq!(usize::from(fields.length), packet.len());
            }
        }
    }
}
