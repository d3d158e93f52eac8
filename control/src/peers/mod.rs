//! Which peers live: hellos out, hellos in, and what their silence means.
//!
//! A peer is up while its hellos arrive and say that it hears ours, of this very run of ours: either direction failing
//! takes it down, and so does a restart of this router. It is down when it was silent for three of the intervals that
//! it announced; when it restarts, its new run takes the place of the old one as soon as that hears us. One that is configured so is assumed to be up. Time is an argument; the control thread calls.

mod liveness;
mod path_mtu;
mod peer;
mod told;

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use carpool_dataplane::fib::PeerIndex;
use carpool_dataplane::pool::hello::{Capabilities, HELLO_LEN, Hello};
use carpool_dataplane::worker::MAX_PEERS;
use log::{debug, info, warn};

use crate::config;
pub use liveness::Down;
use liveness::{Heard, Numbers, Order};
pub use path_mtu::{PathMtu, Quoted};
use peer::OwnHello;
pub use peer::Peer;
pub use told::{ToldPeers, ToldPeersError};

/// Who we are in hellos.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The router's identity.
    pub router_id: Ipv4Addr,
    /// A number of this run of the router; not 0.
    pub instance: u32,
}

/// How a hello arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The TTL it came with.
    pub ttl: u8,
    /// Its length with the IP header and padding, in bytes.
    pub length: u16,
}

/// A hello to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueHello {
    /// To whom.
    pub peer: PeerIndex,
    /// What it says.
    pub hello: Hello,
    /// The length to which it is padded, in bytes of IP length; 0: it is not.
    pub length: u16,
}

/// All peers, by index. An index keeps its meaning while its peer is configured.
#[derive(Clone, Debug)]
pub struct Peers {
    identity: Identity,
    /// The longest pooled packet that we take, in bytes.
    largest: u16,
    /// What the first sequence number to a peer is drawn from, and since when.
    draw: (RandomState, Instant),
    rows: Vec<Option<Peer>>,
    /// The last sequence numbers to those that left, the last of them at the end; as many as there are rows at most.
    departed: VecDeque<(IpAddr, u32)>,
    /// The row that finds room first.
    first_due: usize,
    /// When it is looked again whether there is room for hellos.
    retry_at: Option<Instant>,
}

impl Peers {
    /// None yet. They are told who we are, and that no pooled packet may have more than `largest` bytes of IP length.
    pub fn new(identity: Identity, largest: u16) -> Peers {
        let draw = (RandomState::new(), Instant::now());
        Peers { identity, largest, draw, rows: Vec::new(), departed: VecDeque::new(), first_due: 0, retry_at: None }
    }

    /// The sequence number before the first one to a peer. Nobody else can tell which a hello has (RFC 5927, 4.1). To one
    /// that left and comes again they go on where they were: it takes lower ones for old for as long as we are not silent.
    /// Where too many left since, they have gone on by one a millisecond, faster than hellos do.
    fn draw_sequence(&mut self, address: IpAddr, now: Instant) -> u32 {
        let departed = self.departed.iter().position(|(departed, _)| *departed == address);
        if let Some((_, sequence)) = departed.and_then(|at| self.departed.remove(at)) {
            return sequence;
        }
        let (key, since) = &self.draw;
        (key.hash_one(address) as u32).wrapping_add(now.saturating_duration_since(*since).as_millis() as u32)
    }

    /// Remembers the last sequence number to a peer that leaves.
    fn depart(&mut self, address: IpAddr, sequence: u32) {
        self.departed.retain(|(departed, _)| *departed != address);
        if self.departed.len() >= usize::from(MAX_PEERS) {
            self.departed.pop_front();
        }
        self.departed.push_back((address, sequence));
    }

    /// Takes the place of `present`, which was made of a copy of these peers: what it knows is forgotten, but no hello is
    /// numbered like one that it sent, which would be taken for one that came twice.
    pub fn restore(mut self, present: &Peers, now: Instant) -> Peers {
        for sent in present.rows.iter().flatten() {
            let address = sent.config.address;
            match self.rows.iter_mut().flatten().find(|peer| peer.config.address == address) {
                Some(peer) => {
                    peer.sequence = sent.sequence;
                    peer.next_hello = sent.next_hello.min(now + peer.config.hello_interval);
                }
                None => self.depart(address, sent.sequence),
            }
        }
        self
    }

