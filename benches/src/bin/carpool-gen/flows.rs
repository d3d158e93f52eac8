//! Where packets come from and go: flows, spread over ports and destinations.
//!
//! A flow is a pair of addresses and a pair of ports. There are as many as the larger of the numbers of source ports and of
//! destinations; which one a packet belongs to follows from its sequence number, so that the receiver knows it too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The most destinations.
pub const MAX_DESTINATIONS: u32 = 1 << 20;

/// How flows take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Order {
    /// One after the other.
    Sequential,
    /// Each packet is of any flow, drawn by its sequence number: the same in every trial.
    Random,
}

/// What flows there are.
#[derive(Clone, Copy, Debug)]
pub struct Flows {
    /// Where packets come from.
    pub source: IpAddr,
    /// Destinations are spread evenly over it.
    pub prefix: IpNet,
    pub destinations: u32,
    pub first_source_port: u16,
    pub source_ports: u16,
    pub destination_port: u16,
    pub order: Order,
}

/// Why there cannot be such flows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlowsError {
    #[error("{0} destinations: expected 1 to {MAX_DESTINATIONS}")]
    Destinations(u32),
    #[error("the prefix {prefix} has {addresses} addresses and {wanted} destinations are asked for")]
    Prefix { prefix: IpNet, addresses: u128, wanted: u32 },
    #[error("{wanted} flows from port {first}: expected 1 to {room}, so that the last port is 65535 at most")]
    Ports { first: u16, wanted: u16, room: u32 },
    #[error("packets to {prefix} cannot come from {own}: expected an address of the same family")]
    Family { prefix: IpNet, own: IpAddr },
}

impl Flows {
    /// Whether there can be such flows.
    pub fn check(&self) -> Result<(), FlowsError> {
        if self.destinations == 0 || self.destinations > MAX_DESTINATIONS {
            return Err(FlowsError::Destinations(self.destinations));
        }
        let addresses = self.addresses();
        if u128::from(self.destinations) > addresses {
            return Err(FlowsError::Prefix { prefix: self.prefix, addresses, wanted: self.destinations });
        }
        let room = 0x1_0000 - u32::from(self.first_source_port);
        if self.source_ports == 0 || u32::from(self.source_ports) > room {
            return Err(FlowsError::Ports { first: self.first_source_port, wanted: self.source_ports, room });
        }
        if self.source.is_ipv4() != self.prefix.addr().is_ipv4() {
            return Err(FlowsError::Family { prefix: self.prefix, own: self.source });
        }
        Ok(())
    }

    /// Addresses in the prefix.
    fn addresses(&self) -> u128 {
        let bits = self.prefix.max_prefix_len() - self.prefix.prefix_len();
        1u128.checked_shl(bits.into()).unwrap_or(u128::MAX)
    }

    /// How many flows there are.
    pub fn count(&self) -> u32 {
        self.destinations.max(self.source_ports.into())
    }

    /// The flow of a packet.
    #[inline]
    pub fn of(&self, sequence: u64) -> u32 {
        let count = u64::from(self.count());
        match self.order {
            Order::Sequential => (sequence % count) as u32,
            Order::Random => ((u128::from(scattered(sequence)) * u128::from(count)) >> 64) as u32,
        }
    }

    /// The source port of a flow.
    #[inline]
    pub fn source_port(&self, flow: u32) -> u16 {
        self.first_source_port.wrapping_add((flow % u32::from(self.source_ports)) as u16)
    }

    /// Where the destinations of all packets come from, for who makes many.
    pub fn spread(&self) -> Spread {
        let step = self.addresses() / u128::from(self.destinations.max(1));
        // The first address of a network is no host's where the prefix is longer than it needs to be.
        let first = u128::from(step > 1);
        match self.prefix.network() {
            IpAddr::V4(network) => Spread::V4 {
                first: network.to_bits().wrapping_add(first as u32),
                step: step as u32,
                destinations: self.destinations,
            },
            IpAddr::V6(network) => {
                Spread::V6 { first: network.to_bits().wrapping_add(first), step, destinations: self.destinations }
            }
        }
    }
}

/// The addresses that flows go to.
#[derive(Clone, Copy, Debug)]
pub enum Spread {
    V4 { first: u32, step: u32, destinations: u32 },
    V6 { first: u128, step: u128, destinations: u32 },
}

impl Spread {
    /// Where a flow goes.
    #[inline]
    pub fn destination(&self, flow: u32) -> IpAddr {
        match *self {
            Spread::V4 { first, step, destinations } => {
                Ipv4Addr::from_bits(first.wrapping_add((flow % destinations).wrapping_mul(step))).into()
            }
            Spread::V6 { first, step, destinations } => {
                Ipv6Addr::from_bits(first.wrapping_add(u128::from(flow % destinations).wrapping_mul(step))).into()
            }
        }
    }
}

/// A number without any visible relation to `number` (the mixing function of SplitMix64, Steele et al. 2014).
#[inline]
fn scattered(number: u64) -> u64 {
    let mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

#[cfg(test)]
pub mod tests {
    use std::collections::HashSet;

    use super::*;

    pub fn flows(prefix: &str, destinations: u32, source_ports: u16, order: Order) -> Flows {
        let prefix: IpNet = prefix.parse().expect("a prefix");
        let source = if prefix.addr().is_ipv4() { "192.0.2.2" } else { "2001:db8::2" };
        let source = source.parse().expect("an address");
        Flows { source, prefix, destinations, first_source_port: 20_000, source_ports, destination_port: 30_000, order }
    }

    #[test]
    fn destinations_are_spread_over_the_whole_prefix_and_none_is_there_twice() {
        for (prefix, count) in
            [("198.18.0.0/15", 256), ("10.0.0.0/12", 1 << 20), ("192.0.2.0/30", 4), ("2001:db8::/32", 1000)]
        {
            let flows = flows(prefix, count, 1, Order::Sequential);
            flows.check().expect("there are enough addresses");
            let spread = flows.spread();
            let all: HashSet<IpAddr> = (0..count).map(|flow| spread.destination(flow)).collect();
            assert_eq!(all.len(), count as usize, "{prefix}");
            assert!(all.iter().all(|address| flows.prefix.contains(address)), "{prefix}");
        }
        let flows = flows("198.18.0.0/15", 256, 1, Order::Sequential);
        assert_eq!(flows.spread().destination(255), "198.19.254.1".parse::<IpAddr>().expect("an address"));
    }

    #[test]
    fn both_orders_reach_every_flow_and_random_does_not_go_in_turns() {
        for order in [Order::Sequential, Order::Random] {
            let flows = flows("198.18.0.0/15", 256, 64, order);
            let taken: Vec<u32> = (0..5000).map(|sequence| flows.of(sequence)).collect();
            assert_eq!(taken.iter().collect::<HashSet<_>>().len(), 256, "{order:?}");
            let in_turn = taken.windows(2).filter(|pair| pair[1] == (pair[0] + 1) % 256).count();
            assert!(if order == Order::Sequential { in_turn == 4999 } else { in_turn < 100 }, "{in_turn}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let refused = |prefix, destinations, ports| flows(prefix, destinations, ports, Order::Random).check().is_err();
        assert!(refused("198.18.0.0/24", 257, 1));
        assert!(refused("10.0.0.0/8", MAX_DESTINATIONS + 1, 1) && refused("10.0.0.0/8", 0, 1));
        assert!(refused("10.0.0.0/8", 1, 0) && refused("10.0.0.0/8", 1, 45_537));
        assert!(!refused("10.0.0.0/8", 1, 45_536) && !refused("::/0", 1, 1));
    }
}
