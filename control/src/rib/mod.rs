//! The routing information base: every route that anyone told us of, by prefix and by who told it.
//!
//! For one prefix, the router's own addresses and subnets come first, then what came over the control socket, then the
//! configuration file, in the manner of administrative distances: what an operator says now outranks what the
//! file said before. What the socket changed stays until a restart, so a configured route that was deleted over
//! the socket is hidden, not forgotten: a reload does not bring it back. Nothing here knows of ports' link layers,
//! neighbours or paths; `forwarding` turns the routes into forwarding entries.

mod counts;

use std::net::Ipv4Addr;

use carpool_dataplane::fib::PortIndex;
use ipnet::Ipv4Net;
use prefix_trie::PrefixMap;

use counts::Counts;

pub use crate::api::route::{RouteTarget, Source};

/// A gateway that is not on a link is looked up again, at most this often.
pub const MAX_RECURSION: usize = 8;

/// A route that the router's own addresses make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnRoute {
    /// One of the router's addresses.
    Local,
    /// Broadcast or network address of a port's subnet.
    Broadcast,
    /// A port's subnet.
    Connected(PortIndex),
}

/// What a route says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The router's addresses say it.
    Own(OwnRoute),
    /// An operator says it.
    Told(RouteTarget),
}

/// All that was told of one prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// What the router's addresses make of it.
    pub own: Option<OwnRoute>,
    /// What came over the control socket.
    pub socket: Option<RouteTarget>,
    /// What the configuration says.
    pub config: Option<RouteTarget>,
    /// The configured route was deleted over the control socket.
    pub config_hidden: bool,
}

impl Routes {
    /// What holds, best first.
    pub fn by_preference(&self) -> impl Iterator<Item = (Target, Source)> {
        let own = self.own.map(|own| match own {
            OwnRoute::Connected(_) => (Target::Own(own), Source::Connected),
            OwnRoute::Local | OwnRoute::Broadcast => (Target::Own(own), Source::Local),
        });
        let socket = self.socket.map(|target| (Target::Told(target), Source::Socket));
        let config = self.config.filter(|_| !self.config_hidden).map(|target| (Target::Told(target), Source::Config));
        [own, socket, config].into_iter().flatten()
    }

    /// The best of them.
    pub fn best(&self) -> Option<(Target, Source)> {
        self.by_preference().next()
    }

    /// Whether one of them holds.
    pub fn hold(&self) -> bool {
        self.best().is_some()
    }

    /// The gateways that are named by routes that hold.
    pub fn gateways(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.by_preference().filter_map(|(target, _)| match target {
            Target::Told(RouteTarget::Via(gateway)) => Some(gateway),
            _ => None,
        })
    }

    /// Whether there is nothing to remember.
    fn is_empty(&self) -> bool {
        *self == Routes::default()
    }
}

/// All routes.
#[derive(Clone, Debug, Default)]
pub struct Rib {
    routes: PrefixMap<Ipv4Net, Routes>,
    /// Of the prefixes that have a route which holds.
    counts: Counts,
}

impl Rib {
    /// All that was told of exactly this prefix.
    pub fn get(&self, prefix: Ipv4Net) -> Routes {
        self.routes.get(&prefix).copied().unwrap_or_default()
    }

    /// Says what is told of a prefix, and returns what was told before.
    pub fn put(&mut self, prefix: Ipv4Net, routes: Routes) -> Routes {
        let before = if routes.is_empty() { self.routes.remove(&prefix) } else { self.routes.insert(prefix, routes) };
        let before = before.unwrap_or_default();
        match (before.hold(), routes.hold()) {
            (false, true) => self.counts.add(prefix),
            (true, false) => self.counts.remove(prefix),
            _ => {}
        }
        before
    }

    /// What was told of a prefix and of all shorter ones that cover it, the longest first.
    pub fn covering(&self, prefix: Ipv4Net) -> impl Iterator<Item = (Ipv4Net, Routes)> {
        let mut covering = arrayvec::ArrayVec::<_, 33>::new();
        covering.extend(self.routes.cover(&prefix).map(|(prefix, routes)| (*prefix, *routes)));
        covering.into_iter().rev()
    }

    /// What was told of a prefix and of all longer ones within it, in order.
    pub fn within(&self, prefix: Ipv4Net) -> impl Iterator<Item = (Ipv4Net, Routes)> {
        self.routes.children(&prefix).map(|(prefix, routes)| (*prefix, *routes))
    }

