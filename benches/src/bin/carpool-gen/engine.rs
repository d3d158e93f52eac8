//! What runs on an lcore: it sends, receives, or both, and answers those who ask for its addresses, also between trials.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrayvec::ArrayVec;
use carpool_dataplane::arch::{TickRate, now};
use carpool_dataplane::dpdk::{BURST, Mbuf, MempoolCache, Nic, TX_BUFFER};
use carpool_dataplane::packet::MacAddr;
use crossbeam::channel::{Receiver as Channel, RecvTimeoutError, Sender as Outlet};

use crate::account::Arrived;
use crate::host::{Heard, Host, MAX_FRAME};
use crate::plan::{Plan, Source};
use crate::receiver::{Counts, Expected, Receiver};
use crate::sender::{Sender, Sent};

/// How often ports are looked at between trials.
const IDLE: Duration = Duration::from_millis(1);
/// Bursts that may wait between trials; the queues of ports are shorter.
const MANY_BURSTS: usize = 512;
/// How often a question is repeated.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// A port, the host that lives on it, and what of a trial happens there.
pub struct Station<N> {
    pub nic: N,
    pub host: Host,
    pub sends: bool,
    pub receives: bool,
}

/// What an engine is asked to do.
#[derive(Clone)]
pub enum Job {
    /// Find the Ethernet address of a router on the link that packets are sent by.
    Resolve { address: IpAddr, patience: Duration },
    /// Do its part in a trial.
    Trial(Arc<Plan>),
}

/// What an engine did.
#[derive(Clone, Copy, Debug)]
pub enum Done {
    /// The router's address; none where nobody answered.
    Resolved(Option<MacAddr>),
    /// Its part in the trial.
    Trial { sent: Option<Sent>, received: Option<(Arrived, Counts)> },
}

/// Ports, and what is done with them on one lcore.
pub struct Engine<N> {
    stations: Vec<Station<N>>,
    cache: MempoolCache,
    rate: TickRate,
    receiver: Option<Receiver>,
    /// Whom somebody said where they are, last.
    told: Option<(IpAddr, MacAddr)>,
    /// Somebody wants this to end.
    interrupted: Arc<AtomicBool>,
}

impl<N: Nic> Engine<N> {
    /// An engine with these ports.
    pub fn new(
        stations: Vec<Station<N>>,
        cache: MempoolCache,
        rate: TickRate,
        receiver: Option<Receiver>,
        interrupted: Arc<AtomicBool>,
    ) -> Engine<N> {
        Engine { stations, cache, rate, receiver, told: None, interrupted }
    }

