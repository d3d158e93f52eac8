//! The router under measurement: the shipped worker on DPDK's virtual ports, in a process of its own.
//!
//! DPDK starts once per process, so the benchmark runs itself anew for each measurement. [`measure`] counts packets
//! over a time, on the worker's own loop; [`step`] runs a number of iterations on a clock of its own, so that callgrind
//! counts the same instructions each time.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use carpool_dataplane::arch::{Tick, TickRate};
use carpool_dataplane::dpdk::{
    Eal, EalOptions, HEADROOM, Lcore, Memory, Mempool, Port, PortOptions, PortQueue, Waiter,
};
use carpool_dataplane::fib::{
    Adjacency, Domain, Entry, EntryId, Lpm4, Lpm4Writer, Lpm6, Lpm6Writer, Neighbour, NeighbourIndex, NeighbourTable,
    PathIndex, PortIndex, Published, Publisher, Reader, lpm4, lpm6, publish,
};
use carpool_dataplane::pool::path::{MAX_HOPS, PoolPath, Trunk};
use carpool_dataplane::pool::pooled_packet_detector::ZeroChecksum;
use carpool_dataplane::pool::{RuleSet, wire};
use carpool_dataplane::worker::{
    Bell, Counter, Counters, Drop, Handover, Idle, Peer, PeerTable, PortAddress, PortAddress6, PortState, RouterState,
    Worker, WorkerOptions, WorkerShared,
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::carriage::{self, PEER, WINDOW, peer_path, rule, streams};
use crate::case::{Carriage, Case, DESTINATIONS, PATH_MTU, Setting, Work};
use crate::error::BenchError;
use crate::network::{EAST_MAC, GATEWAY_MAC, Network, ROUTER_MAC};
use crate::traffic;

/// Mbufs in the mempool; testpmd gets as many.
pub const MBUFS: usize = 8191;
/// Megabytes that DPDK reserves.
pub const MEMORY_MB: usize = 128;
/// How long the router runs before packets are counted.
pub const WARM_UP: Duration = Duration::from_millis(300);

/// Always the same, as DPDK leaves a directory of this name behind.
const FILE_PREFIX: &str = "carpool-bench";

const WEST: PortIndex = PortIndex(0);
const EAST: PortIndex = PortIndex(1);

/// The forwarding entries: no route, ourselves, the gateway, the gateway with a pool to the peer.
const LOCAL: EntryId = EntryId(1);
const VIA: EntryId = EntryId(2);
const VIA_POOLED: EntryId = EntryId(3);

/// What a measurement found.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Rates {
    /// Packets received a second.
    pub packets_in: f64,
    /// Packets sent a second.
    pub packets_out: f64,
    /// Ticks of the time stamp counter a second.
    pub hz: f64,
}

/// Where the router runs.
pub struct Place<'a> {
    /// The worker's CPU.
    pub core: usize,
    /// Packet memory.
    pub memory: Memory,
    /// The capture file with the frames.
    pub capture: &'a Path,
}

/// Measures a case for `duration`.
pub fn measure(case: &Case, place: &Place<'_>, duration: Duration) -> Result<Rates, BenchError> {
    let rate = TickRate::measure();
    let Bench { eal, lcore, shared, seed, router } = Bench::new(case, place, rate)?;
    let running = eal.launch(lcore, move || {
        let (waiter, _) =
            Waiter::new(&seed.queues.iter().map(|(_, queue)| queue).collect::<Vec<_>>()).map_err(failed)?;
        Ok::<_, BenchError>(seed.worker().run(waiter))
    });
    let running = running.map_err(failed)?;

    thread::sleep(WARM_UP);
    let (before, started) = (shared.counters.load(), Instant::now());
    thread::sleep(duration);
    let (after, seconds) = (shared.counters.load(), started.elapsed().as_secs_f64());
    shared.request_stop();
    let total = running.join()?;
    drop(router);
    eal.cleanup();

    check(case, &total)?;
    let per_second = |counter| (after.get(counter) - before.get(counter)) as f64 / seconds;
    let (packets_in, packets_out) = (per_second(Counter::In), per_second(Counter::Out));
    Ok(Rates { packets_in, packets_out, hz: rate.hz() as f64 })
}

