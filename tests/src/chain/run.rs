//! The experiment on the [`super::network`]: recorded calls to every receiver, watched on every link between routers.
//!
//! Where a packet got out of the pooled packet it was in is seen from outside: it crossed the next link as itself, and the
//! one before not, in whatever format that was inside. How many routers saw it as itself follows from the same, and with that the TTL it must arrive with.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::{SocketAddrV4, UdpSocket},
    time::{Duration, Instant},
};

use super::network::{Chain, EQUIPPED, RECEIVERS, ROUTERS, Receiver, SOURCE};
use crate::{
    capture::{Capture, Direction, Frame},
    compare::{Comparison, Routers, compare},
    error::{Error, Result},
    frame::{Flow, Observation, observe},
    rtp::{self, Codec, Recording, Stream, Talk},
    transit::Crossing,
};

/// How long after the last packet was sent one is still waited for, beyond the window.
const LATE: Duration = Duration::from_secs(2);

/// Streams of a kind, as many to each receiver.
#[derive(Clone, Copy, Debug)]
pub struct Calls {
    /// The source and destination port of the first; the next ones have every other port behind it.
    pub port: u16,
    /// To each receiver.
    pub streams: u16,
    pub codec: Codec,
}

#[derive(Clone, Copy, Debug)]
struct Call {
    /// Which of the kinds it is.
    kind: usize,
    receiver: Receiver,
    flow: Flow,
    phase: Duration,
}

/// Counted so far, while streams flow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    pub sent: usize,
    pub arrived: usize,
    /// Of each link between two routers, in the order of the chain.
    pub links: [Crossing; ROUTERS.len() - 1],
}

/// What came of the packets of one kind to one receiver.
#[derive(Debug)]
pub struct Delivery {
    /// The place of its [`Calls`] among those of the run.
    pub kind: usize,
    pub receiver: Receiver,
    pub comparison: Comparison,
    /// How many packets got out of a pooled packet at which router.
    pub taken_out_at: BTreeMap<&'static str, usize>,
}

/// All that an experiment found.
#[derive(Debug)]
pub struct Findings {
    pub streams: usize,
    /// Of each kind in turn those to each receiver.
    pub deliveries: Vec<Delivery>,
    /// Of each link between two routers, in the order of the chain.
    pub links: [Crossing; ROUTERS.len() - 1],
    /// The frames on each of them.
    pub crossed: Vec<Vec<Frame>>,
}

#[derive(Debug)]
pub struct Run {
    calls: Vec<Call>,
    window: Duration,
    source: Capture,
    receivers: Vec<Capture>,
    links: Vec<Capture>,
    talks: Vec<Talk>,
    /// Bound, never read, closed at the end.
    _listeners: Vec<UdpSocket>,
    seen: Vec<usize>,
    progress: Progress,
}

impl Run {
    /// Starts to record, then to talk.
    pub fn start(chain: &Chain, kinds: &[Calls], duration: Duration) -> Result<Run> {
        let lab = &chain.lab;
        let source = Capture::start(lab.namespace(SOURCE.0)?, "A")?;
        let mut receivers = Vec::new();
        for receiver in RECEIVERS {
            let router = receiver.routers.last().copied().unwrap_or_default();
            receivers.push(Capture::start(lab.namespace(receiver.name)?, router)?);
        }
        let mut links = Vec::new();
        for link in ROUTERS.windows(2) {
            links.push(Capture::start(lab.namespace(link[1])?, link[0])?);
        }
        let (mut all, mut listeners, mut talks) = (Vec::new(), Vec::new(), Vec::new());
        for (kind, of) in kinds.iter().enumerate() {
            let recording = Recording::of(of.codec)?;
            let calls = calls(kind, *of, recording.mean_gap());
            let mut streams = Vec::new();
            for call in &calls {
                streams.push(Stream {
                    namespace: lab.namespace(SOURCE.0)?.clone(),
                    flow: call.flow,
                    phase: call.phase,
                });
                listeners.push(rtp::listen(lab.namespace(call.receiver.name)?, call.flow)?);
            }
            talks.push(Talk::start(&recording, &streams, duration)?);
            all.extend(calls);
        }
        let seen = vec![0; 1 + receivers.len() + links.len()];
        let (window, progress) = (chain.window, Progress::default());
        Ok(Run { calls: all, window, source, receivers, links, talks, _listeners: listeners, seen, progress })
    }

    /// Waits for the end of the talk, at most this long. Returns whether it is over.
    pub fn wait(&self, limit: Duration) -> bool {
        self.talks.iter().all(|talk| talk.wait(limit))
    }

    /// What has been recorded up to now.
    pub fn progress(&mut self) -> Progress {
        let Run { calls, source, receivers, links, seen, progress, .. } = self;
        let is_stream = |flow: &Flow| calls.iter().any(|call| call.flow == *flow);
        let ends = std::iter::once((&*source, Direction::Out)).chain(receivers.iter().map(|end| (end, Direction::In)));
        let mut counts = Vec::new();
        for ((capture, direction), seen) in ends.zip(seen.iter_mut()) {
            let frames = capture.from(*seen);
            *seen += frames.len();
            counts.push(observe(&frames, direction, is_stream).len());
        }
        progress.sent += counts.first().copied().unwrap_or(0);
        progress.arrived += counts.iter().skip(1).sum::<usize>();
        for ((capture, seen), crossing) in links.iter().zip(seen.iter_mut().skip(counts.len())).zip(&mut progress.links)
        {
            let frames = capture.from(*seen);
            *seen += frames.len();
            for observation in observe(&frames, Direction::In, |_| true) {
                crossing.add(&observation, is_stream);
            }
        }
        *progress
    }

