//! Tables of other Rust crates.
//!
//! They look up one address at a time. `prefix-trie` is a map for routing processes, not made for packets; `treebitmap`
//! is the maintained fork of the crate of that name.

use std::net::{Ipv4Addr, Ipv6Addr};

use ip_network_table_deps_treebitmap::IpLookupTable;
use ipnet::{Ipv4Net, Ipv6Net};
use poptrie::Poptrie;
use prefix_trie::PrefixMap;

use super::address::Address;
use super::contender::{Contender, Lookup, Named};
use super::hop::NO_ROUTE;
use super::table::Table;
use crate::error::BenchError;
use crate::interrupt::Interrupt;

/// One address at a time, by a closure.
struct Single<A, F> {
    lookup: F,
    address: std::marker::PhantomData<A>,
}

impl<A: Address, F: FnMut(A) -> Option<u16>> Lookup for Single<A, F> {
    type Address = A;
    type Hop = u16;

    fn burst(&mut self, destinations: &[A], hops: &mut [u16]) {
        for (destination, hop) in destinations.iter().zip(hops) {
            *hop = (self.lookup)(*destination).unwrap_or(NO_ROUTE);
        }
    }

    fn plain(hop: u16) -> u16 {
        hop
    }
}

fn single<A: Address>(name: &'static str, lookup: impl FnMut(A) -> Option<u16> + 'static) -> Box<dyn Contender<A>> {
    let lookup = Single { lookup, address: std::marker::PhantomData };
    Box::new(Named { name, way: None, lookup })
}

/// `prefix-trie` over IPv4.
pub fn prefix_trie4(table: &Table) -> Box<dyn Contender<u32>> {
    let nets = table.routes.iter().filter_map(|route| {
        let net = Ipv4Net::new(u32::from_bits(route.first).into(), route.length).ok()?;
        Some((net, route.hop))
    });
    let map: PrefixMap<Ipv4Net, u16> = nets.collect();
    single("prefix-trie", move |address: u32| {
        map.get_lpm(&Ipv4Net::from(Ipv4Addr::from_bits(address))).map(|(_, hop)| *hop)
    })
}

/// `prefix-trie` over IPv6.
pub fn prefix_trie6(table: &Table) -> Box<dyn Contender<[u8; 16]>> {
    let nets = table.routes.iter().filter_map(|route| {
        let net = Ipv6Net::new(Ipv6Addr::from_bits(route.first), route.length).ok()?;
        Some((net, route.hop))
    });
    let map: PrefixMap<Ipv6Net, u16> = nets.collect();
    single("prefix-trie", move |address: [u8; 16]| {
        map.get_lpm(&Ipv6Net::from(Ipv6Addr::from(address))).map(|(_, hop)| *hop)
    })
}

/// `treebitmap` over IPv4.
pub fn treebitmap4(table: &Table) -> Box<dyn Contender<u32>> {
    let mut map = IpLookupTable::with_capacity(table.routes.len());
    for route in &table.routes {
        map.insert(Ipv4Addr::from_bits(route.first as u32), u32::from(route.length), route.hop);
    }
    single("treebitmap", move |address: u32| map.longest_match(Ipv4Addr::from_bits(address)).map(|(.., hop)| *hop))
}

/// `treebitmap` over IPv6.
pub fn treebitmap6(table: &Table) -> Box<dyn Contender<[u8; 16]>> {
    let mut map = IpLookupTable::with_capacity(table.routes.len());
    for route in &table.routes {
        map.insert(Ipv6Addr::from_bits(route.first), u32::from(route.length), route.hop);
    }
    single("treebitmap", move |address: [u8; 16]| map.longest_match(Ipv6Addr::from(address)).map(|(.., hop)| *hop))
}

/// `poptrie` over IPv4.
pub fn poptrie4(table: &Table, interrupt: &Interrupt) -> Result<Box<dyn Contender<u32>>, BenchError> {
    let mut map = Poptrie::<(u32, u8), u16>::new();
    for (first, length, hop) in shortest_first(table) {
        interrupt.check()?;
        map.insert((first as u32, length), hop);
    }
    Ok(single("poptrie", move |address: u32| map.lookup(address).copied()))
}

/// `poptrie` over IPv6.
pub fn poptrie6(table: &Table, interrupt: &Interrupt) -> Result<Box<dyn Contender<[u8; 16]>>, BenchError> {
    let mut map = Poptrie::<(u128, u8), u16>::new();
    for (first, length, hop) in shortest_first(table) {
        interrupt.check()?;
        map.insert((first, length), hop);
    }
    Ok(single("poptrie", move |address: [u8; 16]| map.lookup(u128::from_be_bytes(address)).copied()))
}

/// The order in which `poptrie` takes routes quickest: each new node moves all that come behind it.
fn shortest_first(table: &Table) -> Vec<(u128, u8, u16)> {
    let mut routes: Vec<_> = table.routes.iter().map(|route| (route.first, route.length, route.hop)).collect();
    routes.sort_by_key(|(first, length, _)| (*length, *first));
    routes
}
