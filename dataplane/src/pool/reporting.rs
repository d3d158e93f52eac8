//! The packet pooler's other outgoing packets: reports (kind 6) to peers whose pooled packets name unknown contexts.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use super::layout::{OuterHeader, outer_length};
use super::learned::Origin;
use super::packet_pooler::PacketPooler;
use super::ride::PeerPath;
use super::wire::report::{unknown_contexts_len, write_unknown_contexts};
use crate::fib::PeerIndex;
use crate::packet::{Buffer, BufferSource, Sum};

impl<B: Buffer> PacketPooler<B> {
    /// A report to a peer, complete with outer headers: these contexts, which its pooled packets named, are unknown here.
    /// None where there is no buffer, the peer is beyond the limits, or there is nothing to report: no sequence number is
    /// used up then.
    pub fn report<M>(
        &mut self,
        (peer, path): (PeerIndex, &PeerPath),
        unknown: Origin,
        contexts: &[u16],
        memory: &mut M,
    ) -> Option<B>
    where
        M: BufferSource<Buffer = B>,
    {
        let (headroom, port_offset) = (usize::from(self.limits().link_headroom), self.first_port_offset());
        let next = self.next_sequence(peer, 0)?;
        let sequence = *next;
        let outer = OuterHeader::of_report(path, port_offset);
        let mut buffer = memory.alloc(headroom)?;
        let payload_len = unknown_contexts_len(contexts.len());
        let outer_len = usize::from(outer_length(path.source, path.addressee).unwrap_or(0));
        let written = buffer.append(outer_len + payload_len).and_then(|room| {
            let (headers, payload) = room.split_at_mut_checked(outer_len)?;
            let (instance, source_port) = (unknown.instance, unknown.source_port);
            write_unknown_contexts(path.outer_ttl, sequence, instance, source_port, contexts, payload)?;
            outer.write(u16::try_from(payload_len).ok()?, || Sum::of(payload), headers)
        });
        if written.is_none() {
            memory.free(buffer);
            return None;
        }
        *next = sequence.wrapping_add(1);
        Some(buffer)
    }
}
