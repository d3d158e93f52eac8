//! What this worker received from each peer, by sequence number: loss, reordering and duplicates on the way.

use std::net::{IpAddr, Ipv4Addr};

use crate::fib::PeerIndex;
use crate::pool::sequence::{SequenceCounts, SequenceTracker};

use super::router_state::RouterState;

/// The address of no peer.
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// What came from one peer.
#[derive(Clone, Debug)]
struct Row {
    /// The peer's address: an index can come to mean another peer.
    address: IpAddr,
    rows: u64,
    tracker: SequenceTracker,
}

/// What came from all peers.
pub(super) struct PeerTraffic {
    peers: Vec<Row>,
}

/// What a worker received from a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerReceived {
    /// The peer.
    pub peer: PeerIndex,
    /// Packets taken out of its pooled packets.
    pub rows: u64,
    /// Its pooled packets, by their sequence numbers.
    pub sequence: SequenceCounts,
}

impl PeerReceived {
    /// Adds what another worker received from the same peer.
    pub fn merge(&mut self, other: &PeerReceived) {
        self.rows += other.rows;
        let (sum, other) = (&mut self.sequence, &other.sequence);
        sum.received += other.received;
        sum.lost += other.lost;
        sum.reordered += other.reordered;
        sum.duplicates += other.duplicates;
        sum.stray += other.stray;
        sum.restarts += other.restarts;
        sum.missing += other.missing;
    }
}

impl PeerTraffic {
    /// Room for so many peers.
    pub fn new(peers: u16) -> PeerTraffic {
        let row = Row { address: NOBODY, rows: 0, tracker: SequenceTracker::default() };
        PeerTraffic { peers: vec![row; usize::from(peers)] }
    }

    /// Takes note of a pooled packet with a number.
    #[inline]
    pub fn received(&mut self, peer: PeerIndex, state: &RouterState, src_port: u16, sequence: u32, rows: u8) {
        if let Some(row) = self.row(peer, state) {
            row.rows += u64::from(rows);
            row.tracker.record(src_port, sequence);
        }
    }

    /// Takes note of a pooled packet in a format that does not number them.
    #[inline]
    pub fn received_unnumbered(&mut self, peer: PeerIndex, state: &RouterState, rows: u8) {
        if let Some(row) = self.row(peer, state) {
            row.rows += u64::from(rows);
            row.tracker.record_unnumbered();
        }
    }

    #[inline]
    fn row(&mut self, peer: PeerIndex, state: &RouterState) -> Option<&mut Row> {
        let address = state.peers.get(peer).map_or(NOBODY, |peer| peer.path.addressee);
        let row = self.peers.get_mut(peer.index())?;
        if row.address != address {
            *row = Row { address, rows: 0, tracker: SequenceTracker::default() };
        }
        Some(row)
    }

    /// Takes note of packets taken out of a pooled packet that was noted when it came, by the address it came from.
    #[inline]
    pub fn taken_out(&mut self, peer: PeerIndex, address: IpAddr, rows: u64) {
        if let Some(row) = self.peers.get_mut(peer.index()).filter(|row| row.address == address) {
            row.rows += rows;
        }
    }

    /// The peers that something came from.
    pub fn iter(&self, state: &RouterState) -> impl Iterator<Item = PeerReceived> {
        let rows = (0u16..).map(PeerIndex).zip(self.peers.iter());
        rows.filter(|(peer, row)| state.peers.get(*peer).is_some_and(|known| known.path.addressee == row.address))
            .map(|(peer, row)| PeerReceived { peer, rows: row.rows, sequence: row.tracker.counts() })
    }
}
