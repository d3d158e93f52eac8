//! UDP over IPv6 as a capture saw it, for streams to one address: whole packets, compared byte for byte.
//!
//! Written against RFC 8200, not against the router's parsers, which it is there to judge.

use std::{collections::BTreeMap, net::Ipv6Addr};

use super::traffic::Received;
use crate::capture::{Direction, Frame};

const ETHERNET_HEADER: usize = 14;
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const IPV6_HEADER: usize = 40;
const UDP: u8 = 17;
const HOP_LIMIT: usize = 7;

/// The packets to `to`, without what the link added behind them.
pub fn packets_to(frames: &[Frame], direction: Direction, to: Ipv6Addr) -> Vec<Vec<u8>> {
    frames
        .iter()
        .filter(|frame| frame.direction == direction && frame.bytes.get(12..14) == Some(&ETHERTYPE_IPV6[..]))
        .filter_map(|frame| {
            let packet = frame.bytes.get(ETHERNET_HEADER..)?;
            let header = packet.get(..IPV6_HEADER)?;
            let length = IPV6_HEADER + usize::from(u16::from_be_bytes([header[4], header[5]]));
            let is_stream = header[0] >> 4 == 6 && header[6] == UDP && header[24..] == to.octets();
            packet.get(..length).filter(|packet| is_stream && packet.len() >= IPV6_HEADER + 8).map(<[u8]>::to_vec)
        })
        .collect()
}

/// Compares what was sent with what came, forwarded by so many nodes: all bytes equal but the hop limit, which is lower by
/// those nodes.
pub fn compare(receiver: &str, sent: &[Vec<u8>], came: &[Vec<u8>], nodes: u8) -> Received {
    let forwarded: Vec<_> = sent
        .iter()
        .map(|packet| {
            let mut packet = packet.clone();
            packet[HOP_LIMIT] = packet[HOP_LIMIT].saturating_sub(nodes);
            packet
        })
        .collect();
    let (mut expected, mut found) = (forwarded.clone(), came.to_vec());
    expected.sort();
    found.sort();
    Received {
        receiver: receiver.to_owned(),
        sent: sent.len(),
        delivered: came.len(),
        identical: expected == found,
        in_order: by_stream(&forwarded) == by_stream(came),
    }
}

/// The packets of each stream in order, by its ports.
fn by_stream(packets: &[Vec<u8>]) -> BTreeMap<&[u8], Vec<&[u8]>> {
    let mut streams: BTreeMap<&[u8], Vec<&[u8]>> = BTreeMap::new();
    for packet in packets {
        streams.entry(&packet[IPV6_HEADER..IPV6_HEADER + 4]).or_default().push(packet);
    }
    streams
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;

    const GROUP: Ipv6Addr = Ipv6Addr::new(0xff3e, 0, 0, 0, 0, 0, 0x8000, 1);

    fn packet(port: u8, hop_limit: u8, data: u8) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 9, UDP, hop_limit];
        packet.extend([[0; 16], GROUP.octets()].concat());
        packet.extend([0, port, 0, port, 0, 9, 1, 2, data]);
        packet
    }

    fn seen(packet: &[u8]) -> Vec<Vec<u8>> {
        let bytes: Arc<[u8]> = [&[0; 12][..], &ETHERTYPE_IPV6, packet, &[0; 4]].concat().into();
        packets_to(&[Frame { at: Duration::ZERO, direction: Direction::In, bytes }], Direction::In, GROUP)
    }

    #[test]
    fn a_packet_is_read_without_what_the_link_added_and_others_are_not() {
        assert_eq!(seen(&packet(1, 9, 1)), [packet(1, 9, 1)]);
        let mut other = packet(1, 9, 1);
        other[39] = 2;
        assert!(seen(&other).is_empty() && seen(&packet(1, 9, 1)[..40]).is_empty());
    }

    #[test]
    fn what_is_lost_changed_or_out_of_order_shows() {
        let sent = [packet(1, 9, 1), packet(1, 9, 2), packet(2, 9, 3)];
        let came = |order: &[usize], hop_limit| -> Vec<_> {
            order
                .iter()
                .map(|at| [(1, 1), (1, 2), (2, 3), (2, 4)][*at])
                .map(|(port, data)| packet(port, hop_limit, data))
                .collect()
        };
        assert!(compare("r", &sent, &came(&[2, 0, 1], 7), 2).perfect(), "streams may overtake each other");
        assert!(!compare("r", &sent, &came(&[0, 1, 2], 8), 2).identical, "the hop limit");
        assert!(!compare("r", &sent, &came(&[0, 1, 3], 7), 2).identical, "a byte");
        assert!(!compare("r", &sent, &came(&[1, 0, 2], 7), 2).in_order);
        assert!(!compare("r", &sent, &came(&[0, 1], 7), 2).perfect());
    }
}
