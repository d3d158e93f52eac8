//! Pools that one worker has for all: who owns a path, and how its packets get to the owner.
//!
//! A network interface spreads the flows of a path over all workers, and each that forms pools of its own fills them with
//! its share. Here each path has one owner instead; the others hand over what may share a pool on it, untouched, and it
//! passes the owner's whole input again as a packet taken out of a pooled packet does. What decides about the way, the
//! path and what all packets of a flow have in common, is the same for all of them, and a ring keeps their order.

use std::sync::Arc;

use arrayvec::ArrayVec;

use crate::arch::{Consumer, Producer, Sleeper, prefetch_read, spsc};
use crate::dpdk::{BURST, Mbuf, Nic, WakeHandle};
use crate::fib::Entry;
use crate::packet::ipv4::PROTOCOL_UDP;
use crate::pool::path::{PoolPath, SharedHops};

use super::counters::Counter;
use super::drop::Drop;
use super::ethernet_input::IpBurst;
use super::moment::Moment;
use super::origin::{Header, Origin, Packet};
use super::stages::Stages;

/// Packets that can be on the way to one worker, divided among those that hand them over.
const ON_THE_WAY: usize = 4096;
/// Packets that a ring holds: what a pooled packet or two in a burst hold at least.
const SMALLEST_RING: usize = 256;
/// And at most.
const LARGEST_RING: usize = 2048;

type Handed = (Mbuf, Origin);

/// One worker's part in what workers hand over to each other.
pub struct Handover {
    /// Its number among the workers.
    worker: u16,
    /// The way to each worker; none to itself, and none at all when it hands nothing over any longer.
    ways: Box<[Option<Way>]>,
    /// From each other worker.
    arrivals: Box<[Consumer<Handed>]>,
    /// Something was handed over in this iteration.
    is_news: bool,
    /// Who sleeps, by number.
    sleepers: Arc<[Sleeper]>,
}

/// The way to another worker.
struct Way {
    ring: Producer<Handed>,
    /// Something was handed over in this iteration.
    is_news: bool,
    wake: WakeHandle,
}

impl Handover {
    /// The parts of so many workers as there are handles, by which they are woken, in the order of their numbers.
    pub fn between(wakes: Vec<WakeHandle>) -> Vec<Handover> {
        let workers = wakes.len();
        let sleepers: Arc<[Sleeper]> = wakes.iter().map(|_| Sleeper::default()).collect();
        let mut arrivals: Vec<Vec<Consumer<Handed>>> = wakes.iter().map(|_| Vec::new()).collect();
        let mut ways = Vec::new();
        for from in 0..workers {
            let way = |(to, (wake, arrivals)): (usize, (&WakeHandle, &mut Vec<_>))| {
                (to != from).then(|| {
                    let (ring, arriving) = spsc(Handover::ring_size(workers));
                    arrivals.push(arriving);
                    Way { ring, is_news: false, wake: wake.clone() }
                })
            };
            ways.push(wakes.iter().zip(&mut arrivals).enumerate().map(way).collect());
        }
        let parts = (0..=u16::MAX).zip(ways).zip(arrivals).map(|((worker, ways), arrivals)| Handover {
            worker,
            ways,
            arrivals: arrivals.into(),
            is_news: false,
            sleepers: Arc::clone(&sleepers),
        });
        parts.collect()
    }

    /// The most packets that can be on the way to each of so many workers.
    pub fn on_the_way(workers: usize) -> usize {
        workers.saturating_sub(1) * Handover::ring_size(workers)
    }

    /// Packets that each ring between so many workers holds.
    fn ring_size(workers: usize) -> usize {
        let share = ON_THE_WAY / workers.saturating_sub(1).max(1);
        (share.max(1).next_power_of_two() >> usize::from(!share.is_power_of_two())).clamp(SMALLEST_RING, LARGEST_RING)
    }

