//! Which rule a packet has: however few or many there are, what a plain reading of them in order says.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::time::Instant;

use ipnet::IpNet;
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;

use super::rule::{Dscp, Match, Rule, RuleIndex, RuleSet};
use super::stream_detector::{Addresses, StreamFields};

/// The ports that rules and packets have: both sides of where their upper byte changes, and the ends.
const PORTS: [u16; 12] = [0, 1, 2, 3, 254, 255, 256, 257, 511, 512, 65534, 65535];

fn any_net() -> impl Strategy<Value = IpNet> {
    (address(), any::<bool>(), select(&[0u8, 0, 1, 2, 3, 24, 32, 100, 128][..])).prop_map(|(low, is_ipv6, short)| {
        let address = in_family(low, is_ipv6);
        let bits = if is_ipv6 { 128 } else { 32 };
        IpNet::new(address, bits - short.min(bits)).expect("a valid prefix length")
    })
}

/// The low bits of an address that rules and packets have.
fn address() -> impl Strategy<Value = u8> {
    prop_oneof![5 => 0u8..6, 1 => Just(255)]
}

/// The same low bits in both families, 255 the last address.
fn in_family(low: u8, is_ipv6: bool) -> IpAddr {
    match (low, is_ipv6) {
        (u8::MAX, false) => Ipv4Addr::BROADCAST.into(),
        (u8::MAX, true) => Ipv6Addr::from(u128::MAX).into(),
        (low, false) => Ipv4Addr::new(10, 0, 0, low).into(),
        (low, true) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, low.into()).into(),
    }
}

/// Matches that name each thing with this probability.
fn any_match(named: f64) -> impl Strategy<Value = Match> {
    let ports = || {
        let range = (select(&PORTS[..]), select(&PORTS[..])).prop_map(|(a, b)| a.min(b)..=a.max(b));
        weighted(named, prop_oneof![range, select(&PORTS[..]).prop_map(|port| port..=port)])
    };
    let net = || weighted(named, any_net());
    let dscp = weighted(named, 44u8..47).prop_map(|dscp| dscp.and_then(Dscp::new));
    (weighted(named, 16u8..18), ports(), ports(), net(), net(), dscp).prop_map(
        |(protocol, source_ports, destination_ports, source, destination, dscp)| {
            let of_one_family =
                |net: &IpNet| source.is_none_or(|source: IpNet| source.addr().is_ipv4() == net.addr().is_ipv4());
            let destination = destination.filter(of_one_family);
            Match { protocol, source_ports, destination_ports, source, destination, dscp }
        },
    )
}

/// Few rules, enough to be looked up at once, and more than one table has.
fn any_rules() -> impl Strategy<Value = Vec<Rule>> {
    let rules = |named, count| vec((any_match(named), any::<bool>()), count);
    let number = |(at, (matcher, pool)): (usize, (Match, bool))| Rule { pool, ..Rule::new(at.to_string(), matcher) };
    prop_oneof![4 => rules(0.3, 0..5), 4 => rules(0.3, 5..20), 2 => rules(0.9, 20..256), 1 => rules(0.95, 256..900)]
        .prop_map(move |rules| rules.into_iter().enumerate().map(number).collect())
}

fn any_packet() -> impl Strategy<Value = StreamFields> {
    let ports = proptest::option::of((select(&PORTS[..]), select(&PORTS[..])));
    (address(), address(), any::<bool>(), 16u8..18, ports, 44u8..47, any::<bool>()).prop_map(
        |(source, destination, is_ipv6, protocol, ports, dscp, is_fragment)| {
            let addresses = match (in_family(source, is_ipv6), in_family(destination, is_ipv6)) {
                (IpAddr::V4(source), IpAddr::V4(destination)) => {
                    Addresses::V4 { source: source.to_bits(), destination: destination.to_bits() }
                }
                (source, destination) => {
                    let [source, destination] = [source, destination].map(|address| match address {
                        IpAddr::V4(address) => u128::from(address.to_bits()),
                        IpAddr::V6(address) => address.to_bits(),
                    });
                    Addresses::V6 { source, destination }
                }
            };
            let (source_port, destination_port) = ports.filter(|_| !is_fragment).unwrap_or_default();
            let dscp = Dscp::new(dscp).expect("a code point");
            let has_ports = ports.is_some() && !is_fragment;
            let (ecn, length, flow, pair) = (0, 100, 0, 0);
            StreamFields {
                addresses,
                protocol,
                has_ports,
                source_port,
                destination_port,
                dscp,
                ecn,
                length,
                is_fragment,
                flow,
                pair,
            }
        },
    )
}

