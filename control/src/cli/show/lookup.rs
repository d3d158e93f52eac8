//! What becomes of packets to an address, in the order a packet meets it.

use std::net::IpAddr;

use super::legs::{names, reasons};
use super::{show, word};
use crate::api::lookup::LookupResult;
use crate::api::overlay::OverlayEntry;
use crate::api::route::AdjacencyKind;

show!(LookupResult, text);

fn text(found: &LookupResult) -> String {
    if found.address.is_multicast() {
        group(found)
    } else if let Some(route) = &found.overlay {
        overlay(found.address, route)
    } else {
        host(found)
    }
}

/// What becomes of packets to a group: a route for each source, and one for all others.
fn group(found: &LookupResult) -> String {
    let mut text = format!("{}: a group\n", found.address);
    for route in &found.multicast {
        let source = route.source.map_or_else(|| "any source".to_owned(), |source| format!("source {source}"));
        let (from, to) = (&route.from.name, names(&route.to));
        text.push_str(&format!("  {source}: from {from} to {to} ({})\n", word(&route.put_by)));
        if let Some(reasons) = reasons([&route.from].into_iter().chain(&route.to)) {
            text.push_str(&format!("    not used: {reasons}\n"));
        }
    }
    if !found.multicast.iter().any(|route| route.source.is_none()) {
        let others = if found.multicast.is_empty() { "no multicast route" } else { "other sources" };
        text.push_str(&format!("  {others}: dropped\n"));
    }
    text
}

/// What becomes of packets to a prefix behind an overlay.
fn overlay(address: IpAddr, route: &OverlayEntry) -> String {
    let mut text = format!("{address}: by an overlay to {}\n", names(&route.to));
    text.push_str(&format!("  overlay   {} ({})\n", route.prefix, word(&route.source)));
    if let Some(from) = &route.from {
        text.push_str(&format!("  from      {}: others are dropped\n", from.name));
    }
    if !route.hops.is_empty() {
        let hops: Vec<_> = route.hops.iter().map(ToString::to_string).collect();
        text.push_str(&format!("  hops      {}\n", hops.join(" > ")));
    }
    if let Some(reasons) = reasons(route.from.iter().chain(&route.to)) {
        text.push_str(&format!("  not used  {reasons}\n"));
    }
    text
}