    /// Takes over a new list of peers. What is known of those that stay is kept. Those that go leave their row empty, for
    /// others that come another time, or at once where there is no other: workers are told of all rows together. The first
    /// hellos of those that come are spread over their interval, by row.
    pub fn configure(&mut self, peers: impl IntoIterator<Item = config::Peer>, now: Instant) {
        let mut free: Vec<_> = (0..self.rows.len()).filter(|row| matches!(self.rows.get(*row), Some(None))).collect();
        let mut before: Vec<_> = self.rows.iter_mut().map(Option::take).collect();
        let mut new = Vec::new();
        for config in peers {
            // What was heard in one format says nothing in another.
            let same = |row: &Option<Peer>| {
                row.as_ref()
                    .is_some_and(|peer| (peer.config.address, peer.config.format) == (config.address, config.format))
            };
            let place = before.iter().position(same);
            let known = place.and_then(|place| before.get_mut(place)).and_then(Option::take);
            match (place.and_then(|place| self.rows.get_mut(place)), known) {
                (Some(row), Some(known)) => *row = Some(known.reconfigured(config, now)),
                _ => new.push(config),
            }
        }
        let vacated = (0..before.len()).filter(|row| matches!(before.get(*row), Some(Some(_))));
        let mut vacated = vacated.collect::<Vec<_>>().into_iter();
        for gone in before.iter().flatten() {
            self.depart(gone.config.address, gone.sequence);
        }
        for config in new {
            let row = match free.pop() {
                Some(row) => row,
                None if self.rows.len() < usize::from(MAX_PEERS) => {
                    self.rows.push(None);
                    self.rows.len() - 1
                }
                // There are no more peers than rows.
                None => vacated.next().unwrap_or(usize::MAX),
            };
            let sequence = self.draw_sequence(config.address, now);
            let share = config.hello_interval / u32::from(MAX_PEERS);
            let first_hello = now + share * u32::try_from(row).unwrap_or(0).min(MAX_PEERS.into());
            if let Some(place) = self.rows.get_mut(row) {
                *place = Some(Peer::new(config, sequence, first_hello));
            }
        }
    }

    /// The index of the peer with this address.
    pub fn index_of(&self, address: IpAddr) -> Option<PeerIndex> {
        self.iter().find(|(_, peer)| peer.config.address == address).map(|(index, _)| index)
    }

    /// The peer with this index.
    pub fn get(&self, index: PeerIndex) -> Option<&Peer> {
        self.rows.get(index.index())?.as_ref()
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, index: PeerIndex) -> Option<&mut Peer> {
        self.rows.get_mut(index.index())?.as_mut()
    }

    /// All rows, empty ones included.
    pub fn rows(&self) -> &[Option<Peer>] {
        &self.rows
    }

    /// All peers with their index.
    pub fn iter(&self) -> impl Iterator<Item = (PeerIndex, &Peer)> {
        (0u16..).map(PeerIndex).zip(&self.rows).filter_map(|(index, row)| Some((index, row.as_ref()?)))
    }

    /// A router says that a packet to the peer with this address, of which it quotes the beginning, was too long for a link
    /// that takes `mtu` bytes.
    pub fn packet_too_big(&mut self, address: IpAddr, mtu: u16, quoted: Quoted, now: Instant) {
        let Some(peer) = self.rows.iter_mut().flatten().find(|peer| peer.config.address == address) else { return };
        let interval = peer.report_interval();
        let Some(path_mtu) = &mut peer.path_mtu else { return };
        if path_mtu.told(mtu, quoted, interval, now) {
            debug!("peer {}: a router on the way takes {mtu} bytes", peer.config.name);
            peer.next_hello = now;
        }
    }

    /// The search for the path MTU to a peer goes up to this length, in bytes.
    pub fn limit_probes(&mut self, index: PeerIndex, ceiling: u16, now: Instant) {
        if let Some(path_mtu) = self.get_mut(index).and_then(|peer| peer.path_mtu.as_mut()) {
            path_mtu.set_ceiling(ceiling, now);
        }
    }

    /// Whether the peer with this index lives.
    pub fn is_up(&self, index: PeerIndex, now: Instant) -> bool {
        self.get(index).is_some_and(|peer| peer.state(now).is_ok())
    }

