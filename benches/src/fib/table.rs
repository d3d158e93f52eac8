//! The routing tables that are measured: a real one of the Internet, of both families, decoded from `benches/data`.
//!
//! Addresses of both families are numbers here, IPv4 in the lower 32 bits. The next hop of a prefix is made from its
//! origin AS: the prefixes of one network have one next hop, as they mostly have in a router.

use std::collections::HashSet;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lzma_rust2::XzReader;

use super::hop;
use super::stream::Random;
use crate::error::BenchError;

/// Every prefix with its origin AS, a line each; `benches/data/README.md` says where it comes from.
const PREFIXES: &[u8] = include_bytes!("../../data/bgp-prefixes.txt.xz");

/// Of which family a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl std::fmt::Display for Family {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

impl Family {
    /// Bits of an address.
    pub fn bits(self) -> u8 {
        match self {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }

    /// The longest prefix that most networks accept from each other; the rest is what carriers keep to themselves.
    pub fn longest_announced(self) -> u8 {
        match self {
            Family::V4 => 24,
            Family::V6 => 48,
        }
    }
}

/// A prefix and where it leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Its first address.
    pub first: u128,
    pub length: u8,
    pub hop: u16,
}

impl Route {
    /// Its last address, for a family of that many bits.
    pub fn last(&self, bits: u8) -> u128 {
        // A shift by 128 is none: a default route of IPv6 has all bits.
        self.first | u128::MAX.checked_shr(u32::from(128 - bits + self.length)).unwrap_or(0)
    }
}

/// Routes of one family, ordered by first address, shorter prefixes first; no prefix twice.
#[derive(Clone, Debug)]
pub struct Table {
    pub family: Family,
    pub routes: Vec<Route>,
}

/// The tables of one family.
pub struct Tables {
    /// Prefixes up to /24 or /48 of addresses that are routed globally.
    pub announced: Table,
    /// Those, and all longer prefixes.
    pub all_lengths: Table,
}

impl Tables {
    /// A table of so many prefixes: those that are announced; then of the longer ones as many as it takes, in even steps; then, where
    /// that is not enough, prefixes that nobody has: each the neighbour of a real one, of its length and with the next hop of another, so
    /// that lengths and places are spread as those of the real ones.
    pub fn grown_to(&self, count: usize) -> Table {
        let family = self.announced.family;
        let mut routes = self.announced.routes.clone();
        let longer: Vec<&Route> =
            self.all_lengths.routes.iter().filter(|route| route.length > family.longest_announced()).collect();
        let wanted = count.saturating_sub(routes.len()).min(longer.len());
        routes.extend((0..wanted).filter_map(|at| longer.get(at * longer.len() / wanted.max(1)).copied()));
        let mut known: HashSet<(u128, u8)> = routes.iter().map(|route| (route.first, route.length)).collect();
        let (mut random, real) = (Random(0x90e5), routes.clone());
        while routes.len() < count && !real.is_empty() {
            let mut draw = || real[random.below(real.len() as u128) as usize];
            let (of, hop) = (draw(), draw().hop);
            let beside = Route { first: of.first ^ 1 << (family.bits() - of.length), hop, ..of };
            if of.length > 0 && is_global(family, &beside) && known.insert((beside.first, beside.length)) {
                routes.push(beside);
            }
        }
        routes.sort_unstable_by_key(|route| (route.first, route.length));
        Table { family, routes }
    }
}

/// Decodes the tables of both families.
pub fn load() -> Result<(Tables, Tables), BenchError> {
    let broken = |problem: String| BenchError::System(format!("the routing table cannot be decoded: {problem}"));
    let mut text = String::new();
    XzReader::new(PREFIXES, false).read_to_string(&mut text).map_err(|error| broken(error.to_string()))?;
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let (family, route) = parse(line).ok_or_else(|| broken(format!("{line:?} is no prefix and AS number")))?;
        match family {
            Family::V4 => v4.push(route),
            Family::V6 => v6.push(route),
        }
    }
    Ok((tables(Family::V4, v4), tables(Family::V6, v6)))
}

/// A line: a prefix and its origin AS. Bits of the address behind the prefix count for nothing.
fn parse(line: &str) -> Option<(Family, Route)> {
    let (prefix, origin) = line.split_once(' ')?;
    let (address, length) = prefix.split_once('/')?;
    let (family, address) = match address.parse().ok()? {
        IpAddr::V4(address) => (Family::V4, u128::from(address.to_bits())),
        IpAddr::V6(address) => (Family::V6, address.to_bits()),
    };
    let length = length.parse().ok().filter(|length| *length <= family.bits())?;
    let host = u128::MAX.checked_shr(u32::from(128 - family.bits() + length)).unwrap_or(0);
    Some((family, Route { first: address & !host, length, hop: hop::of_origin(origin.parse().ok()?) }))
}

fn tables(family: Family, mut routes: Vec<Route>) -> Tables {
    routes.sort_unstable_by_key(|route| (route.first, route.length));
    routes.dedup_by_key(|route| (route.first, route.length));
    let short = |route: &Route| route.length <= family.longest_announced();
    let mut all_lengths = routes;
    all_lengths.retain(|route| !short(route) || is_global(family, route));
    let announced = all_lengths.iter().filter(|route| short(route)).copied().collect();
    Tables { announced: Table { family, routes: announced }, all_lengths: Table { family, routes: all_lengths } }
}

