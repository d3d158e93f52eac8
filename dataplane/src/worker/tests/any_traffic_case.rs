//! Any traffic, rules and network: what the property of `any_traffic` is tried on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use proptest::prelude::*;

use super::lab::*;
use super::lab6::*;
use crate::arch::TickSpan;
use crate::fib::PeerIndex;
use crate::packet::Sum;
use crate::packet::ipv4::Ipv4Header;
use crate::packet::ipv6::Ipv6Header;
use crate::packet::udp::UdpHeader;
use crate::pool::path::SharedHops;
use crate::pool::provisioned::{Stream, StreamId};
use crate::pool::simplemux::Flavour;
use crate::pool::wire::{Template, TemplateId};
use crate::pool::{Dscp, Format, Index, Lone, Match, Representation, Rule};

/// Rules in a set. A flow names its rule; one that names another has none.
const RULES: usize = 3;
/// The destination port of what the first rule is for; the others count up from it.
const FIRST_PORT: u16 = 16_500;
/// The TTL that provisioned streams have.
const TTL: u8 = 64;

/// One run.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub outer_ipv6: bool,
    pub format: Format,
    /// One rule set or two, the first to begin with.
    pub rules: Vec<Vec<Rule>>,
    pub flows: Vec<Flow>,
    pub steps: Vec<Step>,
    /// As [`Network`](super::two_routers::Network) has them.
    pub fates: Vec<Vec<u32>>,
}

/// A flow of UDP packets.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    pub rule: usize,
    ipv6: bool,
    tos: u8,
    ttl: u8,
    /// Whether its payload is RTP, with a sequence number and a timestamp that go on.
    rtp: bool,
    ip_id: IpId,
    has_checksum: bool,
    /// The TTL that both ends are told of its packets, where they are told of it.
    provisioned: Option<u8>,
    /// Whether it goes on to the second addressee, where its rules allow to get out on the way.
    far: bool,
}

#[derive(Clone, Copy, Debug)]
enum IpId {
    Stays,
    Counts,
    Random,
}

/// What is odd about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Oddity {
    Nothing,
    WrongChecksum,
    /// IPv4 only, as is the next.
    Options,
    Fragment,
    Dscp,
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Packet {
        flow: prop::sample::Index,
        length: u16,
        noise: u32,
        oddity: Oddity,
    },
    /// Microseconds.
    Wait(u64),
    /// Rules are set that are the same as before, or not.
    Rules(prop::sample::Index),
}

/// The template that both ends know.
pub(super) fn template() -> (TemplateId, Template) {
    (TemplateId::new(7).expect("not 0"), Template::new(&[80, 200]).expect("sound lengths"))
}

impl Case {
    pub(super) fn is_native(&self) -> bool {
        self.format == Format::Native
    }

    /// Whether a flow goes to the second addressee: what it is pooled into must be readable on the way.
    pub(super) fn is_far(&self, flow: &Flow) -> bool {
        flow.far && self.is_native() && self.rules.iter().all(|set| set.get(flow.rule).is_none_or(Rule::has_ttls))
    }

    pub(super) fn streams(&self) -> Vec<Stream> {
        let stream = |(number, flow): (u16, &Flow)| {
            let (source, destination) = flow.ends(number, self.is_far(flow));
            let dscp = Dscp::of_tos(flow.tos);
            Some(Stream { id: StreamId(number), peer: PeerIndex(0), source, destination, dscp, ttl: flow.provisioned? })
        };
        (0u16..).zip(&self.flows).filter_map(stream).collect()
    }

    pub(super) fn loses(&self) -> bool {
        self.fates.iter().any(|fate| fate.is_empty())
    }

    pub(super) fn duplicates(&self) -> bool {
        self.fates.iter().any(|fate| fate.len() > 1)
    }

    pub(super) fn keeps_order(&self) -> bool {
        self.longest_delay().is_zero()
    }

    pub(super) fn is_lossless_and_ordered(&self) -> bool {
        !self.loses() && self.keeps_order()
    }

    pub(super) fn is_perfect(&self) -> bool {
        self.is_lossless_and_ordered() && !self.duplicates()
    }

    pub(super) fn longest_delay(&self) -> std::time::Duration {
        let longest = self.fates.iter().flatten().max().copied().unwrap_or(0);
        std::time::Duration::from_micros(longest.into())
    }
}

impl Flow {
    /// A voice stream under the first rule, provisioned.
    pub(super) fn voice(ipv6: bool, tos: u8, ttl: u8) -> Flow {
        let provisioned = Some(ttl);
        Flow { rule: 0, ipv6, tos, ttl, rtp: true, ip_id: IpId::Counts, has_checksum: true, provisioned, far: false }
    }