/// Runs so many iterations of the worker and returns how many packets the case counts.
pub fn step(case: &Case, place: &Place<'_>, iterations: u64) -> Result<u64, BenchError> {
    let Bench { eal, lcore, seed, router, .. } = Bench::new(case, place, TickRate::NANOSECONDS)?;
    let running = eal.launch(lcore, move || {
        let mut workers = seed.workers()?;
        let mut now = Tick(0);
        for _ in 0..iterations {
            now = now + TickRate::NANOSECONDS.ticks(Duration::from_micros(1));
            for worker in &mut workers {
                worker.iterate(now);
            }
        }
        workers.iter_mut().for_each(Worker::stop_handing_over);
        let mut total = Counters::default();
        for worker in &mut workers {
            worker.drain(|| now, now + TickRate::NANOSECONDS.ticks(WINDOW));
            total.merge(&worker.counters());
        }
        Ok::<_, BenchError>(total)
    });
    let total: Counters = running.map_err(failed)?.join()?;
    drop(router);
    eal.cleanup();
    check(case, &total)?;
    Ok(case.counted(total.get(Counter::In) as f64, total.get(Counter::Out) as f64) as u64)
}

fn failed(error: impl std::fmt::Display) -> BenchError {
    BenchError::Router(error.to_string())
}

/// Whether every packet received from start to end was dealt with as the case says, and none was dropped.
fn check(case: &Case, total: &Counters) -> Result<(), BenchError> {
    let wrong = |problem| Err(BenchError::WrongWork { case: case.name, contender: "carpool", problem });
    for reason in Drop::ALL {
        if total.drops(*reason) > 0 {
            return wrong(format!("it dropped {} packets ({})", total.drops(*reason), reason.name()));
        }
    }
    if total.imbalance() != 0 {
        return wrong(format!("{} packets are not accounted for", total.imbalance()));
    }
    let received = total.get(Counter::In);
    let equal = |what: &str, counter: Counter, expected: u64| match total.get(counter) {
        found if found == expected => Ok(()),
        found => wrong(format!("{what}: {found} instead of {expected}")),
    };
    let handed_over = if case.setting == Setting::HandedOver { received } else { 0 };
    equal("packets handed over", Counter::AbsorbedHandedOver, handed_over)?;
    match case.work {
        Work::Forward => {
            equal("packets forwarded", Counter::Forwarded, received)?;
            equal("packets sent", Counter::Out, received)
        }
        Work::Pool => {
            let (lone, sent) = (total.get(Counter::PoolLone), total.get(Counter::PoolSent));
            equal("packets staged", Counter::PoolStaged, received)?;
            equal("packets sent inside pooled packets", Counter::PoolRowsSent, received - lone)?;
            equal("packets sent", Counter::Out, sent + lone + total.get(Counter::CreatedIndex))?;
            // Now and then a pool is open when the machine takes the CPU away for longer than its window.
            let full = received / u64::from(case.rows);
            if sent + lone > full + full / 100 + 2 {
                return wrong(format!("{received} packets went as {} and not as {full}", sent + lone));
            }
            Ok(())
        }
        Work::Depool => {
            let taken = traffic::taken_out(case, received)?;
            let indexes = total.get(Counter::AbsorbedIndex);
            equal("pooled packets taken apart", Counter::AbsorbedDepooled, received - indexes)?;
            equal("packets taken out", Counter::PoolRowsReceived, taken)?;
            equal("packets sent", Counter::Out, taken)
        }
        Work::Transit | Work::Extract => {
            let taken = traffic::taken_out(case, received)?;
            equal("pooled packets opened in transit", Counter::TransitOpened, received)?;
            equal("packets taken out", Counter::TransitRows, taken)?;
            equal("packets sent", Counter::Out, received + taken)
        }
    }
}

