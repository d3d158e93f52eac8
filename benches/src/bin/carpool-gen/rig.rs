//! DPDK, the ports and the engines on their lcores: up, trial after trial, and down.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use carpool_dataplane::arch::{Tick, TickRate, now};
use carpool_dataplane::dpdk::{
    Eal, EalOptions, HEADROOM, Lcore, LcoreHandle, Mempool, Port, PortOptions, PortQueue, PortStats, pci_address,
};
use carpool_dataplane::packet::MacAddr;
use crossbeam::channel::{Receiver as Channel, RecvTimeoutError, Sender as Outlet, bounded};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::GenError;
use crate::account::Arrived;
use crate::engine::{Done, Engine, Job, Station};
use crate::host::Host;
use crate::latency::Latencies;
use crate::options::{Gateway, PortArgs};
use crate::plan::Plan;
use crate::receiver::{Counts, Interval, Receiver};
use crate::sender::Sent;

/// Bytes of an mbuf: the largest frame, and room in front.
const DATA_ROOM: usize = HEADROOM + 2048;
/// Bytes of packet memory for an mbuf, at the most: it does not cross the border of a page.
const MBUF_BYTES: usize = 4096;
/// Megabytes for everything but packets.
const BASE_MB: usize = 64;
/// How long to look for the gateway: as long as a router takes to start.
const GATEWAY_PATIENCE: Duration = Duration::from_secs(10);
/// Intervals that can wait to be read.
const INTERVALS: usize = 4;
/// What the engines need to be ready for a trial.
const LEAD: Duration = Duration::from_millis(5);

/// An engine, as the control thread knows it.
struct Link {
    jobs: Outlet<Job>,
    done: Channel<Done>,
    running: LcoreHandle<()>,
}

/// All that runs.
pub struct Rig {
    links: Vec<Link>,
    full: Channel<Box<Interval>>,
    empty: Outlet<Box<Interval>>,
    ports: Vec<Port>,
    mempool: Mempool,
    eal: Eal,
    rate: TickRate,
    mac: MacAddr,
    gateway: MacAddr,
}

/// What a trial came to.
pub struct Outcome {
    pub sent: Sent,
    pub arrived: Arrived,
    pub counts: Counts,
    pub latencies: Latencies,
    /// Packets that the ports say they had no room for.
    pub rx_missed: u64,
}

/// A second of a trial.
pub struct Second<'a> {
    /// From the beginning.
    pub sent: u64,
    pub interval: &'a Interval,
}

impl Rig {
    /// Starts everything and finds the gateway.
    pub fn start(args: &PortArgs, interrupted: &Arc<AtomicBool>) -> Result<Rig, GenError> {
        let allowed = allowed_cpus()?;
        let lcores = match args.lcores.as_slice() {
            [] => vec![*allowed.last().ok_or_else(|| GenError::new("this process may use no CPU"))?],
            [_] | [_, _] => args.lcores.clone(),
            more => return Err(GenError::usage(format!("--lcores names {} CPUs: expected one or two", more.len()))),
        };
        let devices: Vec<&str> = std::iter::once(args.send.as_str()).chain(args.receive.as_deref()).collect();
        let megabytes = args.mbufs as usize * MBUF_BYTES / (1 << 20) + BASE_MB;
        let eal = Eal::init(&EalOptions {
            cores: lcores.clone(),
            memory: args.memory.into(),
            memory_mb: megabytes,
            ordinary_mb: megabytes,
            pci: devices.iter().filter_map(|device| pci_address(device)).collect(),
            shares_memory: devices.iter().any(|device| device.starts_with("net_virtio_user")),
            drivers: vec![],
            file_prefix: format!("carpool-gen-{}", std::process::id()),
        })?;
        leave_to_lcores(&lcores, &allowed);
        match Rig::bring_up(&eal, args, &devices, interrupted) {
            Ok(parts) => {
                let mut rig = parts.into_rig(eal);
                match rig.find_gateway(args) {
                    Ok(gateway) => {
                        rig.gateway = gateway;
                        Ok(rig)
                    }
                    Err(error) => {
                        rig.stop();
                        Err(error)
                    }
                }
            }
            Err(error) => {
                eal.cleanup();
                Err(error)
            }
        }
    }

