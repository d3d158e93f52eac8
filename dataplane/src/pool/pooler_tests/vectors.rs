//! The golden vectors that a pooler can have sent, made by this one from the packets in them.

use std::net::IpAddr;

use super::memory::{Memory, Sent};
use super::*;
use crate::arch::Tick;
use crate::packet::Buffer;
use crate::packet::ipv4::decrement_ttl;
use crate::pool::vectors::Vector;
use crate::pool::wire::{PooledPacket, Template, TemplateId};
use crate::pool::{Index, PacketPooler, PoolerLimits, Staged};

/// A path over these nodes, of which those that `equipped` tells (the first is its lowest bit) take packets out.
fn path_over(nodes: &[u16], equipped: u16) -> PoolPath {
    PoolPath { trunk: Trunk::new(nodes, equipped), addressee: Some(PeerIndex(5)), groups: [1; MAX_HOPS + 1] }
}

fn address(bytes: &[u8]) -> IpAddr {
    match <[u8; 16]>::try_from(bytes) {
        Ok(bytes) => bytes.into(),
        Err(_) => <[u8; 4]>::try_from(bytes).expect("an address of either family").into(),
    }
}

/// What leaves where these packets are staged together, each with its path and rule, by a pooler whose next sequence
/// number this is: the packets, from the outer IP header on.
fn pooled(peer: &PeerPath, sequence: u32, packets: &[(Vec<u8>, PoolPath, u16, Rule)]) -> Vec<Vec<u8>> {
    let limits = PoolerLimits { pools: 16, flows: 64, peers: 8, ..PoolerLimits::default() };
    let mut memory = Memory::new(usize::from(limits.link_headroom) + usize::from(limits.buffer_room));
    let mut pooler = PacketPooler::new(limits);
    *pooler.next_sequence(PeerIndex(5), 0).expect("a peer within the limits") = sequence;
    for (bytes, path, number, rule) in packets {
        let fields = fields(bytes);
        let key = PoolKey::of_stream(1, RuleIndex(*number), &fields, 1);
        let ride = Ride::new(key, path, (PeerIndex(5), peer), rule, &fields);
        let buffer = memory.receive(bytes);
        assert_eq!(pooler.stage(buffer, &ride, Tick(0), &mut memory), Staged::Taken);
    }
    pooler.flush_due(Tick(100), &mut memory);
    let bytes = |sent: &Sent| match sent {
        Sent::Pooled { packet, .. } | Sent::Lone(packet) => packet.bytes().to_vec(),
    };
    memory.take_sent().iter().map(bytes).collect()
}

/// The packets of a `chain_*` vector, staged with these paths, are pooled to that vector, past so many routers.
fn is_pooled_to(name: &str, paths: &[PoolPath], routers: usize) {
    let vectors = Vector::all("kind0");
    let vector = vectors.iter().find(|vector| vector.name == name).expect("the vector is there");
    let expected = &vector.section("packet").bytes;
    let (header, octets) = if expected[0] >> 4 == 6 { (40, 8..24) } else { (20, 12..16) };
    let (source, addressee) = (&expected[octets.clone()], &expected[octets.end..header]);
    let peer = PeerPath {
        source: address(source),
        addressee: address(addressee),
        source_port_base: 7665,
        destination_port: 7665,
        ..peer(5, 1500)
    };
    let inside = PooledPacket::parse(&expected[header + 8..]).expect("a sound vector");
    let packets: Vec<_> = inside.rows().map(|(_, bytes)| bytes.to_vec()).collect();
    assert_eq!(packets.len(), paths.len(), "{name}");
    let staged: Vec<_> =
        packets.into_iter().zip(paths).map(|(packet, path)| (packet, *path, 0, rule(100, 255))).collect();
    let mut sent = pooled(&peer, 7, &staged);
    for _ in 0..routers {
        assert!(decrement_ttl(&mut sent[0]).is_some());
    }
    assert_eq!(sent, std::slice::from_ref(expected), "{name}");
}

