//! The header of a UDP packet, apart into what all packets of a stream have in common and what differs.
//!
//! Learned headers and provisioned streams both rebuild packets from it. A [`Template`] is the IP and UDP header with lengths, checksums and IP id taken out; with those given back it
//! writes the header that any sender would have written. Packets that no template can give back byte for byte have none.
//!
//! Headers are read, compared and written as little-endian words of 64 bits: what differs is masked out of them.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use std::hash::{Hash, Hasher};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::rule::Dscp;
use crate::packet::ipv4::{PROTOCOL_UDP, decrement_ttl_in};
use crate::packet::{Sum, Total};

/// IPv4 without options, and UDP.
pub(super) const IPV4_UDP: usize = 28;
/// IPv6 without extension headers, and UDP.
const IPV6_UDP: usize = 48;
const UDP_LEN: u16 = 8;
/// From so many bytes on a payload is added up by vectors.
const LONG: usize = 192;
/// Words of an IPv6 template, which is the longest.
const WORDS: usize = 6;

/// IPv4 and UDP in words: the last four bytes, UDP's length and checksum, are left out.
mod ipv4 {
    /// The first word without total length and IP id.
    pub(super) const FIRST: u64 = 0xffff_0000_0000_ffff;
    /// The second without the header checksum.
    pub(super) const SECOND: u64 = 0xffff_ffff_0000_ffff;
    /// There, in the second: the sender computes a UDP checksum.
    pub(super) const HAS_CHECKSUM: u64 = 1 << 16;
    /// In the first: more fragments, and the offset of this one.
    pub(super) const FRAGMENT: u64 = 0xff3f << 48;
    pub(super) const DONT_FRAGMENT: u64 = 0x40 << 48;
    pub(super) const ECN_SHIFT: u32 = 8;
    /// There as well: the IP id.
    pub(super) const ID: u64 = 0xffff << 32;
    /// In the fourth, of which the first half is UDP's: the checksum.
    pub(super) const UDP_CHECKSUM: u64 = 0xffff << 16;
}

/// IPv6 and UDP in words.
mod ipv6 {
    /// The first word without the payload length.
    pub(super) const FIRST: u64 = 0xffff_0000_ffff_ffff;
    /// There: the sender computes a UDP checksum.
    pub(super) const HAS_CHECKSUM: u64 = 1 << 32;
    pub(super) const ECN_SHIFT: u32 = 12;
    pub(super) const FLOW_LABEL: u64 = 0xff_ff0f << FLOW_LABEL_SHIFT;
    pub(super) const FLOW_LABEL_SHIFT: u32 = 8;
    /// The last word without UDP's length and checksum.
    pub(super) const LAST: u64 = 0xffff_ffff;
}

/// What all packets of a stream have in common up to the end of their UDP headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Template {
    /// The first three of IPv4, all of IPv6. Lengths, IP id and checksums are 0, but for `HAS_CHECKSUM`. Zeros behind.
    words: [u64; WORDS],
}

/// A packet taken apart. `N` words of its template are not 0 throughout its family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Apart<'a, const N: usize> {
    /// Those of its template.
    pub(super) words: [u64; N],
    pub(super) varying: Varying<'a>,
}

/// What `Template` is without of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Varying<'a> {
    /// The IP id; 0 in IPv6.
    pub(super) ip_id: u16,
    /// What UDP carries.
    pub(super) payload: &'a [u8],
    /// Whether the header checksum is the one that any sender would compute; true in IPv6.
    is_ip_usual: bool,
    /// What the UDP checksum is about but for the payload, with the checksum. None where there is no checksum.
    udp: Option<Total>,
}

/// What a provisioned stream leaves open of a template.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Open {
    /// 0 to 3.
    pub(super) ecn: u8,
    /// IPv4.
    pub(super) dont_fragment: bool,
    /// Whether the sender computes a UDP checksum.
    pub(super) has_udp_checksum: bool,
    /// IPv6: 20 bits.
    pub(super) flow_label: [u8; 3],
}

/// The sums over a template that checksums begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TemplateSums {
    /// The IPv4 header but for length and id; a little-endian word.
    ip: u16,
    /// Pseudo header and UDP header but for the lengths; likewise.
    udp: u16,
}

impl TemplateSums {
    /// Of no template.
    pub(super) const NONE: TemplateSums = TemplateSums { ip: 0, udp: 0 };

