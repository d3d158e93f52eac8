//! The match of a rule as a worker compares it: masks and ranges, without a branch for what a rule does not say.

use std::ops::{BitAnd, BitOr, BitXor, RangeInclusive};

use ipnet::IpNet;

use super::rule::{Dscp, Match};
use super::stream_detector::StreamFields;

/// Protocol, class and "has ports" in one word, so that one masked comparison decides about all three.
#[inline(always)]
pub(super) fn class_word(protocol: u8, dscp: Dscp, has_ports: bool) -> u32 {
    u32::from(protocol) | u32::from(dscp.value()) << 8 | u32::from(has_ports) << 16
}

/// A bit of class words that no packet has: a match that asks for it fits none.
const NO_PACKET: u32 = 1 << 31;

/// A [`Match`] as masks and values for addresses of type `A`: 32 bytes for IPv4. Three masked comparisons and two ranges, no
/// branch but the last.
#[derive(Clone, Copy, Debug)]
pub(super) struct CompiledMatch<A> {
    source_mask: A,
    source: A,
    destination_mask: A,
    destination: A,
    class_mask: u32,
    class: u32,
    first_source_port: u16,
    source_ports_span: u16,
    first_destination_port: u16,
    destination_ports_span: u16,
}

/// Mask and value of a prefix that IPv4 addresses are in; None where none is.
pub(super) fn prefix4(net: IpNet) -> Option<(u32, u32)> {
    match net {
        IpNet::V4(net) => Some((net.netmask().to_bits(), net.network().to_bits())),
        IpNet::V6(_) => None,
    }
}

/// Mask and value of a prefix that IPv6 addresses are in; None where none is.
pub(super) fn prefix6(net: IpNet) -> Option<(u128, u128)> {
    match net {
        IpNet::V4(_) => None,
        IpNet::V6(net) => Some((net.netmask().to_bits(), net.network().to_bits())),
    }
}

/// The position of the first match that a packet fits.
#[inline(always)]
pub(super) fn first_fit<A: Bits>(
    compiled: &[CompiledMatch<A>],
    source: A,
    destination: A,
    fields: &StreamFields,
    class: u32,
) -> Option<usize> {
    compiled.iter().position(|compiled| compiled.fits(source, destination, fields, class))
}

/// An address as an integer.
pub(super) trait Bits:
    Copy + Default + PartialEq + BitAnd<Output = Self> + BitOr<Output = Self> + BitXor<Output = Self>
{
}

impl Bits for u32 {}
impl Bits for u128 {}

impl<A: Bits> CompiledMatch<A> {
    /// `prefix` gives a prefix's mask and value, or None where it is of the other family.
    pub(super) fn new(matcher: &Match, prefix: impl Fn(IpNet) -> Option<(A, A)>) -> CompiledMatch<A> {
        let of_other_family =
            [matcher.source, matcher.destination].into_iter().flatten().any(|net| prefix(net).is_none());
        let prefix = |net: Option<IpNet>| net.and_then(&prefix).unwrap_or_default();
        let ports = |ports: &Option<RangeInclusive<u16>>| match ports {
            Some(ports) => (*ports.start(), ports.end().saturating_sub(*ports.start())),
            None => (0, u16::MAX),
        };
        let (source_mask, source) = prefix(matcher.source);
        let (destination_mask, destination) = prefix(matcher.destination);
        let (first_source_port, source_ports_span) = ports(&matcher.source_ports);
        let (first_destination_port, destination_ports_span) = ports(&matcher.destination_ports);
        let needs_ports = matcher.source_ports.is_some() || matcher.destination_ports.is_some();
        let class_mask = class_word(
            if matcher.protocol.is_some() { 0xff } else { 0 },
            Dscp(if matcher.dscp.is_some() { 0x3f } else { 0 }),
            needs_ports,
        );
        let class = class_word(matcher.protocol.unwrap_or(0), matcher.dscp.unwrap_or_default(), needs_ports);
        let never = if of_other_family { NO_PACKET } else { 0 };
        let (class_mask, class) = (class_mask | never, class | never);
        CompiledMatch {
            source_mask,
            source,
            destination_mask,
            destination,
            class_mask,
            class,
            first_source_port,
            source_ports_span,
            first_destination_port,
            destination_ports_span,
        }
    }

    /// The same for packets of every class, and with `any_port` for those of any ports or none.
    #[inline(always)]
    pub(super) fn of_flow(self, any_port: bool) -> CompiledMatch<A> {
        let without = !class_word(0, Dscp(0x3f), any_port);
        let every = if any_port { u16::MAX } else { 0 };
        CompiledMatch {
            class_mask: self.class_mask & without,
            class: self.class & without,
            source_ports_span: self.source_ports_span | every,
            destination_ports_span: self.destination_ports_span | every,
            ..self
        }
    }

    #[inline(always)]
    pub(super) fn fits(&self, source: A, destination: A, fields: &StreamFields, class: u32) -> bool {
        let differs =
            (source & self.source_mask) ^ self.source | (destination & self.destination_mask) ^ self.destination;
        let class_differs = (class & self.class_mask) ^ self.class;
        let source_port = fields.source_port.wrapping_sub(self.first_source_port);
        let destination_port = fields.destination_port.wrapping_sub(self.first_destination_port);
        (differs == A::default())
            & (class_differs == 0)
            & (source_port <= self.source_ports_span)
            & (destination_port <= self.destination_ports_span)
    }
}
