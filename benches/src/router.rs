//! The router under measurement: the shipped worker on DPDK's virtual ports, in a process of its own.
//!
//! DPDK starts once per process, so the benchmark runs itself anew for each measurement. [`measure`] counts packets
//! over a time, on the worker's own loop; [`step`] runs a number of iterations on a clock of its own, so that callgrind
//! counts the same instructions each time.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use carpool_dataplane::arch::{Tick, TickRate};
use carpool_dataplane::dpdk::{
    Eal, EalOptions, HEADROOM, Lcore, Memory, Mempool, Port, PortOptions, PortQueue, Waiter,
};
use carpool_dataplane::fib::{
    Adjacency, Domain, Entry, EntryId, Lpm4, Lpm4Writer, Lpm6, Neighbour, NeighbourIndex, NeighbourTable, PathIndex,
    PeerIndex, PortIndex, Published, Publisher, Reader, lpm4, lpm6, publish,
};
use carpool_dataplane::pool::hello::Capabilities;
use carpool_dataplane::pool::path::{MAX_HOPS, PoolPath, Trunk};
use carpool_dataplane::pool::pooled_packet_detector::ZeroChecksum;
use carpool_dataplane::pool::{Format, Match, PeerPath, Rule, RuleSet, wire};
use carpool_dataplane::worker::{
    Bell, Counter, Counters, Drop, Idle, Peer, PeerTable, PortAddress, PortState, RouterState, Worker, WorkerOptions,
    WorkerShared,
};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::case::{Case, DESTINATIONS, PATH_MTU, Work};
use crate::error::BenchError;
use crate::traffic::{BEYOND, PEER, ROUTER, ROUTER_MAC, destination};

/// Mbufs in the mempool; testpmd gets as many.
pub const MBUFS: usize = 8191;
/// Megabytes that DPDK reserves.
pub const MEMORY_MB: usize = 128;
/// How long the router runs before packets are counted.
pub const WARM_UP: Duration = Duration::from_millis(300);
/// How long stream packets wait for company.
const WINDOW: Duration = Duration::from_millis(5);

/// Always the same, as DPDK leaves a directory of this name behind.
const FILE_PREFIX: &str = "carpool-bench";