    /// Those of the template with what a provisioned stream leaves open: flow labels are in no checksum.
    #[inline(always)]
    pub(super) fn with_open(self, is_ipv4: bool, open: &Open) -> TemplateSums {
        if !is_ipv4 {
            return self;
        }
        let mut ip = Total::of(self.ip.into());
        ip.add(in_ipv4(open));
        TemplateSums { ip: ip.sum().little_endian(), ..self }
    }
}

/// What is open in the first word of IPv4.
#[inline(always)]
fn in_ipv4(open: &Open) -> u64 {
    u64::from(open.ecn) << ipv4::ECN_SHIFT | if open.dont_fragment { ipv4::DONT_FRAGMENT } else { 0 }
}

impl Template {
    /// Of no packet.
    pub(super) const NONE: Template = Template { words: [0; WORDS] };

    /// Takes a packet apart. None where it has options, extension headers or another protocol, is a fragment, or has
    /// lengths that are not those of what it carries.
    #[inline]
    pub(super) fn of(packet: &[u8]) -> Option<(Template, Varying<'_>)> {
        match packet.first()? {
            0x45 => Apart::of_ipv4::<false>(packet).map(|Apart { words, varying }| (words.into(), varying)),
            0x60..0x70 => Apart::of_ipv6(packet).map(|Apart { words, varying }| (words.into(), varying)),
            _ => None,
        }
    }

    /// Whether the words that are not 0 throughout its family are these. Words of two families are never the same.
    #[inline(always)]
    pub(super) fn has<const N: usize>(&self, words: &[u64; N]) -> bool {
        // All at once, and each as it was stored: what was found by its hash is seldom another one.
        self.words.iter().zip(words).fold(0, |differing, (own, other)| differing | own ^ other) == 0
    }

    /// Whether it is that of a packet which starts with these words and has this `length`, and the packet's UDP checksum is
    /// the one that [`Template::write`] would write. The packet is IPv4 without options, its header checksum is right, and its
    /// TTL is still to be decremented.
    #[inline(always)]
    pub(super) fn is_of(&self, [a, b, c, d, e]: [u64; 5], length: u16, behind: &[u8]) -> bool {
        let [own_a, own_b, own_c, ..] = self.words;
        let (length, udp_len) = (be(length), be(length.wrapping_sub(IPV4_UDP as u16 - UDP_LEN)));
        // A header checksum that was right is the usual one then: it is never 0xffff.
        let b = decrement_ttl_in(b);
        let differing =
            (a ^ own_a ^ length << 16) & !ipv4::ID | (b ^ own_b) & ipv4::SECOND | c ^ own_c | (d ^ udp_len) & 0xffff;
        if differing != 0 {
            return false;
        }
        let has_checksum = own_b & ipv4::HAS_CHECKSUM != 0;
        if d & ipv4::UDP_CHECKSUM == 0 || !has_checksum {
            return d & ipv4::UDP_CHECKSUM == 0 && !has_checksum;
        }
        let mut udp = Total::of(c);
        udp.add(d);
        udp.add(e);
        udp.add((b >> 32) + udp_len + IN_PSEUDO_HEADER);
        add_payload(&mut udp, behind);
        udp.is_valid()
    }

    /// All its words.
    #[inline]
    pub(super) fn words(&self) -> &[u64; WORDS] {
        &self.words
    }

    /// Whether the packets are IPv4.
    #[inline]
    pub(super) fn is_ipv4(&self) -> bool {
        let [first, ..] = self.words;
        first as u8 == 0x45
    }

    /// Length of IP and UDP header in bytes.
    #[inline]
    pub(super) fn len(&self) -> usize {
        if self.is_ipv4() { IPV4_UDP } else { IPV6_UDP }
    }

    /// Whom its packets are for, as [`Plain`] says it, where they are IPv4.
    ///
    /// [`Plain`]: crate::packet::ipv4::Plain
    #[inline(always)]
    pub(super) fn destination(&self) -> u32 {
        let [_, _, third, ..] = self.words;
        (third as u32).swap_bytes()
    }

    /// Whether its packets are to this UDP port, where they are IPv4. `port` is in network byte order, or above 65,535 where
    /// there is no such port.
    #[inline(always)]
    pub(super) fn is_to(&self, port: u32) -> bool {
        let [_, _, third, ..] = self.words;
        (third >> 48) as u32 == port
    }