/// A router before its worker runs.
struct Bench {
    eal: Eal,
    lcore: Lcore,
    shared: Arc<WorkerShared>,
    seed: WorkerSeed,
    router: ControlSide,
}

/// What the control thread keeps while the worker runs.
struct ControlSide {
    _ports: [Port; 2],
    _routes: (Lpm4Writer, Lpm6Writer),
    _publisher: Publisher<RouterState>,
}

/// What a worker is made of, on its own core.
struct WorkerSeed {
    /// A second one, which shares the pools with it and the core as well.
    other: Option<Box<WorkerSeed>>,
    options: WorkerOptions,
    queues: Vec<(PortIndex, PortQueue)>,
    mempool: Mempool,
    reader: Reader,
    state: Published<RouterState>,
    table: Arc<Lpm4>,
    table6: Arc<Lpm6>,
    shared: Arc<WorkerShared>,
}

impl WorkerSeed {
    /// The worker; to be called on its lcore, whose mempool cache it uses.
    fn worker(self) -> Worker<PortQueue> {
        let cache = self.mempool.cache();
        let (tables, shared) = ((self.table, self.table6), self.shared);
        Worker::new(self.options, self.queues, cache, self.reader, self.state, tables.0, tables.1, shared)
    }

    /// The same for both, if there are two.
    fn workers(mut self) -> Result<Vec<Worker<PortQueue>>, BenchError> {
        let Some(other) = self.other.take() else { return Ok(vec![self.worker()]) };
        let wake = || Waiter::new(&[]).map(|(_, wake)| wake).map_err(failed);
        let parts = Handover::between(vec![wake()?, wake()?]);
        let workers = [self, *other].into_iter().map(WorkerSeed::worker);
        Ok(workers.zip(parts).map(|(worker, part)| worker.share_pools(part)).collect())
    }
}

impl Bench {
    fn new(case: &Case, place: &Place<'_>, rate: TickRate) -> Result<Bench, BenchError> {
        let eal = Eal::init(&EalOptions {
            cores: vec![place.core],
            memory: place.memory,
            memory_mb: MEMORY_MB,
            ordinary_mb: MEMORY_MB,
            pci: vec![],
            file_prefix: FILE_PREFIX.into(),
        })
        .map_err(failed)?;
        let lcore = eal.workers().first().copied().ok_or_else(|| failed("DPDK started no worker"))?;
        let room = 2048 + HEADROOM;
        let mempool = Mempool::create(&eal, "bench", MBUFS, room).map_err(failed)?;

        let mut queues = Vec::new();
        let mut open = |device: &str, port, workers| -> Result<Port, BenchError> {
            let options = PortOptions { rx_queues: workers, tx_queues: workers, ..PortOptions::default() };
            let mut opened = Port::open(&eal, device, &options, &mempool).map_err(failed)?;
            queues.extend(opened.take_queues().into_iter().map(|queue| (port, queue)));
            Ok(opened)
        };
        let [west, east] = devices(place.capture);
        // Only the first worker receives.
        let ports = [open(&west, WEST, 1)?, open(&east, EAST, case.workers())?];

        let domain = Domain::new(case.workers().into());
        let (mut routes, table) = lpm4(&domain).map_err(failed)?;
        let (mut routes6, table6) = lpm6(&domain).map_err(failed)?;
        let network = Network::of(case);
        let out = if case.work == Work::Pool { VIA_POOLED } else { VIA };
        let networks = (0..DESTINATIONS).map(|number| (network.destination(number), network.prefix_len(), out));
        let hosts = [(network.peer, VIA), (network.beyond, VIA), (network.router, LOCAL)];
        let hosts = hosts.map(|(address, entry)| (address, if address.is_ipv6() { 128 } else { 32 }, entry));
        for (address, length, entry) in networks.chain(hosts) {
            match IpNet::new_assert(address, length) {
                IpNet::V4(prefix) => routes.insert(prefix, entry),
                IpNet::V6(prefix) => routes6.insert(prefix, entry),
            }
            .map_err(failed)?;
        }
        let (publisher, state) = publish(&domain, router_state(case, rate)?);
        let shared = WorkerShared::new(Bell::new().map_err(failed)?);
        let seed = |index, queues, shared: &Arc<WorkerShared>, other| -> Result<WorkerSeed, BenchError> {
            Ok(WorkerSeed {
                other,
                options: WorkerOptions {
                    index,
                    rate,
                    idle: Idle::Spin,
                    open_pools: 1024,
                    buckets: 1,
                    buffer_room: room as u16,
                    seed: 7,
                    instance: 1,
                },
                queues,
                mempool: mempool.clone(),
                reader: domain.reader().ok_or_else(|| failed("no reader of the routes is left"))?,
                state: state.clone(),
                table: Arc::clone(&table),
                table6: Arc::clone(&table6),
                shared: Arc::clone(shared),
            })
        };
        let other = if case.workers() > 1 {
            let shared = WorkerShared::new(Bell::new().map_err(failed)?);
            let queues = queues.pop().into_iter().collect();
            Some(Box::new(seed(1, queues, &shared, None)?))
        } else {
            None
        };
        let seed = seed(0, queues, &shared, other)?;
        let router = ControlSide { _ports: ports, _routes: (routes, routes6), _publisher: publisher };
        Ok(Bench { eal, lcore, shared, seed, router })
    }
}