    /// All prefixes that anything was told of, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Ipv4Net, Routes)> {
        self.routes.iter().map(|(prefix, routes)| (*prefix, *routes))
    }

    /// How many prefixes have a route that holds.
    pub fn count(&self) -> usize {
        self.counts.all()
    }

    /// How many prefixes within one have a route that holds. Walks through no more than a /16.
    pub fn count_within(&self, prefix: Ipv4Net) -> usize {
        if prefix.prefix_len() > 16 {
            self.within(prefix).filter(|(_, routes)| routes.hold()).count()
        } else {
            self.counts.begin_in(prefix) - self.count_begin_with(prefix)
        }
    }

    /// The prefixes within one that have a route which holds, in order, but for the first `skip` of them. Finding these
    /// walks through no more than a /16.
    pub fn page(&self, within: Ipv4Net, skip: usize) -> impl Iterator<Item = (Ipv4Net, Routes)> {
        // In order they come just before those within.
        let skip = skip.saturating_add(self.count_begin_with(within));
        let start =
            if within.prefix_len() > 16 { Some((within.network(), skip)) } else { self.counts.behind(within, skip) };
        start.into_iter().flat_map(move |(first, skip)| {
            let all = self.from(first).take_while(move |(prefix, _)| prefix.network() <= within.broadcast());
            all.filter(|(_, routes)| routes.hold()).skip(skip)
        })
    }

    /// How many prefixes that have a route which holds begin where this one does, and are shorter.
    fn count_begin_with(&self, prefix: Ipv4Net) -> usize {
        let begin_with = |other: Ipv4Net| other != prefix && other.network() == prefix.network();
        self.covering(prefix).filter(|(other, routes)| begin_with(*other) && routes.hold()).count()
    }

    /// All prefixes whose first address is this one or a later one, in order.
    fn from(&self, first: Ipv4Addr) -> impl Iterator<Item = (Ipv4Net, Routes)> {
        // Blocks, each the largest that can begin where it does: a prefix that begins in one is all inside.
        let mut next = Some(first.to_bits());
        let blocks = std::iter::from_fn(move || {
            let first = next?;
            let host_bits = first.trailing_zeros();
            next = 1u32.checked_shl(host_bits).and_then(|size| first.checked_add(size));
            Ipv4Net::new(Ipv4Addr::from_bits(first), u8::try_from(32 - host_bits).ok()?).ok()
        });
        blocks.flat_map(|block| self.within(block))
    }

    /// The router on one of our links, or the host there, that packets to a gateway go to: the gateway itself, or the
    /// one that the route to it leads to, and so on. Only the best route to each counts.
    pub fn resolve(&self, gateway: Ipv4Addr) -> Option<(PortIndex, Ipv4Addr)> {
        let mut address = gateway;
        for _ in 0..=MAX_RECURSION {
            let (_, routes) = self.covering(address.into()).find(|(_, routes)| routes.hold())?;
            match routes.best()?.0 {
                Target::Own(OwnRoute::Connected(port)) => return Some((port, address)),
                Target::Told(RouteTarget::Via(next)) => address = next,
                Target::Own(OwnRoute::Local | OwnRoute::Broadcast)
                | Target::Told(RouteTarget::Blackhole | RouteTarget::Unreachable) => return None,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().expect("a prefix")
    }

    fn address(text: &str) -> Ipv4Addr {
        text.parse().expect("an address")
    }

    fn via(text: &str) -> Option<RouteTarget> {
        Some(RouteTarget::Via(address(text)))
    }

    fn rib() -> Rib {
        let mut rib = Rib::default();
        let port = |index| Routes { own: Some(OwnRoute::Connected(PortIndex(index))), ..Routes::default() };
        rib.put(net("192.0.2.0/24"), port(0));
        rib.put(net("192.0.2.1/32"), Routes { own: Some(OwnRoute::Local), ..Routes::default() });
        rib.put(net("198.51.100.0/24"), port(1));
        rib
    }

    #[test]
    fn own_routes_come_before_the_socket_and_the_socket_before_the_file() {
        let own = Some(OwnRoute::Local);
        let mut routes = Routes { own, socket: via("192.0.2.2"), config: via("192.0.2.3"), config_hidden: false };
        assert_eq!(routes.best(), Some((Target::Own(OwnRoute::Local), Source::Local)));
        routes.own = None;
        assert_eq!(routes.best().map(|(_, source)| source), Some(Source::Socket));
        routes.socket = None;
        assert_eq!(routes.best().map(|(_, source)| source), Some(Source::Config));
        routes.config_hidden = true;
        assert_eq!(routes.best(), None);
    }

    #[test]
    fn what_is_told_of_nothing_is_forgotten() {
        let mut rib = rib();
        let routes = Routes { socket: via("192.0.2.2"), ..Routes::default() };
        assert_eq!(rib.put(net("10.0.0.0/8"), routes), Routes::default());
        assert_eq!(rib.put(net("10.0.0.0/8"), Routes::default()), routes);
        assert_eq!(rib.iter().count(), 3);
    }

    #[test]
    fn the_longest_covering_prefix_comes_first() {
        let mut rib = rib();
        for prefix in ["0.0.0.0/0", "192.0.0.0/8"] {
            rib.put(net(prefix), Routes { config: via("192.0.2.2"), ..Routes::default() });
        }
        let covering: Vec<_> = rib.covering(net("192.0.2.1/32")).map(|(prefix, _)| prefix.prefix_len()).collect();
        assert_eq!(covering, [32, 24, 8, 0]);
    }

    /// Prefixes close to each other, with a route that holds, one that is hidden, or none any more.
    fn told() -> impl Strategy<Value = Vec<(Ipv4Net, u8)>> {
        let address = prop_oneof![0u32..4, Just(0x7fff_fffe), Just(u32::MAX - 1)].prop_flat_map(|high| {
            prop::sample::select(vec![0, 16, 24, 30]).prop_map(move |shift| high.checked_shl(shift).unwrap_or(high))
        });
        let prefix = (address, 0..=32u8)
            .prop_map(|(bits, length)| Ipv4Net::new(Ipv4Addr::from_bits(bits), length).expect("a length").trunc());
        prop::collection::vec((prefix, 0..4u8), 0..60)
    }

    proptest! {
        #[test]
        fn a_page_has_what_a_walk_through_all_finds(told in told(), length in 0..=32u8, pick: u32, skip in 0..20usize) {
            let mut rib = Rib::default();
            let mut all = std::collections::BTreeMap::new();
            for (prefix, what) in &told {
                let config_hidden = *what == 1;
                let routes = Routes { config: via("192.0.2.2"), config_hidden, ..Routes::default() };
                let routes = if *what == 0 { Routes::default() } else { routes };
                rib.put(*prefix, routes);
                all.insert(*prefix, routes);
            }
            all.retain(|_, routes| routes.hold());
            prop_assert_eq!(rib.count(), all.len());
            let near = told.get(pick as usize % told.len().max(1)).map_or(0, |(prefix, _)| prefix.network().to_bits());
            let within = Ipv4Net::new(Ipv4Addr::from_bits(near), length).expect("a length").trunc();
            let inside: Vec<_> = all.into_iter().filter(|(prefix, _)| within.contains(prefix)).collect();
            prop_assert_eq!(rib.count_within(within), inside.len());
            let page: Vec<_> = rib.page(within, skip).collect();
            prop_assert_eq!(page, inside.into_iter().skip(skip).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_gateway_on_a_link_is_its_own_next_hop() {
        assert_eq!(rib().resolve(address("198.51.100.9")), Some((PortIndex(1), address("198.51.100.9"))));
        assert_eq!(rib().resolve(address("192.0.2.1")), None, "our own address is no gateway");
        assert_eq!(rib().resolve(address("203.0.113.1")), None, "no route leads there");
    }

    #[test]
    fn a_gateway_behind_gateways_resolves_up_to_the_limit() {
        let mut rib = rib();
        // 10.0.0.N is behind 10.0.0.(N-1), and the first one is on a link.
        for hop in 1..=20u8 {
            let gateway = if hop == 1 { address("192.0.2.2") } else { Ipv4Addr::new(10, 0, 0, hop - 1) };
            let routes = Routes { config: Some(RouteTarget::Via(gateway)), ..Routes::default() };
            rib.put(Ipv4Addr::new(10, 0, 0, hop).into(), routes);
        }
        let limit = u8::try_from(MAX_RECURSION).expect("small");
        let resolved = Some((PortIndex(0), address("192.0.2.2")));
        assert_eq!(rib.resolve(Ipv4Addr::new(10, 0, 0, limit)), resolved);
        assert_eq!(rib.resolve(Ipv4Addr::new(10, 0, 0, limit + 1)), None);
    }

    #[test]
    fn a_circle_of_gateways_resolves_to_nothing() {
        let mut rib = rib();
        rib.put(net("10.0.0.0/8"), Routes { config: via("172.16.0.1"), ..Routes::default() });
        rib.put(net("172.16.0.0/12"), Routes { config: via("10.0.0.1"), ..Routes::default() });
        assert_eq!(rib.resolve(address("10.0.0.1")), None);
    }
}