    /// The header that the packets of a provisioned stream have: no ECN, may be fragmented, a UDP checksum, no flow
    /// label. None where the addresses are of two families.
    pub(super) fn new(source: SocketAddr, destination: SocketAddr, dscp: Dscp, ttl: u8) -> Option<Template> {
        let tos = dscp.value() << 2;
        let ([s0, s1], [d0, d1]) = (source.port().to_be_bytes(), destination.port().to_be_bytes());
        let ports = u32::from_le_bytes([s0, s1, d0, d1]);
        let words = match (source, destination) {
            (SocketAddr::V4(source), SocketAddr::V4(destination)) => {
                let word = |address: &Ipv4Addr| u64::from(u32::from_le_bytes(address.octets()));
                [
                    u64::from_le_bytes([0x45, tos, 0, 0, 0, 0, 0, 0]),
                    u64::from_le_bytes([ttl, PROTOCOL_UDP, 0, 0, 0, 0, 0, 0])
                        | word(source.ip()) << 32
                        | ipv4::HAS_CHECKSUM,
                    word(destination.ip()) | u64::from(ports) << 32,
                    0,
                    0,
                    0,
                ]
            }
            (SocketAddr::V6(source), SocketAddr::V6(destination)) => {
                let words = |address: &Ipv6Addr| {
                    let bits = u128::from_le_bytes(address.octets());
                    [bits as u64, (bits >> 64) as u64]
                };
                let ([s0, s1], [d0, d1]) = (words(source.ip()), words(destination.ip()));
                let first = u64::from_le_bytes([0x60 | tos >> 4, tos << 4, 0, 0, 0, 0, PROTOCOL_UDP, ttl]);
                [first | ipv6::HAS_CHECKSUM, s0, s1, d0, d1, ports.into()]
            }
            _ => return None,
        };
        Some(Template { words })
    }

    /// The template without what a provisioned stream leaves open, and that.
    #[inline]
    pub(super) fn without_open(mut self) -> (Template, Open) {
        let is_ipv4 = self.is_ipv4();
        let [first, second, ..] = &mut self.words;
        let mut open = Open::default();
        if is_ipv4 {
            open.ecn = (*first >> ipv4::ECN_SHIFT) as u8 & 3;
            open.dont_fragment = *first & ipv4::DONT_FRAGMENT != 0;
            open.has_udp_checksum = *second & ipv4::HAS_CHECKSUM != 0;
            *first &= !(3 << ipv4::ECN_SHIFT | ipv4::DONT_FRAGMENT);
            *second |= ipv4::HAS_CHECKSUM;
        } else {
            open.ecn = (*first >> ipv6::ECN_SHIFT) as u8 & 3;
            open.has_udp_checksum = *first & ipv6::HAS_CHECKSUM != 0;
            let [label0, label1, label2, ..] = ((*first & ipv6::FLOW_LABEL) >> ipv6::FLOW_LABEL_SHIFT).to_le_bytes();
            open.flow_label = [label0, label1, label2];
            *first &= !(3 << ipv6::ECN_SHIFT | ipv6::FLOW_LABEL);
            *first |= ipv6::HAS_CHECKSUM;
        }
        (self, open)
    }

    /// The template with what a provisioned stream leaves open.
    #[inline(always)]
    pub(super) fn with_open(mut self, open: &Open) -> Template {
        let is_ipv4 = self.is_ipv4();
        let [first, second, ..] = &mut self.words;
        if is_ipv4 {
            *first |= in_ipv4(open);
            *second &= if open.has_udp_checksum { !0 } else { !ipv4::HAS_CHECKSUM };
        } else {
            let [label0, label1, label2] = open.flow_label;
            let label = u64::from(u32::from_le_bytes([label0, label1, label2, 0])) << ipv6::FLOW_LABEL_SHIFT;
            *first |= u64::from(open.ecn) << ipv6::ECN_SHIFT | label;
            *first &= if open.has_udp_checksum { !0 } else { !ipv6::HAS_CHECKSUM };
        }
        self
    }

