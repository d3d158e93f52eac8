//! Fragmentation (RFC 791, 3.2; RFC 1812, 4.2.2.7) of what is too large for the next link and may be cut.

use arrayvec::ArrayVec;

use crate::dpdk::{Mbuf, Nic};
use crate::fib::Entry;
use crate::packet::checksum::Sum;
use crate::packet::ipv4::MIN_HEADER_LEN;

use super::counters::Counter;
use super::drop::Drop;
use super::moment::Moment;
use super::origin::Packet;
use super::stages::Stages;

/// A packet of 64 KiB in fragments for a link of 576 bytes and more has fewer than these.
pub(super) const MAX_FRAGMENTS: usize = 128;
const MAX_HEADER: usize = 60;
const MORE_FRAGMENTS: u16 = 0x2000;

impl<N: Nic> Stages<N> {
    /// Sends a packet, whose TTL is decremented, in fragments of at most `mtu` bytes. All of them or none.
    pub(super) fn fragment(&mut self, packet: Packet, entry: Entry, mtu: u16, moment: &Moment<'_>) {
        let destination = packet.header.dst;
        for fragment in self.fragments(packet, mtu).into_iter().flatten() {
            self.out.send(fragment, entry.adjacency, destination, moment);
        }
    }

    /// The fragments of a packet, which is gone then. None: it could not be cut, and was dropped.
    pub(super) fn fragments(&mut self, packet: Packet, mtu: u16) -> Option<ArrayVec<Mbuf, MAX_FRAGMENTS>> {
        let mut fragments: ArrayVec<Mbuf, MAX_FRAGMENTS> = ArrayVec::new();
        if self.cut(&packet, mtu, &mut fragments).is_none() {
            for fragment in fragments {
                self.mempool.free(fragment);
            }
            self.out.drop(packet.mbuf, Drop::FragmentationFailed);
            return None;
        }
        self.out.counters.add(Counter::CreatedFragments, fragments.len() as u64);
        self.out.counters.add(Counter::AbsorbedFragmented, 1);
        self.mempool.free(packet.mbuf);
        Some(fragments)
    }

    fn cut(&mut self, packet: &Packet, mtu: u16, fragments: &mut ArrayVec<Mbuf, MAX_FRAGMENTS>) -> Option<()> {
        let (first_header, mut payload) =
            packet.mbuf.bytes().split_at_checked(usize::from(packet.header.header_len))?;
        let mut later_header = ArrayVec::new();
        copied_header(first_header, &mut later_header)?;
        let mut header: &[u8] = first_header;
        let mut offset = packet.header.fragment_offset;
        while !payload.is_empty() {
            let room = usize::from(mtu).checked_sub(header.len())?;
            let last = payload.len() <= room;
            // All but the last carry a multiple of eight bytes: offsets count those.
            let size = if last { payload.len() } else { room & !7 };
            if size == 0 {
                return None;
            }
            let (part, rest) = payload.split_at_checked(size)?;
            let more = !last || packet.header.more_fragments;
            let fragment = self.mempool.alloc()?;
            fragments.try_push(fragment).ok()?;
            write_fragment(fragments.last_mut()?, header, part, offset, more)?;
            offset = offset.checked_add(u16::try_from(size).ok()?)?;
            payload = rest;
            header = &later_header;
        }
        Some(())
    }
}

/// Fills one fragment: header, length, offset in bytes, flag, checksum, payload.
fn write_fragment(fragment: &mut Mbuf, header: &[u8], payload: &[u8], offset: u16, more: bool) -> Option<()> {
    let bytes = fragment.append(header.len() + payload.len())?;
    let (head, body) = bytes.split_at_mut_checked(header.len())?;
    head.copy_from_slice(header);
    body.copy_from_slice(payload);
    let length = u16::try_from(header.len() + payload.len()).ok()?;
    let flags = if more { MORE_FRAGMENTS } else { 0 } | offset >> 3;
    let [_, _, l0, l1, _, _, f0, f1, _, _, c0, c1, ..] = head.first_chunk_mut::<MIN_HEADER_LEN>()?;
    [*l0, *l1] = length.to_be_bytes();
    [*f0, *f1] = flags.to_be_bytes();
    [*c0, *c1] = [0, 0];
    let checksum = Sum::of(head).checksum().to_be_bytes();
    head.get_mut(10..12)?.copy_from_slice(&checksum);
    Some(())
}

/// The header of all fragments but the first: only options with the copied flag are in it (RFC 791, 3.1, "Options").
fn copied_header(first: &[u8], later: &mut ArrayVec<u8, MAX_HEADER>) -> Option<()> {
    let (fixed, mut options) = first.split_at_checked(MIN_HEADER_LEN)?;
    later.try_extend_from_slice(fixed).ok()?;
    while let [kind, rest @ ..] = options {
        let length = match (kind, rest) {
            (0, _) => break,
            (1, _) => 1,
            (_, [length, ..]) if *length >= 2 => usize::from(*length),
            _ => return None,
        };
        let (option, behind) = options.split_at_checked(length)?;
        if kind & 0x80 != 0 {
            later.try_extend_from_slice(option).ok()?;
        }
        options = behind;
    }
    while !later.len().is_multiple_of(4) {
        later.try_push(0).ok()?;
    }
    let words = u8::try_from(later.len() / 4).ok()?;
    *later.first_mut()? = 0x40 | words;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_options_with_the_copied_flag_go_into_later_fragments() {
        let mut first = vec![0x4a; 20];
        // Record route (7) is not copied, loose source route (131) is.
        first.extend([7, 7, 4, 0, 0, 0, 0, 131, 7, 4, 1, 2, 3, 4, 1, 0, 0, 0, 0, 0]);
        let mut later = ArrayVec::new();
        assert_eq!(copied_header(&first, &mut later), Some(()));
        assert_eq!(later.len(), 28);
        assert_eq!(later[0], 0x47);
        assert_eq!(later[20..], [131, 7, 4, 1, 2, 3, 4, 0]);
    }

    #[test]
    fn options_that_lie_about_their_length_are_not_cut() {
        for options in [vec![131, 0, 0, 0], vec![131, 9, 0, 0], vec![131, 1, 0, 0]] {
            let first = [vec![0x46; 20], options].concat();
            assert_eq!(copied_header(&first, &mut ArrayVec::new()), None);
        }
    }
}
