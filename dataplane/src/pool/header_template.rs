//! The header of a UDP packet, apart into what all packets of a stream have in common and what differs.
//!
//! Learned headers and provisioned streams both rebuild packets from it. A [`Template`] is the IP and UDP header with lengths, checksums and IP id taken out; with those given back it
//! writes the header that any sender would have written. Packets that no template can give back byte for byte have none.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use std::net::{IpAddr, SocketAddr};

use super::rule::Dscp;
use crate::packet::Sum;
use crate::packet::ipv4::PROTOCOL_UDP;

/// IPv4 without options, and UDP.
const IPV4_UDP: usize = 28;
/// IPv6 without extension headers, and UDP.
const IPV6_UDP: usize = 48;
/// RTP without contributing sources and extension (RFC 3550 section 5.1).
pub(super) const RTP_LEN: usize = 12;
const UDP_LEN: u16 = 8;
/// In the first byte of flags and fragment offset.
const DONT_FRAGMENT: u8 = 0x40;

/// What all packets of a stream have in common up to the end of their UDP headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Template {
    /// IP and UDP header; lengths, IP id and checksums are 0, but where the sender computes a UDP checksum, that is 1.
    /// Zeros behind.
    bytes: [u8; IPV6_UDP],
}

/// What `Template` is without of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Varying<'a> {
    /// The IP id; 0 in IPv6.
    pub(super) ip_id: u16,
    /// The header checksum; 0 in IPv6.
    ip_checksum: u16,
    udp_checksum: u16,
    /// What UDP carries.
    pub(super) payload: &'a [u8],
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TemplateSums {
    /// The IPv4 header but for length and id.
    ip: Sum,
    /// Pseudo header and UDP header but for the lengths.
    udp: Sum,
}

impl TemplateSums {
    /// Those of the template with what a provisioned stream leaves open: flow labels are in no checksum.
    #[inline]
    pub(super) fn with_open(self, is_ipv4: bool, open: &Open) -> TemplateSums {
        if !is_ipv4 {
            return self;
        }
        let fragment = if open.dont_fragment { u16::from_be_bytes([DONT_FRAGMENT, 0]) } else { 0 };
        TemplateSums { ip: self.ip.add_word(u16::from(open.ecn)).add_word(fragment), ..self }
    }
}

impl Template {
    /// Takes a packet apart. None where it has options, extension headers or another protocol, is a fragment, or has
    /// lengths that are not those of what it carries.
    #[inline]
    pub(super) fn of(packet: &[u8]) -> Option<(Template, Varying<'_>)> {
        match packet.first()? {
            0x45 => of_ipv4(packet),
            0x60..0x70 => of_ipv6(packet),
            _ => None,
        }
    }

    /// The bytes to compare and to hash: the first 32 or all 48.
    #[inline]
    pub(super) fn words(&self) -> (&[u8; IPV6_UDP], bool) {
        (&self.bytes, self.is_ipv4())
    }

    /// Whether the packets are IPv4.
    #[inline]
    pub(super) fn is_ipv4(&self) -> bool {
        let [version, ..] = self.bytes;
        version == 0x45
    }

    /// Length of IP and UDP header in bytes.
    #[inline]
    pub(super) fn len(&self) -> usize {
        if self.is_ipv4() { IPV4_UDP } else { IPV6_UDP }
    }