    /// What the checksums of its packets begin with.
    #[inline]
    pub(super) fn sums(&self) -> TemplateSums {
        let [a, b, c, d, e, f] = self.words;
        let (mut ip, mut udp) = (Total::default(), Total::default());
        udp.add(IN_PSEUDO_HEADER);
        if self.is_ipv4() {
            ip.add(a);
            ip.add(b & ipv4::SECOND);
            ip.add(c & u64::from(u32::MAX));
            udp.add(b >> 32);
            udp.add(c);
        } else {
            [b, c, d, e, f].into_iter().for_each(|word| udp.add(word));
        }
        TemplateSums { ip: ip.sum().little_endian(), udp: udp.sum().little_endian() }
    }

    /// Writes the header of a packet with this IP id and payload to the start of `out`. None where there is no room
    /// or the payload is too long for any packet.
    #[inline(always)]
    pub(super) fn write(
        &self,
        sums: &TemplateSums,
        ip_id: u16,
        payload_len: usize,
        payload: Total,
        out: &mut [u8],
    ) -> Option<()> {
        if self.is_ipv4() {
            return self.write_ipv4(sums, ip_id, payload_len, payload, out.first_chunk_mut()?);
        }
        let udp_len = be(UDP_LEN + carried(payload_len)?);
        let [a, b, c, d, e, f] = self.words;
        let udp = udp_checksum(a & ipv6::HAS_CHECKSUM != 0, sums.udp, udp_len, payload);
        let words = [a & ipv6::FIRST | udp_len << 32, b, c, d, e, f | udp_len << 32 | udp << 48];
        let out = out.first_chunk_mut::<IPV6_UDP>()?;
        for (out, word) in out.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *out = word.to_le_bytes();
        }
        Some(())
    }

    /// The same where it is IPv4.
    #[inline(always)]
    pub(super) fn write_ipv4(
        &self,
        sums: &TemplateSums,
        ip_id: u16,
        payload_len: usize,
        payload: Total,
        out: &mut [u8; IPV4_UDP],
    ) -> Option<()> {
        let payload_len = carried(payload_len)?;
        let [a, b, c, ..] = self.words;
        let (length, udp_len, ip_id) = (be(IPV4_UDP as u16 + payload_len), be(UDP_LEN + payload_len), be(ip_id));
        let ip = Total::of(u64::from(sums.ip) + length + ip_id);
        let ip = be(ip.sum().checksum());
        let udp = udp_checksum(b & ipv4::HAS_CHECKSUM != 0, sums.udp, udp_len, payload);
        let (words, behind) = out.as_chunks_mut::<8>();
        let [first, second, third] = words else { return None };
        *first = (a | length << 16 | ip_id << 32).to_le_bytes();
        *second = (b & ipv4::SECOND | ip << 16).to_le_bytes();
        *third = c.to_le_bytes();
        *behind.first_chunk_mut()? = ((udp_len | udp << 16) as u32).to_le_bytes();
        Some(())
    }
}

/// The length of what UDP carries, unless it is too long for any packet.
#[inline(always)]
fn carried(payload_len: usize) -> Option<u16> {
    u16::try_from(payload_len).ok().filter(|length| *length <= u16::MAX - IPV6_UDP as u16)
}

impl From<[u64; 3]> for Template {
    #[inline]
    fn from([a, b, c]: [u64; 3]) -> Template {
        Template { words: [a, b, c, 0, 0, 0] }
    }
}

impl From<[u64; 6]> for Template {
    #[inline]
    fn from(words: [u64; 6]) -> Template {
        Template { words }
    }
}

impl Hash for Template {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, rest @ ..] = self.words;
        [a, b, c].into_iter().for_each(|word| state.write_u64(word));
        if !self.is_ipv4() {
            rest.into_iter().for_each(|word| state.write_u64(word));
        }
    }
}

/// What the pseudo headers have beside addresses and length (RFC 768, RFC 8200 section 8.1).
const IN_PSEUDO_HEADER: u64 = (PROTOCOL_UDP as u64) << 8;

/// Two bytes as they are on the wire, at the start of a word.
#[inline(always)]
fn be(value: u16) -> u64 {
    value.swap_bytes().into()
}

/// RFC 768: a computed 0 is sent as 0xffff. The length counts in the pseudo header and in the header.
#[inline(always)]
fn udp_checksum(is_computed: bool, sum: u16, length: u64, mut payload: Total) -> u64 {
    if !is_computed {
        return 0;
    }
    payload.add(u64::from(sum) + length + length);
    match payload.sum().checksum() {
        0 => 0xffff,
        checksum => be(checksum),
    }
}