const WEST: PortIndex = PortIndex(0);
const EAST: PortIndex = PortIndex(1);
const EAST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const GATEWAY_MAC: [u8; 6] = [2, 0, 0, 0, 1, 2];
const EAST_ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

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
    let running = eal.launch(lcore, move || seed.worker().map(|(worker, waiter)| worker.run(waiter)));
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
        let (mut worker, _) = seed.worker()?;
        let mut now = Tick(0);
        for _ in 0..iterations {
            now = now + TickRate::NANOSECONDS.ticks(Duration::from_micros(1));
            worker.iterate(now);
        }
        worker.drain(|| now, now + TickRate::NANOSECONDS.ticks(WINDOW));
        Ok(worker.counters())
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
    match case.work {
        Work::Forward => {
            equal("packets forwarded", Counter::Forwarded, received)?;
            equal("packets sent", Counter::Out, received)
        }
        Work::Pool => {
            let (lone, sent) = (total.get(Counter::PoolLone), total.get(Counter::PoolSent));
            equal("packets staged", Counter::PoolStaged, received)?;
            equal("packets sent inside pooled packets", Counter::PoolRowsSent, received - lone)?;
            equal("packets sent", Counter::Out, sent + lone)?;
            // Now and then a pool is open when the machine takes the CPU away for longer than its window.
            let full = received / u64::from(case.rows);
            if sent + lone > full + full / 100 + 2 {
                return wrong(format!("{received} packets went as {} and not as {full}", sent + lone));
            }
            Ok(())
        }
        Work::Depool => {
            let rows = received * u64::from(case.rows);
            equal("pooled packets taken apart", Counter::AbsorbedDepooled, received)?;
            equal("packets taken out", Counter::PoolRowsReceived, rows)?;
            equal("packets sent", Counter::Out, rows)
        }
        Work::Transit | Work::Extract => {
            let taken = received * u64::from(case.taken());
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
    _routes: Lpm4Writer,
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
    fn worker(self) -> Result<(Worker<PortQueue>, Waiter), BenchError> {
        let queues: Vec<&PortQueue> = self.queues.iter().map(|(_, queue)| queue).collect();
        let (waiter, _) = Waiter::new(&queues).map_err(failed)?;
        let cache = self.mempool.cache();
        let (tables, shared) = ((self.table, self.table6), self.shared);
        let worker = Worker::new(self.options, self.queues, cache, self.reader, self.state, tables.0, tables.1, shared);
        Ok((worker, waiter))
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
        let mut open = |device: &str, port| -> Result<Port, BenchError> {
            let mut opened = Port::open(&eal, device, &PortOptions::default(), &mempool).map_err(failed)?;
            queues.extend(opened.take_queues().into_iter().map(|queue| (port, queue)));
            Ok(opened)
        };
        let [west, east] = devices(place.capture);
        let ports = [open(&west, WEST)?, open(&east, EAST)?];

        let domain = Domain::new(1);
        let (mut routes, table) = lpm4(&domain).map_err(failed)?;
        let (_, table6) = lpm6(&domain).map_err(failed)?;
        let out = if case.work == Work::Pool { VIA_POOLED } else { VIA };
        let networks = (0..DESTINATIONS).map(|number| (destination(number), 24, out));
        for (address, length, entry) in networks.chain([(PEER, 32, VIA), (BEYOND, 32, VIA), (ROUTER, 32, LOCAL)]) {
            routes.insert(Ipv4Net::new_assert(address, length), entry).map_err(failed)?;
        }
        let (publisher, state) = publish(&domain, router_state(rate)?);
        let shared = WorkerShared::new(Bell::new().map_err(failed)?);
        let seed = WorkerSeed {
            options: WorkerOptions {
                index: 0,
                rate,
                idle: Idle::Spin,
                open_pools: 1024,
                buckets: 1,
                buffer_room: room as u16,
                seed: 7,
                instance: 1,
            },
            queues,
            mempool,
            reader: domain.reader().ok_or_else(|| failed("no reader of the routes is left"))?,
            state,
            table,
            table6,
            shared: Arc::clone(&shared),
        };
        let router = ControlSide { _ports: ports, _routes: routes, _publisher: publisher };
        Ok(Bench { eal, lcore, shared, seed, router })
    }
}

/// The virtual ports: packets come from a capture file in memory, over and over, and go nowhere.
pub fn devices(capture: &Path) -> [String; 2] {
    [format!("net_pcap0,rx_pcap={},infinite_rx=1", capture.display()), "net_null0,no-rx=1".into()]
}

/// A gateway in the east, and a peer behind it; UDP up to 300 bytes is pooled.
fn router_state(rate: TickRate) -> Result<RouterState, BenchError> {
    let port = |mac, address| PortState {
        mac,
        mtu: PATH_MTU,
        addresses: vec![PortAddress { address, prefix_len: 24 }],
        addresses6: vec![],
        link_local: None,
    };
    let via = Adjacency::Via { port: EAST, gateway: NeighbourIndex(0) };
    let plain = |adjacency| Entry { adjacency, path: None };
    let path = PeerPath {
        addressee: PEER.into(),
        source: EAST_ADDRESS.into(),
        mtu: PATH_MTU,
        outer_ttl: 64,
        source_port_base: wire::PORT,
        destination_port: wire::PORT,
        checksum: true,
        format: Format::Native,
        capabilities: Capabilities(u16::MAX),
    };
    let voice = Rule {
        max_size: 300,
        window: rate.ticks(WINDOW),
        ..Rule::new("voice", Match { protocol: Some(17), ..Match::default() })
    };
    Ok(RouterState {
        legs: Arc::default(),
        pools: 1,
        ports: [port(ROUTER_MAC, ROUTER), port(EAST_MAC, EAST_ADDRESS)].into(),
        entries: [
            plain(Adjacency::NoRoute),
            plain(Adjacency::Local),
            plain(via),
            Entry { adjacency: via, path: Some(PathIndex(0)) },
        ]
        .into(),
        neighbours: Arc::new(NeighbourTable::new(vec![Neighbour::new(EAST, GATEWAY.into(), Some(GATEWAY_MAC))])),
        paths: [PoolPath {
            trunk: Trunk::new(&[1, 2], 0b10),
            addressee: Some(PeerIndex(0)),
            groups: [0; MAX_HOPS + 1],
        }]
        .into(),
        peers: Arc::new(PeerTable::new(vec![Peer { path, zero_checksum: ZeroChecksum::Refused }])),
        rules: Arc::new(RuleSet::new(vec![voice]).map_err(failed)?),
        templates: Arc::default(),
        streams: Arc::default(),
        pool_port: wire::PORT,
        neighbour_timeout: rate.ticks(Duration::from_secs(3)),
    })
}