    fn bring_up(
        eal: &Eal,
        args: &PortArgs,
        devices: &[&str],
        interrupted: &Arc<AtomicBool>,
    ) -> Result<Parts, GenError> {
        let mempool = Mempool::create(eal, "packets", args.mbufs as usize, DATA_ROOM)?;
        let apart = eal.workers().len() == 2;
        // With one port, one lcore sends by its second queue what the other receives by its first.
        let queues = if apart && devices.len() == 1 { 2 } else { 1 };
        let mut ports = Vec::new();
        for device in devices {
            let options = PortOptions { rx_queues: 1, tx_queues: queues, ..PortOptions::default() };
            ports.push(Port::open(eal, device, &options, &mempool)?);
        }
        let rate = TickRate::measure();
        let stations = stations(&mut ports, args)?;
        let mac = MacAddr(ports.first().map_or([0; 6], Port::mac));
        let (full_in, full) = bounded(INTERVALS);
        let (empty, empty_out) = bounded(INTERVALS);
        for _ in 1..INTERVALS {
            // There is room.
            let _ = empty.try_send(Box::<Interval>::default());
        }
        let receiver = Receiver::new(rate, args.depool, full_in, empty_out);
        let mut parts = Parts { links: vec![], full, empty, ports, mempool, rate, mac };
        let mut receiver = Some(receiver);
        let shares = if apart {
            let (receive, send) = stations.into_iter().partition(|station| station.receives);
            vec![send, receive]
        } else {
            vec![stations]
        };
        for (lcore, stations) in eal.workers().to_vec().into_iter().zip(shares) {
            let receiver = if stations.iter().any(|station| station.receives) { receiver.take() } else { None };
            parts.links.push(launch(eal, lcore, stations, &parts.mempool, rate, receiver, interrupted)?);
        }
        Ok(parts)
    }

    fn find_gateway(&self, args: &PortArgs) -> Result<MacAddr, GenError> {
        let address = match args.gateway {
            Gateway::Mac(mac) => return Ok(mac),
            Gateway::Address(address) => address,
        };
        if !args.send_address.iter().any(|own| own.is_ipv4() == address.is_ipv4()) && address.is_ipv4() {
            return Err(GenError::usage(format!(
                "the gateway {address} cannot be asked for: give the sending port an address (--send-address)"
            )));
        }
        let link = self.links.first().ok_or_else(GenError::gone)?;
        link.jobs.send(Job::Resolve { address, patience: GATEWAY_PATIENCE }).map_err(|_| GenError::gone())?;
        match link.done.recv() {
            Ok(Done::Resolved(Some(mac))) => Ok(mac),
            Ok(_) => Err(GenError::new(format!(
                "the gateway {address} did not say within {} s where it is: is it up, on the link of {}?",
                GATEWAY_PATIENCE.as_secs(),
                args.send
            ))),
            Err(_) => Err(GenError::gone()),
        }
    }

    /// Ticks of the clock that trials go by.
    pub fn rate(&self) -> TickRate {
        self.rate
    }

    /// Addresses of frames that are sent.
    pub fn link(&self) -> crate::frames::Link {
        crate::frames::Link { source: self.mac, gateway: self.gateway }
    }

    /// When a trial can begin.
    pub fn soon(&self) -> Tick {
        now() + self.rate.ticks(LEAD)
    }

