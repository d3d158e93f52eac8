//! The short way out of a pooled packet, for what is plain in it, as nearly all is: straight into a burst that will be looked
//! up, one loop for each way to travel. Nothing is called in these loops, so that all they need stays in registers.

use crate::dpdk::{BURST, MempoolCache};
use crate::fib::PeerIndex;
use crate::packet::ethernet::HEADER_LEN;
use crate::packet::ipv4::Plain;
use crate::pool::learned::OriginContexts;
use crate::pool::provisioned::StreamSet;
use crate::pool::wire::short_rows::Entries;
use crate::pool::wire::{RowType, Rows};

use super::ip_input::SoundBurst;
use super::ip6_input;
use super::origin::Origin;
use super::reentry::Queue;

/// Has `next` add to the bursts of a queue, one after the other, as long as each becomes full and `next` says that there is
/// more.
#[inline(always)]
pub(super) fn fill(queue: &mut Queue, mut next: impl FnMut(&mut SoundBurst) -> bool) {
    while let Some(burst) = queue.with_room()
        && next(burst)
        && burst.len() == BURST
    {}
}

/// Moves the next rows to a burst, while they are plain packets, it has room and the cache has memory. Returns how many.
///
/// A packet is recognised by the row, not by its copy: what was just written is slow to read.
#[inline(never)]
pub(super) fn cut_plain(
    rows: &mut Rows<'_>,
    burst: &mut SoundBurst,
    inside: Origin,
    pool_port: u32,
    mempool: &mut MempoolCache,
) -> u32 {
    let (mut ahead, mut cut, most) = (rows.clone(), 0, burst.most4());
    while burst.len4() < most
        && let Some((row, bytes)) = ahead.next()
        && row.row_type == RowType::WholeIpv4
        && let Some(plain) = Plain::recognise(bytes, pool_port)
        && let Some(packet) = mempool.alloc_copy_cached(bytes, HEADER_LEN as u16)
    {
        burst.push_plain(packet, inside, plain.dst);
        cut += 1;
        *rows = ahead.clone();
    }
    cut
}

/// The same for rows that are plain IPv6 packets.
#[inline(never)]
pub(super) fn cut_plain6(
    rows: &mut Rows<'_>,
    burst: &mut SoundBurst,
    inside: Origin,
    pool_port: u32,
    mempool: &mut MempoolCache,
) -> u32 {
    let (mut ahead, mut cut) = (rows.clone(), 0);
    while burst.len() < BURST
        && let Some((row, bytes)) = ahead.next()
        && row.row_type == RowType::WholeIpv6
        && let Some(dst) = ip6_input::recognise(bytes, pool_port)
        && let Some(packet) = mempool.alloc_copy_cached(bytes, HEADER_LEN as u16)
    {
        burst.push_plain6(packet, inside, dst);
        cut += 1;
        *rows = ahead.clone();
    }
    cut
}

/// The same for rows of provisioned streams of a peer: these know whether their packets are plain.
#[inline(never)]
pub(super) fn rebuild_plain_rows(
    rows: &mut Rows<'_>,
    (streams, peer): (&StreamSet, PeerIndex),
    burst: &mut SoundBurst,
    inside: Origin,
    pool_port: u32,
    mempool: &mut MempoolCache,
) -> u32 {
    let (mut ahead, mut rebuilt, most) = (rows.clone(), 0, burst.most4());
    while burst.len4() < most
        && let Some((row, bytes)) = ahead.next()
        && row.row_type == RowType::Provisioned
        && let Some((packet, dst)) = streams.plain(peer, bytes, pool_port)
        && let Some(frame) = mempool.alloc_filled_cached(packet.len(), HEADER_LEN as u16, |room| packet.write(room))
    {
        burst.push_plain(frame, inside, dst);
        rebuilt += 1;
        *rows = ahead.clone();
    }
    rebuilt
}

/// The same for entries of a pooled packet with short rows: their contexts know it.
#[inline(never)]
pub(super) fn rebuild_plain_entries(
    entries: &mut Entries<'_>,
    contexts: &OriginContexts<'_>,
    burst: &mut SoundBurst,
    inside: Origin,
    pool_port: u32,
    mempool: &mut MempoolCache,
) -> u32 {
    let (mut ahead, mut rebuilt, most) = (entries.clone(), 0, burst.most4());
    while burst.len4() < most
        && let Some(entry) = ahead.front()
        && let Some((packet, dst)) = contexts.plain(entry, pool_port)
        && let Some(frame) = mempool.alloc_filled_cached(packet.len(), HEADER_LEN as u16, |room| packet.write(room))
    {
        burst.push_plain(frame, inside, dst);
        ahead.pass_front();
        rebuilt += 1;
    }
    *entries = ahead;
    rebuilt
}
