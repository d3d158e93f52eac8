//! Which pools are open and what came from peers: workers are asked, and the answer is given when all have told, or when
//! time is up.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use carpool_dataplane::fib::PeerIndex;
use carpool_dataplane::pool::PoolKey;
use carpool_dataplane::worker::{Counters, OpenPoolSample, PeerReceived};

use super::{Router, WorkerLink};
use crate::api::pool::{
    Ecn, Family, OPEN_POOLS_MAX, OpenPool, PoolReport, PoolShow, PoolTotals, PoolWorker, ReceivedFrom,
};
use crate::api::text::CodePoint;
use crate::api::{Answer, Refusal};

/// How long workers may take to tell: longer than a busy machine keeps a thread waiting.
const PATIENCE: Duration = Duration::from_secs(1);

/// What distinguishes an open pool from others: its worker, and what its packets have in common.
type PoolId = (usize, PoolKey);

/// The question that is under way, and who wants to know. A worker whose ring is full begins again from the start: what
/// it told before is replaced.
#[derive(Debug, Default)]
pub(super) struct OpenPools {
    /// The number of each worker's request; None where it has told all.
    requests: Vec<Option<u64>>,
    samples: BTreeMap<PoolId, OpenPoolSample>,
    /// What came from each peer to each worker.
    received: BTreeMap<(usize, PeerIndex), PeerReceived>,
    deadline: Option<Instant>,
    answers: Vec<Answer<PoolReport>>,
}

impl OpenPools {
    /// Asks all workers, unless that is under way.
    pub fn ask(&mut self, answer: Answer<PoolReport>, workers: &[WorkerLink], now: Instant) {
        self.answers.push(answer);
        if self.deadline.is_none() {
            self.deadline = Some(now + PATIENCE);
            self.samples.clear();
            self.received.clear();
            self.requests = workers.iter().map(|worker| Some(worker.shared.sample_pools())).collect();
            for worker in workers {
                worker.wake.wake();
            }
        }
    }

    /// A worker has told of one.
    pub fn sample(&mut self, worker: usize, sample: OpenPoolSample) {
        let id = (worker, sample.key);
        if self.deadline.is_some() && (self.samples.len() < OPEN_POOLS_MAX || self.samples.contains_key(&id)) {
            self.samples.insert(id, sample);
        }
    }

    /// A worker has told what came from a peer.
    pub fn received(&mut self, worker: usize, received: PeerReceived) {
        if self.deadline.is_some() {
            self.received.insert((worker, received.peer), received);
        }
    }

    /// What came from each peer, of all workers together.
    fn received_from_each(&self) -> BTreeMap<PeerIndex, PeerReceived> {
        let mut sums: BTreeMap<PeerIndex, PeerReceived> = BTreeMap::new();
        for received in self.received.values() {
            sums.entry(received.peer).and_modify(|sum| sum.merge(received)).or_insert(*received);
        }
        sums
    }

    /// A worker has told all.
    pub fn end(&mut self, worker: usize, request: u64) {
        if let Some(waiting) = self.requests.get_mut(worker).filter(|waiting| **waiting == Some(request)) {
            *waiting = None;
        }
    }

    /// When those who asked are told that there is no answer.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

impl Router {
    pub(super) fn ask_for_open_pools(&mut self, _: PoolShow, answer: Answer<PoolReport>, now: Instant) {
        self.open_pools.ask(answer, &self.workers, now);
        self.answer_open_pools(now);
    }

    /// Answers where all workers have told, or time is up.
    pub(super) fn answer_open_pools(&mut self, now: Instant) {
        let Some(deadline) = self.open_pools.deadline else { return };
        let silent = self.open_pools.requests.iter().position(Option::is_some);
        if silent.is_some() && now < deadline {
            return;
        }
        let mut told = std::mem::take(&mut self.open_pools);
        let answers = std::mem::take(&mut told.answers);
        let report = match silent {
            Some(worker) => {
                let time = PATIENCE.as_millis();
                Err(Refusal::conflict(format!("worker {worker} did not tell its open pools within {time} ms")))
            }
            None => Ok(self.pool_report(&told)),
        };
        for answer in answers {
            answer.send(report.clone());
        }
    }

