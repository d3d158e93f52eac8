//! Hellos on their way to peers, and the rings by which the control thread's packets reach workers.

use std::net::IpAddr;
use std::time::Instant;

use carpool_dataplane::fib::PeerIndex;
use carpool_dataplane::worker::{Inject, InjectTarget};
use hashbrown::HashMap;
use log::error;

use super::hello_packet::hello_packet;
use super::{Router, WorkerLink};
use crate::peers::{DueHello, Peer, Peers};

impl Router {
    /// The way of hellos to all peers as it is now, for as long as no event is read.
    pub(super) fn heartbeat(&self, now: Instant) -> Heartbeat {
        self.heartbeat_to(self.peers.iter(), now)
    }

    fn heartbeat_to<'p>(&self, peers: impl Iterator<Item = (PeerIndex, &'p Peer)>, now: Instant) -> Heartbeat {
        let reachable = peers.filter(|(_, peer)| self.forwarding.next_hop(peer.config.address).is_some());
        let ways = reachable.map(|(index, peer)| (index, (self.towards(peer).0, peer.config.address)));
        Heartbeat { ways: ways.collect(), pool_port: self.config.pool_port, heard_until: now }
    }

    pub(super) fn send_hellos(&mut self, now: Instant) {
        if self.peers.hello_is_due(now) {
            let heartbeat = self.heartbeat_to(self.peers.due(now), now);
            heartbeat.send(&mut self.peers, &self.workers, now);
        }
    }
}

/// Sends hellos, also from the middle of a long change: a router that loads a full table must not seem dead.
pub(super) struct Heartbeat {
    /// Source and destination of hellos to each peer that a route leads to.
    ways: HashMap<PeerIndex, (IpAddr, IpAddr)>,
    pool_port: u16,
    /// When the change began. What peers said since waits to be read: nobody has fallen silent meanwhile.
    heard_until: Instant,
}

impl Heartbeat {
    /// Sends what is due now, whatever time the change began at.
    pub(super) fn beat(&self, peers: &mut Peers, workers: &[WorkerLink], now: Instant) {
        // Before there are workers, nobody could send them.
        if !workers.is_empty() && peers.hello_is_due(now) {
            self.send(peers, workers, now);
        }
    }

    fn send(&self, peers: &mut Peers, workers: &[WorkerLink], now: Instant) {
        peers.send_due(now, self.heard_until, |DueHello { peer, hello, length }| {
            // Where no route leads to a peer, its hellos are lost.
            self.ways.get(peer).is_none_or(|(source, address)| {
                let packet = hello_packet(hello, *source, *address, self.pool_port, *length);
                inject(workers, InjectTarget::Routed, &packet, length.saturating_sub(packet.len() as u16))
            })
        });
    }
}

/// Hands a packet to the first worker that has room for it; each has a transmit queue of every port. False where none has,
/// which the first one counts. So many zero bytes as `padding` says follow the packet.
pub(super) fn inject(workers: &[WorkerLink], target: InjectTarget, packet: &[u8], padding: u16) -> bool {
    let Ok(bytes) = packet.try_into() else {
        error!("a packet of {} bytes is too long for workers", packet.len());
        return true;
    };
    let mut inject = Inject { target, bytes, padding };
    for worker in workers {
        match worker.inject(inject) {
            None => return true,
            Some(refused) => inject = refused,
        }
    }
    if let Some(worker) = workers.first() {
        worker.shared.count_refused();
    }
    false
}
