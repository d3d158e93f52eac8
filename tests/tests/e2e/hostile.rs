//! Pooled packets with every bound broken, and sound ones from a stranger: counted by name, nothing delivered, no crash.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use carpool_tests::{
    capture::{Capture, Direction},
    carpoold::Idle,
    frame::{Flow, observe, udp_packet},
    network::{A, B, CLIENTS, Network, SERVERS, TRANSIT_AT_B},
    wire::{PooledPacket, inject, outer},
};

use crate::network;

/// What the inner packets are recognised by at the client.
const TARGET_PORT: u16 = 20000;
const SOON: Duration = Duration::from_secs(5);

/// A stream packet that would reach client1 if it were taken out.
fn inner(identification: u16) -> Vec<u8> {
    let flow = Flow {
        source: SocketAddrV4::new(SERVERS[0].1, 16384),
        destination: SocketAddrV4::new(CLIENTS[0].1, TARGET_PORT),
    };
    udp_packet(flow, 62, identification, &[0x42; 100])
}

fn sound() -> PooledPacket {
    PooledPacket::carrying(&[inner(1), inner(2), inner(3)])
}

/// A sound packet after `break_it`, as the whole outer packet from A.
fn broken(break_it: impl FnOnce(&mut PooledPacket)) -> Vec<u8> {
    let mut packet = sound();
    break_it(&mut packet);
    outer(A, B, &packet.payload())
}

/// A sound outer packet with some of its bytes changed.
fn tampered(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut packet = outer(A, B, &sound().payload());
    change(&mut packet);
    packet
}

/// What is wrong, the reason B must count, and the outer packet. Fragments are not among them: the kernel reassembles them
/// before net_af_packet sees them; the worker's own tests have them.
fn cases() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let payload = sound().payload();
    vec![
        ("an empty payload", "pool_truncated_header", outer(A, B, &[])),
        ("seven bytes of header", "pool_truncated_header", outer(A, B, &payload[..7])),
        ("an index cut short", "pool_truncated_index", outer(A, B, &payload[..8 + 6 + 3])),
        ("a count beyond the packet", "pool_truncated_index", broken(|packet| packet.count = 255)),
        ("version 0", "pool_unsupported_version", broken(|packet| packet.version = 0)),
        ("version 2", "pool_unsupported_version", broken(|packet| packet.version = 2)),
        ("a pooled packet whose index never comes", "pool_index_missing", broken(|packet| packet.kind = 1)),
        ("kind 7", "pool_unsupported_kind", broken(|packet| packet.kind = 7)),
        (
            "an authentication trailer nobody asked for",
            "pool_authenticated_unsupported",
            broken(|packet| packet.kind = 8),
        ),
        (
            "no rows",
            "pool_no_rows",
            broken(|packet| {
                packet.count = 0;
                packet.rows.clear();
            }),
        ),
        ("a first row that does not start at 0", "pool_first_row_start", broken(|packet| packet.rows[0].start = 1)),
        (
            "a row that starts before the one in front of it",
            "pool_row_order",
            broken(|packet| packet.rows[2].start = 0),
        ),
        ("a row that overlaps the one in front of it", "pool_row_overlap", broken(|packet| packet.rows[1].start -= 1)),
        ("a gap between rows", "pool_row_gap", broken(|packet| packet.rows[1].start += 1)),
        ("a row of length 0", "pool_row_too_short", broken(|packet| packet.rows[1].length = 0)),
        ("a row shorter than an IP header", "pool_row_too_short", broken(|packet| packet.rows[0].length = 19)),
        ("a last row beyond the data", "pool_row_beyond_data", broken(|packet| packet.rows[2].length += 1)),
        (
            "a row of the largest start and length",
            "pool_row_gap",
            broken(|packet| {
                packet.rows[2].start = u16::MAX;
                packet.rows[2].length = u16::MAX;
            }),
        ),
        ("data behind the last row", "pool_trailing_data", broken(|packet| packet.data.push(0))),
        ("data cut short", "pool_row_beyond_data", broken(|packet| packet.data.truncate(300))),
        (
            "a representation that is reserved",
            "pool_unsupported_type",
            broken(|packet| packet.rows[1].representation = 5),
        ),
        ("an inner packet longer than its row", "pool_inner_length", broken(|packet| packet.data[3] += 1)),
        ("an inner packet shorter than its row", "pool_inner_length", broken(|packet| packet.data[3] -= 1)),
        ("a wrong UDP checksum", "pool_udp_checksum", tampered(|packet| packet[27] ^= 1)),
        ("no UDP checksum", "pool_udp_checksum", tampered(|packet| packet[26..28].fill(0))),
        ("a UDP length beyond the packet", "pool_udp_length", tampered(|packet| packet[25] += 1)),
        ("a UDP length short of the packet", "pool_udp_length", tampered(|packet| packet[25] -= 1)),
        ("a sound packet from a router that is no peer", "pool_unknown_peer", outer(TRANSIT_AT_B, B, &payload)),
        ("a sound packet from an end system", "pool_unknown_peer", outer(Ipv4Addr::new(198, 18, 1, 10), B, &payload)),
    ]
}

/// B's drop counters for packets to the pool port that rose between two readings.
fn risen(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    after
        .iter()
        .map(|(reason, count)| (reason.clone(), count - before.get(reason).copied().unwrap_or(0)))
        .filter(|(reason, count)| reason.starts_with("pool_") && *count > 0)
        .collect()
}

/// Packets to the watched port that have arrived at client1 up to now, once there are `expected`.
fn arrived(capture: &Capture, expected: usize) -> usize {
    let count = |frames: &[_]| observe(frames, Direction::In, |flow| flow.destination.port() == TARGET_PORT).len();
    capture.wait_until(SOON, |frames| count(frames) >= expected);
    count(&capture.from(0))
}

fn send(network: &Network, packet: &[u8]) {
    inject(network.lab.namespace("transit").expect("transit is there"), packet, B).expect("a packet is sent to B");
}

#[test]
fn broken_pooled_packets_and_those_of_strangers_are_counted_by_reason_and_deliver_nothing() {
    let (_alone, mut network) = network(Duration::from_millis(5), Idle::Adaptive);
    let capture = Capture::start(network.lab.namespace(CLIENTS[0].0).expect("client1"), "B").expect("a capture starts");
    send(&network, &outer(A, B, &sound().payload()));
    assert_eq!(arrived(&capture, 3), 3, "a sound packet from a peer is delivered: else this test would prove nothing");
    for (what, reason, packet) in cases() {
        let control = network.pair().expect("carpools").b.control.clone();
        let before = control.drops().expect("B answers");
        send(&network, &packet);
        let mut rise = BTreeMap::new();
        network
            .pair()
            .expect("carpools")
            .b
            .wait_until("a drop is counted", SOON, |control| {
                rise = risen(&before, &control.drops()?);
                Ok(!rise.is_empty())
            })
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(rise, BTreeMap::from([(reason.to_owned(), 1)]), "{what}");
    }
    send(&network, &outer(A, B, &sound().payload()));
    assert_eq!(arrived(&capture, 6), 6, "six packets were carried by sound ones; no other was delivered");
    assert!(network.pair().expect("carpools").b.is_running());
    drop(capture);
    network.close().expect("both routers end in order");
}