    fn pool_report(&self, told: &OpenPools) -> PoolReport {
        let mut counters = Counters::default();
        let mut workers = Vec::new();
        for (index, worker) in (0u32..).zip(&self.workers) {
            let own = worker.shared.counters.load();
            workers.push(PoolWorker::of(index, &own));
            counters.merge(&own);
        }
        let rules = &self.publication.current().rules;
        let open = told.samples.iter().filter_map(|((worker, ..), sample)| {
            Some(OpenPool {
                worker: u32::try_from(*worker).ok()?,
                // Either can have gone since: then the pool has been flushed.
                peer: self.peers.get(sample.peer)?.config.name.clone(),
                rule: rules.rules().get(usize::from(sample.key.rule().0))?.name.clone(),
                family: if sample.key.is_ipv6() { Family::Ipv6 } else { Family::Ipv4 },
                dscp: CodePoint::new(sample.key.class().value())?,
                ecn: Ecn::of(sample.key.ecn())?,
                bucket: sample.key.bucket(),
                layout: sample.layout.name().into(),
                packets: u32::from(sample.packets),
                bytes: sample.bytes,
                age_us: sample.age_ns / 1000,
            })
        });
        let received = told.received_from_each().into_values().filter_map(|received| {
            Some(ReceivedFrom {
                peer: self.peers.get(received.peer)?.config.name.clone(),
                packets: received.sequence.received,
                rows: received.rows,
                lost: received.sequence.lost,
                reordered: received.sequence.reordered,
                duplicated: received.sequence.duplicates,
            })
        });
        PoolReport {
            totals: PoolTotals::of(&counters),
            workers,
            open: open.collect(),
            received_from: received.filter(|received| received.packets > 0).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carpool_dataplane::pool::sequence::SequenceCounts;
    use carpool_dataplane::pool::{Dscp, PoolLayout, RuleIndex};

    const EAST: PeerIndex = PeerIndex(3);

    fn came(count: u64) -> PeerReceived {
        let sequence = SequenceCounts { received: count, ..SequenceCounts::default() };
        PeerReceived { peer: EAST, rows: 4 * count, sequence }
    }

    fn pool(group: u16, packets: u16) -> OpenPoolSample {
        let key = PoolKey::new(group, RuleIndex(0), Dscp::of_tos(0), 0, 0);
        OpenPoolSample { peer: EAST, key, layout: PoolLayout::Whole, packets, bytes: 100, age_ns: 1 }
    }

    #[test]
    fn what_a_worker_tells_twice_counts_once() {
        let mut pools = OpenPools { deadline: Some(Instant::now()), ..OpenPools::default() };
        for packets in [2, 3] {
            pools.sample(0, pool(46, packets));
            pools.sample(0, pool(10, packets));
            pools.received(0, came(packets.into()));
        }
        pools.sample(1, pool(46, 7));
        let of_bucket = PoolKey::new(46, RuleIndex(0), Dscp::of_tos(0), 0, 2);
        pools.sample(1, OpenPoolSample { key: of_bucket, ..pool(46, 8) });
        pools.sample(1, pool(5, 9));
        pools.received(1, came(10));
        let packets: Vec<_> = pools.samples.iter().map(|(id, sample)| (id.0, id.1.group(), sample.packets)).collect();
        assert_eq!(packets, [(0, 10, 3), (0, 46, 3), (1, 5, 9), (1, 46, 7), (1, 46, 8)]);
        let sums: Vec<_> = pools.received_from_each().into_values().collect();
        assert_eq!(sums, [came(13)], "the last word of each worker");
    }
}
