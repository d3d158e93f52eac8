//! What becomes of packets to an address, in the order a packet meets it.

use super::{show, word};
use crate::api::lookup::LookupResult;
use crate::api::route::AdjacencyKind;

show!(LookupResult, text);

fn text(found: &LookupResult) -> String {
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
        }
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
