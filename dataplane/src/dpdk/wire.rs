//! A link in memory: two ends, each a [`Nic`].
//!
//! Tests and simulations connect routers with it, or hold one end themselves. It is deterministic: packets arrive in the
//! order they were sent, as soon as they were sent, and only a full wire refuses more.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrayvec::ArrayVec;

use super::mbuf::Mbuf;
use super::mempool::MempoolCache;
use super::nic::{BURST, Nic, TX_BUFFER};

/// One direction of a wire.
type Lane = Arc<Mutex<VecDeque<Mbuf>>>;

/// One end of a wire.
pub struct WireEnd {
    incoming: Lane,
    outgoing: Lane,
    capacity: usize,
}

/// A wire that holds up to `capacity` packets in each direction, by its two ends.
pub fn wire_pair(capacity: usize) -> (WireEnd, WireEnd) {
    let (there, back) = (Lane::default(), Lane::default());
    let left = WireEnd { incoming: Arc::clone(&back), outgoing: Arc::clone(&there), capacity };
    let right = WireEnd { incoming: there, outgoing: back, capacity };
    (left, right)
}

fn lock(lane: &Lane) -> MutexGuard<'_, VecDeque<Mbuf>> {
    // A panic elsewhere leaves the queue whole: each change is one push or one pop.
    lane.lock().unwrap_or_else(PoisonError::into_inner)
}

impl WireEnd {
    /// Sends one packet.
    ///
    /// # Errors
    /// Gives the packet back where the wire is full.
    pub fn send(&mut self, mbuf: Mbuf) -> Result<(), Mbuf> {
        let mut lane = lock(&self.outgoing);
        if lane.len() >= self.capacity {
            return Err(mbuf);
        }
        lane.push_back(mbuf);
        Ok(())
    }

    /// Sends a copy of `bytes`. False where the wire is full, the pool is exhausted, or they do not fit into one mbuf.
    pub fn send_bytes(&mut self, cache: &mut MempoolCache, bytes: &[u8]) -> bool {
        let Some(mut mbuf) = cache.alloc() else { return false };
        match mbuf.append(bytes.len()) {
            Some(room) => room.copy_from_slice(bytes),
            None => return false,
        }
        self.send(mbuf).is_ok()
    }

    /// The next packet that arrived.
    pub fn receive(&mut self) -> Option<Mbuf> {
        lock(&self.incoming).pop_front()
    }

    /// The bytes of all packets that arrived, whose mbufs go back to their pool.
    pub fn receive_all_bytes(&mut self) -> Vec<Vec<u8>> {
        lock(&self.incoming).drain(..).map(|mbuf| mbuf.bytes().to_vec()).collect()
    }

    /// Packets that arrived and wait.
    pub fn waiting(&self) -> usize {
        lock(&self.incoming).len()
    }
}

impl Nic for WireEnd {
    fn rx_burst(&mut self, packets: &mut ArrayVec<Mbuf, BURST>) -> usize {
        let mut lane = lock(&self.incoming);
        let count = lane.len().min(packets.remaining_capacity());
        packets.extend(lane.drain(..count));
        count
    }

    fn tx_burst(&mut self, packets: &mut ArrayVec<Mbuf, TX_BUFFER>) -> usize {
        let mut lane = lock(&self.outgoing);
        let count = packets.len().min(self.capacity.saturating_sub(lane.len()));
        lane.extend(packets.drain(..count));
        count
    }
}

#[cfg(test)]
mod tests {
    use super::super::{HEADROOM, Mempool, test_eal};
    use super::*;

    fn pool(name: &str) -> Mempool {
        Mempool::create(test_eal(), name, 255, HEADROOM + 128).expect("the test's EAL has memory for small pools")
    }

    #[test]
    fn packets_arrive_at_the_other_end_in_order_and_in_bursts() {
        let pool = pool("wire_order");
        let mut cache = pool.cache();
        let (mut left, mut right) = wire_pair(100);
        let mut sent = ArrayVec::<Mbuf, TX_BUFFER>::new();
        for number in 0..40u8 {
            let mut mbuf = cache.alloc().expect("the pool is large enough");
            mbuf.append(1).expect("there is room").fill(number);
            sent.push(mbuf);
        }
        assert_eq!((left.tx_burst(&mut sent), sent.len()), (40, 0));
        assert_eq!((right.waiting(), left.waiting()), (40, 0));
        let mut burst = ArrayVec::new();
        let mut numbers = Vec::new();
        for expected in [32, 8, 0] {
            assert_eq!(right.rx_burst(&mut burst), expected);
            numbers.extend(burst.drain(..).map(|mbuf| mbuf.bytes()[0]));
        }
        assert_eq!(numbers, (0..40).collect::<Vec<u8>>());
        drop(cache);
        assert_eq!(pool.in_use(), 0);
    }

    #[test]
    fn a_full_wire_takes_no_more_and_leaves_the_rest_with_the_sender() {
        let pool = pool("wire_full");
        let mut cache = pool.cache();
        let (mut left, mut right) = wire_pair(3);
        let mut sent: ArrayVec<Mbuf, TX_BUFFER> = (0..5).filter_map(|_| cache.alloc()).collect();
        assert_eq!((left.tx_burst(&mut sent), sent.len()), (3, 2));
        assert_eq!(left.tx_burst(&mut sent), 0);
        assert!(!left.send_bytes(&mut cache, b"no room"));
        assert!(right.receive().is_some());
        assert_eq!((left.tx_burst(&mut sent), sent.len()), (1, 1));
        drop((sent, left, right, cache));
        assert_eq!(pool.in_use(), 0, "what was on the wire went back to the pool");
    }

    #[test]
    fn a_test_can_send_and_collect_bytes() {
        let pool = pool("wire_bytes");
        let mut cache = pool.cache();
        let (mut left, mut right) = wire_pair(10);
        assert!(left.send_bytes(&mut cache, b"one") && left.send_bytes(&mut cache, b"two"));
        assert!(!left.send_bytes(&mut cache, &[0; 129]), "more than an mbuf holds");
        assert!(right.send_bytes(&mut cache, b"back"));
        assert_eq!(right.receive_all_bytes(), [b"one", b"two"]);
        assert_eq!(left.receive_all_bytes(), [b"back"]);
        drop(cache);
        assert_eq!(pool.in_use(), 0);
    }

    #[test]
    fn a_burst_fills_only_the_room_that_is_left() {
        let pool = pool("wire_room");
        let mut cache = pool.cache();
        let (mut left, mut right) = wire_pair(10);
        for _ in 0..4 {
            assert!(left.send_bytes(&mut cache, b"x"));
        }
        let mut burst: ArrayVec<Mbuf, BURST> = (0..30).filter_map(|_| cache.alloc()).collect();
        assert_eq!((right.rx_burst(&mut burst), burst.len(), right.waiting()), (2, 32, 2));
    }
}
