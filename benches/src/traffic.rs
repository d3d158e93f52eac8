//! The frames that come in, and the capture file that both contenders read them from.

use std::fs::File;
use std::io::BufWriter;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use carpool_dataplane::packet::ipv4::{PROTOCOL_UDP, decrement_ttl};
use carpool_dataplane::packet::ipv6::{self, decrement_hop_limit};
use carpool_dataplane::packet::{
    EtherType, EthernetHeader, Ipv4Header, Ipv6Header, MacAddr, Sum, UdpHeader, ethernet, ipv4, udp,
};
use pcap_file::pcap::{PcapPacket, PcapWriter};

use crate::carriage::{DSCP, TTL};
use crate::case::{Carriage, Case, DESTINATIONS, Destinations, EXTRACT_EVERY, MIXED, STREAMS, Setting, Work};
use crate::error::BenchError;
use crate::growth::Dimension;
use crate::network::{Network, ROUTER_MAC, SENDER_MAC, ports};
use crate::peer::{self, Sent};

/// Frames in a capture file; drivers repeat it for ever.
const FRAMES: u16 = 256;
/// Shortest Ethernet frame without its checksum, in bytes: with it, 64.
const MIN_FRAME: usize = 60;
/// An option that asks for nothing (RFC 791, 3.1), four times.
const OPTION: [u8; 4] = [1; 4];
/// Length of an RTP header.
const RTP_LEN: usize = 12;

/// Writes the frames of a case to a capture file.
pub fn write_capture(case: &Case, path: &Path) -> Result<(), BenchError> {
    let failed = |problem: String| BenchError::Capture { path: path.into(), problem };
    let file = BufWriter::new(File::create(path).map_err(|error| failed(error.to_string()))?);
    let mut capture = PcapWriter::new(file).map_err(|error| failed(error.to_string()))?;
    for Sent { packet: frame, .. } in frames(case)? {
        let packet = PcapPacket::new(Duration::ZERO, frame.len() as u32, &frame);
        capture.write_packet(&packet).map_err(|error| failed(error.to_string()))?;
    }
    Ok(())
}

/// The frames of a case: they can be repeated for ever.
pub fn frames(case: &Case) -> Result<Vec<Sent>, BenchError> {
    let framed = |sent: Sent| Sent { packet: frame(&sent.packet), rows: sent.rows };
    Ok(packets(case)?.into_iter().map(framed).collect())
}

/// How many of the first `received` packets of a case, which come over and over, are pooled.
pub fn pooled(case: &Case, received: u64) -> u64 {
    let is_pooled: Vec<bool> = (0..FRAMES).map(|number| case.pools(destination(case, number.into()))).collect();
    let count = |frames: usize| is_pooled.iter().take(frames).filter(|is_pooled| **is_pooled).count() as u64;
    received / u64::from(FRAMES) * count(FRAMES.into()) + count((received % u64::from(FRAMES)) as usize)
}

/// The number of the destination of packet `number`.
fn destination(case: &Case, number: u32) -> u16 {
    let all = if case.destinations == Destinations::Streams { STREAMS } else { DESTINATIONS };
    (number % u32::from(all)) as u16
}

/// Packets that are taken out of the first `received` ones of a case, which come over and over, on the queue `queue` of so many: each
/// begins its share of the file after the one before it.
pub fn taken_out(case: &Case, received: u64, (queue, queues): (usize, usize)) -> Result<u64, BenchError> {
    let mut taken: Vec<u64> = packets(case)?.iter().map(|sent| taken(case, sent.rows).into()).collect();
    let (rounds, rest) = (received / taken.len() as u64, received as usize % taken.len());
    let first = taken.len() * queue / queues;
    taken.rotate_left(first);
    Ok(rounds * taken.iter().sum::<u64>() + taken.iter().take(rest).sum::<u64>())
}