    /// Does what it is asked, until nobody can ask any more.
    pub fn run(&mut self, jobs: &Channel<Job>, done: &Outlet<Done>) {
        loop {
            let result = match jobs.recv_timeout(IDLE) {
                Ok(Job::Resolve { address, patience }) => Done::Resolved(self.resolve(address, patience)),
                Ok(Job::Trial(plan)) => self.trial(&plan),
                Err(RecvTimeoutError::Timeout) => {
                    self.receive_all();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            // Who does not listen does not want to know.
            let _ = done.send(result);
        }
    }

    fn trial(&mut self, plan: &Plan) -> Done {
        // Nothing from before is to be taken for late packets of this trial.
        self.receive_all();
        let mut sender = self.stations.iter().any(|station| station.sends).then(|| Sender::new(plan));
        if let Some(receiver) = &mut self.receiver {
            let (trial, flows, limit) = (plan.trial, plan.flows, plan.pacer().limit());
            receiver.start(Expected { trial, flows, limit, start: plan.counting_from() });
        }
        loop {
            self.receive();
            let now = now();
            if let (Some(sender), Some(station)) = (&mut sender, self.stations.iter_mut().find(|station| station.sends))
            {
                sender.send(plan, &mut station.nic, &mut self.cache, now);
                if self.interrupted.load(Ordering::Relaxed) {
                    sender.end(plan, now);
                }
            }
            if let Some(receiver) = &mut self.receiver {
                receiver.tick(now);
                if let Source::Made(_) = plan.source {
                    plan.note_received(receiver.received(), now);
                }
            }
            if plan.is_over(now) {
                break;
            }
        }
        let sent = sender.map(|sender| sender.sent());
        Done::Trial { sent, received: self.receiver.as_mut().map(Receiver::finish) }
    }

    /// Takes what is there, but not for ever.
    fn receive_all(&mut self) {
        for _ in 0..MANY_BURSTS {
            if !self.receive() {
                return;
            }
        }
    }

    /// Takes a burst from each port. Whether there was anything.
    #[inline]
    fn receive(&mut self) -> bool {
        let mut any = false;
        let mut burst = ArrayVec::<Mbuf, BURST>::new();
        let mut answer = [0; MAX_FRAME];
        for station in &mut self.stations {
            if station.nic.rx_burst(&mut burst) == 0 {
                continue;
            }
            any = true;
            let now = now();
            for mbuf in &burst {
                match station.host.hear(mbuf.bytes(), &mut answer) {
                    Heard::Answer(length) => {
                        transmit(&mut station.nic, &mut self.cache, answer.get(..length).unwrap_or_default());
                    }
                    Heard::Told(address, mac) => self.told = Some((address, mac)),
                    Heard::Talk => {}
                    Heard::Other => {
                        if let Some(receiver) = self.receiver.as_mut().filter(|_| station.receives) {
                            receiver.take(mbuf.bytes(), now);
                        }
                        continue;
                    }
                }
                if let Some(receiver) = &mut self.receiver {
                    receiver.talk();
                }
            }
            self.cache.free_bulk(&mut burst);
        }
        any
    }

    /// Asks who has an address until somebody says so.
    fn resolve(&mut self, address: IpAddr, patience: Duration) -> Option<MacAddr> {
        let begin = now();
        let mut ask_next = begin;
        while now() < begin + self.rate.ticks(patience) && !self.interrupted.load(Ordering::Relaxed) {
            if now() >= ask_next {
                ask_next = now() + self.rate.ticks(ASK_AGAIN);
                if let Some(station) = self.stations.iter_mut().find(|station| station.sends) {
                    let mut question = [0; MAX_FRAME];
                    let length = station.host.ask(address, &mut question)?;
                    transmit(&mut station.nic, &mut self.cache, question.get(..length).unwrap_or_default());
                }
            }
            self.receive_all();
            if let Some((_, mac)) = self.told.filter(|(told, _)| *told == address) {
                return Some(mac);
            }
            std::thread::yield_now();
        }
        None
    }
}

/// Sends one frame, if there is memory for it and the port takes it: who asked asks again.
fn transmit(nic: &mut impl Nic, cache: &mut MempoolCache, frame: &[u8]) {
    let Some(mut mbuf) = cache.alloc() else { return };
    let Some(room) = mbuf.append(frame.len()) else { return };
    room.copy_from_slice(frame);
    let mut packets = ArrayVec::<Mbuf, TX_BUFFER>::new();
    packets.push(mbuf);
    nic.tx_burst(&mut packets);
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use carpool_dataplane::dpdk::{HEADROOM, Mempool, test_eal};
    use crossbeam::channel::bounded;

    use super::*;
    use crate::flows::tests::flows;
    use crate::flows::{Flows, Order};
    use crate::frames::{Frames, Link, Size};
    use crate::pacing::Load;
    use crate::plan::Course;
    use crate::stamp::TrialId;

    /// A network that leads back to the port, and does what networks do.
    struct Network {
        cache: MempoolCache,
        count: u64,
        under_way: VecDeque<Mbuf>,
    }

    impl Nic for Network {
        fn rx_burst(&mut self, packets: &mut ArrayVec<Mbuf, BURST>) -> usize {
            let count = self.under_way.len().min(packets.remaining_capacity());
            packets.extend(self.under_way.drain(..count));
            count
        }

        fn tx_burst(&mut self, packets: &mut ArrayVec<Mbuf, TX_BUFFER>) -> usize {
            // Not all that is offered is taken at once.
            let count = packets.len().div_ceil(2);
            for mut mbuf in packets.drain(..count) {
                let at = self.count % 20;
                self.count += 1;
                match at {
                    3 => continue,
                    7 => {
                        let mut copy = self.cache.alloc().expect("the pool is large enough");
                        copy.append(mbuf.len()).expect("it fits").copy_from_slice(mbuf.bytes());
                        self.under_way.push_back(copy);
                    }
                    11 => *mbuf.bytes_mut().last_mut().expect("it is not empty") ^= 1,
                    _ => {}
                }
                self.under_way.push_back(mbuf);
            }
            count
        }
    }

    fn plan(load: Load, flows: Flows, rate: TickRate) -> Plan {
        let mac = MacAddr([2; 6]);
        let frames = Frames::new(Size::Bytes(100), Link { source: mac, gateway: mac }, flows, 0).expect("sound");
        Plan {
            warm_up: TrialId(1),
            warm_up_time: Duration::from_millis(1),
            trial: TrialId(2),
            source: Source::Made(frames),
            flows,
            load,
            drain: Duration::from_millis(1),
            start: now(),
            rate,
            course: Course::default(),
        }
    }

    #[test]
    fn a_trial_says_what_the_network_did() {
        let pool = Mempool::create(test_eal(), "gen_engine", 2047, HEADROOM + 2048).expect("there is memory");
        let network = Network { cache: pool.cache(), count: 0, under_way: VecDeque::new() };
        let rate = TickRate::measure();
        let (full, intervals) = bounded(4);
        let (empty, empty_out) = bounded(4);
        (0..3).for_each(|_| empty.send(Box::default()).expect("there is room"));
        let receiver = Receiver::new(rate, false, full, empty_out);
        let station = Station { nic: network, host: Host::new(MacAddr([2; 6]), vec![]), sends: true, receives: true };
        let mut engine = Engine::new(vec![station], pool.cache(), rate, Some(receiver), Arc::default());

        let flows = flows("198.18.0.0/15", 10, 10, Order::Sequential);
        let mut plan = plan(Load::Burst { pps: None, packets: 2000 }, flows, rate);
        plan.warm_up_time = Duration::ZERO;
        let Done::Trial { sent: Some(sent), received: Some((arrived, counts)) } = engine.trial(&plan) else {
            panic!("it sends and receives")
        };
        assert_eq!((sent.packets, sent.skipped), (2000, 0));
        // Of every 20 packets one is lost, one comes twice, and one is damaged.
        assert_eq!(arrived, Arrived { received: 1800, duplicated: 100, reordered: 0, late: 0 });
        assert_eq!((counts.corrupted, counts.foreign, counts.earlier), (100, 0, 0));
        let interval = intervals.try_recv().expect("the last interval is passed on");
        assert_eq!(interval.arrived, arrived);
        assert!(interval.latencies.summary().is_some());
        drop((engine, intervals));
        assert_eq!(pool.in_use(), 0, "all packets are given back");
    }

    #[test]
    fn what_goes_ahead_of_a_trial_does_not_count() {
        let pool = Mempool::create(test_eal(), "gen_warm_up", 2047, HEADROOM + 2048).expect("there is memory");
        let network = Network { cache: pool.cache(), count: 0, under_way: VecDeque::new() };
        let rate = TickRate::measure();
        let receiver = Receiver::new(rate, false, bounded(1).0, bounded(1).1);
        let station = Station { nic: network, host: Host::new(MacAddr([2; 6]), vec![]), sends: true, receives: true };
        let mut engine = Engine::new(vec![station], pool.cache(), rate, Some(receiver), Arc::default());
        let flows = flows("198.18.0.0/15", 1, 1, Order::Sequential);
        let plan = plan(Load::Burst { pps: Some(100_000), packets: 1000 }, flows, rate);
        let Done::Trial { sent: Some(sent), received: Some((arrived, counts)) } = engine.trial(&plan) else {
            panic!("it sends and receives")
        };
        assert!(
            counts.earlier > 0 && sent.packets == 1000 && arrived.received <= 1000,
            "{sent:?} {arrived:?} {counts:?}"
        );
    }
}