    /// The worker that has the pools of a path: the same for all paths whose packets can share one.
    #[inline]
    fn owner(&self, path: &PoolPath) -> usize {
        // Multiplied by the golden ratio (Knuth 6.4), as the numbers of groups are small and close to each other.
        let spread = u32::from(path.group(SharedHops::AtLeast(1))).wrapping_mul(0x9e37_79b1);
        ((u64::from(spread) * self.ways.len() as u64) >> 32) as usize
    }

    /// Whether another worker sleeps on what it was handed; it is woken then, by one system call of one of all.
    #[inline]
    fn publish(&mut self) {
        if !std::mem::take(&mut self.is_news) {
            return;
        }
        for (way, sleeper) in self.ways.iter_mut().zip(self.sleepers.iter()) {
            if let Some(way) = way
                && std::mem::take(&mut way.is_news)
            {
                way.ring.publish();
                if sleeper.must_be_woken() {
                    way.wake.wake();
                }
            }
        }
    }

    /// Says that this worker is going to sleep, unless it now finds something.
    pub(super) fn lies_down(&self) {
        if let Some(sleeper) = self.sleepers.get(usize::from(self.worker)) {
            sleeper.lies_down();
        }
    }

    /// Says that this worker is awake.
    pub(super) fn gets_up(&self) {
        if let Some(sleeper) = self.sleepers.get(usize::from(self.worker)) {
            sleeper.gets_up();
        }
    }
}

impl<N: Nic> Stages<N> {
    /// Whether another worker has the pools of the path of packets with this entry.
    #[inline(never)]
    pub(super) fn is_owned_elsewhere(&self, entry: &Entry, moment: &Moment<'_>) -> bool {
        let path = entry.path.and_then(|path| moment.state.path(path)).filter(|path| path.addressee.is_some());
        let (Some(handover), Some(path)) = (&self.handover, path) else { return false };
        handover.ways.get(handover.owner(path)).is_some_and(Option::is_some)
    }

    /// Hands a packet that is to be forwarded, and whose path is owned elsewhere, over to the owner. Returns it where it stays
    /// here.
    #[inline(never)]
    pub(super) fn hand_over<H: Header>(
        &mut self,
        packet: Packet<H>,
        entry: &Entry,
        moment: &Moment<'_>,
    ) -> Option<Packet<H>> {
        let Some(handover) = &mut self.handover else { return Some(packet) };
        let owner = entry.path.and_then(|path| moment.state.path(path)).map(|path| handover.owner(path));
        let Some(Some(way)) = owner.and_then(|owner| handover.ways.get_mut(owner)) else { return Some(packet) };
        // What was handed over stays: the owner may know of another path by now.
        if packet.origin.was_handed_over() {
            return Some(packet);
        }
        let fields = packet.header.stream_fields(packet.mbuf.bytes(), self.seed);
        let is_pool_traffic = |protocol, port| protocol == PROTOCOL_UDP && port == moment.state.pool_port;
        match fields {
            Some(fields)
                if !is_pool_traffic(fields.protocol, fields.destination_port)
                    && moment.state.rules.may_pool_flow(&fields) => {}
            _ => return Some(packet),
        }
        match way.ring.push((packet.mbuf, packet.origin.handed_over())) {
            Ok(()) => {
                (way.is_news, handover.is_news) = (true, true);
                self.out.counters.add(Counter::AbsorbedHandedOver, 1);
                if way.ring.unpublished() >= BURST {
                    way.ring.publish();
                }
            }
            Err((mbuf, _)) => self.out.drop(mbuf, Drop::HandoverFull),
        }
        None
    }