    fn ends(&self, number: u16, far: bool) -> (SocketAddr, SocketAddr) {
        let (source, destination): (IpAddr, IpAddr) = match (self.ipv6, far) {
            (true, false) => (WEST_HOST6.into(), POOLED_HOST6.into()),
            (true, true) => (WEST_HOST6.into(), Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 7).into()),
            (false, false) => (WEST_HOST.into(), FAR_HOST.into()),
            (false, true) => (WEST_HOST.into(), Ipv4Addr::new(203, 0, 116, 7).into()),
        };
        (SocketAddr::new(source, 16_400 + number), SocketAddr::new(destination, FIRST_PORT + self.rule as u16))
    }

    /// Packet `number` of all, which is in it, and of flow `flow`.
    pub(super) fn packet(&self, flow: u16, far: bool, number: u32, length: u16, noise: u32, oddity: Oddity) -> Vec<u8> {
        let ip_id = match self.ip_id {
            IpId::Stays => 9,
            IpId::Counts => number as u16,
            IpId::Random => noise as u16,
        };
        let tos = if oddity == Oddity::Dscp { self.tos ^ 0x40 } else { self.tos };
        let mut data = Vec::new();
        if self.rtp {
            // Now and then a marker, another payload type, a jump in time.
            let payload_type = if noise.is_multiple_of(31) { 101 } else { 18 };
            let marker = if noise.is_multiple_of(7) { 0x80 } else { 0 };
            let jump = if noise.is_multiple_of(11) { noise } else { 0 };
            data.extend([0x80, payload_type | marker]);
            data.extend((number as u16).to_be_bytes());
            data.extend(number.wrapping_mul(160).wrapping_add(jump).to_be_bytes());
            data.extend(0xfeed_beefu32.to_be_bytes());
        }
        data.extend(number.to_be_bytes());
        let headers = if self.ipv6 { 48 } else { 28 };
        data.resize(data.len().max(usize::from(length).saturating_sub(headers)), noise as u8);

        let (source, destination) = self.ends(flow, far);
        let udp_len = (8 + data.len()) as u16;
        let mut udp = UdpHeader { src_port: source.port(), dst_port: destination.port(), length: udp_len, checksum: 0 };
        if self.has_checksum || self.ipv6 {
            udp.checksum = match (source.ip(), destination.ip()) {
                (IpAddr::V4(source), IpAddr::V4(destination)) => udp.checksum_over(source, destination, Sum::of(&data)),
                (IpAddr::V6(source), IpAddr::V6(destination)) => {
                    udp.checksum_over6(source, destination, Sum::of(&data))
                }
                mixed => panic!("{mixed:?}"),
            };
        }
        if oddity == Oddity::WrongChecksum {
            udp.checksum ^= 0x0101;
        }
        let mut bytes = [0; 8];
        udp.write(&mut bytes);
        let payload = [&bytes[..], &data].concat();
        match (source.ip(), destination.ip()) {
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let header = header6(source, destination, 17, payload.len());
                let flow_label = u32::from(ip_id);
                packet6(Ipv6Header { traffic_class: tos, hop_limit: self.ttl, flow_label, ..header }, &payload)
            }
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let header = Ipv4Header {
                    dscp_ecn: tos,
                    ttl: self.ttl,
                    id: ip_id,
                    dont_fragment: flow.is_multiple_of(2) && oddity != Oddity::Fragment,
                    more_fragments: oddity == Oddity::Fragment,
                    ..header(source, destination, 17, payload.len())
                };
                let packet = packet(header, &payload);
                if oddity == Oddity::Options { with_options(packet) } else { packet }
            }
            mixed => panic!("{mixed:?}"),
        }
    }
}

/// The same with four bytes of options that say nothing (RFC 791, "no operation").
fn with_options(mut packet: Vec<u8>) -> Vec<u8> {
    packet.splice(20..20, [1; 4]);
    packet[0] = 0x46;
    let length = (packet.len() as u16).to_be_bytes();
    packet[2..4].copy_from_slice(&length);
    // Its checksum is made right.
    super::two_routers::hops_later(&packet, 0)
}

fn any_rule(number: usize) -> impl Strategy<Value = Rule> {
    let (id, template) = template();
    let carriage = prop_oneof![
        4 => Just((Representation::Whole, Index::InBand)),
        3 => Just((Representation::Learned, Index::InBand)),
        2 => Just((Representation::Provisioned, Index::InBand)),
        3 => Just((Representation::Whole, Index::OutOfBand)),
        2 => Just((Representation::Whole, Index::Predetermined { id, template })),
    ];
    let us = |us: u64| TickSpan(us * 1000);
    let window = prop_oneof![1 => Just(0u64), 2 => Just(300), 3 => Just(1000), 2 => Just(5000)];
    let counts = prop_oneof![3 => Just((255u8, 1u8)), 2 => (2u8..8).prop_map(|max| (max, 1)), 2 => (2u8..8, 0u8..6)
        .prop_map(|(max, less)| (max, max.saturating_sub(less).max(1)))];
    let times = (window, prop_oneof![Just(0u64), Just(2000), Just(7000)]);
    let sizes = (
        prop_oneof![1 => Just(100u16), 2 => Just(300), 3 => Just(1500)],
        prop_oneof![4 => Just(None), 1 => Just(Some(150u16)), 1 => Just(Some(600))],
    );
    let shared = prop_oneof![Just(SharedHops::AtLeast(1)), Just(SharedHops::AtLeast(2)), Just(SharedHops::WholePath)];
    let flags = (prop::bool::weighted(0.95), prop::bool::weighted(0.25), prop::bool::weighted(0.3));
    (carriage, times, counts, sizes, shared, flags).prop_map(
        move |((representation, index), (window, more), (max_count, required_count), sizes, shared_hops, flags)| {
            let ((max_size, path_mtu), (pool, adaptive, lone_pooled)) = (sizes, flags);
            let port = FIRST_PORT + number as u16;
            let matcher = Match { destination_ports: Some(port..=port), ..Match::default() };
            Rule {
                pool,
                max_size,
                window: us(window),
                max_count,
                required_count,
                hold: us(window + more),
                adaptive,
                shared_hops,
                // One that divides a flow by size sends part of it around what waits for its index.
                path_mtu: path_mtu.filter(|_| index != Index::OutOfBand),
                lone: if lone_pooled { Lone::Pooled } else { Lone::Itself },
                representation,
                index,
                ..Rule::new(format!("rule{number}"), matcher)
            }
        },
    )
}

