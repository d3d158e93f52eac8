//! The frames that come in, and the capture file that both contenders read them from.

use std::fs::File;
use std::io::BufWriter;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use carpool_dataplane::packet::ipv4::PROTOCOL_UDP;
use carpool_dataplane::packet::{EtherType, EthernetHeader, Ipv4Header, MacAddr, Sum, UdpHeader, ethernet, ipv4, udp};
use carpool_dataplane::pool::wire::{self, Row, RowType};
use pcap_file::pcap::{PcapPacket, PcapWriter};

use crate::case::{Case, DESTINATIONS, EXTRACT_EVERY, STREAMS, Work};
use crate::error::BenchError;

/// Frames in a capture file; drivers repeat it for ever.
const FRAMES: u16 = 256;
/// Shortest Ethernet frame without its checksum, in bytes: with it, 64.
const MIN_FRAME: usize = 60;

/// The router's Ethernet address on the port that packets come in by.
pub const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The router's address that pooled packets come to.
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The router that pooled packets come from or go to.
pub const PEER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 77);
/// The router that pooled packets in transit go to.
pub const BEYOND: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 78);
/// Who sends the frames.
const SENDER_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];

/// Where stream `number` goes: one of the networks of RFC 2544.
pub fn destination(number: u16) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, (number % DESTINATIONS) as u8, 1)
}

/// Writes the frames of a case to a capture file.
pub fn write_capture(case: &Case, path: &Path) -> Result<(), BenchError> {
    let failed = |problem: String| BenchError::Capture { path: path.into(), problem };
    let file = BufWriter::new(File::create(path).map_err(|error| failed(error.to_string()))?);
    let mut capture = PcapWriter::new(file).map_err(|error| failed(error.to_string()))?;
    for number in 0..FRAMES {
        let frame = frame(case, number);
        let packet = PcapPacket::new(Duration::ZERO, frame.len() as u32, &frame);
        capture.write_packet(&packet).map_err(|error| failed(error.to_string()))?;
    }
    Ok(())
}

/// Frame `number` of a case.
fn frame(case: &Case, number: u16) -> Vec<u8> {
    let packet = match case.work {
        Work::Forward => stream_packet(number, case.length),
        Work::Pool => stream_packet(number % STREAMS, case.length),
        Work::Depool => pooled_packet(case, number, ROUTER),
        Work::Transit | Work::Extract => pooled_packet(case, number, BEYOND),
    };
    let mut frame = vec![0; ethernet::HEADER_LEN];
    if let Some(header) = frame.first_chunk_mut() {
        EthernetHeader { dst: MacAddr(ROUTER_MAC), src: MacAddr(SENDER_MAC), ether_type: EtherType::IPV4 }
            .write(header);
    }
    frame.extend_from_slice(&packet);
    frame.resize(frame.len().max(MIN_FRAME), 0);
    frame
}

/// A packet of a stream, `length` bytes long.
fn stream_packet(stream: u16, length: u16) -> Vec<u8> {
    let source = Ipv4Addr::new(192, 0, 2, 100 + (stream % STREAMS) as u8);
    let payload = vec![stream as u8; usize::from(length) - ipv4::MIN_HEADER_LEN - udp::HEADER_LEN];
    datagram(source, destination(stream), (20_000 + stream, 30_000 + stream), &payload)
}

/// A full pooled packet from the peer to `to`; its packets belong to all streams in turn.
fn pooled_packet(case: &Case, number: u16, to: Ipv4Addr) -> Vec<u8> {
    let (mut rows, mut data) = (Vec::new(), Vec::new());
    for row in 0..case.rows {
        let packet = stream_packet((number * case.rows + row) % STREAMS, case.length);
        let due = case.work == Work::Depool || (case.work == Work::Extract && row % EXTRACT_EVERY == 0);
        let ttl = if due { 1 } else { 2 };
        rows.push(Row { start: data.len() as u16, length: case.length, ttl, row_type: RowType::WholeIpv4 });
        data.extend_from_slice(&packet);
    }
    let mut payload = vec![0; wire::header_and_rows_len(rows.len())];
    // The length is what it asks for, and there are 1 to 255 rows.
    let _ = wire::write_header_and_rows(TTL, u32::from(number), &rows, &mut payload);
    payload.extend_from_slice(&data);
    datagram(PEER, to, (wire::PORT, wire::PORT), &payload)
}

const TTL: u8 = 64;

/// An IPv4 packet with a UDP datagram, both checksums right.
fn datagram(src: Ipv4Addr, dst: Ipv4Addr, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let length = (udp::HEADER_LEN + payload.len()) as u16;
    let mut udp_header = UdpHeader { src_port: ports.0, dst_port: ports.1, length, checksum: 0 };
    udp_header.checksum = udp_header.checksum_over(src, dst, Sum::of(payload));
    let header = Ipv4Header {
        header_len: ipv4::MIN_HEADER_LEN as u8,
        dscp_ecn: 0xb8,
        total_len: ipv4::MIN_HEADER_LEN as u16 + length,
        id: 0,
        dont_fragment: true,
        more_fragments: false,
        fragment_offset: 0,
        ttl: TTL,
        protocol: PROTOCOL_UDP,
        src,
        dst,
    };
    let (mut ip, mut udp) = ([0; ipv4::MIN_HEADER_LEN], [0; udp::HEADER_LEN]);
    header.write(&mut ip);
    udp_header.write(&mut udp);
    [&ip[..], &udp, payload].concat()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use carpool_dataplane::packet::udp::Verdict;
    use carpool_dataplane::pool::wire::PooledPacket;

    use super::*;

    fn packets(name: &str) -> Vec<Vec<u8>> {
        let case = name.parse().expect("a case");
        (0..FRAMES).map(|number| frame(&case, number)[ethernet::HEADER_LEN..].to_vec()).collect()
    }

    #[test]
    fn forwarded_frames_are_of_the_shortest_length_and_go_to_256_destinations() {
        let case = "forward_64".parse().expect("a case");
        assert!((0..FRAMES).all(|number| frame(&case, number).len() == MIN_FRAME));
        let destinations: HashSet<Ipv4Addr> =
            packets("forward_64").iter().map(|packet| Ipv4Header::parse(packet).expect("sound").dst).collect();
        assert_eq!(destinations.len(), 256);
    }

    #[test]
    fn stream_packets_are_of_the_length_their_case_says_and_of_64_streams() {
        for (name, length) in [("pool_60", 60), ("pool_300", 300)] {
            let packets = packets(name);
            assert!(packets.iter().all(|packet| Ipv4Header::parse(packet).expect("sound").total_len == length));
            assert_eq!(packets.iter().collect::<HashSet<_>>().len(), usize::from(STREAMS));
        }
    }

    #[test]
    fn pooled_packets_are_full_sound_and_carry_their_sequence_number() {
        for (name, rows) in [("depool_60", 22), ("depool_300", 4), ("transit_60", 22), ("extract_60", 22)] {
            for (number, packet) in packets(name).iter().enumerate() {
                let header = Ipv4Header::parse(packet).expect("sound");
                let datagram = header.payload(packet).expect("whole");
                assert_eq!(udp::verify(header.src, header.dst, datagram), Verdict::Valid);
                let pooled = PooledPacket::parse(&datagram[udp::HEADER_LEN..]).expect("sound");
                assert_eq!((pooled.rows().count(), pooled.header().sequence), (rows, number as u32));
                assert!(packet.len() <= 1500);
                let case: Case = name.parse().expect("a case");
                let due = pooled.index().filter(|row| row.ttl == 1).count();
                assert_eq!(due, usize::from(case.taken()));
            }
        }
    }
}