fn fits(matcher: &Match, packet: &StreamFields) -> bool {
    let (source, destination): (IpAddr, IpAddr) = match packet.addresses {
        Addresses::V4 { source, destination } => (Ipv4Addr::from(source).into(), Ipv4Addr::from(destination).into()),
        Addresses::V6 { source, destination } => (Ipv6Addr::from(source).into(), Ipv6Addr::from(destination).into()),
    };
    let port_fits = |range: &Option<RangeInclusive<u16>>, port| {
        range.as_ref().is_none_or(|range| packet.has_ports && range.contains(&port))
    };
    matcher.protocol.is_none_or(|protocol| protocol == packet.protocol)
        && matcher.dscp.is_none_or(|dscp| dscp == packet.dscp)
        && matcher.source.is_none_or(|net| net.contains(&source))
        && matcher.destination.is_none_or(|net| net.contains(&destination))
        && port_fits(&matcher.source_ports, packet.source_port)
        && port_fits(&matcher.destination_ports, packet.destination_port)
}

/// Whether the first rule that says so lets packets of a flow be pooled.
fn may_pool_flow(rules: &[Rule], packet: &StreamFields) -> bool {
    let of_flow = |matcher: &Match| {
        let whole = Match { dscp: None, ..matcher.clone() };
        if packet.is_fragment { Match { source_ports: None, destination_ports: None, ..whole } } else { whole }
    };
    let decides = |rule: &&Rule| rule.pool || of_flow(&rule.matcher) == rule.matcher;
    rules.iter().filter(|rule| fits(&of_flow(&rule.matcher), packet)).find(decides).is_some_and(|rule| rule.pool)
}

proptest! {
    #[test]
    fn the_first_rule_in_order_that_fits_is_found(rules in any_rules(), packets in vec(any_packet(), 1..60)) {
        let set = RuleSet::new(rules).expect("sound rules");
        for packet in packets {
            let expected = set.rules().iter().position(|rule| fits(&rule.matcher, &packet));
            let found = set.first_match(&packet).map(|index| usize::from(index.0));
            prop_assert_eq!(found, expected, "{:?}", packet);
            let expected = may_pool_flow(set.rules(), &packet);
            prop_assert_eq!(set.may_pool_flow(&packet), expected, "a flow: {:?}", packet);
        }
    }

    /// Whatever class a packet has, and whatever rules there are about classes.
    #[test]
    fn a_flow_may_be_pooled_if_a_packet_of_some_class_is(rules in any_rules(), packet in any_packet()) {
        let set = RuleSet::new(rules).expect("sound rules");
        let packet = StreamFields { is_fragment: false, ..packet };
        let classes = || (0..64).filter_map(Dscp::new).map(|dscp| StreamFields { dscp, ..packet });
        let is_pooled = |packet: StreamFields| {
            set.first_match(&packet).and_then(|index| set.get(index)).is_some_and(|rule| rule.pool)
        };
        let pools = |rule: &Rule| rule.pool && classes().any(|packet| fits(&rule.matcher, &packet));
        let may_pool = set.may_pool_flow(&packet);
        prop_assert!(may_pool || !classes().any(is_pooled), "a packet of another class is pooled");
        prop_assert!(set.rules().iter().any(pools) || !may_pool, "no rule pools it");
        prop_assert!(classes().all(|packet| set.may_pool_flow(&packet) == may_pool), "the class decides");
        let fragment = StreamFields { is_fragment: true, has_ports: false, source_port: 0, destination_port: 0, ..packet };
        prop_assert!(set.may_pool_flow(&fragment) || !may_pool, "a fragment of a flow that is pooled");
    }
}

/// A packet between these addresses of IPv4 or IPv6, with these ports if any.
fn packet(source: &str, destination: &str, ports: Option<(u16, u16)>) -> StreamFields {
    let addresses = match (source.parse(), destination.parse()) {
        (Ok(IpAddr::V4(source)), Ok(IpAddr::V4(destination))) => {
            Addresses::V4 { source: source.to_bits(), destination: destination.to_bits() }
        }
        (Ok(IpAddr::V6(source)), Ok(IpAddr::V6(destination))) => {
            Addresses::V6 { source: source.to_bits(), destination: destination.to_bits() }
        }
        other => panic!("addresses of one family: {other:?}"),
    };
    let (source_port, destination_port) = ports.unwrap_or_default();
    StreamFields {
        addresses,
        protocol: 17,
        has_ports: ports.is_some(),
        source_port,
        destination_port,
        dscp: Dscp::default(),
        ecn: 0,
        length: 100,
        is_fragment: false,
        flow: 0,
        pair: 0,
    }
}

