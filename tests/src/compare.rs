//! Is what arrived what was sent?
//!
//! Packets are matched per stream by all bytes that no router may change. Identical means: those bytes equal, TTL lower
//! by exactly the routers crossed (a router that was crossed inside a pooled packet saw the outer header's TTL, not the
//! packet's own), IPv4 header checksum right. What has no match is paired with what is missing, in
//! order, and the first difference is said in words; what remains is lost.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    time::Duration,
};

use crate::{
    frame::{CHECKSUM_OFFSET, Flow, Observation, TTL_OFFSET},
    transit::Riders,
};

/// A packet that arrived otherwise than it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alteration {
    pub flow: Flow,
    /// The position in its stream as sent, from 0; `None` where nothing like it was sent.
    pub position: Option<usize>,
    /// The first difference.
    pub difference: String,
}

impl fmt::Display for Alteration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some(position) => write!(formatter, "{}, packet {position}: {}", self.flow, self.difference),
            None => write!(formatter, "{}: {}", self.flow, self.difference),
        }
    }
}

/// A packet and when it was where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passage {
    pub flow: Flow,
    pub sent: Duration,
    pub received: Duration,
}

impl Passage {
    /// Zero where clocks disagree about a packet that took no time.
    pub fn delay(&self) -> Duration {
        self.received.saturating_sub(self.sent)
    }
}

#[derive(Clone, Debug, Default)]
pub struct Comparison {
    pub sent: usize,
    /// Packets that arrived, each counted once, altered ones included.
    pub delivered: usize,
    /// Stream and position (from 0) of each packet that did not arrive.
    pub lost: Vec<(Flow, usize)>,
    /// When each lost packet was sent, in the order of [`Self::lost`].
    pub lost_at: Vec<Duration>,
    pub duplicated: usize,
    /// Packets that arrived after a later one of their stream.
    pub reordered: usize,
    pub altered: Vec<Alteration>,
    /// One per packet that arrived as it was sent, by stream.
    pub passages: Vec<Passage>,
}

impl Comparison {
    /// Each packet that arrived is one that was sent, unchanged, once.
    pub fn identical(&self) -> bool {
        self.altered.is_empty() && self.duplicated == 0
    }

    pub fn in_order(&self) -> bool {
        self.reordered == 0
    }

    /// Nothing lost, nothing changed, nothing twice, everything in order.
    pub fn perfect(&self) -> bool {
        self.sent > 0 && self.lost.is_empty() && self.identical() && self.in_order()
    }

    pub fn merge(&mut self, other: Self) {
        self.sent += other.sent;
        self.delivered += other.delivered;
        self.lost.extend(other.lost);
        self.lost_at.extend(other.lost_at);
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.altered.extend(other.altered);
        self.passages.extend(other.passages);
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.sent == 0 {
            return write!(formatter, "nothing was sent");
        }
        if self.perfect() {
            return write!(formatter, "all {} packets arrived, each identical and in the order sent", self.sent);
        }
        write!(formatter, "of {} packets sent {} arrived", self.sent, self.delivered)?;
        if let Some((flow, position)) = self.lost.first() {
            write!(formatter, "; {} lost, the first: {flow}, packet {position}", self.lost.len())?;
        }
        if let Some(first) = self.altered.first() {
            write!(formatter, "; {} altered, the first: {first}", self.altered.len())?;
        }
        if self.duplicated > 0 {
            write!(formatter, "; {} arrived twice", self.duplicated)?;
        }
        if self.reordered > 0 {
            write!(formatter, "; {} arrived after a later one", self.reordered)?;
        }
        Ok(())
    }
}

/// How many routers each packet crossed as itself.
#[derive(Clone, Copy, Debug)]
pub enum Routers<'a> {
    /// All packets the same number.
    All(u8),
    /// Each packet its own, known by what no router changes ([`Observation::invariant`]); one that is not known 0.
    Each(&'a HashMap<Vec<u8>, u8>),
    /// Packets that crossed transit inside pooled packets one less than the others, which crossed this many.
    LessWhenPooled(u8, &'a Riders),
}

impl Routers<'_> {
    fn crossed_by(self, observation: &Observation) -> u8 {
        match self {
            Self::All(routers) => routers,
            Self::Each(routers) => routers.get(&observation.invariant()).copied().unwrap_or(0),
            Self::LessWhenPooled(routers, riders) => routers - u8::from(riders.contains(observation)),
        }
    }
}