fn any_flow() -> impl Strategy<Value = Flow> {
    let tos = prop_oneof![4 => Just(0xb8u8), 1 => Just(0), 1 => Just(0xba), 1 => Just(0xb9), 1 => Just(0xbb)];
    let ttl = prop_oneof![6 => Just(TTL), 1 => Just(9)];
    let ip_id = prop_oneof![Just(IpId::Stays), Just(IpId::Counts), Just(IpId::Random)];
    let flags = (prop::bool::weighted(0.7), prop::bool::weighted(0.8), prop::bool::weighted(0.7));
    (0..=RULES, any::<bool>(), tos, ttl, ip_id, flags, prop::bool::weighted(0.3)).prop_map(
        |(rule, ipv6, tos, ttl, ip_id, (rtp, has_checksum, provisioned), far)| Flow {
            rule,
            ipv6,
            tos,
            ttl,
            rtp,
            ip_id,
            has_checksum,
            provisioned: provisioned.then_some(TTL),
            far,
        },
    )
}

fn any_step() -> impl Strategy<Value = Step> {
    let length = prop_oneof![5 => Just(80u16), 2 => Just(200), 3 => 40u16..400, 1 => 400u16..1400];
    let oddity = prop_oneof![
        20 => Just(Oddity::Nothing),
        1 => Just(Oddity::WrongChecksum),
        1 => Just(Oddity::Options),
        1 => Just(Oddity::Fragment),
        1 => Just(Oddity::Dscp),
    ];
    let wait = prop_oneof![2 => Just(0u64), 3 => 0u64..500, 2 => 500u64..6000, 1 => Just(20_000)];
    prop_oneof![
        40 => (any::<prop::sample::Index>(), length, any::<u32>(), oddity)
            .prop_map(|(flow, length, noise, oddity)| Step::Packet { flow, length, noise, oddity }),
        12 => wait.prop_map(Step::Wait),
        1 => any::<prop::sample::Index>().prop_map(Step::Rules),
    ]
}

/// A network that loses nothing, one that loses and doubles, and one that delays as well.
fn any_fates() -> impl Strategy<Value = Vec<Vec<u32>>> {
    let in_order = prop_oneof![5 => Just(vec![0u32]), 1 => Just(vec![]), 1 => Just(vec![0, 0])];
    let wild = prop_oneof![5 => Just(vec![0u32]), 1 => Just(vec![]), 2 => prop::collection::vec(0u32..20_000, 1..3)];
    prop_oneof![
        2 => Just(Vec::new()),
        1 => prop::collection::vec(in_order, 1..20),
        1 => prop::collection::vec(wild, 1..20),
    ]
}

/// A case. Where one fails, fewer steps, rules, flows and fates are tried.
pub(super) fn any_case() -> impl Strategy<Value = Case> {
    let format = prop_oneof![
        5 => Just(Format::Native),
        1 => Just(Format::Simplemux(Flavour::Normal)),
        1 => Just(Format::Simplemux(Flavour::Fast)),
    ];
    let rules =
        prop::collection::vec((any_rule(0), any_rule(1), any_rule(2)).prop_map(|(a, b, c)| vec![a, b, c]), 1..3);
    let flows = prop::collection::vec(any_flow(), 1..6);
    (any::<bool>(), format, rules, flows, prop::collection::vec(any_step(), 1..120), any_fates()).prop_map(
        |(outer_ipv6, format, rules, flows, mut steps, fates)| {
            for step in &mut steps {
                if let Step::Packet { flow, oddity: oddity @ (Oddity::Options | Oddity::Fragment), .. } = step
                    && flow.get(&flows).ipv6
                {
                    *oddity = Oddity::Nothing;
                }
            }
            // Simplemux is for IPv4 in IPv4.
            let outer_ipv6 = outer_ipv6 && format == Format::Native;
            Case { outer_ipv6, format, rules, flows, steps, fates }
        },
    )
}
