//! The match of a rule as a worker compares it: masks and ranges, without a branch for what a rule does not say.

use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::plain_burst::{Admits, Asked, verdict};
use super::rule::{Dscp, Match};
use crate::arch::lanes::{Form, Lanes};

/// Protocol, class and "has ports" in one word, so that one masked comparison decides about all three: the protocol in
/// bits 0 to 7, the DSCP in 8 to 13, whether there are ports in 14.
#[inline(always)]
pub fn class_word(protocol: u8, dscp: Dscp, has_ports: bool) -> u32 {
    u32::from(protocol) | u32::from(dscp.value()) << 8 | u32::from(has_ports) << 14
}

/// A bit of class words that no packet has: a match that asks for it fits none.
const NO_PACKET: u32 = 1 << 31;

/// A [`Match`] as masks and values for pairs of addresses of type `A`: 40 bytes for IPv4.
#[derive(Clone, Copy, Debug)]
pub(super) struct CompiledMatch<A> {
    /// Of source and destination.
    mask: A,
    addresses: A,
    class_mask: u32,
    class: u32,
    first_source_port: u16,
    source_ports_span: u16,
    first_destination_port: u16,
    destination_ports_span: u16,
    any_ports: bool,
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

/// The position of the first match that a packet fits, which is between these addresses; `ports`: source in the upper
/// half, destination in the lower; `class`: its [`class_word`].
#[inline(always)]
pub(super) fn first_fit<A: Bits>(compiled: &[CompiledMatch<A>], addresses: A, ports: u32, class: u32) -> Option<usize> {
    compiled.iter().position(|compiled| compiled.fits(addresses, ports, class))
}

/// A pair of addresses as integers, to be compared at once.
pub(super) trait Bits: Copy {
    /// One of them.
    type Address: Copy + Default;

    /// Source and destination.
    fn pair(source: Self::Address, destination: Self::Address) -> Self;

    /// Whether both are these where the mask has ones.
    fn is(self, mask: Self, value: Self) -> bool;
}

impl Bits for u64 {
    type Address = u32;

    #[inline(always)]
    fn pair(source: u32, destination: u32) -> u64 {
        u64::from(source) << 32 | u64::from(destination)
    }

    #[inline(always)]
    fn is(self, mask: u64, value: u64) -> bool {
        self & mask == value
    }
}

impl Bits for [u128; 2] {
    type Address = u128;

    #[inline(always)]
    fn pair(source: u128, destination: u128) -> [u128; 2] {
        [source, destination]
    }

    #[inline(always)]
    fn is(self, mask: [u128; 2], value: [u128; 2]) -> bool {
        let ([source, destination], [source_mask, destination_mask]) = (self, mask);
        [source & source_mask, destination & destination_mask] == value
    }
}

impl<A: Bits> CompiledMatch<A> {
    /// `prefix` gives a prefix's mask and value, or None where it is of the other family.
    pub(super) fn new(matcher: &Match, prefix: impl Fn(IpNet) -> Option<(A::Address, A::Address)>) -> CompiledMatch<A> {
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
            mask: A::pair(source_mask, destination_mask),
            addresses: A::pair(source, destination),
            class_mask,
            class,
            first_source_port,
            source_ports_span,
            first_destination_port,
            destination_ports_span,
            any_ports: !needs_ports,
        }
    }

    #[inline(always)]
    pub(super) fn fits(&self, addresses: A, ports: u32, class: u32) -> bool {
        addresses.is(self.mask, self.addresses)
            && class & self.class_mask == self.class
            && (self.any_ports || self.fits_ports((ports >> 16) as u16, ports as u16))
    }

    #[inline(always)]
    fn fits_ports(&self, source: u16, destination: u16) -> bool {
        source.wrapping_sub(self.first_source_port) <= self.source_ports_span
            && destination.wrapping_sub(self.first_destination_port) <= self.destination_ports_span
    }
}

/// The match of a rule for IPv4 packets as eight are compared with it at once, and what the rule says of those that fit.
#[derive(Clone, Copy, Debug)]
pub(super) struct LaneMatch {
    /// Of source and destination, in network byte order.
    masks: [u32; 2],
    addresses: [u32; 2],
    class_mask: u32,
    class: u32,
    /// Source in the upper half, destination in the lower.
    first_ports: u32,
    ports_span: u32,
    admits: Admits,
}

impl LaneMatch {
    /// Of a rule with this match that `admits` so much.
    pub(super) fn new(compiled: &CompiledMatch<u64>, admits: Admits) -> LaneMatch {
        let wire = |pair: u64| [(pair >> 32) as u32, pair as u32].map(u32::to_be);
        let both = |source: u16, destination: u16| u32::from(source) << 16 | u32::from(destination);
        LaneMatch {
            masks: wire(compiled.mask),
            addresses: wire(compiled.addresses),
            class_mask: compiled.class_mask,
            class: compiled.class,
            first_ports: both(compiled.first_source_port, compiled.first_destination_port),
            ports_span: both(compiled.source_ports_span, compiled.destination_ports_span),
            admits,
        }
    }

    /// What the rule says of those that fit, and of the others what was said `before`.
    #[inline(always)]
    pub(super) fn verdicts<F: Form>(&self, form: F, asked: &Asked<F::Lanes>, before: F::Lanes) -> F::Lanes {
        let differs = |lanes: F::Lanes, value, mask| (lanes ^ form.splat(value)) & form.splat(mask);
        let ([source_mask, destination_mask], [source, destination]) = (self.masks, self.addresses);
        let differs = differs(asked.source, source, source_mask)
            | differs(asked.destination, destination, destination_mask)
            | differs(asked.class, self.class, self.class_mask);
        let fits = differs.is(form.splat(0))
            & asked.ports.halves_within(form.splat(self.first_ports), form.splat(self.ports_span));
        let admits = asked.length.at_most(form.splat(self.admits.most));
        fits.choose(admits.choose(form.splat(self.admits.says), form.splat(verdict::TOO_LARGE)), before)
    }
}