    /// The header that the packets of a provisioned stream have: no ECN, may be fragmented, a UDP checksum, no flow
    /// label. None where the addresses are of two families.
    pub(super) fn new(source: SocketAddr, destination: SocketAddr, dscp: Dscp, ttl: u8) -> Option<Template> {
        let tos = dscp.value() << 2;
        let mut bytes = [0; IPV6_UDP];
        let ports = match (source.ip(), destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let [_, rest @ ..] = bytes.first_chunk_mut::<IPV4_UDP>()?;
                let (fields, rest) = rest.split_first_chunk_mut::<11>()?;
                *fields = [tos, 0, 0, 0, 0, 0, 0, ttl, PROTOCOL_UDP, 0, 0];
                let (from, rest) = rest.split_first_chunk_mut()?;
                let (to, rest) = rest.split_first_chunk_mut()?;
                (*from, *to) = (source.octets(), destination.octets());
                rest.first_chunk_mut::<8>()?
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let (fields, rest) = bytes.split_first_chunk_mut::<8>()?;
                *fields = [tos >> 4, tos << 4, 0, 0, 0, 0, PROTOCOL_UDP, ttl];
                let (from, rest) = rest.split_first_chunk_mut()?;
                let (to, rest) = rest.split_first_chunk_mut()?;
                (*from, *to) = (source.octets(), destination.octets());
                rest.first_chunk_mut::<8>()?
            }
            _ => return None,
        };
        let ([s0, s1], [d0, d1]) = (source.port().to_be_bytes(), destination.port().to_be_bytes());
        *ports = [s0, s1, d0, d1, 0, 0, 0, 1];
        let [first, ..] = &mut bytes;
        *first |= if source.is_ipv4() { 0x45 } else { 0x60 };
        Some(Template { bytes })
    }

    /// The template without what a provisioned stream leaves open, and that.
    #[inline]
    pub(super) fn without_open(mut self) -> (Template, Open) {
        let is_ipv4 = self.is_ipv4();
        let [_, tos, flow0, flow1, _, _, fragment, ..] = &mut self.bytes;
        let mut open = Open { ecn: *tos & 3, ..Open::default() };
        if is_ipv4 {
            *tos &= !3;
            open.dont_fragment = *fragment & DONT_FRAGMENT != 0;
            *fragment &= !DONT_FRAGMENT;
        } else {
            open.ecn = *tos >> 4 & 3;
            open.flow_label = [*tos & 0x0f, *flow0, *flow1];
            (*tos, *flow0, *flow1) = (*tos & 0xc0, 0, 0);
        }
        open.has_udp_checksum = self.has_udp_checksum();
        if let Some(last) = self.last_of_udp() {
            *last = 1;
        }
        (self, open)
    }

    /// The template with what a provisioned stream leaves open.
    #[inline]
    pub(super) fn with_open(mut self, open: &Open) -> Template {
        let is_ipv4 = self.is_ipv4();
        let [_, tos, flow0, flow1, _, _, fragment, ..] = &mut self.bytes;
        if is_ipv4 {
            *tos |= open.ecn;
            *fragment |= if open.dont_fragment { DONT_FRAGMENT } else { 0 };
        } else {
            let [label0, label1, label2] = open.flow_label;
            *tos |= open.ecn << 4 | label0;
            (*flow0, *flow1) = (label1, label2);
        }
        if let Some(last) = self.last_of_udp() {
            *last = u8::from(open.has_udp_checksum);
        }
        self
    }

    #[inline]
    fn last_of_udp(&mut self) -> Option<&mut u8> {
        let at = self.len();
        self.bytes.get_mut(at.wrapping_sub(1))
    }

    /// What the checksums of its packets begin with.
    #[inline]
    pub(super) fn sums(&self) -> TemplateSums {
        let protocol = Sum::of_word(u16::from(PROTOCOL_UDP));
        if self.is_ipv4() {
            let (ip, udp) = self.bytes.split_at(20);
            let addresses = ip.get(12..).unwrap_or_default();
            let ports = udp.get(..4).unwrap_or_default();
            TemplateSums { ip: Sum::of(ip), udp: Sum::of(addresses).add(Sum::of(ports)).add(protocol) }
        } else {
            let addresses_and_ports = self.bytes.get(8..44).unwrap_or_default();
            TemplateSums { ip: Sum::ZERO, udp: Sum::of(addresses_and_ports).add(protocol) }
        }
    }

    #[inline]
    fn has_udp_checksum(&self) -> bool {
        let at = self.len();
        self.bytes.get(at.wrapping_sub(1)) == Some(&1)
    }

    /// Whether the packet's checksums are the ones that [`Template::write`] would write. `payload_sum` is the sum of
    /// its payload.
    #[inline]
    pub(super) fn rebuilds(&self, sums: &TemplateSums, varying: &Varying<'_>, payload_sum: Sum) -> bool {
        let Ok(payload_len) = u16::try_from(varying.payload.len()) else { return false };
        self.ip_checksum(sums, varying.ip_id, payload_len) == varying.ip_checksum
            && self.udp_checksum(sums, payload_len, payload_sum) == varying.udp_checksum
    }

    /// Writes the header of a packet with this IP id and payload to the start of `out`. None where there is no room
    /// or the payload is too long for any packet.
    #[inline]
    pub(super) fn write(
        &self,
        sums: &TemplateSums,
        ip_id: u16,
        payload_len: usize,
        payload_sum: Sum,
        out: &mut [u8],
    ) -> Option<()> {
        let payload_len = u16::try_from(payload_len).ok().filter(|length| *length <= u16::MAX - IPV6_UDP as u16)?;
        let [l0, l1] = (UDP_LEN + payload_len).to_be_bytes();
        let [c0, c1] = self.udp_checksum(sums, payload_len, payload_sum).to_be_bytes();
        let udp_end = if self.is_ipv4() {
            let out = out.first_chunk_mut::<IPV4_UDP>()?;
            out.copy_from_slice(self.bytes.first_chunk::<IPV4_UDP>()?);
            let [_, _, t0, t1, i0, i1, _, _, _, _, h0, h1, ..] = out;
            [*t0, *t1] = (IPV4_UDP as u16 + payload_len).to_be_bytes();
            [*i0, *i1] = ip_id.to_be_bytes();
            [*h0, *h1] = self.ip_checksum(sums, ip_id, payload_len).to_be_bytes();
            out.last_chunk_mut::<4>()?
        } else {
            let out = out.first_chunk_mut::<IPV6_UDP>()?;
            *out = self.bytes;
            let [_, _, _, _, p0, p1, ..] = out;
            (*p0, *p1) = (l0, l1);
            out.last_chunk_mut::<4>()?
        };
        *udp_end = [l0, l1, c0, c1];
        Some(())
    }

    #[inline]
    fn ip_checksum(&self, sums: &TemplateSums, ip_id: u16, payload_len: u16) -> u16 {
        if !self.is_ipv4() {
            return 0;
        }
        sums.ip.add_word((IPV4_UDP as u16).wrapping_add(payload_len)).add_word(ip_id).checksum()
    }

    /// RFC 768: a computed 0 is sent as 0xffff. The length counts in the pseudo header and in the header.
    #[inline]
    fn udp_checksum(&self, sums: &TemplateSums, payload_len: u16, payload_sum: Sum) -> u16 {
        if !self.has_udp_checksum() {
            return 0;
        }
        let length = UDP_LEN.wrapping_add(payload_len);
        match sums.udp.add_word(length).add_word(length).add(payload_sum).checksum() {
            0 => 0xffff,
            checksum => checksum,
        }
    }
}