impl<const N: usize> Apart<'_, N> {
    /// Length of IP and UDP header in bytes.
    pub(super) const LEN: usize = if N == WORDS { IPV6_UDP } else { IPV4_UDP };
}

impl<'a> Apart<'a, 3> {
    /// None where the packet has options or another protocol, is a fragment, or has lengths that are not those of what it
    /// carries. Its first byte is 0x45. `FORWARDS`: as if its TTL, which is above 0, were decremented.
    #[inline(always)]
    pub(super) fn of_ipv4<const FORWARDS: bool>(packet: &'a [u8]) -> Option<Apart<'a, 3>> {
        let (header, payload) = packet.split_first_chunk::<IPV4_UDP>()?;
        let ([a, b, c], end) = header.as_chunks::<8>().0.first_chunk::<3>().zip(header.last_chunk::<4>())?;
        let [a, b, c] = [*a, *b, *c].map(u64::from_le_bytes);
        let b = if FORWARDS { decrement_ttl_in(b) } else { b };
        let end = u64::from(u32::from_le_bytes(*end));
        let length = be(u16::try_from(packet.len()).ok()?);
        let udp_len = be(u16::try_from(payload.len()).ok()? + UDP_LEN);
        if (b >> 8) as u8 != PROTOCOL_UDP
            || a & ipv4::FRAGMENT != 0
            || a >> 16 & 0xffff != length
            || end & 0xffff != udp_len
        {
            return None;
        }
        let has_checksum = end >> 16 != 0;
        let mut udp = Total::default();
        udp.add(c);
        udp.add((b >> 32) + end + udp_len + IN_PSEUDO_HEADER);
        let varying = Varying {
            ip_id: ((a >> 32) as u16).swap_bytes(),
            payload,
            // A sender computes no 0xffff: that would be the complement of a sum of 0.
            is_ip_usual: Sum::of_header(a, b, c as u32).is_valid() && b >> 16 & 0xffff != 0xffff,
            udp: has_checksum.then_some(udp),
        };
        let second = b & ipv4::SECOND | if has_checksum { ipv4::HAS_CHECKSUM } else { 0 };
        Some(Apart { words: [a & ipv4::FIRST, second, c], varying })
    }
}

impl<'a> Apart<'a, 6> {
    /// None where the packet has extension headers or another protocol, or has lengths that are not those of what it
    /// carries. Its version is 6.
    #[inline(always)]
    pub(super) fn of_ipv6(packet: &'a [u8]) -> Option<Apart<'a, 6>> {
        let (header, payload) = packet.split_first_chunk::<IPV6_UDP>()?;
        let [a, b, c, d, e, f] = header.as_chunks::<8>().0.first_chunk::<WORDS>()?.map(u64::from_le_bytes);
        let length = be(u16::try_from(payload.len()).ok()?.checked_add(UDP_LEN)?);
        if (a >> 48) as u8 != PROTOCOL_UDP || a >> 32 & 0xffff != length || f >> 32 & 0xffff != length {
            return None;
        }
        let has_checksum = f >> 48 != 0;
        let mut udp = Total::default();
        [b, c, d, e, f, length + IN_PSEUDO_HEADER].into_iter().for_each(|word| udp.add(word));
        let varying = Varying { ip_id: 0, payload, is_ip_usual: true, udp: has_checksum.then_some(udp) };
        let first = a & ipv6::FIRST | if has_checksum { ipv6::HAS_CHECKSUM } else { 0 };
        Some(Apart { words: [first, b, c, d, e, f & ipv6::LAST], varying })
    }
}

impl Varying<'_> {
    /// Whether the packet's checksums are the ones that [`Template::write`] would write. A UDP checksum is never 0 where
    /// there is one, and so the one that makes the sum right.
    #[inline(always)]
    pub(super) fn is_usual(&self) -> bool {
        let Some(mut total) = self.udp else { return self.is_ip_usual };
        add_payload(&mut total, self.payload);
        self.is_ip_usual && total.sum().is_valid()
    }
}

/// Adds what UDP carries.
#[inline(always)]
pub(super) fn add_payload(total: &mut Total, payload: &[u8]) {
    if payload.len() < LONG { total.add_bytes(payload) } else { total.add_sum(Sum::of_long(payload)) }
}