    /// Takes what other workers handed over, a burst from each, through the input; returns how many packets.
    #[inline]
    pub(super) fn take_over(&mut self, moment: &Moment<'_>) -> usize {
        let mut count = 0;
        let from = self.handover.as_ref().map_or(0, |handover| handover.arrivals.len());
        for at in 0..from {
            let arrivals = self.handover.as_mut().and_then(|handover| handover.arrivals.get_mut(at));
            let Some(ring) = arrivals else { break };
            let mut arrived = IpBurst::new();
            count += ring.fill(&mut arrived);
            for (mbuf, _) in &arrived {
                prefetch_read(mbuf.bytes().as_ptr());
            }
            self.out.counters.add(Counter::CreatedTakenOver, arrived.len() as u64);
            // A burst has one depth.
            while let Some(depth) = arrived.first().map(|(_, origin)| origin.depth()) {
                let alike = arrived.iter().take_while(|(_, origin)| origin.depth() == depth).count();
                if alike == arrived.len() {
                    self.ip_input(&mut arrived, depth, moment);
                } else {
                    self.ip_input(&mut arrived.drain(..alike).collect(), depth, moment);
                }
            }
        }
        count
    }

    /// Shows other workers what they were handed in this iteration, and wakes those that sleep.
    #[inline]
    pub(super) fn publish_handovers(&mut self) {
        if let Some(handover) = &mut self.handover {
            handover.publish();
        }
    }

    /// Hands nothing over any longer: every path is this worker's own, and the others are told that nothing more comes.
    #[cold]
    pub(super) fn stop_handing_over(&mut self) {
        self.publish_handovers();
        if let Some(handover) = &mut self.handover {
            handover.ways = Box::default();
        }
    }

    /// Whether everything that was handed over to this worker is taken over, and nothing more comes.
    #[cold]
    pub(super) fn has_taken_over_all(&self) -> bool {
        self.handover.iter().flat_map(|handover| &handover.arrivals).all(Consumer::is_finished)
    }

    /// Drops what other workers handed over.
    #[cold]
    pub(super) fn abandon_handovers(&mut self) {
        for ring in self.handover.iter_mut().flat_map(|handover| &mut handover.arrivals) {
            let mut arrived = ArrayVec::<Handed, BURST>::new();
            while ring.fill(&mut arrived) > 0 {
                self.out.counters.add(Counter::CreatedTakenOver, arrived.len() as u64);
                for (mbuf, _) in arrived.drain(..) {
                    self.out.drop(mbuf, Drop::Shutdown);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::dpdk::Waiter;
    use crate::pool::path::{MAX_HOPS, Trunk};

    use super::*;

    fn parts(workers: usize) -> Vec<Handover> {
        let wakes = (0..workers).map(|_| Waiter::new(&[]).expect("a descriptor").1);
        Handover::between(wakes.collect())
    }

    #[test]
    fn a_path_has_the_same_owner_for_all_and_paths_are_spread() {
        for workers in [2, 3, 4, 7] {
            let parts = parts(workers);
            let mut owned = vec![0u32; workers];
            for group in 0..1000 {
                let path = PoolPath { trunk: Trunk::new(&[1], 1), addressee: None, groups: [group; MAX_HOPS + 1] };
                let owner = parts[0].owner(&path);
                assert!(parts.iter().all(|part| part.owner(&path) == owner), "group {group}");
                owned[owner] += 1;
            }
            let fair = 1000 / workers as u32;
            assert!(owned.iter().all(|count| count.abs_diff(fair) <= fair / 10), "{workers} workers: {owned:?}");
        }
    }

    #[test]
    fn rings_hold_a_burst_of_pooled_packets_and_do_not_take_all_memory() {
        assert_eq!([2, 3, 5, 6, 9, 100].map(Handover::ring_size), [2048, 2048, 1024, 512, 512, 256]);
        assert_eq!([1, 2, 3, 9].map(Handover::on_the_way), [0, 2048, 4096, 4096]);
    }

    #[test]
    fn each_has_a_way_to_every_other_and_only_to_those() {
        let parts = parts(3);
        for (at, part) in parts.iter().enumerate() {
            assert_eq!(usize::from(part.worker), at);
            assert_eq!(part.arrivals.len(), 2);
            let ways: Vec<_> = part.ways.iter().map(Option::is_some).collect();
            assert_eq!(ways, (0..3).map(|to| to != at).collect::<Vec<_>>());
        }
    }
}
