//! The routing information base: every route that anyone told us of, by prefix and by who told it.
//!
//! For one prefix, the router's own addresses and subnets come first, then what came over the control socket, then the
//! configuration file, in the manner of administrative distances: what an operator says now outranks what the
//! file said before. What the socket changed stays until a restart, so a configured route that was deleted over
//! the socket is hidden, not forgotten: a reload does not bring it back. Nothing here knows of ports' link layers,
//! neighbours or paths; `forwarding` turns the routes into forwarding entries.

mod counts;
mod family;
mod table;

use std::net::IpAddr;

use carpool_dataplane::fib::PortIndex;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use table::Table;

pub use crate::api::route::Source;

/// What an operator says of a route.
pub type RouteTarget = crate::api::route::RouteTarget<PortIndex>;

/// A gateway that is not on a link is looked up again, at most this often.
pub const MAX_RECURSION: usize = 8;

/// A route that the router's own addresses make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnRoute {
    /// One of the router's addresses.
    Local,
    /// Broadcast or network address of a port's IPv4 subnet.
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

    /// The gateways that are named by routes that hold, and have to be looked up.
    pub fn gateways(&self) -> impl Iterator<Item = IpAddr> {
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

/// All routes, of both families.
#[derive(Clone, Debug, Default)]
pub struct Rib {
    v4: Table<Ipv4Net>,
    v6: Table<Ipv6Net>,
}

impl Rib {
    /// All that was told of exactly this prefix.
    pub fn get(&self, prefix: IpNet) -> Routes {
        match prefix {
            IpNet::V4(prefix) => self.v4.get(prefix),
            IpNet::V6(prefix) => self.v6.get(prefix),
        }
    }

    /// Says what is told of a prefix, and returns what was told before.
    pub fn put(&mut self, prefix: IpNet, routes: Routes) -> Routes {
        match prefix {
            IpNet::V4(prefix) => self.v4.put(prefix, routes),
            IpNet::V6(prefix) => self.v6.put(prefix, routes),
        }
    }

    /// What was told of a prefix and of all shorter ones that cover it, the longest first.
    pub fn covering(&self, prefix: IpNet) -> impl Iterator<Item = (IpNet, Routes)> {
        let (v4, v6) = by_family(prefix);
        let v4 = v4.into_iter().flat_map(|prefix| self.v4.covering(prefix));
        joined(v4, v6.into_iter().flat_map(|prefix| self.v6.covering(prefix)))
    }

    /// What was told of a prefix and of all longer ones within it, in order.
    pub fn within(&self, prefix: IpNet) -> impl Iterator<Item = (IpNet, Routes)> {
        let (v4, v6) = by_family(prefix);
        let v4 = v4.into_iter().flat_map(|prefix| self.v4.within(prefix));
        joined(v4, v6.into_iter().flat_map(|prefix| self.v6.within(prefix)))
    }

    /// All prefixes that anything was told of, in order, those of IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = (IpNet, Routes)> {
        joined(self.v4.iter(), self.v6.iter())
    }

    /// How many prefixes have a route that holds.
    pub fn count(&self) -> usize {
        self.v4.count() + self.v6.count()
    }

    /// How many prefixes, within one or at all, have a route that holds. Walks through no more than a bucket.
    pub fn count_within(&self, prefix: Option<IpNet>) -> usize {
        match prefix {
            None => self.count(),
            Some(IpNet::V4(prefix)) => self.v4.count_within(prefix),
            Some(IpNet::V6(prefix)) => self.v6.count_within(prefix),
        }
    }

    /// The prefixes, within one or at all, that have a route which holds, in order, those of IPv4 first, but for the first
    /// `skip` of them. Finding these walks through no more than a bucket.
    pub fn page(&self, within: Option<IpNet>, skip: usize) -> impl Iterator<Item = (IpNet, Routes)> {
        let (v4, v6) = match within {
            Some(within) => by_family(within),
            None => (Some(Ipv4Net::default()), Some(Ipv6Net::default())),
        };
        let skip6 = if v4.is_some() { skip.saturating_sub(self.v4.count()) } else { skip };
        let v4 = v4.into_iter().flat_map(move |within| self.v4.page(within, skip));
        joined(v4, v6.into_iter().flat_map(move |within| self.v6.page(within, skip6)))
    }

    /// The router on one of our links, or the host there, that packets to a gateway go to: the gateway itself, or the
    /// one that the route to it leads to, and so on. Only the best route to each counts.
    pub fn resolve(&self, gateway: IpAddr) -> Option<(PortIndex, IpAddr)> {
        let mut address = gateway;
        for _ in 0..=MAX_RECURSION {
            let (_, routes) = self.covering(address.into()).find(|(_, routes)| routes.hold())?;
            match routes.best()?.0 {
                Target::Own(OwnRoute::Connected(port)) => return Some((port, address)),
                Target::Told(RouteTarget::Via(next)) => address = next,
                Target::Told(RouteTarget::OnLink(next, port)) => return Some((port, next.into())),
                Target::Own(OwnRoute::Local | OwnRoute::Broadcast)
                | Target::Told(RouteTarget::Blackhole | RouteTarget::Unreachable) => return None,
            }
        }
        None
    }
}

