//! The comparison must be able to fail: each way in which packets can go wrong is made here by hand and must be found.

use std::time::Duration;

use carpool_tests::{
    capture::Direction,
    compare::{Comparison, Routers, compare},
    frame::{Flow, Observation, ethernet_frame, udp_packet},
};
use proptest::prelude::*;

const ROUTERS: u8 = 3;

fn flow(stream: u16) -> Flow {
    Flow {
        source: format!("198.18.1.10:{}", 16384 + stream).parse().expect("an address"),
        destination: format!("203.0.113.10:{}", 20000 + stream).parse().expect("an address"),
    }
}

fn seen(packet: &[u8], milliseconds: u64, direction: Direction) -> Observation {
    let frame = ethernet_frame(packet, Duration::from_millis(milliseconds), direction);
    Observation::of(&frame).expect("a UDP packet")
}

/// Packet `nth` of a stream as it leaves.
fn sent(stream: u16, nth: u16) -> Observation {
    let payload = [&nth.to_be_bytes()[..], &[7; 20]].concat();
    seen(&udp_packet(flow(stream), 64, nth, &payload), u64::from(nth), Direction::Out)
}

/// The same after this many routers.
fn arrived(stream: u16, nth: u16, routers: u8) -> Observation {
    let payload = [&nth.to_be_bytes()[..], &[7; 20]].concat();
    seen(&udp_packet(flow(stream), 64 - routers, nth, &payload), u64::from(nth) + 5, Direction::In)
}

fn ten_sent() -> Vec<Observation> {
    (0..10).map(|nth| sent(0, nth)).collect()
}

fn ten_arrived() -> Vec<Observation> {
    (0..10).map(|nth| arrived(0, nth, ROUTERS)).collect()
}

/// Changes one byte of the IP packet.
fn altered(observation: &Observation, at: usize, to: u8) -> Observation {
    let mut packet = observation.packet().to_vec();
    packet[at] = to;
    seen(&packet, 0, Direction::In)
}

fn only_difference(result: &Comparison) -> &str {
    assert_eq!(result.altered.len(), 1, "{result}");
    assert!(!result.identical() && !result.perfect());
    &result.altered[0].difference
}

#[test]
fn what_arrives_as_it_was_sent_is_perfect_and_its_delay_is_known() {
    let result = compare(&ten_sent(), &ten_arrived(), Routers::All(ROUTERS));
    assert!(result.perfect(), "{result}");
    assert_eq!(result.to_string(), "all 10 packets arrived, each identical and in the order sent");
    assert!(result.passages.iter().all(|passage| passage.delay() == Duration::from_millis(5)));
}

#[test]
fn nothing_sent_is_not_perfect() {
    assert!(!compare(&[], &[], Routers::All(ROUTERS)).perfect());
}

#[test]
fn a_lost_packet_is_named() {
    let mut received = ten_arrived();
    received.remove(4);
    let result = compare(&ten_sent(), &received, Routers::All(ROUTERS));
    assert_eq!((result.delivered, result.lost.as_slice()), (9, &[(flow(0), 4)][..]));
    assert!(!result.perfect());
    assert!(result.to_string().contains("1 lost, the first: 198.18.1.10:16384 to 203.0.113.10:20000, packet 4"));
}

#[test]
fn a_packet_that_arrives_twice_is_counted_once_and_told() {
    let mut received = ten_arrived();
    received.push(arrived(0, 3, ROUTERS));
    let result = compare(&ten_sent(), &received, Routers::All(ROUTERS));
    assert_eq!((result.delivered, result.duplicated), (10, 1));
    assert!(!result.identical());
}

#[test]
fn packets_that_change_places_are_out_of_order_but_not_altered() {
    let mut received = ten_arrived();
    received.swap(2, 3);
    let result = compare(&ten_sent(), &received, Routers::All(ROUTERS));
    assert!(result.identical() && !result.in_order() && !result.perfect());
    assert_eq!(result.reordered, 1);
}

#[test]
fn streams_may_overtake_each_other() {
    let sent: Vec<_> = (0..10).flat_map(|nth| [sent(0, nth), sent(1, nth)]).collect();
    let received: Vec<_> =
        (0..10).map(|nth| arrived(1, nth, ROUTERS)).chain((0..10).map(|nth| arrived(0, nth, ROUTERS))).collect();
    assert!(compare(&sent, &received, Routers::All(ROUTERS)).perfect());
}

#[test]
fn a_changed_payload_byte_is_told_by_its_place() {
    let mut received = ten_arrived();
    received[6] = altered(&received[6], 28 + 5, 9);
    let result = compare(&ten_sent(), &received, Routers::All(ROUTERS));
    assert_eq!(only_difference(&result), "byte 5 of the payload was 0x07 and arrived as 0x09");
    assert_eq!(result.altered[0].position, Some(6));
    assert_eq!((result.delivered, result.lost.len()), (10, 0), "it did arrive");
}

#[test]
fn a_ttl_lower_by_one_too_few_is_an_alteration() {
    let mut received = ten_arrived();
    received[0] = arrived(0, 0, ROUTERS - 1);
    let result = compare(&ten_sent(), &received, Routers::All(ROUTERS));
    assert_eq!(only_difference(&result), "TTL 64 was sent and 62 arrived, across 3 routers");
}

#[test]
fn a_header_checksum_that_does_not_hold_is_an_alteration() {
    let mut received = ten_arrived();
    let low = received[0].packet()[11];
    received[0] = altered(&received[0], 11, low ^ 1);
    let result = compare(&ten_sent(), &received, Routers::All(ROUTERS));
    assert_eq!(only_difference(&result), "its IPv4 header checksum is wrong");
}

#[test]
fn a_packet_that_was_never_sent_is_an_alteration() {
    let mut received = ten_arrived();
    received.push(arrived(5, 0, ROUTERS));
    let result = compare(&ten_sent(), &received, Routers::All(ROUTERS));
    assert_eq!(only_difference(&result), "nothing like it was sent");
    assert_eq!(result.delivered, 10);
}

proptest! {
    /// Whatever single bit changes in whatever packet, the comparison does not call it perfect.
    #[test]
    fn no_flipped_bit_goes_unseen(nth in 0_usize..10, at in 0_usize..50, bit in 0_u32..8) {
        let mut received = ten_arrived();
        let mut packet = received[nth].packet().to_vec();
        packet[at] ^= 1 << bit;
        let frame = ethernet_frame(&packet, Duration::ZERO, Direction::In);
        // What can no longer be read as UDP at all is not delivered.
        match Observation::of(&frame) {
            Some(observation) => received[nth] = observation,
            None => drop(received.remove(nth)),
        }
        prop_assert!(!compare(&ten_sent(), &received, Routers::All(ROUTERS)).perfect());
    }
}
