//! The peer of the router under measurement: carpool's packet pooler makes the pooled packets that come in.

use std::net::IpAddr;
use std::sync::Arc;

use carpool_dataplane::arch::{Tick, TickRate};
use carpool_dataplane::fib::PeerIndex;
use carpool_dataplane::packet::{Buffer, BufferSource};
use carpool_dataplane::pool::learned::CompressorLimits;
use carpool_dataplane::pool::path::{MAX_HOPS, PoolPath, Trunk};
use carpool_dataplane::pool::{
    FlowSeed, FlushReason, Index, PacketPooler, PeerPath, PoolKey, PoolSink, PoolerLimits, Ride, Rule, RuleIndex,
    StreamFields,
};

use crate::carriage::{PEER, peer_path, rule, streams};
use crate::case::{Carriage, Case, EXTRACT_EVERY, Work};
use crate::error::BenchError;
use crate::network::Network;

const SEED: FlowSeed = FlowSeed(7);
/// Nothing ever waits too long.
const NOW: Tick = Tick(1);
/// Pooled packets that one index packet is about.
const PER_INDEX: u16 = 3;

/// What the peer sends.
#[derive(Clone, Debug)]
pub struct Sent {
    pub packet: Vec<u8>,
    /// Stream packets in it.
    pub rows: u16,
}

/// The first `count` packets that a peer of a case sends to `to`, when `packet` says what its next stream packet is. They can be repeated
/// for ever.
pub fn sent(case: &Case, to: IpAddr, count: usize, packet: impl FnMut() -> Vec<u8>) -> Result<Vec<Sent>, BenchError> {
    let failed = |error: &dyn std::fmt::Display| BenchError::System(format!("{}: {error}", case.name));
    let rate = TickRate::NANOSECONDS;
    let limits = PoolerLimits { learned: CompressorLimits::usual(rate, SEED), ..PoolerLimits::default() };
    let mut pooler = PacketPooler::new(limits);
    pooler.provision(&Arc::new(streams(case).map_err(|error| failed(&error))?));
    let rule = rule(case, rate).map_err(|error| failed(&error))?;
    let path = peer_path(case, Network::of(case).peer, to);
    let mut peer = Peer { work: case.work, pooler, path, packet, staged: 0, wire: Wire::default() };
    if case.carriage != Carriage::OutOfBand {
        while peer.wire.sent.len() < count {
            peer.pool(&rule, 1);
        }
        peer.wire.sent.truncate(count);
        return Ok(peer.wire.sent);
    }
    // Repeated, a sequence would begin anew, and all of it be late. So there are two sequences in turn that have nothing to do
    // with each other. Packets with their index in band take the receiver from one to the other: it believes two that follow
    // on each other, and drops neither. A burst is never between an index and what it is about.
    let in_band = Rule { index: Index::InBand, ..rule.clone() };
    for (first, until) in [(0, count / 2), (1 << 30, count)] {
        if let Some(sequence) = peer.pooler.next_sequence(PEER, 0) {
            *sequence = first;
        }
        for _ in 0..2 {
            peer.pool(&in_band, case.rows - 2);
            peer.leave();
        }
        peer.pool(&rule, case.rows);
        peer.leave();
        while peer.wire.sent.len() < until {
            peer.pool(&rule, PER_INDEX * case.rows);
            peer.leave();
        }
    }
    Ok(peer.wire.sent)
}

/// The peer.
struct Peer<P> {
    work: Work,
    pooler: PacketPooler<Packet>,
    path: PeerPath,
    packet: P,
    staged: u16,
    wire: Wire,
}

impl<P: FnMut() -> Vec<u8>> Peer<P> {
    /// Has so many stream packets pooled.
    fn pool(&mut self, rule: &Rule, count: u16) {
        for _ in 0..count {
            // In transit all go on to the second node, but for those that are due at the first.
            let is_due = self.work == Work::Extract && self.staged % EXTRACT_EVERY == 1;
            let nodes: &[u16] = if self.work == Work::Depool || is_due { &[1] } else { &[1, 2] };
            let trunk = Trunk::new(nodes, u16::MAX);
            let path = PoolPath { trunk, addressee: Some(PEER), groups: [0; MAX_HOPS + 1] };
            let bytes = (self.packet)();
            let Some(fields) = StreamFields::read(&bytes, SEED) else { continue };
            let key = PoolKey::of_stream(0, RuleIndex(0), &fields, 1);
            let ride = Ride::new(key, &path, (PEER, &self.path), rule, &fields);
            let end = bytes.len();
            let pooled = self.wire.sent.len();
            self.pooler.stage(Packet { memory: bytes, start: 0, end }, &ride, NOW, &mut self.wire);
            // Which are due is counted in each pooled packet anew.
            self.staged = if self.wire.sent.len() > pooled { 0 } else { self.staged + 1 };
        }
    }

    /// Has what was pooled leave.
    fn leave(&mut self) {
        self.pooler.flush_all(FlushReason::Window, NOW, &mut self.wire);
    }
}

/// What the peer sent.
#[derive(Default)]
struct Wire {
    sent: Vec<Sent>,
}

impl BufferSource for Wire {
    type Buffer = Packet;

    fn alloc(&mut self, headroom: usize) -> Option<Packet> {
        Some(Packet { memory: vec![0; 4096], start: headroom, end: headroom })
    }

    fn free(&mut self, _: Packet) {}
}

impl PoolSink for Wire {
    fn lone(&mut self, packet: Packet) {
        self.sent.push(Sent { packet: packet.bytes().to_vec(), rows: 1 });
    }

    fn pooled(&mut self, packet: Packet, _: PeerIndex, rows: u8) {
        self.sent.push(Sent { packet: packet.bytes().to_vec(), rows: rows.into() });
    }
}

/// A packet in memory that does not grow.
struct Packet {
    memory: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer for Packet {
    fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.end]
    }

    fn prepend(&mut self, count: usize) -> Option<&mut [u8]> {
        self.start = self.start.checked_sub(count)?;
        Some(&mut self.memory[self.start..self.start + count])
    }

    fn append(&mut self, count: usize) -> Option<&mut [u8]> {
        let claimed = self.memory.get_mut(self.end..self.end + count)?;
        self.end += count;
        Some(claimed)
    }

    fn trim_front(&mut self, count: usize) -> bool {
        let fits = count <= self.end - self.start;
        self.start += if fits { count } else { 0 };
        fits
    }

    fn truncate(&mut self, length: usize) {
        self.end = self.end.min(self.start + length);
    }
}
