//! Routes: add, delete, show, and the step that commits a whole table at once.

use std::net::{IpAddr, Ipv6Addr};

use arrayvec::ArrayString;
use carpool_dataplane::packet::ipv6::is_link_local;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};

use super::text::{deserialize_optional_prefix, deserialize_prefix};
use crate::config::is_name;

/// The most routes in one reply to `route_show`.
pub const ROUTE_PAGE_MAX: u32 = 10_000;

/// The name of a port behind a link-local address.
pub type Zone = ArrayString<32>;

/// Where a configured route leads. Operators know a port by its name, the router by its index: `P` is how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RouteTarget<P = Zone> {
    /// To the router with this address, which must be on a connected link. Packets of IPv4 can be handed to a router that
    /// is named by an IPv6 address (RFC 8950), not the other way round.
    Via(IpAddr),
    /// To the router with this link-local address on the link of this port (RFC 4007, 11: `fe80::1%p0`).
    OnLink(Ipv6Addr, P),
    /// Nowhere, silently.
    Blackhole,
    /// Nowhere, and the source is told so.
    Unreachable,
}

impl RouteTarget {
    /// Reads a gateway: an address, or a link-local one with its port behind it.
    ///
    /// # Errors
    /// Says what was expected.
    pub fn parse_gateway(text: &str) -> Result<RouteTarget, String> {
        let Some((address, port)) = text.split_once('%') else {
            return text.parse().map(RouteTarget::Via).map_err(|_| format!("{text:?}: expected an IP address"));
        };
        let address = address.parse().ok().filter(|address| is_link_local(*address));
        let address =
            address.ok_or(format!("{text:?}: expected a link-local address in front of %, as in fe80::1%p0"))?;
        let port = Zone::from(port).ok().filter(|port| is_name(port));
        let port = port.ok_or(format!("{text:?}: expected the name of a port behind %, as in fe80::1%p0"))?;
        Ok(RouteTarget::OnLink(address, port))
    }

    /// The gateway as it is read; None where it leads nowhere.
    pub fn gateway(&self) -> Option<String> {
        match self {
            RouteTarget::Via(gateway) => Some(gateway.to_string()),
            RouteTarget::OnLink(gateway, port) => Some(format!("{gateway}%{port}")),
            RouteTarget::Blackhole | RouteTarget::Unreachable => None,
        }
    }
}

impl<P> RouteTarget<P> {
    /// The same with another name for the port.
    ///
    /// # Errors
    /// Whatever `port` says.
    pub fn on<Q, E>(self, port: impl FnOnce(Ipv6Addr, P) -> Result<Q, E>) -> Result<RouteTarget<Q>, E> {
        Ok(match self {
            RouteTarget::Via(gateway) => RouteTarget::Via(gateway),
            RouteTarget::OnLink(gateway, name) => RouteTarget::OnLink(gateway, port(gateway, name)?),
            RouteTarget::Blackhole => RouteTarget::Blackhole,
            RouteTarget::Unreachable => RouteTarget::Unreachable,
        })
    }
}

/// A route as an operator gives it: `{"prefix": P, "via": A}`, `{"prefix": P, "blackhole": true}` or
/// `{"prefix": P, "unreachable": true}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "RouteKeys", into = "RouteKeys")]
pub struct Route {
    /// The destinations.
    pub prefix: IpNet,
    /// Where they lead.
    pub target: RouteTarget,
}

impl Route {
    /// A route.
    ///
    /// # Errors
    /// Says why packets to the prefix cannot be handed to the gateway, whatever the router's links are.
    pub fn new(prefix: IpNet, target: RouteTarget) -> Result<Route, String> {
        if let RouteTarget::Via(gateway) = target
            && let Some(wrong) = wrong_with_gateway(prefix, gateway)
        {
            return Err(format!("route {prefix} via {gateway}: {wrong}"));
        }
        Ok(Route { prefix, target })
    }
}

/// What is wrong with a gateway, as far as the address alone tells; a sentence that says what was expected.
pub fn wrong_with_gateway(prefix: IpNet, gateway: IpAddr) -> Option<&'static str> {
    match (prefix, gateway) {
        (IpNet::V6(_), IpAddr::V4(_)) => Some("expected an IPv6 address, as the prefix is one of IPv6"),
        (_, IpAddr::V6(gateway)) if is_link_local(gateway) => {
            Some("expected a port behind the link-local address, as in fe80::1%p0: it does not say on which link it is")
        }
        _ => None,
    }
}

/// The keys of a [`Route`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteKeys {
    #[serde(deserialize_with = "deserialize_prefix")]
    prefix: IpNet,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    via: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    blackhole: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unreachable: bool,
}

impl TryFrom<RouteKeys> for Route {
    type Error = String;

    fn try_from(keys: RouteKeys) -> Result<Route, String> {
        let target = match (keys.via, keys.blackhole, keys.unreachable) {
            (Some(gateway), false, false) => RouteTarget::parse_gateway(&gateway)?,
            (None, true, false) => RouteTarget::Blackhole,
            (None, false, true) => RouteTarget::Unreachable,
            _ => return Err(format!("route {}: expected exactly one of via, blackhole, unreachable", keys.prefix)),
        };
        Route::new(keys.prefix, target)
    }
}