    /// Runs a trial, and shows each of its seconds.
    pub fn trial(&mut self, plan: Plan, mut show: impl FnMut(&Second<'_>)) -> Result<Outcome, GenError> {
        let plan = Arc::new(plan);
        let missed = self.rx_missed();
        for link in &self.links {
            link.jobs.send(Job::Trial(Arc::clone(&plan))).map_err(|_| GenError::gone())?;
        }
        let mut outcome = Outcome {
            sent: Sent::default(),
            arrived: Arrived::default(),
            counts: Counts::default(),
            latencies: Latencies::default(),
            rx_missed: 0,
        };
        for link in &self.links {
            loop {
                match link.done.recv_timeout(Duration::from_millis(20)) {
                    Ok(Done::Trial { sent, received }) => {
                        outcome.sent = sent.unwrap_or(outcome.sent);
                        (outcome.arrived, outcome.counts) = received.unwrap_or((outcome.arrived, outcome.counts));
                        break;
                    }
                    Err(RecvTimeoutError::Timeout) => self.read_intervals(&plan, &mut outcome.latencies, &mut show),
                    Ok(Done::Resolved(_)) | Err(RecvTimeoutError::Disconnected) => return Err(GenError::gone()),
                }
            }
        }
        self.read_intervals(&plan, &mut outcome.latencies, &mut show);
        outcome.rx_missed = self.rx_missed().saturating_sub(missed);
        Ok(outcome)
    }

    fn read_intervals(&self, plan: &Plan, latencies: &mut Latencies, show: &mut impl FnMut(&Second<'_>)) {
        while let Ok(mut interval) = self.full.try_recv() {
            latencies.add(&interval.latencies);
            if !interval.is_last {
                show(&Second { sent: plan.course.sent.load(Ordering::Relaxed), interval: &interval });
            }
            interval.latencies.clear();
            // There is room: it came from there.
            let _ = self.empty.try_send(interval);
        }
    }

    fn rx_missed(&self) -> u64 {
        self.ports.iter().map(Port::stats).map(|PortStats { rx_missed, rx_no_mbuf, .. }| rx_missed + rx_no_mbuf).sum()
    }

    /// Ends everything.
    pub fn stop(self) {
        let Rig { links, ports, mempool, eal, .. } = self;
        for Link { jobs, done, running } in links {
            drop((jobs, done));
            running.join();
        }
        drop(ports);
        drop(mempool);
        eal.cleanup();
    }
}

/// A rig without the EAL.
struct Parts {
    links: Vec<Link>,
    full: Channel<Box<Interval>>,
    empty: Outlet<Box<Interval>>,
    ports: Vec<Port>,
    mempool: Mempool,
    rate: TickRate,
    mac: MacAddr,
}

impl Parts {
    fn into_rig(self, eal: Eal) -> Rig {
        let Parts { links, full, empty, ports, mempool, rate, mac } = self;
        Rig { links, full, empty, ports, mempool, eal, rate, mac, gateway: MacAddr::ZERO }
    }
}

/// The hosts on the ports.
fn stations(ports: &mut [Port], args: &PortArgs) -> Result<Vec<Station<PortQueue>>, GenError> {
    let alone = ports.len() == 1;
    let mut stations = Vec::new();
    for (number, port) in ports.iter_mut().enumerate() {
        let is_sending = number == 0;
        let mut addresses: Vec<IpAddr> = if is_sending { args.send_address.clone() } else { vec![] };
        if !is_sending || alone {
            addresses.extend(&args.receive_address);
        }
        let host = Host::new(MacAddr(port.mac()), addresses);
        let mut queues = port.take_queues().into_iter();
        let mut queue = || queues.next().ok_or_else(|| GenError::new("a port has no queue"));
        let receives = alone || !is_sending;
        let first = queue()?;
        match queue() {
            // The first queue is the one that receives.
            Ok(second) => {
                stations.push(Station { nic: second, host: host.clone(), sends: true, receives: false });
                stations.push(Station { nic: first, host, sends: false, receives: true });
            }
            Err(_) => stations.push(Station { nic: first, host, sends: is_sending, receives }),
        }
    }
    Ok(stations)
}

fn launch(
    eal: &Eal,
    lcore: Lcore,
    stations: Vec<Station<PortQueue>>,
    mempool: &Mempool,
    rate: TickRate,
    receiver: Option<Receiver>,
    interrupted: &Arc<AtomicBool>,
) -> Result<Link, GenError> {
    let (jobs, jobs_out) = bounded(1);
    let (done_in, done) = bounded(1);
    let (mempool, interrupted) = (mempool.clone(), Arc::clone(interrupted));
    let running = eal.launch(lcore, move || {
        let cache = mempool.cache();
        Engine::new(stations, cache, rate, receiver, interrupted).run(&jobs_out, &done_in);
    })?;
    Ok(Link { jobs, done, running })
}

/// The CPUs that this process may use.
fn allowed_cpus() -> Result<Vec<usize>, GenError> {
    let set = sched_getaffinity(Pid::from_raw(0)).map_err(|error| GenError::new(error.to_string()))?;
    Ok((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect())
}

/// Moves this thread off the CPUs that packets are sent on, where there are others.
fn leave_to_lcores(lcores: &[usize], allowed: &[usize]) {
    let mut set = CpuSet::new();
    let mut others = allowed.iter().filter(|cpu| !lcores.contains(cpu)).peekable();
    if others.peek().is_some() && others.try_for_each(|cpu| set.set(*cpu)).is_ok() {
        // It stays where it is, then.
        let _ = sched_setaffinity(Pid::from_raw(0), &set);
    }
}