#[test]
fn the_first_and_last_of_ports_and_prefixes_are_told_apart() {
    let net = |net: &str| net.parse::<IpNet>().ok();
    let from = |ports| Match { source_ports: Some(ports), ..Match::default() };
    let to = |ports| Match { destination_ports: Some(ports), ..Match::default() };
    let v4 = |ports| packet("10.0.0.1", "10.0.0.2", ports);
    let cases = [
        (to(0..=0), vec![v4(Some((1, 0)))], vec![v4(Some((0, 1))), v4(None)]),
        (from(65535..=65535), vec![v4(Some((65535, 0)))], vec![v4(Some((65534, 65535))), v4(None)]),
        (to(0..=65535), vec![v4(Some((1, 0))), v4(Some((1, 65535)))], vec![v4(None)]),
        (
            Match { source: net("0.0.0.0/0"), ..Match::default() },
            vec![v4(None), packet("255.255.255.255", "0.0.0.0", None)],
            vec![packet("::", "::1", None)],
        ),
        (
            Match { destination: net("::/0"), ..Match::default() },
            vec![packet("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None)],
            vec![v4(None)],
        ),
        (
            Match { destination: net("10.0.0.2/32"), ..Match::default() },
            vec![v4(None)],
            vec![packet("10.0.0.2", "10.0.0.3", None), packet("10.0.0.2", "138.0.0.2", None)],
        ),
        (
            Match { source: net("2001:db8::1/128"), ..Match::default() },
            vec![packet("2001:db8::1", "::", None)],
            vec![packet("2001:db8::", "2001:db8::1", None), packet("a001:db8::1", "::", None), v4(None)],
        ),
    ];
    // Alone, and behind rules enough that they are looked up at once.
    for others in [0, 10, 300] {
        for (matcher, fitting, others_packets) in &cases {
            let other = |at: u16| Rule::new(format!("{at}"), Match { protocol: Some(6), ..to(at..=at) });
            let rules = (0..others).map(other).chain([Rule::new("r", matcher.clone())]);
            let rules = RuleSet::new(rules.collect()).expect("sound rules");
            let found = |packet| rules.first_match(packet);
            assert!(fitting.iter().all(|packet| found(packet) == Some(RuleIndex(others))), "{others}: {matcher:?}");
            assert!(others_packets.iter().all(|packet| found(packet).is_none()), "{others}: {matcher:?}");
        }
    }
}

/// As much as tables can be made to take: ports of all upper bytes at either end, addresses of all bytes, of both families.
fn spread_out(count: u16) -> Vec<Rule> {
    let rule = |at: u16| {
        let [upper, lower] = at.reverse_bits().to_be_bytes();
        let port = u16::from_be_bytes([at as u8, upper ^ lower]);
        let address = |turned: u8| -> IpNet {
            let byte = (at as u8).wrapping_mul(turned);
            let octets = |place: usize| byte.wrapping_add(place as u8).rotate_left(place as u32) ^ upper;
            let address: IpAddr = if at.is_multiple_of(2) {
                IpAddr::from(std::array::from_fn::<u8, 4, _>(octets))
            } else {
                IpAddr::from(std::array::from_fn::<u8, 16, _>(octets))
            };
            address.into()
        };
        let matcher = Match {
            protocol: Some(lower),
            source_ports: Some(port..=port),
            destination_ports: Some(port.min(!port)..=port.max(!port)),
            source: Some(address(3)),
            destination: Some(address(5)),
            dscp: Dscp::new(at as u8 % 64),
        };
        Rule::new(at.to_string(), matcher)
    };
    (0..count).map(rule).collect()
}

/// `--nocapture` shows how long it takes, and how much memory.
#[test]
fn tables_are_bounded_however_many_rules_there_are() {
    for count in [1, 256, 4096, u16::MAX] {
        let rules = spread_out(count);
        let began = Instant::now();
        let set = RuleSet::new(rules).expect("sound rules");
        let (took, memory) = (began.elapsed(), set.memory());
        println!("{count} rules: compiled in {took:?}, tables of {} KiB", memory / 1024);
        let tables = usize::from(count).div_ceil(256);
        // One more, with up to 65,536 sets for either port, tells which of several to look at.
        let overview = if tables > 1 { 5 << 20 } else { 0 };
        assert!(memory <= tables * (640 << 10) + overview, "{count} rules: {memory} bytes");
        for (at, rule) in set.rules().iter().enumerate().step_by(199) {
            let Match { source: Some(source), destination: Some(destination), .. } = &rule.matcher else { continue };
            let ports = rule.matcher.source_ports.as_ref().map(|ports| (*ports.start(), *ports.start()));
            let [source, destination] = [source, destination].map(|net| net.addr().to_string());
            let packet = StreamFields {
                protocol: rule.matcher.protocol.unwrap_or_default(),
                dscp: rule.matcher.dscp.unwrap_or_default(),
                ..packet(&source, &destination, ports)
            };
            assert_eq!(set.first_match(&packet).map(|index| usize::from(index.0)), Some(at), "of {count} rules");
        }
    }
}