/// The prefix as one of its family.
fn by_family(prefix: IpNet) -> (Option<Ipv4Net>, Option<Ipv6Net>) {
    match prefix {
        IpNet::V4(prefix) => (Some(prefix), None),
        IpNet::V6(prefix) => (None, Some(prefix)),
    }
}

/// What both tables have, one behind the other.
fn joined(
    v4: impl Iterator<Item = (Ipv4Net, Routes)>,
    v6: impl Iterator<Item = (Ipv6Net, Routes)>,
) -> impl Iterator<Item = (IpNet, Routes)> {
    let v4 = v4.map(|(prefix, routes)| (IpNet::V4(prefix), routes));
    v4.chain(v6.map(|(prefix, routes)| (IpNet::V6(prefix), routes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn net(text: &str) -> IpNet {
        text.parse().expect("a prefix")
    }

    fn address(text: &str) -> IpAddr {
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

    /// A prefix of either family, near others: with the bits of an IPv4 address, which lie across the border of a bucket.
    fn prefix() -> impl Strategy<Value = IpNet> {
        let bits = prop_oneof![0u32..4, Just(0x7fff_fffe), Just(u32::MAX - 1)].prop_flat_map(|high| {
            prop::sample::select(vec![0, 16, 24, 30]).prop_map(move |shift| high.checked_shl(shift).unwrap_or(high))
        });
        (bits, 0..=32u8, any::<bool>(), prop::sample::select(vec![0, 80, 96])).prop_map(|(bits, length, v6, shift)| {
            let (address, length) = match v6 {
                false => (IpAddr::V4(bits.into()), length),
                true => (IpAddr::V6((u128::from(bits) << shift).into()), length + 96 - shift as u8),
            };
            IpNet::new(address, length).expect("a length").trunc()
        })
    }

    proptest! {
        #[test]
        fn a_page_has_what_a_walk_through_all_finds(
            // With a route that holds, one that is hidden, or none any more.
            told in prop::collection::vec((prefix(), 0..4u8), 0..60),
            within in prop::option::of(prefix()),
            pick: prop::sample::Index,
            shorter in 0..=128u8,
            skip in 0..20usize,
        ) {
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
            // Near one that is there, most often.
            let within = within.map(|within| {
                let near = if told.is_empty() { within } else { told[pick.index(told.len())].0 };
                IpNet::new(near.addr(), near.prefix_len().saturating_sub(shorter)).expect("a length").trunc()
            });
            let inside = |(prefix, _): &(IpNet, Routes)| within.is_none_or(|within| within.contains(prefix));
            let inside: Vec<_> = all.into_iter().filter(inside).collect();
            prop_assert_eq!(rib.count_within(within), inside.len());
            let page: Vec<_> = rib.page(within, skip).collect();
            prop_assert_eq!(page, inside.into_iter().skip(skip).collect::<Vec<_>>());
        }
    }

    #[test]
    fn gateways_of_ipv6_resolve_alike_also_those_of_ipv4_routes() {
        let mut rib = rib();
        let port = Routes { own: Some(OwnRoute::Connected(PortIndex(1))), ..Routes::default() };
        rib.put(net("2001:db8:1::/64"), port);
        rib.put(net("2001:db8:2::/48"), Routes { config: via("2001:db8:1::2"), ..Routes::default() });
        rib.put(net("203.0.113.0/24"), Routes { config: via("2001:db8:2::9"), ..Routes::default() });
        let next_hop = Some((PortIndex(1), address("2001:db8:1::2")));
        assert_eq!(rib.resolve(address("2001:db8:2::9")), next_hop);
        assert_eq!(rib.resolve(address("203.0.113.1")), next_hop, "RFC 8950");
        assert_eq!(rib.resolve(address("2001:db8:3::1")), None);
        let on_link = Some(RouteTarget::OnLink("fe80::2".parse().expect("an address"), PortIndex(0)));
        rib.put(net("2001:db8:3::/48"), Routes { config: on_link, ..Routes::default() });
        let next_hop = Some((PortIndex(0), address("fe80::2")));
        assert_eq!(rib.resolve(address("2001:db8:3::1")), next_hop, "behind a link-local gateway");
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
            let gateway = if hop == 1 { address("192.0.2.2") } else { IpAddr::from([10, 0, 0, hop - 1]) };
            let routes = Routes { config: Some(RouteTarget::Via(gateway)), ..Routes::default() };
            rib.put(IpAddr::from([10, 0, 0, hop]).into(), routes);
        }
        let limit = u8::try_from(MAX_RECURSION).expect("small");
        let resolved = Some((PortIndex(0), address("192.0.2.2")));
        assert_eq!(rib.resolve(IpAddr::from([10, 0, 0, limit])), resolved);
        assert_eq!(rib.resolve(IpAddr::from([10, 0, 0, limit + 1])), None);
    }

    #[test]
    fn a_circle_of_gateways_resolves_to_nothing() {
        let mut rib = rib();
        rib.put(net("10.0.0.0/8"), Routes { config: via("172.16.0.1"), ..Routes::default() });
        rib.put(net("172.16.0.0/12"), Routes { config: via("10.0.0.1"), ..Routes::default() });
        assert_eq!(rib.resolve(address("10.0.0.1")), None);
    }
}
