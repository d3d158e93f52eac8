//! What passes between workers and the control thread: bounded rings of plain values, and a bell for each side.
//!
//! Workers never wait for control: what finds the ring full is dropped and counted. Control never touches packet
//! memory: what it sends goes down as bytes.

use std::net::{IpAddr, Ipv6Addr};

use arrayvec::ArrayVec;

use super::peer_traffic::PeerReceived;
use crate::fib::{PeerIndex, PortIndex};
use crate::packet::too_big::QUOTE_LEN;
use crate::pool::learned::IdSpace;

/// Largest number of bytes the control thread hands down as one packet, and of a hello handed up.
pub const CONTROL_BYTES: usize = 1600;
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
    /// A sound hello from a peer: the TTL it came with, its length with the IP header in bytes, and the beginning of the
    /// UDP payload. The peer is named by its address; its index can have come to mean another peer since.
    Hello { from: IpAddr, ttl: u8, length: u16, payload: ArrayVec<u8, HELLO_BYTES> },
    /// A router says that a packet from one of our addresses was too long for its next link, which takes `mtu` bytes, and
    /// quotes the beginning of that packet. Anybody can say so: it has to be asked whether we sent it.
    PacketTooBig { mtu: u16, quote: [u8; QUOTE_LEN] },
    /// An addressee does not know a context of learned headers, and neither does this worker: another one may have announced it.
    UnknownContext { space: IdSpace, context: u16 },
    /// A pool that was open when the control thread asked ([`super::WorkerShared::sample_pools`]).
    OpenPool(OpenPoolSample),
    /// What came from a peer until then, if anything did.
    PeerReceived(PeerReceived),
    /// The answer to that request is complete.
    OpenPoolsEnd { request: u64 },
}

/// An open pool, for people to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenPoolSample {
    /// Whom it goes to.
    pub peer: PeerIndex,
    /// Position of the rule in the rule set.
    pub rule: u16,
    /// The group of paths whose packets share it.
    pub group: u16,
    /// Its flow bucket.
    pub bucket: u8,
    /// Whether its packets are IPv6, or IPv4.
    pub is_ipv6: bool,
    /// Its DSCP.
    pub dscp: u8,
    /// Whether its packets are ECN-capable.
    pub ecn_capable: bool,
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
