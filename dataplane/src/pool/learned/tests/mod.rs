//! Streams for the tests of compressor and decompressor, and the link between the two.

mod behaviour;
mod figures;
mod properties;
mod vectors;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::*;
use crate::arch::Tick;
use crate::packet::Sum;
use crate::pool::FlowSeed;
use crate::pool::wire::MAX_ROWS;
use crate::pool::wire::short_rows::{SHORT_HEADER_LEN, ShortPacket, ShortRows, write_short_header};

const MS: u64 = 1_000_000;

const SPACE: IdSpace = IdSpace { addressee: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), source_port: 7665 };

fn times() -> ContextTimes {
    ContextTimes::at(TickRate::NANOSECONDS)
}

fn compressor(streams: usize) -> Compressor {
    let limits = CompressorLimits { streams, spaces: 4, idle: TickSpan(1000 * MS), times: times() };
    Compressor::new(limits, FlowSeed(0x0123_4567_89ab_cdef))
}

fn decompressor(contexts: usize) -> Decompressor {
    Decompressor::new(contexts, times().forget, UnknownContexts::new(TickRate::NANOSECONDS))
}

fn origin(instance: u32) -> Origin {
    Origin { peer: 3, instance, source_port: SPACE.source_port }
}

/// What tells the streams of a test apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    is_ipv6: bool,
    host: u8,
    port: u16,
    tos: u8,
    ttl: u8,
    has_checksum: bool,
}

impl Header {
    const USUAL: Header = Header { is_ipv6: false, host: 1, port: 16_384, tos: 0xb8, ttl: 63, has_checksum: true };
    const IPV6: Header = Header { is_ipv6: true, ..Header::USUAL };

    /// A packet with checksums as every sender would compute them.
    fn packet(self, ip_id: u16, payload: &[u8]) -> Vec<u8> {
        let udp_len = (8 + payload.len()) as u16;
        let ports = [self.port.to_be_bytes(), 5004u16.to_be_bytes()].concat();
        let (mut packet, addresses) = if self.is_ipv6 {
            let source = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, self.host.into()).octets();
            let destination = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 9).octets();
            let addresses = [source, destination].concat();
            let [l0, l1] = udp_len.to_be_bytes();
            let first = [0x60 | self.tos >> 4, self.tos << 4 | 5, 0x12, 0x34, l0, l1, 17, self.ttl];
            ([&first[..], &addresses].concat(), addresses)
        } else {
            let addresses = [[10, 0, 0, self.host], [10, 9, 0, 1]].concat();
            let [l0, l1] = (20 + udp_len).to_be_bytes();
            let [i0, i1] = ip_id.to_be_bytes();
            let first = [0x45, self.tos, l0, l1, i0, i1, 0x40, 0, self.ttl, 17, 0, 0];
            let mut packet = [&first[..], &addresses].concat();
            let checksum = Sum::of(&packet).checksum();
            packet[10..12].copy_from_slice(&checksum.to_be_bytes());
            (packet, addresses)
        };
        let mut datagram = [&ports[..], &udp_len.to_be_bytes(), &[0, 0], payload].concat();
        if self.has_checksum {
            let pseudo = Sum::of(&addresses).add_word(17).add_word(udp_len);
            let checksum = match pseudo.add(Sum::of(&datagram)).checksum() {
                0 => 0xffff,
                checksum => checksum,
            };
            datagram[6..8].copy_from_slice(&checksum.to_be_bytes());
        }
        packet.append(&mut datagram);
        packet
    }
}

/// An RTP packet's payload of UDP.
fn rtp(start: [u8; 2], sequence: u16, timestamp: u32, source: u32, media: &[u8]) -> Vec<u8> {
    [&start[..], &sequence.to_be_bytes(), &timestamp.to_be_bytes(), &source.to_be_bytes(), media].concat()
}

/// Packet `number` of a steady G.729 stream: 20 bytes of voice every 20 ms, an IP id that counts.
fn voice(header: Header, number: u32) -> Vec<u8> {
    let media: Vec<u8> = (0..20).map(|byte| (number * 7 + byte) as u8).collect();
    let payload = rtp([0x80, 18], 1000u16.wrapping_add(number as u16), 160 * number, 0xfeed_beef, &media);
    header.packet(500u16.wrapping_add(number as u16), &payload)
}

/// What is sent for a packet, which does leave.
fn entry(compressor: &mut Compressor, packet: &[u8], now: Tick) -> Vec<u8> {
    let encoded = compressor.encode(packet, SPACE, now);
    compressor.sent(&encoded);
    let mut entry = vec![0; encoded.len(packet.len())];
    let sum = encoded.write(packet, &mut entry).expect("room for it");
    assert_eq!(sum.checksum(), Sum::of(&entry).checksum(), "the sum of what was written");
    entry
}

/// What comes of an entry.
fn opened(decompressor: &mut Decompressor, instance: u32, entry: &[u8], now: Tick) -> Result<Vec<u8>, Refused> {
    let opened = decompressor.open(origin(instance), entry, now)?;
    let mut packet = vec![0xee; opened.len()];
    opened.write(&mut packet).expect("room for it");
    Ok(packet)
}

/// A UDP payload of kind 5 with these entries.
fn short_packet(instance: u32, entries: &[Vec<u8>]) -> Vec<u8> {
    let mut rows = ShortRows::default();
    let mut index = [0; 2 * MAX_ROWS];
    for entry in entries {
        rows.push(entry.len(), &mut index).expect("an entry of sound length");
    }
    let mut payload = vec![0; SHORT_HEADER_LEN];
    write_short_header(rows.rows(), 64, 7, instance, payload.first_chunk_mut().expect("room"));
    payload.extend_from_slice(&index[..rows.len()]);
    payload.extend(entries.iter().flatten());
    ShortPacket::parse(&payload).expect("a sound packet");
    payload
}
