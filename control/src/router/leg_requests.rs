//! Multicast and overlay routes over the control socket.

use std::net::IpAddr;

use carpool_dataplane::pool::hello::Capabilities;

use super::Router;
use super::handler::Client;
use crate::api::Refusal;
use crate::api::command::Done;
use crate::api::multicast::{LegEntry, LegKind, MulticastDel, MulticastEntry, MulticastList, MulticastRoute};
use crate::api::overlay::{OverlayDel, OverlayEntry, OverlayList, OverlayRoute};
use crate::api::route::{RouteChanged, Source};
use crate::legs::{End, ROUTE_LIMIT, end, wrong_with_multicast, wrong_with_overlay};
use crate::peers::Peer;

impl Client<'_> {
    pub(super) fn add_multicast(&mut self, route: MulticastRoute) -> Result<RouteChanged, Refusal> {
        let name = name_of(route.group, route.source);
        if let Some((key, wrong)) = wrong_with_multicast(&route, &self.router.config) {
            return Err(Refusal::conflict(format!("{name}: {key}: {wrong}")));
        }
        let replaced = self.router.multicast.add(route);
        self.added(replaced, "multicast")
    }

    pub(super) fn del_multicast(&mut self, del: MulticastDel) -> Result<Done, Refusal> {
        if !self.router.multicast.delete((del.group, del.source)) {
            return Err(Refusal::not_found(format!("there is no {}", name_of(del.group, del.source))));
        }
        self.router.publish(false, self.now);
        Ok(Done {})
    }

    pub(super) fn list_multicast(&self) -> MulticastList {
        MulticastList { multicast: self.multicast_where(|_| true) }
    }

    /// The routes of a group.
    pub(super) fn multicast_of(&self, group: IpAddr) -> Vec<MulticastEntry> {
        self.multicast_where(|route| route.group == group)
    }

    fn multicast_where(&self, wanted: impl Fn(&MulticastRoute) -> bool) -> Vec<MulticastEntry> {
        let entry = |(route, put_by): (&MulticastRoute, _)| MulticastEntry {
            group: route.group,
            source: route.source,
            from: self.origin(&route.from),
            to: route.to.iter().map(|name| self.leg(name, route.group.is_ipv6())).collect(),
            put_by,
        };
        self.router.multicast.in_force().filter(|(route, _)| wanted(route)).map(entry).collect()
    }

    pub(super) fn add_overlay(&mut self, route: OverlayRoute) -> Result<RouteChanged, Refusal> {
        if let Some((key, wrong)) = wrong_with_overlay(&route, &self.router.config) {
            return Err(Refusal::conflict(format!("overlay route {}: {key}: {wrong}", route.prefix)));
        }
        let replaced = self.router.overlays.add(route);
        self.added(replaced, "overlay")
    }

    pub(super) fn del_overlay(&mut self, del: OverlayDel) -> Result<Done, Refusal> {
        if !self.router.overlays.delete(del.prefix) {
            return Err(Refusal::not_found(format!("there is no overlay route to exactly {}", del.prefix)));
        }
        self.router.publish(false, self.now);
        Ok(Done {})
    }

    pub(super) fn list_overlays(&self) -> OverlayList {
        let overlays = self.router.overlays.in_force().map(|(route, source)| self.overlay_entry(route, source));
        OverlayList { overlays: overlays.collect() }
    }

    /// The overlay route with the longest prefix that covers an address.
    pub(super) fn overlay_of(&self, address: IpAddr) -> Option<OverlayEntry> {
        let covering = self.router.overlays.in_force().filter(|(route, _)| route.prefix.contains(&address));
        let (route, source) = covering.max_by_key(|(route, _)| route.prefix.prefix_len())?;
        // No prefix of hosts covers groups, whatever its length.
        (!address.is_multicast()).then(|| self.overlay_entry(route, source))
    }

    fn overlay_entry(&self, route: &OverlayRoute, source: Source) -> OverlayEntry {
        OverlayEntry {
            prefix: route.prefix,
            from: route.from.as_ref().map(|name| self.origin(name)),
            to: route.to.iter().map(|name| self.leg(name, route.prefix.addr().is_ipv6())).collect(),
            hops: route.hops.clone(),
            source,
        }
    }

    fn added(&mut self, replaced: Option<bool>, kind: &str) -> Result<RouteChanged, Refusal> {
        let Some(replaced) = replaced else {
            return Err(Refusal::limit(format!("there are {ROUTE_LIMIT} {kind} routes already")));
        };
        self.router.publish(false, self.now);
        Ok(RouteChanged { replaced })
    }

    /// A port or peer that packets come in by, and why none do, if none can.
    fn origin(&self, name: &str) -> LegEntry {
        self.end(name, |peer| peer.state(self.now).err().map(|down| down.to_string()))
    }

    /// A port or peer that packets of a family go to, and why none do, if none can.
    fn leg(&self, name: &str, is_ipv6: bool) -> LegEntry {
        self.end(name, |peer| {
            if !peer.has_hellos() {
                return Some("it speaks Simplemux, which has no legs".into());
            }
            let down = peer.state(self.now).err().map(|down| down.to_string());
            let takes_it = !is_ipv6 || peer.capabilities().contains(Capabilities::WHOLE_IPV6);
            down.or_else(|| (!takes_it).then(|| "its hellos say that it does not take IPv6 packets".into()))
        })
    }

    fn end(&self, name: &str, why_silent: impl Fn(&Peer) -> Option<String>) -> LegEntry {
        let router = &*self.router;
        let (kind, reason) = match end(&router.config, name) {
            Err(reason) => (None, Some(reason)),
            Ok(End::Port(_)) => (Some(LegKind::Port), None),
            Ok(End::Peer(address)) => (Some(LegKind::Peer), self.why_unreached(router, address, why_silent)),
        };
        LegEntry { name: name.into(), kind, reason }
    }

    fn why_unreached(
        &self,
        router: &Router,
        address: IpAddr,
        why_silent: impl Fn(&Peer) -> Option<String>,
    ) -> Option<String> {
        let Some(peer) = router.peers.index_of(address).and_then(|index| router.peers.get(index)) else {
            return Some("there is no such peer".into());
        };
        if router.forwarding.next_hop(address).is_none() {
            return Some("no usable route leads to it".into());
        }
        why_silent(peer)
    }
}

/// What people call a multicast route.
fn name_of(group: IpAddr, source: Option<IpAddr>) -> String {
    let source = source.map_or_else(|| "any source".to_owned(), |source| source.to_string());
    format!("multicast route {group} from {source}")
}