/// How many of so many rows are taken out here.
fn taken(case: &Case, rows: u16) -> u16 {
    match case.work {
        Work::Forward | Work::Pool | Work::Transit => 0,
        Work::Depool => rows,
        Work::Extract => (rows + EXTRACT_EVERY - 2) / EXTRACT_EVERY,
    }
}

/// The packets of a case.
fn packets(case: &Case) -> Result<Vec<Sent>, BenchError> {
    let network = Network::of(case);
    let own = |packet| Sent { packet, rows: 1 };
    let mut number = 0..;
    let mut next = || stream_packet(case, number.next().unwrap_or_default());
    let to = match case.work {
        Work::Forward | Work::Pool if case.destinations != Destinations::Streams => {
            return Ok((0..FRAMES).map(|number| own(forwarded_packet(case, number))).collect());
        }
        Work::Forward | Work::Pool => {
            let frames = case.grown(Dimension::LearnedStreams).unwrap_or(0).max(FRAMES.into());
            return Ok((0..frames).map(|_| own(next())).collect());
        }
        Work::Depool => network.router,
        Work::Transit | Work::Extract => network.beyond,
    };
    peer::sent(case, to, FRAMES.into(), || {
        let mut packet = next();
        // The peer forwards it.
        let _ = if to.is_ipv6() { decrement_hop_limit(&mut packet) } else { decrement_ttl(&mut packet) };
        packet
    })
}

/// The frame around a packet.
fn frame(packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; ethernet::HEADER_LEN];
    let ether_type = if matches!(packet, [0x60..=0x6f, ..]) { EtherType::IPV6 } else { EtherType::IPV4 };
    if let Some(header) = frame.first_chunk_mut() {
        EthernetHeader { dst: MacAddr(ROUTER_MAC), src: MacAddr(SENDER_MAC), ether_type }.write(header);
    }
    frame.extend_from_slice(packet);
    frame.resize(frame.len().max(MIN_FRAME), 0);
    frame
}

/// A packet to the destination `number`.
fn forwarded_packet(case: &Case, number: u16) -> Vec<u8> {
    let payload = vec![number as u8; payload_len(case)];
    if case.setting == Setting::Mixed && number % MIXED == MIXED / 2 {
        return with_option(&datagram(case, number, &payload[OPTION.len()..]));
    }
    datagram(case, number, &payload)
}

/// The same packet with an option in its header.
fn with_option(packet: &[u8]) -> Vec<u8> {
    let (header, payload) = packet.split_at(ipv4::MIN_HEADER_LEN);
    let mut header = [header, &OPTION].concat();
    let length = (header.len() + payload.len()) as u16;
    header[0] = 0x40 | (header.len() / 4) as u8;
    header[2..4].copy_from_slice(&length.to_be_bytes());
    header[10..12].fill(0);
    let checksum = Sum::of(&header).checksum();
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    [&header, payload].concat()
}

/// The packet `number` of all streams in turn.
fn stream_packet(case: &Case, number: u32) -> Vec<u8> {
    let streams = case.grown(Dimension::LearnedStreams).unwrap_or(STREAMS.into());
    let stream = number % streams;
    let mut payload = vec![stream as u8; payload_len(case)];
    if case.carriage == Carriage::Learned {
        // RTP, RFC 3550, 5.1: G.729, two frames of 10 ms at 8 kHz in each packet.
        let sequence = number / streams;
        let header =
            [&[0x80, 18][..], &(sequence as u16).to_be_bytes(), &(160 * sequence).to_be_bytes(), &stream.to_be_bytes()];
        payload[..RTP_LEN].copy_from_slice(&header.concat());
    }
    if streams > u32::from(STREAMS) {
        // More than a network has hosts.
        let source = Ipv4Addr::from_bits(10 << 24 | stream);
        return datagram_from(source.into(), case, (stream % u32::from(STREAMS)) as u16, &payload);
    }
    datagram(case, stream as u16, &payload)
}

fn payload_len(case: &Case) -> usize {
    let ip = if case.carriage == Carriage::Ipv6 { ipv6::HEADER_LEN } else { ipv4::MIN_HEADER_LEN };
    usize::from(case.length) - ip - udp::HEADER_LEN
}

