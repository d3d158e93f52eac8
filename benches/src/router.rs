//! The router under measurement: the shipped worker on DPDK's virtual ports, in a process of its own.
//!
//! DPDK starts once per process, so the benchmark runs itself anew for each measurement. [`measure`] counts packets
//! over a time, on the worker's own loop; [`step`] runs a number of iterations on a clock of its own, so that callgrind
//! counts the same instructions each time.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use carpool_dataplane::arch::{Tick, TickRate, now};
use carpool_dataplane::dpdk::{
    Eal, EalOptions, HEADROOM, Lcore, Memory, Mempool, Port, PortOptions, PortQueue, Waiter,
};
use carpool_dataplane::fib::{
    Adjacency, Domain, Entry, Lpm4, Lpm4Writer, Lpm6, Lpm6Writer, Neighbour, NeighbourIndex, NeighbourTable, PathIndex,
    PortIndex, Published, Publisher, Reader, lpm4, lpm6, publish,
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

use crate::budget::Stages;
use crate::carriage::{self, PEER, WINDOW, peer_path, rules, streams};
use crate::case::{Carriage, Case, DESTINATIONS, Destinations, PATH_MTU, Setting, Work};
use crate::error::BenchError;
use crate::network::{EAST_MAC, GATEWAY_MAC, Network, ROUTER_MAC};
use crate::{routes, traffic};

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

/// The same with what the stages took, where that was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    pub rates: Rates,
    pub stages: Option<Stages>,
}

/// Where the router runs.
pub struct Place {
    /// The workers' CPUs.
    pub cores: Vec<usize>,
    /// Packet memory.
    pub memory: Memory,
    /// The ports, as DPDK's arguments.
    pub devices: [String; 2],
    /// Their driver, where it is not one of DPDK's.
    pub driver: Option<PathBuf>,
}

/// Measures a case for `duration`: with a worker on each CPU, each with queues of its own. `by_stage`: and what their stages take,
/// which slows them.
pub fn measure(case: &Case, place: &Place, duration: Duration, by_stage: bool) -> Result<Measured, BenchError> {
    let rate = TickRate::measure();
    let Bench { eal, seeds, router } = Bench::new(case, place, rate)?;
    let shared: Vec<Arc<WorkerShared>> = seeds.iter().map(|seed| Arc::clone(&seed.shared)).collect();
    let launch = |(lcore, seed): (&Lcore, WorkerSeed)| {
        let running = eal.launch(*lcore, move || {
            let (waiter, _) =
                Waiter::new(&seed.queues.iter().map(|(_, queue)| queue).collect::<Vec<_>>()).map_err(failed)?;
            Ok::<_, BenchError>(seed.worker().run(waiter))
        });
        running.map_err(failed)
    };
    let running = eal.workers().iter().zip(seeds).map(launch).collect::<Result<Vec<_>, _>>()?;

    let counters = || {
        let mut total = Counters::default();
        shared.iter().for_each(|shared| total.merge(&shared.counters.load()));
        total
    };
    if by_stage {
        // Longer than it takes.
        let until = now() + rate.ticks(2 * (WARM_UP + duration));
        shared.iter().for_each(|shared| shared.time_stages(until));
    }
    thread::sleep(WARM_UP);
    let (before, started) = (counters(), Instant::now());
    thread::sleep(duration);
    let (after, seconds) = (counters(), started.elapsed().as_secs_f64());
    shared.iter().for_each(|shared| shared.request_stop());
    let totals = running.into_iter().map(|worker| worker.join()).collect::<Result<Vec<_>, _>>()?;
    drop(router);
    eal.cleanup();

    check(case, &totals)?;
    let per_second = |counter| (after.get(counter) - before.get(counter)) as f64 / seconds;
    let (packets_in, packets_out) = (per_second(Counter::In), per_second(Counter::Out));
    let rates = Rates { packets_in, packets_out, hz: rate.hz() as f64 };
    Ok(Measured { rates, stages: by_stage.then(|| Stages::between(&before, &after)) })
}

