//! Extraction on the way: what an equipped node does with a pooled packet that is addressed to another one.
//!
//! The worker calls [`pass`] for packets of peers that it is about to forward. Every row's TTL goes down by the hops
//! since the last equipped node, what is due is taken out, and the rest closes up in place: in the packet's own memory,
//! with its addresses, ports and sequence number. Whatever is not sound in every bound is left as it is, because the
//! addressee drops it by name.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use arrayvec::ArrayVec;

use super::pooled_packet_detector::ZeroChecksum;
use super::wire::{self, MAX_ROWS, PooledPacket, ROW_LEN, Row, header_and_rows_len};
use crate::packet::checksum::{Sum, update, update_sum};
use crate::packet::ipv4::{MIN_HEADER_LEN as IPV4_HEADER, PROTOCOL_UDP};
use crate::packet::udp::{self, UdpHeader};

/// The length of an IPv6 header in bytes.
const IPV6_HEADER: usize = 40;
/// What is left of an IPv4 header's fragment word when DF and the reserved bit are cut off.
const FRAGMENT: u16 = 0x3fff;

/// What became of a packet on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// It is not for us to open; no byte of it was changed.
    Untouched,
    /// It goes on with the rows that are not due.
    Onward {
        /// Its length now, in bytes from the outer IP header on: what is behind is to be cut.
        length: u16,
        /// Rows taken out.
        taken: u8,
    },
    /// All its rows were taken out: it ends here.
    Ended {
        /// Rows taken out.
        taken: u8,
    },
}

/// Has a pooled packet pass a node. `packet` is a sound IP packet from a peer, as it was received, from its outer header
/// to its last byte; `port` the UDP port of pooled packets, `zero_checksum` whether the peer may leave the checksum out.
/// Packets that are due go to `take` in their order, before anything is changed.
///
/// The TTL of the outer IP header is left to the caller, who forwards the packet with one less like any other.
#[inline]
pub fn pass(packet: &mut [u8], port: u16, zero_checksum: ZeroChecksum, take: impl FnMut(&[u8])) -> Passed {
    let Some((outer, pooled)) = open(packet, port, zero_checksum) else { return Passed::Untouched };
    let hops = hops_since(pooled.header().outer_ttl, outer.ttl);
    if pooled.header().is_overlay() {
        // Its TTLs count overlay nodes, and this is none.
        return Passed::Untouched;
    }
    if !pooled.index().any(|row| is_due(&row, hops)) {
        return match count_down(packet, &outer, hops) {
            Some(length) => Passed::Onward { length, taken: 0 },
            None => Passed::Untouched,
        };
    }
    let Some(plan) = Plan::new(packet, &outer, &pooled, hops) else { return Passed::Untouched };
    let taken = pooled.header().count.saturating_sub(plan.kept.len() as u8);
    pooled.rows().filter(|(row, _)| is_due(row, hops)).map(|(_, bytes)| bytes).for_each(take);
    if plan.kept.is_empty() {
        return Passed::Ended { taken };
    }
    match plan.close_up(packet, &outer) {
        Some(length) => Passed::Onward { length, taken },
        // Every length was checked: there is always room for less than there was.
        None => Passed::Ended { taken },
    }
}

/// The nodes that a packet has passed since an equipped one sent it with `sent`, this one included. Routers in between
/// took one off the TTL each, but could not count its rows down.
#[inline(always)]
fn hops_since(sent: u8, received: u8) -> u8 {
    sent.saturating_sub(received).saturating_add(1)
}

/// Whether a row is to be taken out here. Other than whole packets are for the addressee alone.
#[inline(always)]
fn is_due(row: &Row, hops: u8) -> bool {
    row.ttl <= hops && row.row_type.is_whole()
}

/// What the outer headers say that stays the same.
#[derive(Clone, Copy, Debug)]
struct Outer {
    version: Version,
    /// Where the UDP header starts.
    header_len: usize,
    /// The TTL or hop limit it was received with.
    ttl: u8,
    udp: UdpHeader,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V4,
    V6,
}