/// The virtual ports: packets come from a capture file in memory, over and over, and go nowhere.
pub fn devices(capture: &Path) -> [String; 2] {
    [format!("net_pcap0,rx_pcap={},infinite_rx=1", capture.display()), "net_null0,no-rx=1".into()]
}

/// The number of the group of the only path: it says which of two workers owns it.
fn group(case: &Case) -> u16 {
    if case.setting == Setting::HandedOver { 1 } else { 0 }
}

/// A gateway in the east, and a peer behind it that packets are pooled to.
fn router_state(case: &Case, rate: TickRate) -> Result<RouterState, BenchError> {
    let network = Network::of(case);
    let port = |mac, address| {
        let (mut addresses, mut addresses6) = (vec![], vec![]);
        match address {
            IpAddr::V4(address) => addresses.push(PortAddress { address, prefix_len: 24 }),
            IpAddr::V6(address) => addresses6.push(PortAddress6 { address, prefix_len: 48 }),
        }
        PortState { mac, mtu: PATH_MTU, addresses, addresses6, link_local: None }
    };
    let via = Adjacency::Via { port: EAST, gateway: NeighbourIndex(0) };
    let plain = |adjacency| Entry { adjacency, path: None };
    let templates = match case.carriage {
        Carriage::Predetermined => Some(carriage::template(case).map_err(failed)?),
        _ => None,
    };
    Ok(RouterState {
        legs: Arc::default(),
        pools: 1,
        ports: [port(ROUTER_MAC, network.router), port(EAST_MAC, network.east)].into(),
        entries: [
            plain(Adjacency::NoRoute),
            plain(Adjacency::Local),
            plain(via),
            Entry { adjacency: via, path: Some(PathIndex(0)) },
        ]
        .into(),
        neighbours: Arc::new(NeighbourTable::new(vec![Neighbour::new(EAST, network.gateway, Some(GATEWAY_MAC))])),
        paths: [PoolPath {
            trunk: Trunk::new(&[1, 2], 0b10),
            addressee: Some(PEER),
            groups: [group(case); MAX_HOPS + 1],
        }]
        .into(),
        peers: Arc::new(PeerTable::new(vec![Peer {
            path: peer_path(case, network.east, network.peer),
            zero_checksum: ZeroChecksum::Refused,
        }])),
        rules: Arc::new(RuleSet::new(vec![rule(case, rate).map_err(failed)?]).map_err(failed)?),
        templates: Arc::new(templates.into_iter().collect()),
        streams: Arc::new(streams(case).map_err(failed)?),
        pool_port: wire::PORT,
        neighbour_timeout: rate.ticks(Duration::from_secs(3)),
    })
}