fn host(found: &LookupResult) -> String {
    let address = found.address;
    let port = found.port.as_deref().unwrap_or("no port");
    let mut text = match found.adjacency {
        AdjacencyKind::NoRoute => format!("{address}: no route: dropped, the source is told: network unreachable\n"),
        AdjacencyKind::Local => format!("{address}: an address of this router\n"),
        AdjacencyKind::Connected => format!("{address}: on the link of {port}\n"),
        AdjacencyKind::Via => match found.via {
            Some(gateway) => format!("{address}: via {gateway} on {port}\n"),
            None => format!("{address}: via a router on {port}\n"),
        },
        AdjacencyKind::Broadcast => format!("{address}: broadcast or network address of a subnet: dropped\n"),
        AdjacencyKind::Unreachable => format!("{address}: unreachable: dropped, the source is told\n"),
        AdjacencyKind::Blackhole => format!("{address}: blackhole: dropped silently\n"),
    };
    if let (Some(prefix), Some(source)) = (found.prefix, found.source) {
        text.push_str(&format!("  route     {prefix} ({})\n", word(&source)));
    }
    if matches!(found.adjacency, AdjacencyKind::Connected | AdjacencyKind::Via) {
        match found.mac {
            Some(mac) => text.push_str(&format!("  neighbor  {mac}\n")),
            None => text.push_str("  neighbor  not resolved\n"),
        }
    }
    if let Some(path) = &found.path {
        text.push_str(&format!("  path      {}\n", super::path::hops(path)));
    }
    if let Some(peer) = &found.peer {
        text.push_str(&format!("  pooled to {peer}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::multicast::{LegEntry, LegKind, MulticastEntry};
    use crate::api::path::PathHop;
    use crate::api::route::Source;
    use crate::api::text::MacAddress;
    use crate::cli::show::Show;

    fn nothing_known() -> LookupResult {
        LookupResult {
            address: [203, 0, 113, 9].into(),
            adjacency: AdjacencyKind::NoRoute,
            prefix: None,
            source: None,
            via: None,
            port: None,
            mac: None,
            peer: None,
            path: None,
            overlay: None,
            multicast: Vec::new(),
        }
    }

    fn leg(name: &str, reason: Option<&str>) -> LegEntry {
        LegEntry { name: name.into(), kind: Some(LegKind::Peer), reason: reason.map(Into::into) }
    }

    #[test]
    fn a_group_shows_its_routes_by_source_and_what_is_dropped() {
        let group = "ff3e::8000:1".parse().expect("an address");
        let route = MulticastEntry {
            group,
            source: Some("2001:db8::9".parse().expect("an address")),
            from: leg("p0", None),
            to: vec![leg("p1", None), leg("B", Some("no hello has come from it"))],
            put_by: Source::Config,
        };
        let found = LookupResult { address: group, multicast: vec![route.clone()], ..nothing_known() };
        let expected = "\
ff3e::8000:1: a group
  source 2001:db8::9: from p0 to p1 B (config)
    not used: B: no hello has come from it
  other sources: dropped
";
        assert_eq!(found.text(), expected);
        let any = MulticastEntry { source: None, to: vec![leg("p1", None)], ..route };
        let found = LookupResult { address: group, multicast: vec![any], ..nothing_known() };
        assert_eq!(found.text(), "ff3e::8000:1: a group\n  any source: from p0 to p1 (config)\n");
        let found = LookupResult { address: group, ..nothing_known() };
        assert_eq!(found.text(), "ff3e::8000:1: a group\n  no multicast route: dropped\n");
    }

    #[test]
    fn a_prefix_behind_an_overlay_shows_the_peers_and_why_one_is_not_used() {
        let route = OverlayEntry {
            prefix: "203.0.113.0/24".parse().expect("a prefix"),
            from: Some(leg("A", None)),
            to: vec![leg("B", Some("no hello has come from it"))],
            hops: vec!["10.0.0.3".parse().expect("an address")],
            source: Source::Socket,
        };
        assert_eq!(
            LookupResult { overlay: Some(route), ..nothing_known() }.text(),
            "\
203.0.113.9: by an overlay to B
  overlay   203.0.113.0/24 (socket)
  from      A: others are dropped
  hops      10.0.0.3
  not used  B: no hello has come from it
"
        );
    }

    #[test]
    fn a_lookup_shows_all_that_happens_to_a_packet() {
        let found = LookupResult {
            adjacency: AdjacencyKind::Via,
            prefix: Some("203.0.113.0/24".parse().expect("a prefix")),
            source: Some(Source::Config),
            via: Some([192, 0, 2, 2].into()),
            port: Some("p0".to_owned()),
            mac: Some(MacAddress([2, 0, 0, 0, 0, 2])),
            peer: Some("east".to_owned()),
            path: Some(vec![
                PathHop { address: [192, 0, 2, 2].into(), peer: None, ttl: None, reason: None },
                PathHop {
                    address: [198, 51, 100, 7].into(),
                    peer: Some("east".to_owned()),
                    ttl: Some(2),
                    reason: None,
                },
            ]),
            ..nothing_known()
        };
        assert_eq!(
            found.text(),
            "\
203.0.113.9: via 192.0.2.2 on p0
  route     203.0.113.0/24 (config)
  neighbor  02:00:00:00:00:02
  path      192.0.2.2 > 198.51.100.7 (east: 2)
  pooled to east
"
        );
    }

    #[test]
    fn an_address_without_a_route_says_what_happens_to_its_packets() {
        let text = nothing_known().text();
        assert_eq!(text, "203.0.113.9: no route: dropped, the source is told: network unreachable\n");
    }
}