impl From<Route> for RouteKeys {
    fn from(route: Route) -> RouteKeys {
        RouteKeys {
            prefix: route.prefix,
            via: route.target.gateway(),
            blackhole: route.target == RouteTarget::Blackhole,
            unreachable: route.target == RouteTarget::Unreachable,
        }
    }
}

/// `route_add`: adds a route; one to the same prefix is replaced.
pub type RouteAdd = Route;

/// Reply to `route_add`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteChanged {
    /// Whether a route to this prefix was there before.
    pub replaced: bool,
}

/// `route_del`: deletes the route to exactly this prefix. Connected and local routes cannot be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteDel {
    /// The prefix.
    #[serde(deserialize_with = "deserialize_prefix")]
    pub prefix: IpNet,
}

/// `route_show`: the routes in order of prefix, a page at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteShow {
    /// Only routes to this prefix or to a part of it.
    #[serde(default, deserialize_with = "deserialize_optional_prefix", skip_serializing_if = "Option::is_none")]
    pub prefix: Option<IpNet>,
    /// How many routes to skip.
    #[serde(default)]
    pub offset: u32,
    /// The most routes to return, 1 to [`ROUTE_PAGE_MAX`]: what is outside is taken for the nearest bound.
    #[serde(default = "default_limit", deserialize_with = "deserialize_limit")]
    pub limit: u32,
}

pub(super) fn default_limit() -> u32 {
    1000
}

pub(super) fn deserialize_limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    u32::deserialize(deserializer).map(|limit| limit.clamp(1, ROUTE_PAGE_MAX))
}

/// Who put something there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// An address of this router.
    Local,
    /// The subnet of a port.
    Connected,
    /// The configuration file.
    Config,
    /// The control socket.
    Socket,
}

/// What is done with packets to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdjacencyKind {
    /// Nothing is known: network unreachable.
    NoRoute,
    /// An address of this router.
    Local,
    /// A host on a port's link.
    Connected,
    /// By a router on a port's link.
    Via,
    /// A subnet's broadcast or network address: never forwarded.
    Broadcast,
    /// Dropped, and the source is told so.
    Unreachable,
    /// Dropped silently.
    Blackhole,
}

/// A route as the router has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteEntry {
    /// The destinations.
    pub prefix: IpNet,
    /// What is done with packets to them.
    pub adjacency: AdjacencyKind,
    /// The next router, for `via`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<IpAddr>,
    /// The port's name, for `via` and `connected`; missing where no port leads to the next router.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// The peer that stream packets to these destinations are pooled to, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// Who put it there.
    pub source: Source,
}

/// Reply to `route_show`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteList {
    /// How many routes there are to show, all pages together.
    pub total: u64,
    /// How many were skipped.
    pub offset: u32,
    /// The page.
    pub routes: Vec<RouteEntry>,
}

/// What `route_load_commit` makes of the routes that its connection loaded: all of them or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteLoad {
    /// The routes, each as for `route_add`. Where a prefix is there twice the later one holds.
    pub routes: Vec<Route>,
    /// Whether routes that came over the socket before, and are not among these, go.
    pub replace: bool,
}

/// Reply to `route_load_commit`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteLoaded {
    /// Routes that were loaded.
    pub routes: u64,
    /// Routes that were added, changed or deleted by it.
    pub changed: u64,
    /// How long it took the router, in seconds.
    pub seconds: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_read_as_it_is_written() {
        for text in ["192.0.2.2", "2001:db8::2", "fe80::2%p0", "fe80::2%up-1.100"] {
            let json = format!("{{\"prefix\":\"2001:db8:9::/48\",\"via\":\"{text}\"}}");
            let route = serde_json::from_str::<Route>(&json);
            if text.contains(':') {
                assert_eq!(serde_json::to_string(&route.expect("sound")).expect("JSON"), json);
            } else {
                assert!(route.is_err_and(|wrong| wrong.to_string().contains("expected an IPv6 address")));
            }
        }
    }

    #[test]
    fn a_gateway_that_is_not_one_says_what_was_expected() {
        let wrong = |text: &str| RouteTarget::parse_gateway(text).expect_err("a broken gateway was accepted");
        assert_eq!(wrong("nowhere"), "\"nowhere\": expected an IP address");
        let address = "expected a link-local address in front of %, as in fe80::1%p0";
        for text in ["2001:db8::1%p0", "192.0.2.1%p0", "%p0", "x%p0"] {
            assert_eq!(wrong(text), format!("{text:?}: {address}"));
        }
        for text in ["fe80::1%", "fe80::1%p 0", "fe80::1%p0%p1", "fe80::1%a-name-that-has-more-than-32-letters"] {
            assert_eq!(wrong(text), format!("{text:?}: expected the name of a port behind %, as in fe80::1%p0"));
        }
        let prefix = "2001:db8::/32".parse().expect("a prefix");
        let unscoped = Route::new(prefix, RouteTarget::Via("fe80::1".parse().expect("an address")));
        assert!(unscoped.is_err_and(|wrong| wrong.contains("expected a port behind the link-local address")));
    }
}
