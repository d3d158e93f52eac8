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
use crate::plan::Plan;
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
