//! The addresses around the router under measurement, in both families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::case::{Carriage, Case, DESTINATIONS, STREAMS};

/// The router's Ethernet address on the port that packets come in by.
pub const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Who sends the frames.
pub const SENDER_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
/// The router's on the other port.
pub const EAST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// Who takes what leaves there.
pub const GATEWAY_MAC: [u8; 6] = [2, 0, 0, 0, 1, 2];

/// Addresses of one family.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// The router's address that pooled packets come to.
    pub router: IpAddr,
    /// The router's address that pooled packets come from.
    pub east: IpAddr,
    /// The next hop there.
    pub gateway: IpAddr,
    /// The router that pooled packets come from or go to.
    pub peer: IpAddr,
    /// The router that pooled packets in transit go to.
    pub beyond: IpAddr,
}

/// IPv4: streams are in the networks of RFC 2544, the rest in those of RFC 5737.
const V4: Network = Network {
    router: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    east: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
    gateway: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 2)),
    peer: IpAddr::V4(Ipv4Addr::new(203, 0, 113, 77)),
    beyond: IpAddr::V4(Ipv4Addr::new(203, 0, 113, 78)),
};

/// IPv6: all are in the network of RFC 3849.
const V6: Network = Network { router: v6(1, 1), east: v6(2, 1), gateway: v6(2, 2), peer: v6(3, 77), beyond: v6(3, 78) };

const fn v6(network: u16, host: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, network, 0, 0, 0, 0, host))
}

impl Network {
    /// The addresses that a case is about.
    pub fn of(case: &Case) -> &'static Network {
        if case.carriage == Carriage::Ipv6 { &V6 } else { &V4 }
    }

    /// The next hop `number` of a table that has up to 250, numbered from 1, and its Ethernet address.
    pub fn hop(number: u16) -> (IpAddr, [u8; 6]) {
        let host = number as u8;
        (Ipv4Addr::new(198, 51, 100, host.saturating_add(2)).into(), [2, 0, 0, 0, 2, host])
    }

    /// Where stream `number` comes from.
    pub fn source(&self, number: u16) -> IpAddr {
        let host = 100 + number % STREAMS;
        if self.router.is_ipv6() { v6(1, host) } else { Ipv4Addr::new(192, 0, 2, host as u8).into() }
    }

    /// Where stream `number` goes.
    pub fn destination(&self, number: u16) -> IpAddr {
        let network = number % DESTINATIONS;
        if self.router.is_ipv6() { v6(0x100 + network, 1) } else { Ipv4Addr::new(198, 18, network as u8, 1).into() }
    }

    /// The length of the prefix that a destination is in.
    pub fn prefix_len(&self) -> u8 {
        if self.router.is_ipv6() { 48 } else { 24 }
    }
}

/// Source and destination port of stream `number`.
pub fn ports(number: u16) -> [u16; 2] {
    [20_000 + number, 30_000 + number]
}
