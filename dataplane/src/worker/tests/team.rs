//! A router with several workers on a bench: each with a queue of either port, and what comes in spread over them by flow, as
//! network interfaces do it.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::lab::*;
use crate::arch::{Tick, TickRate};
use crate::dpdk::{HEADROOM, Mempool, MempoolCache, Waiter, WakeHandle, WireEnd, test_eal, wire_pair};
use crate::fib::{
    Adjacency, Domain, Entry, Lpm4, Lpm4Writer, Lpm6, NeighbourIndex, PathIndex, PeerIndex, Published, Publisher,
    Reader, publish,
};
use crate::packet::ipv4::Ipv4Header;
use crate::pool::path::{MAX_HOPS, PoolPath, Trunk};
use crate::pool::wire::PooledPacket;
use crate::worker::{Bell, Counters, Handover, RouterState, Worker, WorkerOptions, WorkerShared};

/// The paths of a team, by the third byte of their destinations from 120 on: group of one shared hop, group of the whole
/// path. The first and the last share their next hop.
pub(super) const PATHS: [(u16, u16); 4] = [(0, 0), (1, 1), (2, 2), (0, 3)];

/// A host behind a path.
pub(super) fn behind(path: u8, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 120 + path, host)
}

/// Who has the pools of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PoolOn {
    Local,
    Owner,
}

/// What a worker is made of on the thread that it will run on.
pub(super) struct Parts {
    options: WorkerOptions,
    queues: (WireEnd, WireEnd),
    mempool: Mempool,
    reader: Reader,
    published: Published<RouterState>,
    tables: (Arc<Lpm4>, Arc<Lpm6>),
    shared: Arc<WorkerShared>,
    handover: Option<Handover>,
}

impl Parts {
    pub fn worker(self) -> Worker<WireEnd> {
        let Parts { options, queues: (west, east), mempool, reader, published, tables: (table, table6), .. } = self;
        let queues = vec![(WEST, west), (EAST, east)];
        let worker = Worker::new(options, queues, mempool.cache(), reader, published, table, table6, self.shared);
        match self.handover {
            Some(handover) => worker.share_pools(handover),
            None => worker,
        }
    }
}

/// The far ends of a worker's queues, and its joint with the control thread.
pub(super) struct Queue {
    pub west: WireEnd,
    pub east: WireEnd,
    pub shared: Arc<WorkerShared>,
    pub wake: WakeHandle,
}

/// All of a router but its workers.
pub(super) struct Rest {
    pub queues: Vec<Queue>,
    cache: MempoolCache,
    mempool: Mempool,
    publisher: Publisher<RouterState>,
    state: RouterState,
    _routes: Lpm4Writer,
}

/// A router with so many workers, which are still to be made, and what they block on.
pub(super) fn parts(workers: u16, pool_on: PoolOn, options: WorkerOptions) -> (Vec<(Parts, Waiter)>, Rest) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let name = format!("team{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let mempool = Mempool::create(test_eal(), &name, 8191, 2048 + HEADROOM).expect("memory for a team");
    let domain = Domain::new(usize::from(workers));
    let (mut routes, table, _, table6) = routes(&domain);
    let mut state = state();
    let via = Adjacency::Via { port: EAST, gateway: NeighbourIndex(0) };
    let mut entries = state.entries.to_vec();
    for (path, number) in (0u16..).zip(0u8..).take(PATHS.len()) {
        let entry = crate::fib::EntryId(entries.len() as u16);
        entries.push(Entry { adjacency: via, path: Some(PathIndex(path)) });
        let prefix = format!("{}/24", behind(number, 0));
        routes.insert(prefix.parse().expect("prefix"), entry).expect("room");
    }
    state.entries = entries.into();
    let path = |(first, whole)| {
        let mut groups = [whole; MAX_HOPS + 1];
        groups[0] = first;
        PoolPath { trunk: Trunk::new(&[1, 2], 0b10), addressee: Some(PeerIndex(0)), groups }
    };
    state.paths = PATHS.map(path).into();
    let (publisher, published) = publish(&domain, state.clone());
    let (waiters, wakes): (Vec<_>, Vec<_>) = (0..workers).map(|_| Waiter::new(&[]).expect("descriptors")).unzip();
    let mut handovers = match pool_on {
        PoolOn::Local => Vec::new(),
        PoolOn::Owner => Handover::between(wakes.clone()),
    }
    .into_iter();
    let mut parts = Vec::new();
    let mut queues = Vec::new();
    for ((index, waiter), wake) in (0..workers).zip(waiters).zip(wakes) {
        let ((west, west_port), (east, east_port)) = (wire_pair(4 * WIRE), wire_pair(4 * WIRE));
        let shared = WorkerShared::new(Bell::new().expect("a descriptor"));
        let part = Parts {
            options: WorkerOptions { index, seed: 7 + u64::from(index), ..options },
            queues: (west_port, east_port),
            mempool: mempool.clone(),
            reader: domain.reader().expect("a reader for each"),
            published: published.clone(),
            tables: (Arc::clone(&table), Arc::clone(&table6)),
            shared: Arc::clone(&shared),
            handover: handovers.next(),
        };
        parts.push((part, waiter));
        queues.push(Queue { west, east, shared, wake });
    }
    let cache = mempool.cache();
    (parts, Rest { queues, cache, mempool, publisher, state, _routes: routes })
}

