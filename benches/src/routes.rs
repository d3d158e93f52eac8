//! Routes of a router under measurement, and random destinations that they lead somewhere: a table of the Internet.
//!
//! carpool has all of its prefixes. l3fwd has as many as its tables take, picked evenly, and two prefixes that cover what
//! these leave out.

use std::net::{IpAddr, Ipv4Addr};

use carpool_dataplane::fib::EntryId;
use ipnet::Ipv4Net;

use crate::case::{Case, DESTINATIONS, Destinations, Work};
use crate::error::BenchError;
use crate::fib::hop::NEXT_HOPS;
use crate::fib::reference::Reference;
use crate::fib::stream::{Source, Stream};
use crate::fib::table::{self, Route};
use crate::network::Network;

/// The forwarding entries: no route, ourselves, the gateway, the gateway with a pool to the peer, then the next hops of the
/// table, numbered from 1.
pub const LOCAL: EntryId = EntryId(1);
pub const VIA: EntryId = EntryId(2);
pub const VIA_POOLED: EntryId = EntryId(3);

/// Routes that l3fwd gets of the table: its rte_fib takes 65,536.
const L3FWD_ROUTES: usize = 60_000;

/// How many next hops the table of a case has.
pub fn hops(case: &Case) -> u16 {
    if matches!(case.destinations, Destinations::Random(_)) { NEXT_HOPS } else { 0 }
}

/// Where everything goes that is not in the table of the Internet, in the family of the case.
pub fn own(case: &Case) -> Vec<(IpAddr, u8, EntryId)> {
    let network = Network::of(case);
    let out = if case.work == Work::Pool { VIA_POOLED } else { VIA };
    let networks = (0..DESTINATIONS).map(|number| (network.destination(number), network.prefix_len(), out));
    let hosts = [(network.peer, VIA), (network.beyond, VIA), (network.router, LOCAL)];
    let hosts = hosts.map(|(address, entry)| (address, if address.is_ipv6() { 128 } else { 32 }, entry));
    networks.chain(hosts).collect()
}

/// The table of the Internet: a million prefixes of IPv4, of all lengths.
pub fn internet() -> Result<impl Iterator<Item = (Ipv4Net, EntryId)>, BenchError> {
    let (tables, _) = table::load()?;
    let entry = |route: &Route| EntryId(VIA_POOLED.0 + route.hop);
    let prefixes = tables.all_lengths.routes.into_iter().map(move |route| (net(&route), entry(&route)));
    Ok(prefixes)
}

fn net(route: &Route) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::from_bits(route.first as u32), route.length)
}

/// The file of destinations for net_lean: `count` announced addresses, each as likely as any other, the same in every run.
pub fn destinations(count: u32) -> Result<Vec<u8>, BenchError> {
    let (tables, _) = table::load()?;
    let announced = &tables.announced;
    let drawn = Source::new(announced, &Reference::new(announced)).draw(Stream::Uniform, count as usize);
    Ok(drawn.into_iter().flat_map(|address| (address as u32).to_be_bytes()).collect())
}

/// The route file of IPv4 for l3fwd (22.11: a line for each prefix, with the port it leads to): two routes, or as many of the table as
/// it takes. All lead to the second port.
pub fn l3fwd_rules(case: &Case) -> Result<String, BenchError> {
    let line = |prefix: String| format!("R{prefix} 1\n");
    let Destinations::Random(_) = case.destinations else {
        return Ok(["198.18.0.0/16", "198.19.0.0/16"].map(String::from).map(line).concat());
    };
    let (tables, _) = table::load()?;
    let routes = &tables.announced.routes;
    let halves = ["0.0.0.0/1", "128.0.0.0/1"].map(String::from);
    let count = L3FWD_ROUTES - halves.len();
    let picked =
        (0..count).filter_map(|number| routes.get(number * routes.len() / count)).map(|route| net(route).to_string());
    Ok(halves.into_iter().chain(picked).map(line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l3fwd_gets_sixty_thousand_routes_that_cover_everything() {
        let rules = l3fwd_rules(&"forward_64_1m".parse().expect("a case")).expect("routes");
        assert_eq!(rules.lines().collect::<std::collections::HashSet<_>>().len(), L3FWD_ROUTES);
        assert!(rules.starts_with("R0.0.0.0/1 1\nR128.0.0.0/1 1\n"), "{}", &rules[..100]);
        assert!(rules.lines().all(|line| line.starts_with('R') && line.ends_with(" 1")));
    }

    #[test]
    fn random_destinations_are_announced_and_the_same_in_every_run() {
        let drawn = destinations(1000).expect("destinations");
        assert_eq!(drawn.len(), 4000);
        assert_eq!(destinations(1000).expect("destinations"), drawn);
        let different: std::collections::HashSet<&[u8]> = drawn.chunks(4).collect();
        assert!(different.len() > 990, "{}", different.len());
        assert!(drawn.chunks(4).all(|address| !matches!(address[0], 0 | 10 | 127 | 224..)));
    }
}
