//! Streams for the tests of compressor and decompressor, and the link between the two.

mod behaviour;
mod figures;
mod id_safety;
mod properties;
mod vectors;

use std::net::{IpAddr, Ipv4Addr};

use super::test_packets::{Header, rtp};
use super::*;
use crate::arch::Tick;
use crate::packet::ipv4::Plain;
use crate::pool::FlowSeed;
use crate::pool::wire::MAX_ROWS;
use crate::pool::wire::short_rows::{SHORT_HEADER_LEN, ShortPacket, ShortRows, write_short_header};

const MS: u64 = 1_000_000;

const SPACE: IdSpace = IdSpace { addressee: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), source_port: 7665 };

fn times() -> ContextTimes {
    ContextTimes::at(TickRate::NANOSECONDS)
}

fn compressor(streams: usize) -> Compressor {
    let seed = FlowSeed(0x0123_4567_89ab_cdef);
    Compressor::new(CompressorLimits { streams, ..CompressorLimits::small(TickRate::NANOSECONDS, seed) })
}

fn decompressor(contexts: usize) -> Decompressor {
    Decompressor::new(contexts, times().forget, UnknownContexts::new(TickRate::NANOSECONDS))
}

fn origin(instance: u32) -> Origin {
    Origin { peer: [192, 0, 2, 3].into(), instance, source_port: SPACE.source_port }
}

/// Packet `number` of a steady G.729 stream: 20 bytes of voice every 20 ms, an IP id that counts.
fn voice(header: Header, number: u32) -> Vec<u8> {
    let media: Vec<u8> = (0..20).map(|byte| (number * 7 + byte) as u8).collect();
    let payload = rtp([0x80, 18], 1000u16.wrapping_add(number as u16), 160 * number, 0xfeed_beef, &media);
    header.packet(500u16.wrapping_add(number as u16), &payload)
}

/// What is sent for a packet, which does leave.
fn entry(compressor: &mut Compressor, packet: &[u8], now: Tick) -> Vec<u8> {
    let encoded = compressor.encode(packet, &SPACE, now);
    compressor.sent(&encoded);
    let mut entry = vec![0; encoded.len(packet.len())];
    encoded.write(packet, &mut entry).expect("room for it");
    entry
}

/// What comes of an entry. What comes of it in the way of plain ones, if anything, is the same.
fn opened(decompressor: &mut Decompressor, instance: u32, entry: &[u8], now: Tick) -> Result<Vec<u8>, Refused> {
    let mut contexts = decompressor.of(origin(instance), now);
    let plain = opened_plainly(&contexts, entry, u32::MAX);
    let opened =
        contexts.open(entry).inspect_err(|refused| assert_eq!(plain, None, "refused otherwise: {refused:?}"))?;
    let mut packet = vec![0xee; opened.len()];
    opened.write(&mut packet).expect("room for it");
    if let Some((plain, to)) = plain {
        assert_eq!(plain, packet);
        let recognised = Plain::recognise(&packet, u32::MAX).expect("it was said to be plain");
        assert_eq!((to, packet.len()), (recognised.dst, recognised.total_len.into()));
        let port = u32::from(u16::from_ne_bytes([packet[22], packet[23]]));
        assert_eq!(opened_plainly(&contexts, entry, port), None, "to the port that is to be left alone");
    }
    Ok(packet)
}

/// What comes of an entry that is plain, and whom it is for.
fn opened_plainly(contexts: &OriginContexts<'_>, entry: &[u8], but: u32) -> Option<(Vec<u8>, u32)> {
    let (plain, to) = contexts.plain(entry, but)?;
    let mut packet = vec![0xee; plain.len()];
    plain.write(&mut packet).expect("room for it");
    Some((packet, to))
}

/// A UDP payload of kind 5 with these entries.
fn short_packet(instance: u32, entries: &[Vec<u8>]) -> Vec<u8> {
    let mut rows = ShortRows::default();
    let mut index = [0; 2 * MAX_ROWS];
    for entry in entries {
        rows.push(entry.len(), &mut index).expect("an entry of sound length");
    }
    rows.finish(&mut index).expect("room");
    let mut payload = vec![0; SHORT_HEADER_LEN];
    write_short_header(rows.rows(), 64, 7, instance, payload.first_chunk_mut().expect("room"));
    payload.extend_from_slice(&index[..rows.len()]);
    payload.extend(entries.iter().flatten());
    ShortPacket::parse(&payload).expect("a sound packet");
    payload
}
