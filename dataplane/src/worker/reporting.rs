//! Reports (kind 6): what peers do not know of our learned headers, and what we do not know of theirs.
//!
//! Whoever can send from a peer's address can make up reports. So a worker looks at a bounded number of them, each costs
//! what it is long, and the control thread hears of few.

use arrayvec::ArrayVec;
use hashbrown::HashMap;

use crate::arch::{RateLimit, TickRate};
use crate::dpdk::Nic;
use crate::fib::PeerIndex;
use crate::pool::learned::{IdSpace, instance_towards};
use crate::pool::wire::report::{Report, ReportItem};

use super::counters::Counter;
use super::event::{Event, UnknownThere};
use super::moment::Moment;
use super::router_state::PeerTable;
use super::stages::{MAX_PEERS, Stages};

/// Reports of one peer that a worker looks at: per second in the long run, and at once. Each worker of a peer sends 200 a
/// second at the most.
const REPORTS: (u64, u64) = (1000, 64);
/// What it passes on to other workers: the same.
const PASSED_ON: (u64, u64) = (1000, 64);

/// How a worker takes what peers report.
pub(super) struct Heed {
    /// Who is meant by an instance in a report.
    instances: HashMap<u32, PeerIndex>,
    /// How often each peer may report.
    reports: Box<[RateLimit]>,
    /// How often other workers are told.
    passed_on: RateLimit,
}

impl Heed {
    /// For no peer yet. All the memory it will ever need is allocated here.
    pub fn new(rate: TickRate) -> Heed {
        let limit = |(per_second, burst)| RateLimit::new(rate, per_second, burst);
        Heed {
            instances: HashMap::with_capacity(usize::from(MAX_PEERS)),
            reports: vec![limit(REPORTS); usize::from(MAX_PEERS)].into(),
            passed_on: limit(PASSED_ON),
        }
    }

    /// Takes note of other peers; `own` is our instance.
    pub fn adopt(&mut self, peers: &PeerTable, own: u32) {
        self.instances.clear();
        let peers = (0..MAX_PEERS).map(PeerIndex).zip(peers.iter());
        self.instances.extend(peers.map(|(index, peer)| (instance_towards(own, peer.path.addressee), index)));
    }
}

impl<N: Nic> Stages<N> {
    /// Sees to it that what `reporter` does not know is announced anew.
    pub(super) fn heed(&mut self, report: &Report<'_>, reporter: PeerIndex, moment: &Moment<'_>) {
        let limit = self.heed.reports.get_mut(reporter.index());
        if !limit.is_some_and(|limit| limit.admits(moment.now)) {
            return self.out.counters.add(Counter::ReportsIgnored, 1);
        }
        let (own, buckets) = (self.pooler.limits().worker, self.pooler.limits().buckets);
        let mut may_pass_on = true;
        for item in report.items() {
            let ReportItem::UnknownContexts { instance, source_port, contexts } = item else { continue };
            // One that has several addresses reports from one of them, so it does not matter who it is. Where nobody is
            // meant, an earlier run of this router announced those.
            let meant = self.heed.instances.get(&instance).and_then(|meant| moment.state.peers.get(*meant));
            let Some(meant) = meant else {
                self.out.counters.add(Counter::ReportsIgnored, 1);
                continue;
            };
            let space = IdSpace { addressee: meant.path.addressee, source_port };
            let mut contexts = contexts.iter().map(|context| u16::from_be_bytes(*context));
            let worker = source_port.wrapping_sub(meant.path.source_port_base) / u16::from(buckets);
            if worker == own {
                contexts.for_each(|context| self.pooler.compressor().unknown_there(space, context, moment.now));
                continue;
            }
            // One that is not told, or finds the ring full, will be told again: so will we.
            let mut told = ArrayVec::new();
            told.extend(contexts.by_ref().take(told.capacity()));
            may_pass_on = may_pass_on && self.heed.passed_on.admits(moment.now);
            if !may_pass_on
                || !self.out.tell(Event::UnknownThere { worker, what: UnknownThere { space, contexts: told } })
            {
                self.out.counters.add(Counter::ReportsIgnored, 1);
            }
            may_pass_on = false;
        }
    }

    /// Tells a peer which of its contexts are not known here, if it is time; returns how many reports were sent.
    #[inline(always)]
    pub(super) fn report_unknown(&mut self, moment: &Moment<'_>) -> usize {
        let Some((origin, contexts)) = self.decompressor.unknown().take(moment.now) else { return 0 };
        let peers = &moment.state.peers;
        let to = peers.find(origin.peer).and_then(|index| Some((index, &peers.get(index)?.path)));
        match to.and_then(|to| self.pooler.report(to, origin, &contexts, &mut self.mempool)) {
            Some(report) => {
                self.out.counters.add(Counter::CreatedReports, 1);
                self.out.route(report, moment);
                1
            }
            None => {
                self.out.counters.add(Counter::ReportsNotSent, 1);
                0
            }
        }
    }
}
