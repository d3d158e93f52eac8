//! What passes between workers and the control thread: bounded rings of plain values, and a bell for each side.
//!
//! Workers never wait for control: what finds the ring full is dropped and counted. Control never touches packet
//! memory: what it sends goes down as bytes.

use std::net::{IpAddr, Ipv6Addr};

use arrayvec::ArrayVec;

use super::peer_traffic::PeerReceived;
use crate::fib::{PeerIndex, PortIndex};
use crate::packet::too_big::TooBig;
use crate::pool::learned::IdSpace;
use crate::pool::wire::report::MAX_CONTEXTS;
use crate::pool::{PoolKey, PoolLayout};

/// Largest number of bytes the control thread hands down as one packet, but for padding.
pub const CONTROL_BYTES: usize = 128;
/// Longest hello body that is passed up; what follows is padding.
pub const HELLO_BYTES: usize = 64;

/// From a worker to the control thread.
#[derive(Clone, Debug)]
pub enum Event {
    /// An ARP packet told us, or an ARP packet or neighbour solicitation asked us from, this address.
    NeighbourSeen {
        port: PortIndex,
        address: IpAddr,
        mac: [u8; 6],
        /// It is an answer, or a request to us: enough to learn a new neighbour. Else only a known one is updated.
        addressed_to_us: bool,
    },
    /// A neighbour advertisement said something of this address (RFC 4861, 7.2.5).
    NeighbourAdvertised {
        port: PortIndex,
        address: Ipv6Addr,
        /// Where it is; None: where it was.
        mac: Option<[u8; 6]>,
        /// It is the answer to a question of ours.
        solicited: bool,
        /// It takes the place of what was known.
        overrides: bool,
    },
    /// A packet waits for this neighbour.
    NeighbourWanted { port: PortIndex, address: IpAddr },
    /// A router says that a packet to a peer was too long for its next link. Anybody can say so: it has to be asked whether
    /// we sent that packet.
    PacketTooBig(TooBig),
    /// An addressee reported to this worker what another one announced, by its number.
    UnknownThere { worker: u16, what: UnknownThere },
    /// A pool that was open when the control thread asked ([`super::WorkerShared::sample_pools`]).
    OpenPool(OpenPoolSample),
    /// What came from a peer until then, if anything did.
    PeerReceived(PeerReceived),
    /// The answer to that request is complete.
    OpenPoolsEnd { request: u64 },
}

/// A hello that came from a peer. Hellos have a ring of their own: whatever else there is to tell, a peer is not taken for
/// silent because of it.
#[derive(Clone, Debug)]
pub struct HeardHello {
    /// The peer's address: its index can have come to mean another peer since.
    pub from: IpAddr,
    /// The TTL or hop limit that it arrived with.
    pub ttl: u8,
    /// The length of its packet, from the IP header on, in bytes.
    pub length: u16,
    /// The beginning of its UDP payload.
    pub payload: ArrayVec<u8, HELLO_BYTES>,
}

/// Contexts of learned headers that an addressee does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownThere {
    /// Whose ids these are.
    pub space: IdSpace,
    /// The ids.
    pub contexts: ArrayVec<u16, MAX_CONTEXTS>,
}

/// An open pool, for people to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenPoolSample {
    /// Whom it goes to.
    pub peer: PeerIndex,
    /// What its packets have in common.
    pub key: PoolKey,
    /// How they lie in it.
    pub layout: PoolLayout,
    /// Packets in it.
    pub packets: u16,
    /// Bytes of IP length that the pooled packet would have now.
    pub bytes: u32,
    /// How long it has been open, in nanoseconds.
    pub age_ns: u64,
}

/// From the control thread to a worker.
#[derive(Clone, Debug)]
pub struct Inject {
    /// Where the bytes go.
    pub target: InjectTarget,
    /// The packet.
    pub bytes: ArrayVec<u8, CONTROL_BYTES>,
    /// So many zero bytes follow.
    pub padding: u16,
}

/// Where a packet from the control thread goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectTarget {
    /// A whole Ethernet frame, out of this port.
    Frame(PortIndex),
    /// An IP packet of our own: looked up like any other, its TTL left as it is.
    Routed,
}
