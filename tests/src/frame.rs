//! The lab's own reading of Ethernet, IPv4 and UDP: what a comparison needs to know of a captured frame.
//!
//! Written against RFC 791, 768 and 1071, not against the router's parsers, which it is there to judge.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};

use crate::capture::{Direction, Frame};

const ETHERNET_HEADER: usize = 14;
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const UDP: u8 = 17;
/// Where the TTL is in an IPv4 header.
pub const TTL_OFFSET: usize = 8;
/// Where the checksum is in an IPv4 header.
pub const CHECKSUM_OFFSET: usize = 10;

/// The two ends of a UDP stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flow {
    pub source: SocketAddrV4,
    pub destination: SocketAddrV4,
}

impl fmt::Display for Flow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} to {}", self.source, self.destination)
    }
}

/// A UDP over IPv4 packet as one capture saw it.
#[derive(Clone, Debug)]
pub struct Observation {
    /// Since the Unix epoch.
    pub at: Duration,
    pub flow: Flow,
    frame: Arc<[u8]>,
    header_length: usize,
    total_length: usize,
}

impl Observation {
    /// Reads a frame; `None` for anything but a whole UDP over IPv4 packet.
    pub fn of(frame: &Frame) -> Option<Self> {
        let packet = frame.bytes.get(ETHERNET_HEADER..)?;
        if frame.bytes.get(12..14)? != ETHERTYPE_IPV4 || packet.len() < 20 || packet[0] >> 4 != 4 || packet[9] != UDP {
            return None;
        }
        // A fragment has no ports of its own to tell its stream by (RFC 791: more-fragments bit or an offset).
        if u16::from_be_bytes([packet[6], packet[7]]) & 0x3fff != 0 {
            return None;
        }
        let header_length = usize::from(packet[0] & 0x0f) * 4;
        let total_length = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
        if header_length < 20 || total_length < header_length + 8 || packet.len() < total_length {
            return None;
        }
        let address = |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
        let port = |at: usize| u16::from_be_bytes([packet[header_length + at], packet[header_length + at + 1]]);
        Some(Self {
            at: frame.at,
            flow: Flow {
                source: SocketAddrV4::new(address(12), port(0)),
                destination: SocketAddrV4::new(address(16), port(2)),
            },
            frame: Arc::clone(&frame.bytes),
            header_length,
            total_length,
        })
    }

    /// The IP packet: header to the end its total length gives, without Ethernet padding.
    pub fn packet(&self) -> &[u8] {
        &self.frame[ETHERNET_HEADER..ETHERNET_HEADER + self.total_length]
    }

    pub fn ip_header(&self) -> &[u8] {
        &self.packet()[..self.header_length]
    }

    /// What UDP carries.
    pub fn payload(&self) -> &[u8] {
        &self.packet()[self.header_length + 8..]
    }

    pub fn ttl(&self) -> u8 {
        self.packet()[TTL_OFFSET]
    }

    /// The packet with TTL and header checksum blanked: what no router on the way may change.
    pub fn invariant(&self) -> Vec<u8> {
        let mut bytes = self.packet().to_vec();
        bytes[TTL_OFFSET] = 0;
        bytes[CHECKSUM_OFFSET..CHECKSUM_OFFSET + 2].fill(0);
        bytes
    }

    /// Whether the IPv4 header sums up as RFC 1071 demands.
    pub fn checksum_holds(&self) -> bool {
        ones_complement_sum(self.ip_header()) == 0xffff
    }
}

/// The UDP packets among `frames` that go in one direction and that `wanted` selects.
pub fn observe(frames: &[Frame], direction: Direction, wanted: impl Fn(&Flow) -> bool) -> Vec<Observation> {
    frames
        .iter()
        .filter(|frame| frame.direction == direction)
        .filter_map(Observation::of)
        .filter(|observation| wanted(&observation.flow))
        .collect()
}

/// RFC 1071, over 16-bit big-endian words, an odd last byte padded with zero.
pub fn ones_complement_sum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(u16::MAX)
}

/// A complete IPv4 packet with a UDP datagram in it, checksums and all: what tests inject and compare with.
pub fn udp_packet(flow: Flow, ttl: u8, identification: u16, payload: &[u8]) -> Vec<u8> {
    let total = 28 + payload.len();
    let total_bytes = u16::try_from(total).unwrap_or(u16::MAX).to_be_bytes();
    let mut packet = vec![0x45, 0, total_bytes[0], total_bytes[1]];
    packet.extend(identification.to_be_bytes());
    packet.extend([0x40, 0, ttl, UDP, 0, 0]);
    packet.extend(flow.source.ip().octets());
    packet.extend(flow.destination.ip().octets());
    let checksum = !ones_complement_sum(&packet);
    packet[CHECKSUM_OFFSET..CHECKSUM_OFFSET + 2].copy_from_slice(&checksum.to_be_bytes());
    let udp_length = u16::try_from(8 + payload.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut datagram = Vec::with_capacity(8 + payload.len());
    datagram.extend(flow.source.port().to_be_bytes());
    datagram.extend(flow.destination.port().to_be_bytes());
    datagram.extend(udp_length);
    datagram.extend([0, 0]);
    datagram.extend(payload);
    // RFC 768: the pseudo header, and a computed zero is sent as all ones.
    let mut summed = Vec::from(&packet[12..20]);
    summed.extend([0, UDP, udp_length[0], udp_length[1]]);
    summed.extend(&datagram);
    let checksum = match !ones_complement_sum(&summed) {
        0 => 0xffff,
        sum => sum,
    };
    datagram[6..8].copy_from_slice(&checksum.to_be_bytes());
    packet.extend(datagram);
    packet
}

/// The packet in an Ethernet frame between two made-up stations, seen at `at`.
pub fn ethernet_frame(packet: &[u8], at: Duration, direction: Direction) -> Frame {
    let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    bytes.extend(ETHERTYPE_IPV4);
    bytes.extend(packet);
    Frame { at, direction, bytes: Arc::from(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow() -> Flow {
        Flow { source: "198.18.1.10:5000".parse().unwrap(), destination: "203.0.113.10:16384".parse().unwrap() }
    }

    #[test]
    fn a_packet_built_here_is_read_back_with_its_flow_payload_and_a_checksum_that_holds() {
        let packet = udp_packet(flow(), 61, 7, b"hello");
        let seen = Observation::of(&ethernet_frame(&packet, Duration::ZERO, Direction::In)).expect("it is UDP");
        assert_eq!((seen.flow, seen.ttl(), seen.payload()), (flow(), 61, &b"hello"[..]));
        assert!(seen.checksum_holds());
    }

    #[test]
    fn ethernet_padding_is_not_part_of_the_packet() {
        let mut padded = udp_packet(flow(), 61, 7, b"hello");
        let length = padded.len();
        padded.extend([0; 13]);
        let seen = Observation::of(&ethernet_frame(&padded, Duration::ZERO, Direction::In)).expect("it is UDP");
        assert_eq!(seen.packet().len(), length);
    }

    #[test]
    fn a_fragment_and_a_truncated_packet_are_no_observation() {
        let mut fragment = udp_packet(flow(), 61, 7, b"hello");
        fragment[6] = 0x20;
        assert!(Observation::of(&ethernet_frame(&fragment, Duration::ZERO, Direction::In)).is_none());
        let whole = udp_packet(flow(), 61, 7, b"hello");
        for length in 0..whole.len() {
            assert!(Observation::of(&ethernet_frame(&whole[..length], Duration::ZERO, Direction::In)).is_none());
        }
    }
}