/// A packet of stream `number` with this payload, checksums right.
fn datagram(case: &Case, number: u16, payload: &[u8]) -> Vec<u8> {
    datagram_from(Network::of(case).source(number), case, number, payload)
}

/// The same from elsewhere.
fn datagram_from(source: IpAddr, case: &Case, number: u16, payload: &[u8]) -> Vec<u8> {
    let network = Network::of(case);
    let [src_port, dst_port] = ports(number);
    let length = (udp::HEADER_LEN + payload.len()) as u16;
    let mut udp_header = UdpHeader { src_port, dst_port, length, checksum: 0 };
    let (mut ip4, mut ip6, mut udp) = ([0; ipv4::MIN_HEADER_LEN], [0; ipv6::HEADER_LEN], [0; udp::HEADER_LEN]);
    let ip = match (source, network.destination(number)) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            udp_header.checksum = udp_header.checksum_over(src, dst, Sum::of(payload));
            let header = Ipv4Header {
                header_len: ipv4::MIN_HEADER_LEN as u8,
                dscp_ecn: DSCP << 2,
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
            header.write(&mut ip4);
            &ip4[..]
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            udp_header.checksum = udp_header.checksum_over6(src, dst, Sum::of(payload));
            let header = Ipv6Header {
                traffic_class: DSCP << 2,
                flow_label: 0,
                payload_len: length,
                next_header: PROTOCOL_UDP,
                hop_limit: TTL,
                src,
                dst,
            };
            header.write(&mut ip6);
            &ip6[..]
        }
        _ => unreachable!("a network is of one family"),
    };
    udp_header.write(&mut udp);
    [ip, &udp, payload].concat()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use carpool_dataplane::packet::udp::Verdict;
    use carpool_dataplane::pool::wire::{Kind, PoolHeader, PooledPacket};

    use super::*;

    fn named(name: &str) -> Case {
        name.parse().expect("a case")
    }

    #[test]
    fn forwarded_frames_are_as_long_as_their_case_says_and_go_to_256_destinations() {
        let packets = packets(&named("forward_64")).expect("packets");
        assert!(packets.iter().all(|sent| frame(&sent.packet).len() == MIN_FRAME));
        let destinations: HashSet<_> =
            packets.iter().map(|sent| Ipv4Header::parse(&sent.packet).expect("sound").dst).collect();
        assert_eq!(destinations.len(), 256);
        let packets = super::packets(&named("forward_ipv6_78")).expect("packets");
        assert!(packets.iter().all(|sent| frame(&sent.packet).len() + 4 == 78), "with their checksum");
        let destinations: HashSet<_> =
            packets.iter().map(|sent| Ipv6Header::parse(&sent.packet).expect("sound").dst).collect();
        assert_eq!(destinations.len(), 256);
    }

    #[test]
    fn stream_packets_are_of_the_length_their_case_says_and_of_64_streams() {
        for case in Case::ALL.iter().filter(|case| case.work == Work::Pool) {
            let packets = packets(case).expect("packets");
            assert!(packets.iter().all(|sent| sent.packet.len() == usize::from(case.length)), "{}", case.name);
            let ports = if case.carriage == Carriage::Ipv6 { 40..44 } else { 20..24 };
            let streams: HashSet<_> = packets.iter().map(|sent| &sent.packet[ports.clone()]).collect();
            let expected = if case.destinations == Destinations::Few { DESTINATIONS } else { STREAMS };
            assert_eq!(streams.len(), usize::from(expected), "{}", case.name);
        }
    }

    #[test]
    fn one_packet_in_sixteen_has_an_option_where_kinds_are_mixed() {
        let packets = packets(&named("forward_64_mixed")).expect("packets");
        let headers = packets.iter().map(|sent| Ipv4Header::parse(&sent.packet).expect("sound"));
        assert_eq!(headers.filter(|header| header.header_len == 24 && header.total_len == 46).count(), 16);
    }

    #[test]
    fn what_is_pooled_is_counted_over_the_end_of_the_file() {
        for (name, expected) in [("pool_60", 259), ("pool_60_half", 130), ("pool_64_few", 2), ("forward_64", 0)] {
            assert_eq!(pooled(&named(name), 259), expected, "{name}");
        }
    }

    #[test]
    fn there_are_as_many_packets_as_a_file_has_frames_and_none_is_longer_than_the_path_takes() {
        for case in Case::ALL {
            let packets = packets(case).expect("packets");
            assert_eq!(packets.len(), usize::from(FRAMES), "{}", case.name);
            assert!(packets.iter().all(|sent| sent.packet.len() <= 1500), "{}", case.name);
        }
    }

    #[test]
    fn most_pooled_packets_are_full() {
        for case in Case::ALL.iter().filter(|case| !matches!(case.work, Work::Forward | Work::Pool)) {
            let packets = packets(case).expect("packets");
            let full = packets.iter().filter(|sent| sent.rows == case.rows).count();
            let least = if case.carriage == Carriage::OutOfBand { FRAMES / 4 * 3 - 16 } else { FRAMES - 8 };
            assert!(full >= usize::from(least), "{}: {full}", case.name);
        }
    }

    #[test]
    fn pooled_packets_are_sound_and_what_is_due_is_what_the_router_takes_out() {
        for (name, due) in [("depool_60", 22), ("depool_300", 4), ("transit_60", 0), ("extract_60", 5)] {
            let case = named(name);
            for (number, sent) in packets(&case).expect("packets").iter().enumerate() {
                let header = Ipv4Header::parse(&sent.packet).expect("sound");
                let datagram = header.payload(&sent.packet).expect("whole");
                assert_eq!(udp::verify(header.src, header.dst, datagram), Verdict::Valid);
                let pooled = PooledPacket::parse(&datagram[udp::HEADER_LEN..]).expect("sound");
                assert_eq!(pooled.header().sequence, number as u32);
                let is_due = |ttl| ttl == 1;
                assert_eq!(pooled.index().filter(|row| is_due(row.ttl)).count(), due, "{name}");
                assert_eq!(taken(&case, sent.rows), due as u16, "{name}");
            }
        }
    }

    #[test]
    fn each_carriage_is_on_the_wire() {
        let kinds = [
            ("depool_60", &[Kind::Pooled][..]),
            ("depool_ipv6_60", &[Kind::Pooled]),
            ("depool_learned_60", &[Kind::Short]),
            ("depool_provisioned_60", &[Kind::Pooled]),
            ("depool_out_of_band_60", &[Kind::Pooled, Kind::Index, Kind::DataOnly]),
            ("depool_predetermined_60", &[Kind::Predetermined]),
        ];
        for (name, expected) in kinds {
            let at = if name == "depool_ipv6_60" { 48 } else { 28 };
            let kind = |sent: &Sent| PoolHeader::parse(&sent.packet[at..]).expect("sound").kind;
            let found: Vec<Kind> = packets(&named(name)).expect("packets").iter().map(kind).collect();
            assert!(expected.iter().all(|kind| found.contains(kind)), "{name}: not all of {expected:?}");
            assert!(found.iter().all(|kind| expected.contains(kind)), "{name}: not only {expected:?}");
        }
    }

    #[test]
    fn an_index_and_what_it_is_about_come_in_one_burst() {
        let packets = packets(&named("depool_out_of_band_60")).expect("packets");
        for burst in packets.chunks(32) {
            assert_eq!(burst.iter().filter(|sent| sent.rows == 0).count(), 8);
            assert!(burst[28].rows == 0 && burst[31].rows == 24);
        }
    }

    #[test]
    fn what_is_taken_out_is_counted_over_the_end_of_the_file() {
        let case = named("depool_60");
        assert_eq!(taken_out(&case, 2 * u64::from(FRAMES) + 3, (0, 1)).expect("packets"), (2 * 256 + 3) * 22);
    }
}
