//! The experiment: voice streams across the [`crate::network`], recorded where they leave, in the middle, and where
//! they arrive.
//!
//! [`Run::start`] lets the streams flow, [`Run::progress`] looks while they do, [`Run::finish`] compares. The demo shows
//! it and the end to end tests judge it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    time::{Duration, Instant},
};

use crate::{
    capture::{Capture, Direction, Frame, Recorded},
    compare::{Comparison, Routers, compare},
    delay::{Delay, Delays},
    error::{Error, Result},
    frame::{Flow, Observation, observe},
    model::{Pooler, Prediction},
    network::{CLIENTS, MTU, Network, ROUTERS, SERVERS, VOICE_PORTS},
    rtp::{self, Codec, Recording, Stream, Talk},
    transit::Crossing,
};

/// How long after the last packet was sent one is still waited for, beyond the window.
const LATE: Duration = Duration::from_secs(2);

/// Which way the streams go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Heading {
    /// Servers to clients: A pools, B depools.
    #[default]
    East,
    /// Clients to servers: B pools, A depools.
    West,
    Both,
}

impl Heading {
    fn goes(self, east: bool) -> bool {
        match self {
            Self::East => east,
            Self::West => !east,
            Self::Both => true,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub heading: Heading,
    /// Voice streams each way.
    pub streams: u16,
    /// Streams from server1 to server2, which cross A and never B.
    pub local: u16,
    pub duration: Duration,
    pub codec: Codec,
}

/// What a stream is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Eastward,
    Westward,
    /// The same packets on a port that no rule names: how long the way takes without pooling.
    Reference,
    Local,
}

#[derive(Clone, Copy, Debug)]
struct Call {
    role: Role,
    from: (&'static str, Ipv4Addr),
    to: (&'static str, Ipv4Addr),
    flow: Flow,
    phase: Duration,
}

/// Counted so far, while streams flow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    pub streams: usize,
    pub sent: usize,
    pub arrived: usize,
    pub crossing: Crossing,
    pub delay: Option<Delay>,
}

/// All that an experiment found.
#[derive(Debug)]
pub struct Findings {
    pub streams: usize,
    /// The voice streams, all headings.
    pub voice: Comparison,
    /// Streams that no rule selects.
    pub reference: Comparison,
    /// Streams that do not cross B.
    pub local: Comparison,
    pub crossing: Crossing,
    pub prediction: Prediction,
    /// Every frame that came into transit.
    pub transit: Vec<Frame>,
    /// The voice streams.
    pub flows: HashSet<Flow>,
    /// The lengths of their packets as sent, in bytes of IP packet.
    pub lengths: Vec<usize>,
}

impl Findings {
    /// How far it had got when the last packet was there.
    pub fn progress(&self) -> Progress {
        Progress {
            streams: self.streams,
            sent: self.voice.sent,
            arrived: self.voice.delivered,
            crossing: self.crossing,
            delay: Delays::of(&self.voice.passages).summary(),
        }
    }
}

#[derive(Debug)]
pub struct Run {
    calls: Vec<Call>,
    window: Duration,
    /// By node; each records the one interface that the node has.
    ends: BTreeMap<&'static str, Capture>,
    /// What comes into transit from A (eastward) and from B (westward).
    transit: [Capture; 2],
    talk: Talk,
    /// Bound, never read, closed at the end.
    _listeners: Vec<UdpSocket>,
    live: Live,
}

impl Run {
    /// Starts to record, then to talk.
    pub fn start(network: &Network, plan: &Plan) -> Result<Self> {
        let recording = Recording::of(plan.codec)?;
        let calls = calls(plan, recording.mean_gap());
        let lab = &network.lab;
        let mut ends = BTreeMap::new();
        for (node, _) in SERVERS {
            ends.insert(node, Capture::start(lab.namespace(node)?, "A")?);
        }
        for (node, _) in CLIENTS {
            ends.insert(node, Capture::start(lab.namespace(node)?, "B")?);
        }
        let transit = lab.namespace("transit")?;
        let transit = [Capture::start(transit, "A")?, Capture::start(transit, "B")?];
        let mut listeners = Vec::new();
        let mut streams = Vec::new();
        for call in &calls {
            let namespace = lab.namespace(call.from.0)?.clone();
            streams.push(Stream { namespace, flow: call.flow, phase: call.phase });
            // Where both headings talk between the same two ports, the sender's socket listens.
            if !calls.iter().any(|other| other.flow.source == call.flow.destination) {
                listeners.push(rtp::listen(lab.namespace(call.to.0)?, call.flow)?);
            }
        }
        let window = network.middle.window();
        let live = Live::new(&calls);
        let talk = Talk::start(&recording, &streams, plan.duration)?;
        Ok(Self { calls, window, ends, transit, talk, _listeners: listeners, live })
    }

    /// Waits for the end of the talk, at most this long. Returns whether it is over.
    pub fn wait(&self, limit: Duration) -> bool {
        self.talk.wait(limit)
    }