/// Compares two captures of the same streams with these routers between them.
pub fn compare(sent: &[Observation], received: &[Observation], routers: Routers<'_>) -> Comparison {
    let mut streams: BTreeMap<Flow, (Vec<&Observation>, Vec<&Observation>)> = BTreeMap::new();
    for observation in sent {
        streams.entry(observation.flow).or_default().0.push(observation);
    }
    for observation in received {
        streams.entry(observation.flow).or_default().1.push(observation);
    }
    let mut whole = Comparison::default();
    for (flow, (sent, received)) in streams {
        whole.merge(compare_stream(flow, &sent, &received, routers));
    }
    whole
}

fn compare_stream(flow: Flow, sent: &[&Observation], received: &[&Observation], routers: Routers<'_>) -> Comparison {
    let mut awaited: HashMap<Vec<u8>, VecDeque<usize>> = HashMap::new();
    for (position, observation) in sent.iter().enumerate() {
        awaited.entry(observation.invariant()).or_default().push_back(position);
    }
    let mut result = Comparison { sent: sent.len(), ..Comparison::default() };
    let mut arrived = vec![false; sent.len()];
    let mut strangers = Vec::new();
    let mut latest = None;
    for observation in received {
        let Some(positions) = awaited.get_mut(&observation.invariant()) else {
            strangers.push(*observation);
            continue;
        };
        let Some(position) = positions.pop_front() else {
            result.duplicated += 1;
            continue;
        };
        arrived[position] = true;
        result.delivered += 1;
        if latest.is_some_and(|latest| position < latest) {
            result.reordered += 1;
        }
        latest = latest.max(Some(position));
        match header_difference(sent[position], observation, routers.crossed_by(observation)) {
            None => result.passages.push(Passage { flow, sent: sent[position].at, received: observation.at }),
            Some(difference) => result.altered.push(Alteration { flow, position: Some(position), difference }),
        }
    }
    let mut missing: VecDeque<usize> = (0..sent.len()).filter(|&position| !arrived[position]).collect();
    for stranger in strangers {
        // What differs in one place is recognised by it; else the first missing one is as good a guess as any.
        let nearest = missing
            .iter()
            .enumerate()
            .min_by_key(|&(_, &position)| bytes_that_differ(sent[position].packet(), stranger.packet()))
            .map(|(at, _)| at);
        let alteration = match nearest.and_then(|at| missing.remove(at)) {
            Some(position) => {
                result.delivered += 1;
                let difference = first_difference(sent[position], stranger);
                Alteration { flow, position: Some(position), difference }
            }
            None => Alteration { flow, position: None, difference: "nothing like it was sent".to_owned() },
        };
        result.altered.push(alteration);
    }
    for position in missing {
        result.lost.push((flow, position));
        result.lost_at.push(sent[position].at);
    }
    result
}

fn bytes_that_differ(left: &[u8], right: &[u8]) -> usize {
    left.len().abs_diff(right.len()) + left.iter().zip(right).filter(|(left, right)| left != right).count()
}

/// What is wrong with the two header fields that routers do change.
fn header_difference(sent: &Observation, received: &Observation, routers: u8) -> Option<String> {
    if sent.ttl().checked_sub(routers) != Some(received.ttl()) {
        return Some(format!("TTL {} was sent and {} arrived, across {routers} routers", sent.ttl(), received.ttl()));
    }
    (!received.checksum_holds()).then(|| "its IPv4 header checksum is wrong".to_owned())
}

fn first_difference(sent: &Observation, received: &Observation) -> String {
    let (before, after) = (sent.packet(), received.packet());
    if before.len() != after.len() {
        return format!("{} bytes were sent and {} arrived", before.len(), after.len());
    }
    let free = |at: usize| at == TTL_OFFSET || at == CHECKSUM_OFFSET || at == CHECKSUM_OFFSET + 1;
    let header = sent.ip_header().len();
    match (0..before.len()).find(|&at| !free(at) && before[at] != after[at]) {
        Some(at) => {
            let place = if at < header {
                format!("byte {at} of the IPv4 header")
            } else if at < header + 8 {
                format!("byte {} of the UDP header", at - header)
            } else {
                format!("byte {} of the payload", at - header - 8)
            };
            format!("{place} was {:#04x} and arrived as {:#04x}", before[at], after[at])
        }
        None => "it arrived more often than it was sent".to_owned(),
    }
}
