//! Packets of different paths in one pool: they share what their rule asks for, and each row's TTL is where its packet's
//! way leaves that of the first.

use std::collections::HashMap;

use proptest::prelude::*;

use super::memory::{Memory, Sent};
use super::*;
use crate::arch::Tick;
use crate::packet::Buffer;
use crate::pool::path::SharedHops;
use crate::pool::{PacketPooler, PoolerLimits, Staged};

/// A path as the control thread knows it.
#[derive(Clone, Debug)]
struct Way {
    nodes: Vec<u16>,
    equipped: u16,
}

impl Way {
    /// The how-manieth node the first equipped one is, and the last.
    fn equipped_at(&self) -> (usize, usize) {
        let at: Vec<usize> = (0..self.nodes.len()).filter(|at| self.equipped >> at & 1 == 1).map(|at| at + 1).collect();
        (*at.first().expect("one is equipped"), *at.last().expect("one is equipped"))
    }

    /// What two ways must agree in to be in one group.
    fn group(&self, shared: SharedHops) -> Vec<u16> {
        let (first, last) = self.equipped_at();
        match shared {
            SharedHops::AtLeast(hops) => self.nodes.iter().copied().take(first.max(usize::from(hops))).collect(),
            SharedHops::WholePath => self.nodes[..last].to_vec(),
        }
    }

    fn shared_with(&self, other: &Way) -> usize {
        self.nodes.iter().zip(&other.nodes).take_while(|(a, b)| a == b).count()
    }
}

/// Ways of one to five hops, with two nodes to choose from at each; a node is equipped or not, whoever passes it.
fn any_ways() -> impl Strategy<Value = Vec<Way>> {
    let branches = prop::collection::vec(0u16..2, 1..6);
    (prop::collection::vec(branches, 1..6), any::<u16>()).prop_map(|(ways, equipped)| {
        let way = |branches: Vec<u16>| {
            let nodes: Vec<u16> = (0u16..).zip(branches).map(|(hop, branch)| 1 + 2 * hop + branch).collect();
            let equipped = nodes.iter().enumerate().map(|(at, node)| (equipped >> node & 1) << at).sum();
            Way { nodes, equipped }
        };
        ways.into_iter().map(way).filter(|way| way.equipped != 0).collect()
    })
}

/// The published paths of `ways`: groups get numbers in order of appearance, peers those of their nodes.
fn publish(ways: &[Way]) -> Vec<PoolPath> {
    let mut groups: HashMap<(usize, Vec<u16>), u16> = HashMap::new();
    let mut publish = |way: &Way| {
        let mut numbers = [0; MAX_HOPS + 1];
        let all = (1..=MAX_HOPS as u8).map(SharedHops::AtLeast).chain([SharedHops::WholePath]);
        for (at, shared) in all.enumerate() {
            let next = groups.len() as u16;
            numbers[at] = *groups.entry((at, way.group(shared))).or_insert(next);
        }
        PoolPath {
            trunk: Trunk::new(&way.nodes, way.equipped),
            addressee: Some(PeerIndex(way.nodes[way.equipped_at().1 - 1])),
            groups: numbers,
        }
    };
    ways.iter().map(&mut publish).collect()
}

proptest! {
    #[test]
    fn whoever_shares_a_pool_gets_out_on_the_stretch_that_is_shared(
        ways in any_ways(), packets in prop::collection::vec(0usize..16, 0..60),
        shared in prop_oneof![(1u8..5).prop_map(SharedHops::AtLeast), Just(SharedHops::WholePath)],
    ) {
        let paths = publish(&ways);
        let rule = Rule { shared_hops: shared, ..rule(1000, 5) };
        let mut pooler = PacketPooler::new(PoolerLimits { peers: 16, ..PoolerLimits::default() });
        let mut memory = Memory::new(2176);
        let mut way_of = Vec::new();
        for choice in packets.into_iter().filter(|_| !ways.is_empty()) {
            let way = choice % ways.len();
            // A flow is on one path.
            let bytes = packet(Flow { source: way as u8, destination: 1, port: 5000, tos: 0 }, way_of.len() as u16, 60);
            way_of.push(way);
            let (fields, path) = (fields(&bytes), &paths[way]);
            let addressee = path.addressee.expect("one is equipped");
            let peer = peer(addressee.0 as u8, 1500);
            let key = PoolKey::of_stream(path.group(shared), RuleIndex(0), &fields, 1);
            let question = Question::new(PathIndex(way as u16), RuleIndex(0), 0, (0, false), 1500);
            let ride = Ride::new(key, path, (addressee, &peer), &rule, &fields);
            let ride = Ride { question: Some(question), ..ride };
            let buffer = memory.receive(&bytes);
            prop_assert_eq!(stage(&mut pooler, buffer, &ride, Tick(0), &mut memory), Staged::Taken);
        }
        pooler.flush_due(Tick(1000), &mut memory);
        let mut left = 0;
        for sent in memory.take_sent() {
            let Sent::Pooled { packet, peer, .. } = sent else {
                left += 1;
                continue;
            };
            let rows = reader::read(packet.bytes()).rows;
            let way = |bytes: &[u8]| &ways[way_of[usize::from(u16::from_be_bytes([bytes[4], bytes[5]]))]];
            let trunk = way(&rows[0].1);
            let (_, last) = trunk.equipped_at();
            prop_assert_eq!(peer.0, trunk.nodes[last - 1], "addressed to the last equipped node of the trunk");
            for (ttl, bytes) in &rows {
                left += 1;
                let own = way(bytes);
                let together = own.shared_with(trunk);
                match shared {
                    SharedHops::WholePath => {
                        prop_assert!(together >= last, "the whole way to the addressee");
                        prop_assert_eq!(usize::from(*ttl), last);
                    }
                    SharedHops::AtLeast(hops) => {
                        prop_assert!(together >= usize::from(hops).min(own.nodes.len()));
                        let due = (1..=together).rev().find(|at| trunk.equipped >> (at - 1) & 1 == 1);
                        prop_assert_eq!(Some(usize::from(*ttl)), due, "never 0");
                    }
                }
            }
        }
        prop_assert_eq!(left, way_of.len());
    }
}