#[inline]
fn of_ipv4(packet: &[u8]) -> Option<(Template, Varying<'_>)> {
    /// More fragments, and the offset of this one.
    const FRAGMENT: u16 = 0x3fff;
    let (header, payload) = packet.split_first_chunk::<IPV4_UDP>()?;
    let mut template = Template { bytes: [0; IPV6_UDP] };
    let bytes = template.bytes.first_chunk_mut::<IPV4_UDP>()?;
    *bytes = *header;
    let [_, _, t0, t1, i0, i1, f0, f1, _, protocol, h0, h1, rest @ ..] = bytes;
    let [.., l0, l1, c0, c1] = rest;
    let varying = Varying {
        ip_id: u16::from_be_bytes([*i0, *i1]),
        ip_checksum: u16::from_be_bytes([*h0, *h1]),
        udp_checksum: u16::from_be_bytes([*c0, *c1]),
        payload,
    };
    let is_whole = u16::from_be_bytes([*f0, *f1]) & FRAGMENT == 0;
    let total = usize::from(u16::from_be_bytes([*t0, *t1]));
    let udp = usize::from(u16::from_be_bytes([*l0, *l1]));
    if *protocol != PROTOCOL_UDP || !is_whole || total != packet.len() || udp + 20 != total {
        return None;
    }
    for byte in [t0, t1, i0, i1, h0, h1, l0, l1, c0] {
        *byte = 0;
    }
    *c1 = u8::from(varying.udp_checksum != 0);
    Some((template, varying))
}

#[inline]
fn of_ipv6(packet: &[u8]) -> Option<(Template, Varying<'_>)> {
    let (header, payload) = packet.split_first_chunk::<IPV6_UDP>()?;
    let mut bytes = *header;
    let [_, _, _, _, p0, p1, next_header, ..] = &mut bytes;
    let is_udp = *next_header == PROTOCOL_UDP;
    let length = u16::from_be_bytes([*p0, *p1]);
    (*p0, *p1) = (0, 0);
    let [.., l0, l1, c0, c1] = &mut bytes;
    let udp = u16::from_be_bytes([*l0, *l1]);
    if !is_udp || udp != length || usize::from(length) + 40 != packet.len() {
        return None;
    }
    let udp_checksum = u16::from_be_bytes([*c0, *c1]);
    (*l0, *l1, *c0, *c1) = (0, 0, 0, u8::from(udp_checksum != 0));
    Some((Template { bytes }, Varying { ip_id: 0, ip_checksum: 0, udp_checksum, payload }))
}

/// The fixed part of an RTP header (RFC 3550 section 5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rtp {
    /// Version, padding, extension, count of contributing sources; marker and payload type.
    pub(super) start: [u8; 2],
    pub(super) sequence: u16,
    pub(super) timestamp: u32,
    pub(super) source: [u8; 4],
}

impl Rtp {
    /// Reads what may be an RTP header: any 12 bytes.
    #[inline]
    pub(super) fn read(payload: &[u8]) -> Option<(Rtp, &[u8])> {
        let (&[v, pt, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3], rest) = payload.split_first_chunk::<RTP_LEN>()?;
        let rtp = Rtp {
            start: [v, pt],
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            source: [r0, r1, r2, r3],
        };
        Some((rtp, rest))
    }

    /// Whether this looks like RTP: version 2, and no type of RTCP (RFC 5761 section 4).
    #[inline]
    pub(super) fn is_likely(&self) -> bool {
        let [first, second] = self.start;
        first >> 6 == 2 && !(192..224).contains(&second)
    }

    /// The header as it is on the wire.
    #[inline]
    pub(super) fn to_bytes(self) -> [u8; RTP_LEN] {
        let [v, pt] = self.start;
        let [s0, s1] = self.sequence.to_be_bytes();
        let [t0, t1, t2, t3] = self.timestamp.to_be_bytes();
        let [r0, r1, r2, r3] = self.source;
        [v, pt, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3]
    }
}