#[test]
fn three_packets_of_which_one_gets_out_at_the_third_node_leave_as_their_vector() {
    let (main, third) = ([1, 2, 3, 4, 5], [1, 2, 3, 9]);
    for (name, equipped) in [("chain_three_node1", 0b1_1111), ("chain_three_unequipped_node1", 0b1_0101)] {
        let (main, third) = (path_over(&main, equipped), path_over(&third, equipped & 0b111));
        is_pooled_to(name, &[main, main, third], 0);
    }
}

#[test]
fn four_packets_with_ways_of_different_lengths_leave_as_their_vector() {
    // Where nodes 1 and 2 are unequipped, node 3 is the first that the vectors tell of.
    for (name, equipped, routers) in [("chain_mixed_node1", 0b1_1111, 0), ("chain_mixed_unequipped_node3", 0b1_1100, 2)]
    {
        let way = |nodes: &[u16]| path_over(nodes, equipped);
        let (main, third, fourth) = (way(&[1, 2, 3, 4, 5]), way(&[1, 2, 3, 9]), way(&[1, 2, 3, 4, 8]));
        is_pooled_to(name, &[main, main, third, fourth], routers);
    }
}

#[test]
fn four_packets_in_an_outer_ipv6_packet_past_an_unequipped_node_leave_as_their_vector() {
    let way = |nodes: &[u16]| path_over(nodes, 0b1101);
    // One that turns off behind the unequipped second node gets out at the first.
    let (main, first, third) = (way(&[1, 2, 3, 4]), way(&[1, 2, 9]), way(&[1, 2, 3, 8]));
    is_pooled_to("chain_outer_ipv6_node1", &[main, third, first, third], 0);
}

/// What is behind the UDP header of what is sent, where these packets, of TTL 1, are staged under a rule each.
fn payloads(sequence: u32, packets: &[(&[u8], u16, Rule)]) -> Vec<Vec<u8>> {
    let path = path_over(&[1], 1);
    let staged: Vec<_> =
        packets.iter().map(|(bytes, number, rule)| (bytes.to_vec(), path, *number, rule.clone())).collect();
    pooled(&peer(5, 1500), sequence, &staged).iter().map(|packet| packet[28..].to_vec()).collect()
}

/// The UDP payloads of a vector of tests/vectors/indexes.
fn index_vector(name: &str) -> Vec<Vec<u8>> {
    Vector::named("indexes", name).arrivals().into_iter().map(|(_, payload)| payload.to_vec()).collect()
}

#[test]
fn packets_whose_index_goes_apart_leave_as_their_vectors_with_the_index_in_front() {
    let out_of_band = || Rule { index: Index::OutOfBand, ..rule(50, 255) };
    let sent = index_vector("index");
    let [_, two, lone] = &sent[..] else { panic!("three payloads") };
    let staged = [(&two[8..68], 0, out_of_band()), (&two[68..], 0, out_of_band()), (&lone[8..], 1, out_of_band())];
    assert_eq!(payloads(9, &staged), sent);

    let sent = index_vector("index_wrapped");
    let [_, lone, two] = &sent[..] else { panic!("three payloads") };
    let staged = [(&lone[8..], 0, out_of_band()), (&two[8..28], 1, out_of_band()), (&two[28..], 1, out_of_band())];
    assert_eq!(payloads(u32::MAX - 1, &staged), sent, "sequence numbers wrap");
}

#[test]
fn packets_of_known_lengths_leave_as_their_vectors() {
    for (name, id, template, lengths) in [
        ("predetermined_in_turn", 255, &[60, 200][..], [60, 200, 60]),
        ("predetermined_one_length", 7, &[60], [60, 60, 60]),
    ] {
        let sent = index_vector(name);
        let [vector] = &sent[..] else { panic!("one payload") };
        let (id, template) = (TemplateId::new(id).expect("not 0"), Template::new(template).expect("sound lengths"));
        let rule = Rule { index: Index::Predetermined { id, template }, ..rule(50, 255) };
        let mut at = 8;
        let packets = lengths.map(|length| {
            at += length;
            (&vector[at - length..at], 0, rule.clone())
        });
        let sequence = u32::from_be_bytes([vector[4], vector[5], vector[6], vector[7]]);
        assert_eq!(payloads(sequence, &packets), sent, "{name}");
    }
}