/// Runs so many iterations of all workers on one lcore and returns how many packets the case counts.
pub fn step(case: &Case, place: &Place, iterations: u64) -> Result<u64, BenchError> {
    let Bench { eal, seeds, router } = Bench::new(case, place, TickRate::NANOSECONDS)?;
    let lcore = eal.workers().first().copied().ok_or_else(|| failed("DPDK started no worker"))?;
    let running = eal.launch(lcore, move || {
        let mut workers = workers(seeds)?;
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
    check(case, std::slice::from_ref(&total))?;
    Ok(case.counted(total.get(Counter::In) as f64, total.get(Counter::Out) as f64) as u64)
}

fn failed(error: impl std::fmt::Display) -> BenchError {
    BenchError::Router(error.to_string())
}

/// Whether every packet received from start to end was dealt with as the case says, and none was dropped. What each worker
/// counted is given, of those that receive from a queue of their own.
fn check(case: &Case, workers: &[Counters]) -> Result<(), BenchError> {
    let mut total = Counters::default();
    workers.iter().for_each(|worker| total.merge(worker));
    let taken_out = || -> Result<u64, BenchError> {
        let taken = |(number, worker): (usize, &Counters)| {
            traffic::taken_out(case, worker.get(Counter::In), (number, workers.len()))
        };
        workers.iter().enumerate().map(taken).sum()
    };
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
            let staged = traffic::pooled(case, received);
            equal("packets staged", Counter::PoolStaged, staged)?;
            equal("packets sent inside pooled packets", Counter::PoolRowsSent, staged - lone)?;
            equal("packets sent", Counter::Out, sent + lone + total.get(Counter::CreatedIndex) + received - staged)?;
            // Now and then a pool is open when the machine takes the CPU away for longer than its window.
            let full = staged / u64::from(case.rows);
            if case.growth.is_none() && sent + lone > full + full / 100 + 2 * workers.len() as u64 {
                return wrong(format!("{staged} packets went as {} and not as {full}", sent + lone));
            }
            Ok(())
        }
        Work::Depool => {
            let taken = taken_out()?;
            let indexes = total.get(Counter::AbsorbedIndex);
            equal("pooled packets taken apart", Counter::AbsorbedDepooled, received - indexes)?;
            equal("packets taken out", Counter::PoolRowsReceived, taken)?;
            equal("packets sent", Counter::Out, taken)
        }
        Work::Transit | Work::Extract => {
            let taken = taken_out()?;
            equal("pooled packets opened in transit", Counter::TransitOpened, received)?;
            equal("packets taken out", Counter::TransitRows, taken)?;
            equal("packets sent", Counter::Out, received + taken)
        }
    }
}

/// A router before its workers run.
struct Bench {
    eal: Eal,
    seeds: Vec<WorkerSeed>,
    router: ControlSide,
}

/// What the control thread keeps while the workers run.
struct ControlSide {
    _ports: [Port; 2],
    _routes: (Lpm4Writer, Lpm6Writer),
    _publisher: Publisher<RouterState>,
}

/// What a worker is made of, on its own core.
struct WorkerSeed {
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
}

/// Workers of one lcore: where there are several, they share the pools.
fn workers(seeds: Vec<WorkerSeed>) -> Result<Vec<Worker<PortQueue>>, BenchError> {
    let share = seeds.len() > 1;
    let wake = |_| Waiter::new(&[]).map(|(_, wake)| wake).map_err(failed);
    let parts = Handover::between((0..seeds.len()).map(wake).collect::<Result<_, _>>()?);
    let share =
        |(seed, part): (WorkerSeed, Handover)| if share { seed.worker().share_pools(part) } else { seed.worker() };
    Ok(seeds.into_iter().zip(parts).map(share).collect())
}