    /// Waits for the last packets, ends the recording and compares.
    pub fn finish(self) -> Result<Findings> {
        let Run { calls, window, source, receivers, links, talks, .. } = self;
        let sent = talks.into_iter().map(Talk::finish).collect::<Result<Vec<_>>>()?.concat();
        let deadline = Instant::now() + window * u32::try_from(EQUIPPED.len()).unwrap_or(4) + LATE;
        for (receiver, capture) in RECEIVERS.iter().zip(&receivers) {
            let to_it = calls.iter().zip(&sent).filter(|(call, _)| call.receiver == *receiver);
            let count: usize = to_it.map(|(_, sent)| sent).sum();
            let flows = flows_to(&calls, *receiver);
            // What is missing then will be reported as lost.
            capture.wait_until(deadline.saturating_duration_since(Instant::now()), |frames| {
                observe(frames, Direction::In, |flow| flows.contains(flow)).len() >= count
            });
        }
        let source = intact(SOURCE.0, source)?;
        let mut arrived = Vec::new();
        for (receiver, capture) in RECEIVERS.iter().zip(receivers) {
            arrived.push(intact(receiver.name, capture)?);
        }
        let mut crossed = Vec::new();
        for (link, capture) in ROUTERS.windows(2).zip(links) {
            crossed.push(intact(link[1], capture)?);
        }
        Ok(judge(&calls, &source, &arrived, crossed))
    }
}

/// The frames of a capture that missed none.
fn intact(node: &str, capture: Capture) -> Result<Vec<Frame>> {
    let recorded = capture.stop()?;
    if recorded.dropped == 0 {
        return Ok(recorded.frames);
    }
    Err(Error::Malformed {
        what: format!("the recording at {node}"),
        why: format!("the kernel had no room for {} frames: this machine is too busy to measure", recorded.dropped),
    })
}

fn flows_to(calls: &[Call], receiver: Receiver) -> HashSet<Flow> {
    calls.iter().filter(|call| call.receiver == receiver).map(|call| call.flow).collect()
}

fn judge(calls: &[Call], source: &[Frame], arrived: &[Vec<Frame>], crossed: Vec<Vec<Frame>>) -> Findings {
    let is_stream = |flow: &Flow| calls.iter().any(|call| call.flow == *flow);
    let mut links = [Crossing::default(); ROUTERS.len() - 1];
    let mut as_themselves: [HashSet<Vec<u8>>; ROUTERS.len() - 1] = Default::default();
    for ((frames, crossing), as_themselves) in crossed.iter().zip(&mut links).zip(&mut as_themselves) {
        for observation in observe(frames, Direction::In, |_| true) {
            crossing.add(&observation, is_stream);
            as_themselves.extend(is_stream(&observation.flow).then(|| observation.invariant()));
        }
    }
    let kinds: BTreeSet<usize> = calls.iter().map(|call| call.kind).collect();
    let mut deliveries = Vec::new();
    for kind in kinds {
        for (receiver, frames) in RECEIVERS.iter().zip(arrived) {
            let of_kind: Vec<Call> = calls.iter().filter(|call| call.kind == kind).copied().collect();
            let flows = flows_to(&of_kind, *receiver);
            let sent = observe(source, Direction::Out, |flow| flows.contains(flow));
            let received = observe(frames, Direction::In, |flow| flows.contains(flow));
            let mut taken_out_at = BTreeMap::new();
            let mut routers = HashMap::new();
            for packet in &sent {
                let (crossed_by, out_at) = way(*receiver, packet, &as_themselves);
                routers.insert(packet.invariant(), crossed_by);
                if let Some(router) = out_at {
                    *taken_out_at.entry(router).or_default() += 1;
                }
            }
            let comparison = compare(&sent, &received, Routers::Each(&routers));
            deliveries.push(Delivery { kind, receiver: *receiver, comparison, taken_out_at });
        }
    }
    Findings { streams: calls.len(), deliveries, links, crossed }
}

/// How many routers on the way to a receiver saw a packet as itself, and which one took it out of a pooled packet.
fn way(receiver: Receiver, packet: &Observation, as_themselves: &[HashSet<Vec<u8>>]) -> (u8, Option<&'static str>) {
    let steps = receiver.routers.len().saturating_sub(1);
    let invariant = packet.invariant();
    let rode: Vec<bool> = as_themselves.iter().take(steps).map(|link| !link.contains(&invariant)).collect();
    let (mut as_itself, mut out_at) = (0, None);
    for (at, router) in receiver.routers.iter().enumerate() {
        let came_inside = at.checked_sub(1).and_then(|link| rode.get(link)).copied().unwrap_or(false);
        let left_inside = rode.get(at).copied().unwrap_or(false);
        as_itself += u8::from(!(came_inside && left_inside));
        if came_inside && !left_inside {
            out_at = Some(*router);
        }
    }
    (as_itself, out_at)
}

/// Phases spread evenly over the gap between two packets of a stream, the receivers in turn.
fn calls(kind: usize, Calls { port, streams, .. }: Calls, gap: Duration) -> Vec<Call> {
    let all = streams * RECEIVERS.len() as u16;
    let call = |nth: u16| {
        let receiver = RECEIVERS[usize::from(nth) % RECEIVERS.len()];
        let flow = Flow {
            source: SocketAddrV4::new(SOURCE.1, port + 2 * nth),
            destination: SocketAddrV4::new(receiver.address, port + 2 * nth),
        };
        Call { kind, receiver, flow, phase: gap * u32::from(nth) / u32::from(all) }
    };
    (0..all).map(call).collect()
}