impl Outer {
    /// Reads them. None where it is a fragment, or no UDP datagram that fills the packet.
    #[inline]
    fn read(packet: &[u8]) -> Option<Outer> {
        let (version, header_len, ttl, protocol, length) = match packet.first()? >> 4 {
            4 => {
                let &[ihl, _, l0, l1, _, _, f0, f1, ttl, protocol, ..] = packet.first_chunk::<IPV4_HEADER>()?;
                if u16::from_be_bytes([f0, f1]) & FRAGMENT != 0 {
                    return None;
                }
                let length = usize::from(u16::from_be_bytes([l0, l1]));
                (Version::V4, usize::from(ihl & 0x0f) * 4, ttl, protocol, length)
            }
            6 => {
                let &[_, _, _, _, l0, l1, next, hop_limit, ..] = packet.first_chunk::<IPV6_HEADER>()?;
                let length = usize::from(u16::from_be_bytes([l0, l1])) + IPV6_HEADER;
                (Version::V6, IPV6_HEADER, hop_limit, next, length)
            }
            _ => return None,
        };
        let udp = UdpHeader::parse(packet.get(header_len..)?).ok()?;
        let fills = length == packet.len() && header_len + usize::from(udp.length) == length;
        (protocol == PROTOCOL_UDP && fills).then_some(Outer { version, header_len, ttl, udp })
    }

    /// The TTL it is sent on with.
    #[inline(always)]
    fn sent_ttl(&self) -> u8 {
        self.ttl.saturating_sub(1)
    }

    /// The sum of the pseudo header and of the UDP header without its checksum, for a datagram of `length` bytes.
    #[inline]
    fn sum(&self, packet: &[u8], length: u16) -> Option<Sum> {
        let addresses = match self.version {
            Version::V4 => packet.get(12..20)?,
            Version::V6 => packet.get(8..40)?,
        };
        let ports = Sum::of_word(self.udp.src_port).add_word(self.udp.dst_port);
        // The length is in both headers.
        Some(Sum::of(addresses).add_word(u16::from(PROTOCOL_UDP)).add(ports).add_word(length).add_word(length))
    }

    /// Gives the packet another length, `datagram` bytes from the UDP header on. Returns its length with the IP header.
    fn set_length(&self, packet: &mut [u8], datagram: u16) -> Option<u16> {
        let total = datagram.checked_add(self.header_len as u16)?;
        match self.version {
            Version::V4 => {
                let [_, _, l0, l1, _, _, _, _, _, _, c0, c1, ..] = packet.first_chunk_mut::<IPV4_HEADER>()?;
                let checksum = update(u16::from_be_bytes([*c0, *c1]), u16::from_be_bytes([*l0, *l1]), total);
                [*l0, *l1] = total.to_be_bytes();
                [*c0, *c1] = checksum.to_be_bytes();
            }
            Version::V6 => {
                let [_, _, _, _, l0, l1, ..] = packet.first_chunk_mut::<IPV6_HEADER>()?;
                [*l0, *l1] = datagram.to_be_bytes();
            }
        }
        Some(total)
    }
}

/// Opens the packet where it may be opened and every bound holds. Its checksum is not verified yet.
#[inline]
fn open(packet: &[u8], port: u16, zero_checksum: ZeroChecksum) -> Option<(Outer, PooledPacket<'_>)> {
    let outer = Outer::read(packet)?;
    if outer.udp.dst_port != port || (outer.udp.checksum == 0 && zero_checksum == ZeroChecksum::Refused) {
        return None;
    }
    let payload = packet.get(outer.header_len + udp::HEADER_LEN..)?;
    Some((outer, PooledPacket::parse_in_transit(payload).ok()?))
}

/// Takes `hops` off every row and writes the new outer TTL, where nothing is due: no byte of the data is read. Returns
/// the packet's length.
#[inline]
fn count_down(packet: &mut [u8], outer: &Outer, hops: u8) -> Option<u16> {
    let length = packet.len() as u16;
    let (udp, payload) = packet.get_mut(outer.header_len..)?.split_first_chunk_mut::<{ udp::HEADER_LEN }>()?;
    let (header, rows) = payload.split_first_chunk_mut::<{ wire::HEADER_LEN }>()?;
    let [_, count, outer_ttl, ..] = header;
    // Each TTL is the upper byte of a word (rows, headers and all in front of them are of even length), so the words
    // that change differ by what is in their upper bytes.
    let word = |ttl: u8| u32::from(ttl) << 8;
    let (mut old, mut new) = (word(*outer_ttl), word(outer.sent_ttl()));
    *outer_ttl = outer.sent_ttl();
    let (rows, _) = rows.get_mut(..usize::from(*count) * ROW_LEN)?.as_chunks_mut::<ROW_LEN>();
    for [_, _, _, _, ttl, _] in rows {
        old += word(*ttl);
        *ttl = ttl.saturating_sub(hops);
        new += word(*ttl);
    }
    if outer.udp.checksum != 0 {
        let checksum = update_sum(outer.udp.checksum, Sum::of_total(old), Sum::of_total(new));
        set_checksum(udp, checksum);
    }
    Some(length)
}