    /// What has been recorded up to now.
    pub fn progress(&mut self) -> Progress {
        self.live.look(&self.ends, &self.transit)
    }

    /// Waits for the last packets, ends the recording and compares.
    pub fn finish(self) -> Result<Findings> {
        let Self { calls, window, ends, transit, talk, .. } = self;
        let sent = talk.finish()?;
        let deadline = Instant::now() + window + LATE;
        for (&node, capture) in &ends {
            for direction in [Direction::Out, Direction::In] {
                let belongs = |call: &Call| node == if direction == Direction::Out { call.from.0 } else { call.to.0 };
                let flows: HashSet<_> = calls.iter().filter(|call| belongs(call)).map(|call| call.flow).collect();
                let count: usize =
                    calls.iter().zip(&sent).filter(|(call, _)| belongs(call)).map(|(_, sent)| sent).sum();
                // What is missing then will be reported as lost.
                capture.wait_until(deadline.saturating_duration_since(Instant::now()), |frames| {
                    observe(frames, direction, |flow| flows.contains(flow)).len() >= count
                });
            }
        }
        let mut recorded = BTreeMap::new();
        for (node, capture) in ends {
            recorded.insert(node, intact(node, capture.stop()?)?);
        }
        let [east, west] = transit;
        let transit = [intact("transit", east.stop()?)?, intact("transit", west.stop()?)?];
        Ok(judge(&calls, window, &recorded, transit))
    }
}

/// The frames of a capture that missed none.
fn intact(node: &str, recorded: Recorded) -> Result<Vec<Frame>> {
    if recorded.dropped == 0 {
        return Ok(recorded.frames);
    }
    Err(Error::Malformed {
        what: format!("the recording at {node}"),
        why: format!("the kernel had no room for {} frames: this machine is too busy to measure", recorded.dropped),
    })
}

fn judge(
    calls: &[Call],
    window: Duration,
    recorded: &BTreeMap<&'static str, Vec<Frame>>,
    [east, west]: [Vec<Frame>; 2],
) -> Findings {
    let collect = |role: Role, direction: Direction| {
        let flows: HashSet<_> = calls.iter().filter(|call| call.role == role).map(|call| call.flow).collect();
        let mut seen: Vec<_> =
            recorded.values().flat_map(|frames| observe(frames, direction, |flow| flows.contains(flow))).collect();
        seen.sort_by_key(|observation| observation.at);
        seen
    };
    // What did not cross transit as itself crossed it inside a pooled packet, however that carries it.
    let mut alone = HashSet::new();
    for frame in east.iter().chain(&west).filter(|frame| frame.direction == Direction::In) {
        alone.extend(Observation::of(frame).map(|observation| observation.invariant()));
    }
    let both = |role| (collect(role, Direction::Out), collect(role, Direction::In));
    let compared = |role, routers| {
        let (sent, received) = both(role);
        compare(&sent, &received, Routers::All(routers))
    };
    let mut lengths = Vec::new();
    let pooler = Pooler { window, mtu: usize::from(MTU) };
    let (mut voice, mut crossing, mut prediction) = (Comparison::default(), Crossing::default(), Prediction::default());
    for (role, frames) in [(Role::Eastward, &east), (Role::Westward, &west)] {
        let (sent, received) = both(role);
        let known = sent.iter().map(Observation::invariant);
        let routers = known.map(|packet| (alone.contains(&packet), packet));
        let routers = routers.map(|(alone, packet)| (packet, ROUTERS - u8::from(!alone))).collect();
        voice.merge(compare(&sent, &received, Routers::Each(&routers)));
        lengths.extend(sent.iter().map(|packet| packet.packet().len()));
        prediction = prediction + pooler.predict(sent.iter().map(|packet| (packet.at, packet.packet().len())));
        let flows: HashSet<_> = calls.iter().filter(|call| call.role == role).map(|call| call.flow).collect();
        for observation in frames.iter().filter(|frame| frame.direction == Direction::In).filter_map(Observation::of) {
            crossing.add(&observation, |flow| flows.contains(flow));
        }
    }
    let mut transit = east;
    transit.extend(west);
    transit.retain(|frame| frame.direction == Direction::In);
    transit.sort_by_key(|frame| frame.at);
    Findings {
        streams: calls.iter().filter(|call| is_voice(call.role)).count(),
        voice,
        reference: compared(Role::Reference, ROUTERS),
        local: compared(Role::Local, 1),
        crossing,
        prediction,
        transit,
        flows: calls.iter().filter(|call| is_voice(call.role)).map(|call| call.flow).collect(),
        lengths,
    }
}

fn is_voice(role: Role) -> bool {
    matches!(role, Role::Eastward | Role::Westward)
}

/// The eastward stream of this number, from 0: whatever else a plan has, it is the same.
pub fn eastward(nth: u16) -> Flow {
    let server = SERVERS[usize::from(nth) % SERVERS.len()];
    let client = CLIENTS[usize::from(nth) % CLIENTS.len()];
    Flow {
        source: SocketAddrV4::new(server.1, VOICE_PORTS.0 + 2 * nth),
        destination: SocketAddrV4::new(client.1, VOICE_PORTS.0 + 4096 + 2 * nth),
    }
}

/// Phases spread evenly over the gap between two packets of a stream, so that all together come at an even pace.
fn calls(plan: &Plan, gap: Duration) -> Vec<Call> {
    let mut calls = Vec::new();
    for nth in 0..plan.streams {
        let server = SERVERS[usize::from(nth) % SERVERS.len()];
        let client = CLIENTS[usize::from(nth) % CLIENTS.len()];
        let flow = eastward(nth);
        let phase = gap * u32::from(nth) / u32::from(plan.streams);
        if plan.heading.goes(true) {
            calls.push(Call { role: Role::Eastward, from: server, to: client, flow, phase });
        }
        if plan.heading.goes(false) {
            let flow = Flow { source: flow.destination, destination: flow.source };
            calls.push(Call { role: Role::Westward, from: client, to: server, flow, phase });
        }
    }
    let (server, client) = (SERVERS[0], CLIENTS[0]);
    let (from, to) = if plan.heading.goes(true) { (server, client) } else { (client, server) };
    let reference = Flow { source: SocketAddrV4::new(from.1, 40000), destination: SocketAddrV4::new(to.1, 40001) };
    calls.push(Call { role: Role::Reference, from, to, flow: reference, phase: gap / 7 });
    for nth in 0..plan.local {
        let port = VOICE_PORTS.0 + 8192 + 2 * nth;
        let [from, to] = SERVERS;
        let flow = Flow { source: SocketAddrV4::new(from.1, port), destination: SocketAddrV4::new(to.1, port) };
        let phase = gap * u32::from(nth) / u32::from(plan.local) + gap / 11;
        calls.push(Call { role: Role::Local, from, to, flow, phase });
    }
    calls
}

/// Follows the captures as they grow, each frame looked at once.
#[derive(Debug)]
struct Live {
    eastward: HashSet<Flow>,
    westward: HashSet<Flow>,
    /// Frames of each capture seen so far; transit's two are under the names of its neighbours.
    seen: HashMap<&'static str, usize>,
    /// When a packet that has not arrived yet was sent, by all of it that does not change.
    under_way: HashMap<Vec<u8>, Duration>,
    /// Arrived before its departure was read: the captures are read one after the other.
    early: Vec<Observation>,
    delays: Delays,
    progress: Progress,
}

impl Live {
    fn new(calls: &[Call]) -> Self {
        let flows = |role: Role| -> HashSet<Flow> {
            calls.iter().filter(|call| call.role == role).map(|call| call.flow).collect()
        };
        let (eastward, westward) = (flows(Role::Eastward), flows(Role::Westward));
        let progress = Progress { streams: eastward.len() + westward.len(), ..Progress::default() };
        Self {
            eastward,
            westward,
            seen: HashMap::new(),
            under_way: HashMap::new(),
            early: Vec::new(),
            delays: Delays::default(),
            progress,
        }
    }

