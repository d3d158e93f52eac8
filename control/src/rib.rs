//! The routing information base: every route that anyone told us of, by prefix and by who told it.
//!
//! For one prefix, the router's own addresses and subnets come first, then what came over the control socket, then the
//! configuration file, in the manner of administrative distances: what an operator says now outranks what the
//! file said before. What the socket changed stays until a restart, so a configured route that was deleted over
//! the socket is hidden, not forgotten: a reload does not bring it back. Nothing here knows of ports' link layers,
//! neighbours or paths; `forwarding` turns the routes into forwarding entries.

use std::net::Ipv4Addr;

use carpool_dataplane::fib::PortIndex;
use ipnet::Ipv4Net;
use prefix_trie::PrefixMap;

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
}

impl Rib {
    /// All that was told of exactly this prefix.
    pub fn get(&self, prefix: Ipv4Net) -> Routes {
        self.routes.get(&prefix).copied().unwrap_or_default()
    }

    /// Says what is told of a prefix, and returns what was told before.
    pub fn put(&mut self, prefix: Ipv4Net, routes: Routes) -> Routes {
        let before = if routes.is_empty() { self.routes.remove(&prefix) } else { self.routes.insert(prefix, routes) };
        before.unwrap_or_default()
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

    /// The router on one of our links, or the host there, that packets to a gateway go to: the gateway itself, or the
    /// one that the route to it leads to, and so on. Only the best route to each counts.
    pub fn resolve(&self, gateway: Ipv4Addr) -> Option<(PortIndex, Ipv4Addr)> {
        let mut address = gateway;
        for _ in 0..=MAX_RECURSION {
            let (_, routes) = self.covering(address.into()).find(|(_, routes)| routes.best().is_some())?;
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
