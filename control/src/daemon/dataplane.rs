//! DPDK, ports and workers: up in the order that each needs the other, down in the reverse.

use std::hash::{BuildHasher, Hasher};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use carpool_dataplane::arch::TickRate;
use carpool_dataplane::dpdk::{
    Eal, EalOptions, LcoreHandle, Memory, Mempool, Port, PortOptions, PortQueue, Waiter, pci_address,
};
use carpool_dataplane::fib::{Domain, PortIndex, lpm4, lpm6};
use carpool_dataplane::worker::{Bell, Counters, Handover, Idle, Worker, WorkerOptions, WorkerShared};
use ipnet::IpNet;
use log::{error, info, warn};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use super::StartError;
use super::sizing::{OPEN_POOLS, Sizing};
use crate::api::port::PortEntry;
use crate::api::stats;
use crate::api::text::MacAddress;
use crate::config::{self, Config};
use crate::peers::Identity;
use crate::router::{Hardware, Parts, Router, WorkerLink};

/// The mempool's name.
const MEMPOOL: &str = "packets";

/// All that runs beside the control thread.
pub(super) struct Dataplane {
    /// Taken at the end.
    eal: Option<Eal>,
    mempool: Option<Mempool>,
    workers: Vec<LcoreHandle<Counters>>,
}

/// The ports and the packet memory, for the router to tell of.
struct Devices {
    ports: Vec<Port>,
    mempool: Mempool,
}

impl Dataplane {
    /// Starts DPDK, opens the ports, and starts the workers of a router that has its configuration in force.
    ///
    /// # Errors
    /// One sentence: what failed, and what to do. Whatever was up is down again.
    pub fn start(
        config: Config,
        config_path: &Path,
        socket: &Path,
        bell: &Arc<Bell>,
    ) -> Result<(Dataplane, Router), StartError> {
        let allowed = allowed_cpus()?;
        let cores = worker_cores(&config, &allowed)?;
        let sizing = Sizing::of(&config, cores.len());
        let eal = start_eal(&config, &cores, &sizing, socket)?;
        info!("DPDK {}, packet memory in {}", carpool_dataplane::dpdk::version(), eal.memory());
        leave_to_workers(&config, &cores, &allowed);
        match Dataplane::bring_up(&eal, config, config_path, &cores, &sizing, bell) {
            Ok((mut dataplane, router)) => {
                dataplane.eal = Some(eal);
                Ok((dataplane, router))
            }
            Err(error) => {
                eal.cleanup();
                Err(error)
            }
        }
    }

    /// Everything behind DPDK's own start. On an error nothing is left but DPDK itself.
    fn bring_up(
        eal: &Eal,
        config: Config,
        config_path: &Path,
        cores: &[u16],
        sizing: &Sizing,
        bell: &Arc<Bell>,
    ) -> Result<(Dataplane, Router), StartError> {
        let mempool = Mempool::create(eal, MEMPOOL, sizing.mbufs, sizing.data_room)?;
        let mut ports = Vec::new();
        for port in &config.ports {
            let opened = open_port(eal, port, cores.len(), &mempool);
            ports.push(opened.map_err(|error| format!("[[port]] {:?}: {error}", port.name))?);
        }
        let mut queues = queues_of_workers(&mut ports, cores.len());
        let waiting =
            queues.iter().map(|queues| Waiter::new(&queues.iter().map(|(_, queue)| queue).collect::<Vec<_>>()));
        let waiting = waiting.collect::<Result<Vec<_>, _>>()?;

        let rate = TickRate::measure();
        let domain = Domain::new(cores.len());
        let (fib, table) = lpm4(&domain).map_err(|error| format!("no memory for the forwarding table: {error}"))?;
        let (fib6, table6) =
            lpm6(&domain).map_err(|error| format!("no memory for the IPv6 forwarding table: {error}"))?;
        let identity = Identity { router_id: config.router_id, instance: random() as u32 | 1 };
        let idle = match config.dataplane.idle {
            config::Idle::Adaptive => Idle::Adaptive,
            config::Idle::Spin => Idle::Spin,
        };
        let handovers = match config.dataplane.pool_on {
            config::PoolOn::Owner if cores.len() > 1 => {
                Handover::between(waiting.iter().map(|(_, wake)| wake.clone()).collect())
            }
            config::PoolOn::Owner | config::PoolOn::Local => Vec::new(),
        };
        let buckets = config.dataplane.buckets;
        let parts = Parts {
            config,
            config_path: config_path.to_owned(),
            cores: cores.iter().map(|core| u32::from(*core)).collect(),
            identity,
            rate,
            hardware: Box::new(Devices { ports, mempool: mempool.clone() }),
            domain: Arc::clone(&domain),
            fib,
            fib6,
        };
        let (mut router, published) = Router::new(parts, Instant::now())?;

        let mut handovers = handovers.into_iter();
        let (mut jobs, mut links) = (Vec::new(), Vec::new());
        let lcores = eal.workers().to_vec();
        for ((index, (waiter, wake)), lcore) in (0u16..).zip(waiting).zip(lcores) {
            let shared = WorkerShared::new(Arc::clone(bell));
            let options = WorkerOptions {
                index,
                rate,
                idle,
                open_pools: OPEN_POOLS,
                buckets,
                buffer_room: u16::try_from(sizing.data_room).unwrap_or(u16::MAX),
                seed: random(),
                instance: identity.instance,
            };
            let reader = domain.reader().ok_or("there are more workers than readers")?;
            let (published, table, mempool) = (published.clone(), Arc::clone(&table), mempool.clone());
            let table6 = Arc::clone(&table6);
            let queues =
                std::mem::take(queues.get_mut(usize::from(index)).ok_or("there are more workers than queues")?);
            let handover = handovers.next();
            say_how_it_waits(idle, &waiter, lcore.cpu());
            links.push(WorkerLink { shared: Arc::clone(&shared), wake });
            let run = move || {
                let cache = mempool.cache();
                let worker = Worker::new(options, queues, cache, reader, published, table, table6, shared);
                match handover {
                    Some(handover) => worker.share_pools(handover).run(waiter),
                    None => worker.run(waiter),
                }
            };
            jobs.push((lcore, run));
        }
        let mut dataplane = Dataplane { eal: None, mempool: None, workers: Vec::new() };
        router.attach(links);
        let mut jobs = jobs.into_iter();
        while let Some((lcore, run)) = jobs.next() {
            match eal.launch(lcore, run) {
                Ok(handle) => dataplane.workers.push(handle),
                Err(error) => {
                    // Those that run wait until nobody can hand anything over to them any more.
                    drop(jobs);
                    dataplane.stop(router);
                    return Err(error.into());
                }
            }
        }
        dataplane.mempool = Some(mempool);
        Ok((dataplane, router))
    }