    /// A hello came from this address.
    pub fn hello(&mut self, from: IpAddr, hello: &Hello, arrival: Arrival, now: Instant) {
        let identity = self.identity;
        let Some(peer) = self.rows.iter_mut().flatten().find(|peer| peer.config.address == from) else { return };
        if hello.instance == identity.instance && hello.router_id == identity.router_id.to_bits() {
            // Our own hello came back to us: a route loops.
            return;
        }
        let order = peer.heard.map_or(Order::First, |heard| heard.order(hello, identity.instance, now));
        if order == Order::Stray {
            return;
        }
        if !hello.capabilities.contains(Capabilities::WHOLE_IPV4) {
            if !peer.is_incapable {
                warn!("peer {}: its hellos say that it does not take IPv4 packets: ignored", peer.config.name);
            }
            peer.is_incapable = true;
            return;
        }
        peer.is_incapable = false;
        match (order, &mut peer.heard) {
            // It is heard for the first time, and does not know that yet: say so without waiting for the next interval.
            (Order::First, heard) => {
                *heard = Some(Heard::new(hello, Numbers::new(hello.sequence), &identity, arrival, now));
                peer.next_hello = now;
                peer.path_mtu = None;
            }
            (Order::Next(numbers), heard) => *heard = Some(Heard::new(hello, numbers, &identity, arrival, now)),
            // Only what is told of received hellos is no older for that.
            (Order::Overtaken(numbers), Some(heard)) => heard.numbers = numbers,
            _ => return,
        }
        if arrival.length > peer.longest {
            peer.longest = arrival.length;
            if usize::from(arrival.length) > PLAIN_HELLO {
                // A probe: it is answered at once.
                peer.next_hello = now;
            }
        }
        if hello.heard_instance == identity.instance && hello.longest_hello > 0 && peer.config.probe_mtu {
            let interval = peer.report_interval();
            let unknown = if from.is_ipv4() { PathMtu::new } else { PathMtu::new6 };
            let path_mtu = peer.path_mtu.get_or_insert_with(|| unknown(config::DEFAULT_PEER_MTU, now));
            path_mtu.received(hello.longest_hello, interval, now);
        }
    }

    /// Whether a hello is due, and there may be room for it.
    pub fn hello_is_due(&self, now: Instant) -> bool {
        self.retry_at.is_none_or(|retry_at| retry_at <= now) && self.due(now).next().is_some()
    }

    /// The peers to which a hello is due.
    pub fn due(&self, now: Instant) -> impl Iterator<Item = (PeerIndex, &Peer)> {
        self.iter().filter(move |(_, peer)| peer.hello_is_due(now))
    }

    /// Hands the hellos that are due to `send`, and probes of path MTUs beside them. Where it finds no room for one, that is
    /// due again a little later, before any other; else, an interval after it was due. Hellos that arrived after
    /// `heard_until` may not have been read yet: nobody is taken to be silent for lack of those.
    pub fn send_due(&mut self, now: Instant, heard_until: Instant, mut send: impl FnMut(&DueHello) -> bool) {
        self.retry_at = None;
        let own = OwnHello { identity: self.identity, largest: self.largest, heard_until };
        let first = std::mem::take(&mut self.first_due).min(self.rows.len());
        for row in (first..self.rows.len()).chain(0..first) {
            let due = self.rows.get_mut(row).and_then(Option::as_mut).filter(|peer| peer.hello_is_due(now));
            if let (Some(peer), Ok(index)) = (due, u16::try_from(row))
                && !peer.send_hello(PeerIndex(index), &own, now, &mut send)
            {
                (self.first_due, self.retry_at) = (row, Some(now + RETRY));
                return;
            }
        }
    }

    /// Takes note of who came up, who went down and who takes other pooled packets than before; whether anybody did.
    pub fn take_changes(&mut self, now: Instant) -> bool {
        let mut changed = false;
        for peer in self.rows.iter_mut().flatten() {
            let path_mtu = peer.path_mtu.as_ref().map(PathMtu::current);
            let takes = (peer.largest_pooled_packet(), peer.capabilities(), path_mtu);
            changed |= takes != peer.took;
            peer.took = takes;
            let state = peer.state(now);
            if state.is_ok() != peer.was_up {
                changed = true;
                peer.was_up = state.is_ok();
                match state {
                    Ok(()) if peer.config.assume => info!("peer {} is assumed to be up", peer.config.name),
                    Ok(()) => info!("peer {} is up", peer.config.name),
                    Err(why) => {
                        // The path may be another one when it is back.
                        peer.path_mtu = None;
                        info!("peer {} is down: {why}", peer.config.name);
                    }
                }
            }
        }
        changed
    }

    /// When a hello is due or a silence ends somebody's life.
    pub fn deadline(&self) -> Option<Instant> {
        let of = |peer: &Peer| {
            let silent = peer.heard.filter(|_| peer.was_up && !peer.config.assume).map(|heard| heard.silent_at());
            let hello = peer.next_hello.max(self.retry_at.unwrap_or(peer.next_hello));
            silent.into_iter().chain(peer.has_hellos().then_some(hello)).min()
        };
        self.rows.iter().flatten().filter_map(of).min()
    }
}

/// How soon it is looked again whether there is room for hellos.
const RETRY: Duration = Duration::from_millis(1);

/// Length of a hello that is not padded, with its IP and UDP headers, in bytes: of an IPv6 one, the longer of the two.
const PLAIN_HELLO: usize = 40 + 8 + HELLO_LEN;

/// TTL of hellos, as of pooled packets.
pub const HELLO_TTL: u8 = 64;

#[cfg(test)]
mod tests;