/// Writes a UDP checksum; one of 0 is sent as 0xffff (RFC 768).
#[inline(always)]
fn set_checksum(udp: &mut [u8; udp::HEADER_LEN], checksum: u16) {
    let [.., c0, c1] = udp;
    [*c0, *c1] = if checksum == 0 { 0xffff } else { checksum }.to_be_bytes();
}

/// A packet that something is taken out of, as it will be.
struct Plan {
    /// The rows that go on: where they were, with the TTLs they will have.
    kept: ArrayVec<Row, MAX_ROWS>,
    /// The sum of their data as it will lie.
    sum: Sum,
    /// Rows there were.
    rows: usize,
}

impl Plan {
    /// Verifies the checksum, if there is one, and adds up what is kept in the same pass over the data. None where it is
    /// wrong.
    #[inline]
    fn new(packet: &[u8], outer: &Outer, pooled: &PooledPacket<'_>, hops: u8) -> Option<Plan> {
        let with_checksum = outer.udp.checksum != 0;
        let mut plan = Plan { kept: ArrayVec::new(), sum: Sum::ZERO, rows: usize::from(pooled.header().count) };
        let (mut all, mut length) = (Sum::ZERO, 0);
        for (row, bytes) in pooled.rows() {
            let sum = if with_checksum { Sum::of(bytes) } else { Sum::ZERO };
            // Where a packet lies at an odd place its bytes change their halves of the word: `then` knows.
            all = all.then(usize::from(row.start), sum);
            if !is_due(&row, hops) {
                plan.sum = plan.sum.then(length, sum);
                length += bytes.len();
                plan.kept.try_push(Row { ttl: row.ttl.saturating_sub(hops), ..row }).ok()?;
            }
        }
        if with_checksum {
            let front = outer.header_len + udp::HEADER_LEN;
            let header_and_rows = packet.get(front..front + header_and_rows_len(plan.rows))?;
            let sum = outer.sum(packet, outer.udp.length)?.add_word(outer.udp.checksum);
            if !sum.add(Sum::of(header_and_rows)).add(all).is_valid() {
                return None;
            }
        }
        Some(plan)
    }

    /// Moves what is kept together and writes headers and index anew. Returns the packet's length.
    #[inline]
    fn close_up(&self, packet: &mut [u8], outer: &Outer) -> Option<u16> {
        let front = outer.header_len + udp::HEADER_LEN;
        let (from, to) = (front + header_and_rows_len(self.rows), front + header_and_rows_len(self.kept.len()));
        let data_length = self.move_data(packet, from, to)?;

        let header_and_rows = packet.get_mut(front..to)?;
        let (header, rows) = header_and_rows.split_first_chunk_mut::<{ wire::HEADER_LEN }>()?;
        let [_, count, outer_ttl, ..] = header;
        (*count, *outer_ttl) = (self.kept.len() as u8, outer.sent_ttl());
        let mut start = 0;
        for (row, out) in self.kept.iter().zip(rows.as_chunks_mut::<ROW_LEN>().0) {
            Row { start, ..*row }.write(out);
            start = start.checked_add(row.length)?;
        }

        let length = u16::try_from(to - outer.header_len + data_length).ok()?;
        let total = outer.set_length(packet, length)?;
        let sum = outer.sum(packet, length)?.add(Sum::of(packet.get(front..to)?)).add(self.sum);
        let udp = packet.get_mut(outer.header_len..)?.first_chunk_mut::<{ udp::HEADER_LEN }>()?;
        let [_, _, _, _, l0, l1, ..] = udp;
        [*l0, *l1] = length.to_be_bytes();
        if outer.udp.checksum != 0 {
            set_checksum(udp, sum.checksum());
        }
        Some(total)
    }

    /// Moves the data of the rows that are kept from where data started to where they start now, which is never later.
    /// Returns how long they are together.
    fn move_data(&self, packet: &mut [u8], from: usize, to: usize) -> Option<usize> {
        let mut moved = 0;
        let mut rows = self.kept.iter().peekable();
        while let Some(row) = rows.next() {
            let (start, mut length) = (usize::from(row.start), usize::from(row.length));
            // Neighbours that stay neighbours move together.
            while let Some(next) = rows.next_if(|next| usize::from(next.start) == start + length) {
                length += usize::from(next.length);
            }
            let (source, target) = (from + start, to + moved);
            if target > source || source + length > packet.len() {
                return None;
            }
            packet.copy_within(source..source + length, target);
            moved += length;
        }
        Some(moved)
    }
}
