//! Which pools are open and what came from peers: workers are asked, and the answer is given when all have told, or when
//! time is up.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use carpool_dataplane::fib::PeerIndex;
use carpool_dataplane::worker::{Counters, OpenPoolSample, PeerReceived};

use super::{Router, WorkerLink};
use crate::api::pool::{OPEN_POOLS_MAX, OpenPool, PoolReport, PoolShow, PoolTotals, ReceivedFrom};
use crate::api::text::CodePoint;
use crate::api::{Answer, Refusal};

/// How long workers may take to tell.
const PATIENCE: Duration = Duration::from_millis(100);

/// The question that is under way, and who wants to know.
#[derive(Debug, Default)]
pub(super) struct OpenPools {
    /// The number of each worker's request; None where it has told all.
    requests: Vec<Option<u64>>,
    samples: Vec<(usize, OpenPoolSample)>,
    /// What came from each peer, of all workers together.
    received: BTreeMap<PeerIndex, PeerReceived>,
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
        if self.deadline.is_some() && self.samples.len() < OPEN_POOLS_MAX {
            self.samples.push((worker, sample));
        }
    }

    /// A worker has told what came from a peer.
    pub fn received(&mut self, received: PeerReceived) {
        if self.deadline.is_some() {
            let sum = self.received.entry(received.peer);
            sum.and_modify(|sum| sum.merge(&received)).or_insert(received);
        }
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
        let OpenPools { samples, received, answers, .. } = std::mem::take(&mut self.open_pools);
        let report = match silent {
            Some(worker) => {
                let time = PATIENCE.as_millis();
                Err(Refusal::conflict(format!("worker {worker} did not tell its open pools within {time} ms")))
            }
            None => Ok(self.pool_report(&samples, received.values())),
        };
        for answer in answers {
            answer.send(report.clone());
        }
    }

    fn pool_report<'a>(
        &self,
        samples: &[(usize, OpenPoolSample)],
        received: impl Iterator<Item = &'a PeerReceived>,
    ) -> PoolReport {
        let mut counters = Counters::default();
        for worker in &self.workers {
            counters.merge(&worker.shared.counters.load());
        }
        let rules = &self.publication.current().rules;
        let open = samples.iter().filter_map(|(worker, sample)| {
            Some(OpenPool {
                worker: u32::try_from(*worker).ok()?,
                // Either can have gone since: then the pool has been flushed.
                peer: self.peers.get(sample.peer)?.config.name.clone(),
                rule: rules.rules().get(usize::from(sample.rule))?.name.clone(),
                dscp: CodePoint::new(sample.dscp)?,
                ecn_capable: sample.ecn_capable,
                packets: u32::from(sample.packets),
                bytes: sample.bytes,
                age_us: sample.age_ns / 1000,
            })
        });
        let received = received.filter_map(|received| {
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
            open: open.collect(),
            received_from: received.filter(|received| received.packets > 0).collect(),
        }
    }
}
