//! What a stream packet's ride is: with whom it can share, to which peer, under which rule.
//!
//! The worker makes a [`Ride`] from what the control thread published (paths, peers, rules) and the packet's fields. A
//! pool takes the peer's values from the ride of its first packet: where they change under the same key, the worker
//! flushes the pools first.

use std::net::IpAddr;

use super::hello::Capabilities;
use super::layout::outer_length;
use super::open_pools::PoolKey;
use super::path::PoolPath;
use super::representation::Format;
use super::rule::Rule;
use super::shortcut::Question;
use super::stream_detector::StreamFields;
use super::wire::{self, ROW_LEN};
use crate::fib::PeerIndex;

/// How pooled packets get to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerPath {
    /// The peer's address: where the pooled packet is addressed to.
    pub addressee: IpAddr,
    /// Our address that it comes from, of the same family.
    pub source: IpAddr,
    /// The largest IP packet that gets there whole, in bytes.
    pub mtu: u16,
    /// The TTL of the outer packet as it is sent, usually 64.
    pub outer_ttl: u8,
    /// The first UDP source port; workers and flow buckets count up from it. A format that has a port for itself uses that
    /// one, here and as the destination.
    pub source_port_base: u16,
    /// The UDP port the peer listens on, usually 7665.
    pub destination_port: u16,
    /// Whether a UDP checksum is sent (RFC 768); if not, it is zero.
    pub checksum: bool,
    /// The protocol it speaks.
    pub format: Format,
    /// What it says that it takes.
    pub capabilities: Capabilities,
}

impl PeerPath {
    /// The longest packet that gets there inside a pooled packet which carries nothing else, in bytes.
    #[inline(always)]
    pub fn longest_alone(&self) -> u16 {
        outer_length(self.source, self.addressee)
            .map_or(0, |outer| self.mtu.saturating_sub(outer + (wire::HEADER_LEN + ROW_LEN) as u16))
    }
}

/// The ride of a packet between overlay nodes that shares with nobody.
#[derive(Clone, Copy, Debug)]
pub struct LoneRide<'a> {
    /// Of its class and flow bucket; the rest of it does not matter.
    pub key: PoolKey,
    /// The path that it is on.
    pub path: &'a PoolPath,
    /// The peer that it goes to.
    pub addressee: PeerIndex,
    /// How pooled packets get to that peer.
    pub peer: &'a PeerPath,
    /// Hash of its flow.
    pub flow: u32,
}

/// A stream packet's ride.
#[derive(Clone, Copy, Debug)]
pub struct Ride<'a> {
    /// The pool it belongs to.
    pub key: PoolKey,
    /// The path that it is on.
    pub path: &'a PoolPath,
    /// The peer that a pool which this packet opens is addressed to.
    pub addressee: PeerIndex,
    /// How pooled packets get to that peer.
    pub peer: &'a PeerPath,
    /// The rule that `key` names.
    pub rule: &'a Rule,
    /// Hash of its flow, as in [`StreamFields`].
    pub flow: u32,
    /// Hash of its addresses and protocol, as in [`StreamFields`].
    pub pair: u32,
    /// What decided that this is its ride, where that is all that did: packets that ask the same may
    /// [board](super::PacketPooler::board).
    pub question: Option<Question>,
}

impl<'a> Ride<'a> {
    /// The ride of a packet with these fields.
    #[inline(always)]
    pub fn new(
        key: PoolKey,
        path: &'a PoolPath,
        (addressee, peer): (PeerIndex, &'a PeerPath),
        rule: &'a Rule,
        fields: &StreamFields,
    ) -> Ride<'a> {
        Ride { key, path, addressee, peer, rule, flow: fields.flow, pair: fields.pair, question: None }
    }

    /// The same, alone.
    pub(super) fn alone(&self) -> LoneRide<'a> {
        LoneRide { key: self.key, path: self.path, addressee: self.addressee, peer: self.peer, flow: self.flow }
    }
}