/// Whether a prefix is of addresses that are routed globally, by the registries of special-purpose addresses (RFC 6890)
/// and of multicast addresses. The default route is not.
fn is_global(family: Family, route: &Route) -> bool {
    let special: &[(IpAddr, u8)] = match family {
        Family::V4 => &SPECIAL_V4,
        Family::V6 => &SPECIAL_V6,
    };
    let inside = |(address, length): &(IpAddr, u8)| {
        let first = match address {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits(),
        };
        let block = Route { first, length: *length, hop: hop::NO_ROUTE };
        route.length >= *length && (first..=block.last(family.bits())).contains(&route.first)
    };
    route.length > 0 && !special.iter().any(inside)
}

const fn v4(a: u8, b: u8, c: u8, length: u8) -> (IpAddr, u8) {
    (IpAddr::V4(Ipv4Addr::new(a, b, c, 0)), length)
}

const fn v6(a: u16, length: u8) -> (IpAddr, u8) {
    (IpAddr::V6(Ipv6Addr::new(a, 0, 0, 0, 0, 0, 0, 0)), length)
}

const SPECIAL_V4: [(IpAddr, u8); 14] = [
    v4(0, 0, 0, 8),
    v4(10, 0, 0, 8),
    v4(100, 64, 0, 10),
    v4(127, 0, 0, 8),
    v4(169, 254, 0, 16),
    v4(172, 16, 0, 12),
    v4(192, 0, 0, 24),
    v4(192, 0, 2, 24),
    v4(192, 168, 0, 16),
    v4(198, 18, 0, 15),
    v4(198, 51, 100, 24),
    v4(203, 0, 113, 24),
    v4(224, 0, 0, 4),
    v4(240, 0, 0, 4),
];

/// Unique local, link-local, site-local (deprecated) and multicast addresses.
const SPECIAL_V6: [(IpAddr, u8); 4] = [v6(0xfc00, 7), v6(0xfe80, 10), v6(0xfec0, 10), v6(0xff00, 8)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_table_has_the_prefixes_that_its_description_counts() {
        let (v4, v6) = load().expect("it ships with the sources");
        assert_eq!((v4.announced.routes.len(), v4.all_lengths.routes.len()), (927_353, 927_353 + 132_392));
        assert_eq!((v6.announced.routes.len(), v6.all_lengths.routes.len()), (173_550, 173_550 + 2_833));
        let hops = v4.announced.routes.iter().map(|route| route.hop);
        assert_eq!((hops.clone().min(), hops.max()), (Some(1), Some(hop::NEXT_HOPS)));
    }

    #[test]
    fn a_table_grows_by_real_prefixes_first_and_then_by_neighbours_of_their_lengths() {
        let (v4, v6) = load().expect("it ships with the sources");
        for (tables, count) in [(v4, 1_000_000), (v6, 230_000)] {
            let grown = tables.grown_to(count);
            let keys: HashSet<_> = grown.routes.iter().map(|route| (route.first, route.length)).collect();
            assert_eq!((grown.routes.len(), keys.len()), (count, count), "no prefix twice");
            let real: HashSet<_> = tables.all_lengths.routes.iter().map(|route| (route.first, route.length)).collect();
            let made: Vec<_> =
                grown.routes.iter().filter(|route| !real.contains(&(route.first, route.length))).collect();
            assert_eq!(made.len(), count.saturating_sub(real.len()));
            assert!(tables.announced.routes.iter().all(|route| keys.contains(&(route.first, route.length))));
            let beside = |route: &Route| (route.first ^ 1 << (grown.family.bits() - route.length), route.length);
            assert!(made.iter().all(|route| real.contains(&beside(route))));
            assert_eq!(tables.grown_to(count).routes, grown.routes, "the same each time");
        }
    }

    #[test]
    fn a_line_is_a_prefix_without_host_bits_and_the_next_hop_of_its_origin() {
        let hop = hop::of_origin(13_335);
        let expected = Route { first: 0x0100_0000, length: 24, hop };
        assert_eq!(parse("1.0.0.7/24 13335"), Some((Family::V4, expected)));
        let (family, route) = parse("2001:db8::/32 13335").expect("a prefix");
        assert_eq!((family, route.first >> 96, route.length, route.hop), (Family::V6, 0x2001_0db8, 32, hop));
        for broken in ["", "1.0.0.0/24", "1.0.0.0/33 1", "1.0.0.0 1", "::/129 1", "1.0.0.0/24 AS1"] {
            assert_eq!(parse(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn the_last_address_of_a_prefix_has_all_bits_behind_it() {
        let route = |first, length| Route { first, length, hop: 1 };
        assert_eq!(route(0x0a00_0000, 8).last(32), 0x0aff_ffff);
        assert_eq!(route(0, 0).last(32), 0xffff_ffff);
        assert_eq!(route(7, 32).last(32), 7);
        assert_eq!(route(0, 0).last(128), u128::MAX);
        assert_eq!(route(5, 128).last(128), 5);
    }

    #[test]
    fn private_addresses_and_the_default_route_are_not_global() {
        for (line, global) in [
            ("10.1.0.0/16 1", false),
            ("0.0.0.0/0 1", false),
            ("8.0.0.0/6 1", true),
            ("11.0.0.0/8 1", true),
            ("fc00::/7 1", false),
            ("2002::/16 1", true),
        ] {
            let (family, route) = parse(line).expect("a line");
            assert_eq!(is_global(family, &route), global, "{line}");
        }
    }
}