    fn look(&mut self, ends: &BTreeMap<&'static str, Capture>, transit: &[Capture; 2]) -> Progress {
        let mut arrivals = std::mem::take(&mut self.early);
        for (&node, capture) in ends {
            for frame in self.fresh(node, capture) {
                let Some(observation) = Observation::of(&frame) else { continue };
                if !self.eastward.contains(&observation.flow) && !self.westward.contains(&observation.flow) {
                    continue;
                }
                match frame.direction {
                    Direction::Out => {
                        self.progress.sent += 1;
                        self.under_way.insert(observation.invariant(), observation.at);
                    }
                    Direction::In => {
                        self.progress.arrived += 1;
                        arrivals.push(observation);
                    }
                }
            }
        }
        for arrival in arrivals {
            match self.under_way.remove(&arrival.invariant()) {
                Some(sent) => self.delays.record(arrival.at.saturating_sub(sent)),
                None => self.early.push(arrival),
            }
        }
        for (name, capture) in ["A", "B"].into_iter().zip(transit) {
            let frames = self.fresh(name, capture);
            let flows = if name == "A" { &self.eastward } else { &self.westward };
            for observation in
                frames.iter().filter(|frame| frame.direction == Direction::In).filter_map(Observation::of)
            {
                self.progress.crossing.add(&observation, |flow| flows.contains(flow));
            }
        }
        self.progress.delay = self.delays.summary();
        self.progress
    }

    fn fresh(&mut self, name: &'static str, capture: &Capture) -> Vec<Frame> {
        let seen = self.seen.entry(name).or_default();
        let frames = capture.from(*seen);
        *seen += frames.len();
        frames
    }
}