/// Which of so many queues a packet comes to: by its addresses, and its ports where it is no fragment.
pub(super) fn spread(ip: &[u8], queues: usize) -> usize {
    let header = Ipv4Header::parse(ip).expect("a sound packet");
    let is_fragment = header.more_fragments || header.fragment_offset != 0;
    let hashed = if is_fragment { &ip[12..20] } else { &ip[12..24] };
    let hash = hashed.iter().fold(0xcbf2_9ce4_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    (hash >> 16) as usize % queues
}

impl Rest {
    /// Has an IP packet come in from the west, at the queue that its flow belongs to; returns which that is.
    pub fn west_sends(&mut self, ip: &[u8]) -> usize {
        let queue = spread(ip, self.queues.len());
        let frame = frame(OWN_WEST_MAC, WEST_HOST_MAC, 0x0800, ip);
        assert!(self.queues[queue].west.send_bytes(&mut self.cache, &frame), "wire is full");
        queue
    }

    /// The IP packets that left to the east by the queue of each worker.
    pub fn east_gets(&mut self) -> Vec<Vec<Vec<u8>>> {
        let queues = self.queues.iter_mut();
        queues
            .map(|queue| {
                let frames = queue.east.receive_all_bytes();
                frames.into_iter().map(|frame| ip_of(&frame, GATEWAY_MAC, OWN_EAST_MAC)).collect()
            })
            .collect()
    }

    /// A way to the memory of packets.
    pub fn cache(&self) -> MempoolCache {
        self.mempool.cache()
    }

    /// Publishes a changed state.
    pub fn change(&mut self, change: impl FnOnce(&mut RouterState)) {
        change(&mut self.state);
        self.publisher.publish(self.state.clone());
    }

    /// Checks that all memory is back, the workers being gone.
    pub fn end(self) {
        let Rest { mut queues, cache, mempool, .. } = self;
        for queue in &mut queues {
            drop((queue.west.receive_all_bytes(), queue.east.receive_all_bytes()));
        }
        drop((queues, cache));
        assert_eq!(mempool.in_use(), 0, "mbufs were lost");
    }
}

/// A router whose workers take turns in one thread.
pub(super) struct Team {
    pub workers: Vec<Worker<WireEnd>>,
    pub rest: Rest,
    pub now: Tick,
}

impl Team {
    pub fn new(workers: u16, pool_on: PoolOn, options: WorkerOptions) -> Team {
        let (parts, rest) = parts(workers, pool_on, options);
        let workers = parts.into_iter().map(|(parts, _)| parts.worker()).collect();
        Team { workers, rest, now: Tick(1_000_000) }
    }

    /// An iteration of each worker, in the order of their numbers, a microsecond apart; returns how many packets they dealt
    /// with.
    pub fn turn(&mut self) -> usize {
        let mut packets = 0;
        for worker in &mut self.workers {
            self.now = self.now + TickRate::NANOSECONDS.ticks(Duration::from_micros(1));
            packets += worker.iterate(self.now);
            let counters = worker.counters();
            assert_eq!(counters.imbalance(), 0, "a packet is not accounted for: {counters:?}");
        }
        packets
    }

    /// Turns until nothing happens.
    pub fn run(&mut self) {
        for _ in 0..10_000 {
            if self.turn() == 0 {
                return;
            }
        }
        panic!("the workers never come to rest");
    }

    /// Lets time pass without an iteration.
    pub fn wait(&mut self, duration: Duration) {
        self.now = self.now + TickRate::NANOSECONDS.ticks(duration);
    }

    /// The counters of all workers.
    pub fn counters(&mut self) -> Vec<Counters> {
        self.workers.iter_mut().map(Worker::counters).collect()
    }

    /// The sum of the counters of all workers.
    pub fn total(&mut self) -> Counters {
        let mut total = Counters::default();
        self.counters().iter().for_each(|counters| total.merge(counters));
        total
    }

    /// Ends all workers, and returns the sum of their counters and what they still sent.
    pub fn end(mut self) -> (Counters, Vec<Vec<Vec<u8>>>) {
        // In one thread nobody can wait for the others: first all of them stop to hand over.
        self.workers.iter_mut().for_each(Worker::stop_handing_over);
        let now = self.now;
        for worker in &mut self.workers {
            worker.drain(|| now, Tick(u64::MAX));
        }
        let total = self.total();
        assert_eq!(total.imbalance(), 0);
        let Team { workers, mut rest, .. } = self;
        let left = rest.east_gets();
        drop(workers);
        rest.end();
        (total, left)
    }
}

/// A packet that left, and how.
#[derive(Debug)]
pub(super) struct Left {
    pub bytes: Vec<u8>,
    /// The source port of the pooled packet it was in; None where it left as itself.
    pub source_port: Option<u16>,
}

/// The packets in what left, taken out of pooled packets.
pub(super) fn taken_apart(left: &[Vec<u8>]) -> Vec<Left> {
    let apart = |packet: &Vec<u8>| {
        let header = Ipv4Header::parse(packet).expect("a sound header");
        if header.dst != PEER {
            return vec![Left { bytes: packet.clone(), source_port: None }];
        }
        let payload = header.payload(packet).expect("payload");
        let source_port = Some(u16::from_be_bytes([payload[0], payload[1]]));
        let pooled = PooledPacket::parse(&payload[8..]).expect("a sound pooled packet");
        pooled.rows().map(|(_, bytes)| Left { bytes: bytes.to_vec(), source_port }).collect()
    };
    left.iter().flat_map(apart).collect()
}