    /// Stops the workers: pools are flushed, queues sent. Then closes the ports. Returns whether every packet is accounted
    /// for and all packet memory is back.
    pub fn stop(&mut self, router: Router) -> bool {
        let mut all_back = true;
        for worker in router.workers() {
            worker.shared.request_stop();
            worker.wake.wake();
        }
        for (index, worker) in self.workers.drain(..).enumerate() {
            let counters = worker.join();
            match counters.imbalance() {
                0 => {}
                difference => {
                    all_back = false;
                    error!("worker {index}: {difference} packets are not accounted for");
                }
            }
        }
        // The ports go with the router, and what they hold of packet memory with them.
        drop(router);
        if let Some(mempool) = self.mempool.take() {
            match mempool.in_use() {
                0 => info!("every mbuf is back, all {}", mempool.size()),
                missing => {
                    all_back = false;
                    error!("{missing} of {} mbufs are missing", mempool.size());
                }
            }
        }
        if let Some(eal) = self.eal.take() {
            eal.cleanup();
        }
        all_back
    }
}

impl Hardware for Devices {
    fn ports(&self, ports: &[config::Port]) -> Vec<PortEntry> {
        let entry = |(config, port): (&config::Port, &Port)| {
            let (link, stats) = (port.link(), port.stats());
            PortEntry {
                name: config.name.clone(),
                device: config.device.clone(),
                driver: port.driver().into(),
                mac: MacAddress(port.mac()),
                mtu: port.mtu(),
                link_up: link.up,
                speed_mbps: Some(link.speed_mbps).filter(|speed| !matches!(*speed, 0 | u32::MAX)),
                addresses: config.addresses.clone(),
                rx_packets: stats.rx_packets,
                rx_bytes: stats.rx_bytes,
                tx_packets: stats.tx_packets,
                tx_bytes: stats.tx_bytes,
                rx_missed: stats.rx_missed,
                rx_errors: stats.rx_errors,
                rx_no_buffer: stats.rx_no_mbuf,
                tx_errors: stats.tx_errors,
            }
        };
        ports.iter().zip(&self.ports).map(entry).collect()
    }

    fn mempools(&self) -> Vec<stats::Mempool> {
        let (size, available) = (self.mempool.size() as u64, self.mempool.available() as u64);
        vec![stats::Mempool { name: MEMPOOL.into(), size, available }]
    }

    fn macs(&self) -> Vec<[u8; 6]> {
        self.ports.iter().map(Port::mac).collect()
    }
}

