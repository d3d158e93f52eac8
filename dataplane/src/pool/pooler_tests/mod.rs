//! The packet pooler as a whole, on memory that counts every buffer and with a reader of pooled packets of its own.

mod adaptive;
mod behaviour;
mod boarding;
mod buckets;
mod criteria;
mod indexes;
mod memory;
mod properties;
mod reader;
mod refusals;
mod representations;
mod runs;
mod shared_hops;
mod simplemux;
mod vectors;

use std::net::Ipv4Addr;
use std::sync::OnceLock;

use self::memory::{Memory, TestBuffer};
use super::hello::Capabilities;
use super::{
    Crowd, Format, Match, PacketPooler, PeerPath, PoolKey, Question, Queue, Ride, Rule, RuleIndex, Staged, StreamFields,
};
use crate::arch::{Tick, TickSpan};
use crate::fib::{PathIndex, PeerIndex};
use crate::packet::Buffer;
use crate::pool::FlowSeed;
use crate::pool::path::{MAX_HOPS, PoolPath, Trunk};

/// A flow of test packets: who talks to whom, and how it is marked.
#[derive(Clone, Copy, Debug)]
struct Flow {
    source: u8,
    destination: u8,
    port: u16,
    tos: u8,
}

/// A UDP packet of `flow` that carries its `number` in the identification field and in every byte of its payload.
fn packet(flow: Flow, number: u16, length: u16) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..length).map(|at| (number.wrapping_mul(31).wrapping_add(at * 7) >> 3) as u8).collect();
    let [l0, l1] = length.to_be_bytes();
    let [n0, n1] = number.to_be_bytes();
    let (source, destination) = ([10, 0, 0, flow.source], [10, 1, 0, flow.destination]);
    bytes[..20].copy_from_slice(&[
        0x45,
        flow.tos,
        l0,
        l1,
        n0,
        n1,
        0,
        0,
        63,
        17,
        0,
        0,
        source[0],
        source[1],
        source[2],
        source[3],
        destination[0],
        destination[1],
        destination[2],
        destination[3],
    ]);
    if length >= 24 {
        bytes[20..22].copy_from_slice(&5004u16.to_be_bytes());
        bytes[22..24].copy_from_slice(&flow.port.to_be_bytes());
    }
    bytes
}

/// The same as a later fragment.
fn fragment(flow: Flow, number: u16, length: u16) -> Vec<u8> {
    let mut bytes = packet(flow, number, length);
    bytes[7] = 185;
    bytes
}

/// What flows are hashed with.
const SEED: FlowSeed = FlowSeed(0x5eed_5eed_5eed_5eed);

/// The fields of a test packet.
fn fields(packet: &[u8]) -> StreamFields {
    StreamFields::read(packet, SEED).expect("a sound packet")
}

fn rule(window: u64, max_count: u8) -> Rule {
    Rule { window: TickSpan(window), max_count, ..Rule::new("r", Match::default()) }
}

fn peer(number: u8, mtu: u16) -> PeerPath {
    PeerPath {
        addressee: Ipv4Addr::new(198, 51, 100, number).into(),
        source: Ipv4Addr::new(192, 0, 2, 1).into(),
        mtu,
        outer_ttl: 64,
        source_port_base: 40000,
        destination_port: 7665,
        checksum: true,
        format: Format::Native,
        capabilities: Capabilities(u16::MAX),
    }
}

/// The ride of a packet with `fields` to peer number `number`, under the rule at `rule_index`.
fn ride<'a>(fields: &StreamFields, number: u8, peer: &'a PeerPath, rule_index: u16, rule: &'a Rule) -> Ride<'a> {
    let rule_index = RuleIndex(rule_index);
    let key = PoolKey::of_stream(u16::from(number), rule_index, fields, 1);
    let class = (PoolKey::bucket_of(fields.flow, 1), fields.is_ipv6());
    let question = Question::new(PathIndex(number.into()), rule_index, fields.tos(), class, peer.mtu);
    let ride = Ride::new(key, path(number), (PeerIndex(number.into()), peer), rule, fields);
    Ride { question: Some(question), ..ride }
}

/// Stages a packet as a worker does: a plain one among others before its TTL is decremented, any other when that is done.
fn stage(
    pooler: &mut PacketPooler<TestBuffer>,
    mut packet: TestBuffer,
    ride: &Ride<'_>,
    now: Tick,
    memory: &mut Memory,
) -> Staged {
    let hashes = (ride.flow, ride.pair);
    let boarded = match ride.question {
        Some(question) if !ride.key.is_ipv6() && !ride.flow.is_multiple_of(4) => {
            let staged = packet.bytes().to_vec();
            increment_ttl(packet.bytes_mut());
            let plain = packet.bytes().to_vec();
            let mut packets = std::iter::once((packet, "with it"));
            let queue = Queue { question, hashes: &[hashes] };
            match pooler.board_plain::<0, _, _>(&mut packets, &queue, now, memory) {
                (1, None) => Ok(()),
                (0, Some((mut packet, "with it"))) => {
                    assert_eq!(packet.bytes(), plain, "a packet that is not aboard is as it was");
                    packet.bytes_mut().copy_from_slice(&staged);
                    Err(packet)
                }
                other => panic!("one packet: {}", other.0),
            }
        }
        Some(question) => pooler.board(packet, question, hashes, now, memory),
        None => Err(packet),
    };
    match boarded {
        Ok(()) => Staged::Taken,
        Err(packet) => pooler.stage(packet, ride, now, memory),
    }
}

/// What a hop further back had: [`crate::packet::ipv4::decrement_ttl`] makes it what it was.
fn increment_ttl(packet: &mut [u8]) {
    let checksum = u16::from_le_bytes([packet[10], packet[11]]);
    let before = if checksum == 0 { 0xfffe } else { checksum - 1 };
    packet[8] += 1;
    packet[10..12].copy_from_slice(&before.to_le_bytes());
}

/// How many hops away peer number `number` is.
fn distance(number: u8) -> u8 {
    2 + number
}

/// The path to peer number `number`, which is the only equipped node on it.
fn path(number: u8) -> &'static PoolPath {
    static PATHS: OnceLock<Vec<PoolPath>> = OnceLock::new();
    let paths = PATHS.get_or_init(|| {
        let path = |number: u8| {
            let nodes: Vec<u16> =
                (0..distance(number)).map(|hop| u16::from(number) * 16 + u16::from(hop) + 1).collect();
            let equipped = 1 << (distance(number) - 1);
            PoolPath {
                trunk: Trunk::new(&nodes, equipped),
                addressee: Some(PeerIndex(number.into())),
                groups: [number.into(); MAX_HOPS + 1],
            }
        };
        (0..10).map(path).collect()
    });
    paths.get(usize::from(number)).expect("a path of the tests")
}