impl Bench {
    fn new(case: &Case, place: &Place, rate: TickRate) -> Result<Bench, BenchError> {
        let eal = Eal::init(&EalOptions {
            cores: place.cores.clone(),
            memory: place.memory,
            memory_mb: MEMORY_MB,
            ordinary_mb: MEMORY_MB,
            pci: vec![],
            shares_memory: false,
            drivers: place.driver.clone().into_iter().collect(),
            file_prefix: FILE_PREFIX.into(),
        })
        .map_err(failed)?;
        let room = 2048 + HEADROOM;
        let mempool = Mempool::create(&eal, "bench", MBUFS, room).map_err(failed)?;

        let receivers = place.cores.len() as u16;
        let workers = receivers.max(case.workers());
        let mut queues: Vec<Vec<(PortIndex, PortQueue)>> = (0..workers).map(|_| Vec::new()).collect();
        let [west, east] = &place.devices;
        let mut open = |device: &str, port, count| -> Result<Port, BenchError> {
            let options = PortOptions { rx_queues: count, tx_queues: count, ..PortOptions::default() };
            let mut opened = Port::open(&eal, device, &options, &mempool).map_err(failed)?;
            for (queues, queue) in queues.iter_mut().zip(opened.take_queues()) {
                queues.push((port, queue));
            }
            Ok(opened)
        };
        // Of workers that share a core only the first receives.
        let ports = [open(west, WEST, receivers)?, open(east, EAST, workers)?];

        let domain = Domain::new(workers.into());
        let (mut routes4, table) = lpm4(&domain).map_err(failed)?;
        let (mut routes6, table6) = lpm6(&domain).map_err(failed)?;
        if routes::hops(case) > 0 {
            for (prefix, entry) in routes::internet(case)? {
                routes4.insert(prefix, entry).map_err(failed)?;
            }
        }
        for (address, length, entry) in routes::own(case) {
            match IpNet::new_assert(address, length) {
                IpNet::V4(prefix) => routes4.insert(prefix, entry),
                IpNet::V6(prefix) => routes6.insert(prefix, entry),
            }
            .map_err(failed)?;
        }
        let (publisher, state) = publish(&domain, router_state(case, rate)?);
        let seed = |(index, queues)| -> Result<WorkerSeed, BenchError> {
            Ok(WorkerSeed {
                options: WorkerOptions {
                    index,
                    rate,
                    idle: Idle::Spin,
                    open_pools: routes::paths(case).max(1024),
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
                shared: WorkerShared::new(Bell::new().map_err(failed)?),
            })
        };
        let seeds = (0..).zip(queues).map(seed).collect::<Result<_, _>>()?;
        let router = ControlSide { _ports: ports, _routes: (routes4, routes6), _publisher: publisher };
        Ok(Bench { eal, seeds, router })
    }
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
    let hops = 1..=routes::hops(case);
    let on_path = |path: u16| Entry { adjacency: via, path: Some(PathIndex(path)) };
    let path = |number: u16| PoolPath {
        trunk: Trunk::new(&[1, 2], 0b10),
        addressee: Some(PEER),
        groups: [group(case) + number; MAX_HOPS + 1],
    };
    let more = hops.clone().map(|hop| plain(Adjacency::Via { port: EAST, gateway: NeighbourIndex(hop.into()) }));
    let has_hosts = case.destinations == Destinations::Hosts;
    let link = has_hosts.then_some(plain(Adjacency::Connected { port: EAST }));
    let hosts = (0..if has_hosts { DESTINATIONS } else { 0 }).map(|host| (network.destination(host), GATEWAY_MAC));
    let neighbour = |(address, mac)| Neighbour::new(EAST, address, Some(mac));
    let neighbours = std::iter::once((network.gateway, GATEWAY_MAC)).chain(hops.map(Network::hop)).chain(hosts);
    let templates = match case.carriage {
        Carriage::Predetermined => Some(carriage::template(case).map_err(failed)?),
        _ => None,
    };
    Ok(RouterState {
        legs: Arc::default(),
        pools: 1,
        ports: [port(ROUTER_MAC, network.router), port(EAST_MAC, network.east)].into(),
        entries: [plain(Adjacency::NoRoute), plain(Adjacency::Local), plain(via), on_path(0)]
            .into_iter()
            .chain(more)
            .chain(link)
            .chain((1..routes::paths(case)).map(on_path))
            .collect(),
        neighbours: Arc::new(NeighbourTable::new(neighbours.map(neighbour).collect())),
        paths: (0..routes::paths(case)).map(path).collect(),
        peers: Arc::new(PeerTable::new(vec![Peer {
            path: peer_path(case, network.east, network.peer),
            zero_checksum: ZeroChecksum::Refused,
        }])),
        rules: Arc::new(RuleSet::new(rules(case, rate).map_err(failed)?).map_err(failed)?),
        templates: Arc::new(templates.into_iter().collect()),
        streams: Arc::new(streams(case).map_err(failed)?),
        pool_port: wire::PORT,
        neighbour_timeout: rate.ticks(Duration::from_secs(3)),
    })
}