/// The CPUs that this process may use.
fn allowed_cpus() -> Result<Vec<u16>, StartError> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    let cpus = 0..u16::try_from(CpuSet::count()).unwrap_or(u16::MAX);
    Ok(cpus.filter(|cpu| set.is_set(usize::from(*cpu)).unwrap_or(false)).collect())
}

/// The CPUs of the workers: as configured, or the last one.
fn worker_cores(config: &Config, allowed: &[u16]) -> Result<Vec<u16>, StartError> {
    if !config.dataplane.cores.is_empty() {
        return Ok(config.dataplane.cores.clone());
    }
    Ok(vec![*allowed.last().ok_or("this process may use no CPU")?])
}

fn start_eal(config: &Config, cores: &[u16], sizing: &Sizing, socket: &Path) -> Result<Eal, StartError> {
    let options = EalOptions {
        cores: cores.iter().map(|core| usize::from(*core)).collect(),
        memory: match config.dataplane.memory {
            config::Memory::Auto => Memory::Auto,
            config::Memory::Hugepages => Memory::Hugepages,
            config::Memory::NoHuge => Memory::NoHuge,
        },
        memory_mb: sizing.memory_mb,
        ordinary_mb: sizing.ordinary_mb,
        pci: config.ports.iter().filter_map(|port| pci_address(&port.device)).collect(),
        shares_memory: config.ports.iter().any(|port| port.device.starts_with("net_virtio_user")),
        drivers: vec![],
        file_prefix: file_prefix(socket),
    };
    Ok(Eal::init(&options)?)
}

/// What distinguishes the files of this router's DPDK from those of others. The same at each start, so that a router finds the
/// memory that it left behind when it was killed.
fn file_prefix(socket: &Path) -> String {
    // FNV-1a (Fowler, Noll, Vo): a hash that does not change with the compiler.
    let hash = socket
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    format!("carpool-{hash:016x}")
}

/// Moves this thread, and so the threads it will start, off the workers' CPUs where there are others.
fn leave_to_workers(config: &Config, cores: &[u16], allowed: &[u16]) {
    let configured = &config.dataplane.control_cores;
    let others: Vec<_> = if configured.is_empty() {
        allowed.iter().copied().filter(|cpu| !cores.contains(cpu)).collect()
    } else {
        configured.clone()
    };
    if others.is_empty() {
        warn!("the workers have every CPU of this process: the control thread shares them");
        return;
    }
    let mut set = CpuSet::new();
    let added = others.iter().try_for_each(|cpu| set.set(usize::from(*cpu)));
    if let Err(error) = added.and_then(|()| sched_setaffinity(Pid::from_raw(0), &set)) {
        warn!("the control thread cannot be moved to CPUs {others:?}: {error}");
    }
}

fn open_port(eal: &Eal, port: &config::Port, workers: usize, mempool: &Mempool) -> Result<Port, StartError> {
    let queues = u16::try_from(workers)?;
    let options = PortOptions {
        mtu: port.mtu,
        rx_queues: queues,
        tx_queues: queues,
        rx_descriptors: port.rx_descriptors,
        tx_descriptors: port.tx_descriptors,
    };
    let opened = Port::open(eal, &port.device, &options, mempool)?;
    let addresses: Vec<_> = port.addresses.iter().map(IpNet::to_string).collect();
    let (driver, mac) = (opened.driver(), MacAddress(opened.mac()));
    info!("port {}: {} ({driver}), {mac}, {}, MTU {}", port.name, port.device, addresses.join(" "), port.mtu);
    Ok(opened)
}

/// For each worker its queue of every port.
fn queues_of_workers(ports: &mut [Port], workers: usize) -> Vec<Vec<(PortIndex, PortQueue)>> {
    let mut queues: Vec<_> = (0..workers).map(|_| Vec::new()).collect();
    for (index, port) in (0u16..).map(PortIndex).zip(ports) {
        for (worker, queue) in queues.iter_mut().zip(port.take_queues()) {
            worker.push((index, queue));
        }
    }
    queues
}

fn say_how_it_waits(idle: Idle, waiter: &Waiter, cpu: Option<usize>) {
    let cpu = cpu.unwrap_or(0);
    match idle {
        Idle::Spin => info!("worker on CPU {cpu}: it spins, as configured"),
        Idle::Adaptive if waiter.can_block() => info!("worker on CPU {cpu}: it blocks when idle"),
        Idle::Adaptive => warn!("worker on CPU {cpu}: it spins, because a port of it cannot wake it"),
    }
}

/// A random number, of the kind that hash maps are seeded with.
fn random() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routers_with_other_sockets_have_other_files() {
        assert_ne!(file_prefix(Path::new("/run/a.sock")), file_prefix(Path::new("/run/b.sock")));
        assert_eq!(file_prefix(Path::new("/run/a.sock")), file_prefix(Path::new("/run/a.sock")));
    }
}
