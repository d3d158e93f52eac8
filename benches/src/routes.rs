//! Routes of a router under measurement, and random destinations that they lead somewhere: a table of the Internet.
//!
//! carpool has all of its prefixes. l3fwd has as many as its tables take, picked evenly, and two prefixes that cover what
//! these leave out.

use std::net::{IpAddr, Ipv4Addr};

use carpool_dataplane::fib::EntryId;
use ipnet::Ipv4Net;

use crate::case::{Case, DESTINATIONS, Destinations, STREAMS};
use crate::error::BenchError;
use crate::fib::hop::NEXT_HOPS;
use crate::fib::reference::Reference;
use crate::fib::stream::{Source, Stream};
use crate::fib::table::{self, Route, Table};
use crate::growth::Dimension;
use crate::network::Network;

/// The forwarding entries: no route, ourselves, the gateway, the gateway with a pool to the peer, then the next hops of the
/// table, numbered from 1.
pub const LOCAL: EntryId = EntryId(1);
pub const VIA: EntryId = EntryId(2);
pub const VIA_POOLED: EntryId = EntryId(3);
/// A link with hosts, where there is no table.
const LINK: EntryId = EntryId(4);

/// Routes that l3fwd gets of the table: its rte_fib takes 65,536.
const L3FWD_ROUTES: usize = 60_000;

/// How many next hops the table of a case has.
pub fn hops(case: &Case) -> u16 {
    if matches!(case.destinations, Destinations::Random(_)) { NEXT_HOPS } else { 0 }
}

/// Paths that packets can be pooled on.
pub fn paths(case: &Case) -> u16 {
    let paths = case.grown(Dimension::Paths).or(case.grown(Dimension::OpenPools)).unwrap_or(1);
    paths.min(u32::from(u16::MAX) - 8) as u16
}

/// The forwarding entry of a path; all lead to the gateway.
fn on_path(path: u16) -> EntryId {
    if path == 0 { VIA_POOLED } else { EntryId(VIA_POOLED.0 + path) }
}

/// A network for each path, where there are several.
fn path_networks(case: &Case) -> impl Iterator<Item = (Ipv4Addr, EntryId)> {
    let paths = paths(case);
    let several = if paths > 1 { paths } else { 0 };
    (0..several).map(|path| (Ipv4Addr::from_bits(10 << 24 | u32::from(path) << 8), on_path(path)))
}

/// Where everything goes that is not in the table of the Internet, in the family of the case.
pub fn own(case: &Case) -> Vec<(IpAddr, u8, EntryId)> {
    let network = Network::of(case);
    let out = |number| match case.destinations {
        _ if case.pools(number) => VIA_POOLED,
        Destinations::Hosts => LINK,
        _ => VIA,
    };
    let networks = (0..DESTINATIONS).map(|number| (network.destination(number), network.prefix_len(), out(number)));
    let hosts = [(network.peer, VIA), (network.beyond, VIA), (network.router, LOCAL)];
    let hosts = hosts.map(|(address, entry)| (address, if address.is_ipv6() { 128 } else { 32 }, entry));
    let by_path = path_networks(case).map(|(network, entry)| (network.into(), 24, entry));
    networks.chain(by_path).chain(hosts).collect()
}

/// The table of the Internet: a million prefixes of IPv4, of all lengths, or as many as the case has.
pub fn internet(case: &Case) -> Result<impl Iterator<Item = (Ipv4Net, EntryId)>, BenchError> {
    let (tables, _) = table::load()?;
    let table = match case.grown(Dimension::Routes) {
        Some(count) => pick(&tables.all_lengths, count as usize),
        None => tables.all_lengths,
    };
    let entry = |route: &Route| EntryId(VIA_POOLED.0 + route.hop);
    Ok(table.routes.into_iter().map(move |route| (net(&route), entry(&route))))
}

/// So many routes of a table, evenly picked.
fn pick(table: &Table, count: usize) -> Table {
    let pick = |number| table.routes.get(number * table.routes.len() / count).copied();
    Table { family: table.family, routes: (0..count.min(table.routes.len())).filter_map(pick).collect() }
}

fn net(route: &Route) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::from_bits(route.first as u32), route.length)
}

/// The file of destinations for net_lean, where the frames of a case do not keep their own: announced addresses, each as likely as any
/// other, the same in every run; or one in the network of each path.
pub fn destinations(case: &Case) -> Result<Option<Vec<u8>>, BenchError> {
    let Destinations::Random(count) = case.destinations else {
        let all: Vec<Ipv4Addr> = path_networks(case).map(|(network, _)| network).collect();
        let busy = if case.grown(Dimension::Paths).is_some() { all.len().min(usize::from(STREAMS)) } else { all.len() };
        let host = |path: usize| all.get(path * all.len() / busy).map(|network| (network.to_bits() + 1).to_be_bytes());
        let listed: Vec<u8> = (0..busy).filter_map(host).flatten().collect();
        return Ok(Some(listed).filter(|listed| !listed.is_empty()));
    };
    let (tables, _) = table::load()?;
    let picked = case.grown(Dimension::Routes).map(|routes| pick(&tables.all_lengths, routes as usize));
    let announced = picked.as_ref().unwrap_or(&tables.announced);
    let drawn = Source::new(announced, &Reference::new(announced)).draw(Stream::Uniform, count as usize);
    Ok(Some(drawn.into_iter().flat_map(|address| (address as u32).to_be_bytes()).collect()))
}

/// The route file of IPv4 for l3fwd (22.11: a line for each prefix, with the port it leads to): two routes, or as many of the table as
/// it takes. All lead to the second port.
pub fn l3fwd_rules(case: &Case) -> Result<String, BenchError> {
    let line = |prefix: String| format!("R{prefix} 1\n");
    let Destinations::Random(_) = case.destinations else {
        return Ok(["198.18.0.0/16", "198.19.0.0/16"].map(String::from).map(line).concat());
    };
    let (tables, _) = table::load()?;
    let halves = ["0.0.0.0/1", "128.0.0.0/1"].map(String::from);
    let picked = pick(&tables.announced, L3FWD_ROUTES - halves.len());
    let picked = picked.routes.iter().map(|route| net(route).to_string());
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
    fn traffic_goes_by_every_path_or_by_at_most_64_of_them() {
        let addresses = |growth: &str| {
            let case = Case { growth: growth.parse().ok(), .."pool_60".parse().expect("a case") };
            assert_eq!(own(&case).len(), usize::from(DESTINATIONS) + 3 + usize::from(paths(&case)), "{growth}");
            destinations(&case).expect("destinations").map_or(0, |listed| listed.len() / 4)
        };
        assert_eq!(["open-pools=1000", "paths=10", "paths=10000"].map(addresses), [1000, 10, 64]);
    }

    #[test]
    fn random_destinations_are_announced_and_the_same_in_every_run() {
        let case = "forward_64_4k".parse().expect("a case");
        let drawn = destinations(&case).expect("destinations").expect("a list");
        assert_eq!(drawn.len(), 4 * 4000);
        assert_eq!(destinations(&case).expect("destinations").as_ref(), Some(&drawn));
        let different: std::collections::HashSet<&[u8]> = drawn.chunks(4).collect();
        assert!(different.len() > 3990, "{}", different.len());
        assert!(drawn.chunks(4).all(|address| !matches!(address[0], 0 | 10 | 127 | 224..)));
    }
}
