//! Which peers live: hellos out, hellos in, and what their silence means.
//!
//! A peer is up while its hellos arrive and say that it hears ours, of this very run of ours: either direction failing
//! takes it down, and so does a restart of either router. It is down when it was silent for three of the intervals that
//! it announced. One that is configured so is assumed to be up. Time is an argument; the control thread calls.

mod liveness;
mod path_mtu;
mod peer;
mod told;

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use carpool_dataplane::fib::PeerIndex;
use carpool_dataplane::pool::hello::{Capabilities, HELLO_LEN, Hello};
use log::{debug, info, warn};

use crate::config;
pub use liveness::Down;
use liveness::Heard;
pub use path_mtu::{PathMtu, Quoted};
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
}

impl Peers {
    /// None yet. They are told who we are, and that no pooled packet may have more than `largest` bytes of IP length.
    pub fn new(identity: Identity, largest: u16) -> Peers {
        Peers { identity, largest, draw: (RandomState::new(), Instant::now()), rows: Vec::new() }
    }

    /// The sequence number before the first one to a peer. Nobody else can tell which a hello has (RFC 5927, 4.1); they go
    /// on by one a millisecond, faster than hellos do: a peer that was gone for a while has not heard later ones before.
    fn draw_sequence(&self, address: IpAddr, now: Instant) -> u32 {
        let (key, since) = &self.draw;
        (key.hash_one(address) as u32).wrapping_add(now.saturating_duration_since(*since).as_millis() as u32)
    }

    /// Takes over a new list of peers. What is known of those that stay is kept; those that
    /// go leave their row empty, for others that come another time: nothing may take one for the other meanwhile.
    pub fn configure(&mut self, peers: impl IntoIterator<Item = config::Peer>, now: Instant) {
        let mut free: Vec<_> = (0..self.rows.len()).filter(|row| matches!(self.rows.get(*row), Some(None))).collect();
        let mut before: Vec<_> = self.rows.iter_mut().map(Option::take).collect();
        let mut new = Vec::new();
        for config in peers {
            let sequence = self.draw_sequence(config.address, now);
            let addresses = config.addresses().collect();
            // What was heard in one format says nothing in another.
            let same = |row: &Option<Peer>| {
                row.as_ref()
                    .is_some_and(|peer| (peer.config.address, peer.config.format) == (config.address, config.format))
            };
            let place = before.iter().position(same);
            let known = place.and_then(|place| before.get_mut(place)).and_then(Option::take);
            match (place.and_then(|place| self.rows.get_mut(place)), known) {
                (Some(row), Some(known)) => {
                    let path_mtu = known.path_mtu.filter(|_| config.probe_mtu);
                    *row = Some(Peer { config, addresses, next_hello: now, path_mtu, ..known });
                }
                _ => new.push(Peer {
                    config,
                    addresses,
                    heard: None,
                    next_hello: now,
                    sequence,
                    was_up: false,
                    took: (None, Capabilities::OURS, None),
                    is_incapable: false,
                    longest: 0,
                    path_mtu: None,
                }),
            }
        }
        for peer in new {
            match free.pop().and_then(|row| self.rows.get_mut(row)) {
                Some(row) => *row = Some(peer),
                None => self.rows.push(Some(peer)),
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
        if !hello.capabilities.contains(Capabilities::WHOLE_IPV4) {
            if !peer.is_incapable {
                warn!("peer {}: its hellos say that it does not take IPv4 packets: ignored", peer.config.name);
            }
            peer.is_incapable = true;
            return;
        }
        peer.is_incapable = false;
        let heard = Heard {
            at: now,
            router_id: hello.router_id,
            instance: hello.instance,
            interval: Duration::from_millis(u64::from(hello.interval_ms)),
            hears_us: hello.heard_instance == identity.instance,
            capabilities: hello.capabilities,
            largest: NonZeroU16::new(hello.largest_pooled_packet),
            hops: hello.outer_ttl.checked_sub(arrival.ttl).map(|routers| routers.saturating_add(1)),
        };
        let before = peer.heard.replace(heard);
        if before.is_none_or(|before| (before.instance, before.router_id) != (heard.instance, heard.router_id)) {
            // It does not know yet that we hear it: say so without waiting for the next interval.
            peer.next_hello = now;
            peer.path_mtu = None;
        }
        if arrival.length > peer.longest {
            peer.longest = arrival.length;
            if usize::from(arrival.length) > PLAIN_HELLO {
                // A probe: it is answered at once.
                peer.next_hello = now;
            }
        }
        if heard.hears_us && hello.longest_hello > 0 && peer.config.probe_mtu {
            let unknown = if from.is_ipv4() { PathMtu::new } else { PathMtu::new6 };
            let path_mtu = peer.path_mtu.get_or_insert_with(|| unknown(config::DEFAULT_PEER_MTU, now));
            path_mtu.received(hello.longest_hello, peer.config.hello_interval.max(heard.interval), now);
        }
    }

    /// Whether a hello is due.
    pub fn hello_is_due(&self, now: Instant) -> bool {
        self.rows.iter().flatten().any(|peer| peer.has_hellos() && peer.next_hello <= now)
    }

    /// The hellos that are due, and probes of path MTUs beside them. The next one of each is due an interval later. Hellos
    /// that arrived after `heard_until` may not have been read yet: nobody is taken to be silent for lack of those.
    pub fn due_hellos(&mut self, now: Instant, heard_until: Instant) -> Vec<DueHello> {
        let (identity, largest) = (self.identity, self.largest);
        let rows = (0u16..).map(PeerIndex).zip(&mut self.rows);
        let is_due = |peer: &&mut Peer| peer.has_hellos() && peer.next_hello <= now;
        let due = rows.filter_map(|(index, row)| Some((index, row.as_mut().filter(is_due)?)));
        due.flat_map(|(index, peer)| {
            peer.next_hello = now + peer.config.hello_interval;
            peer.sequence = peer.sequence.wrapping_add(1);
            let heard = peer.heard.filter(|heard| heard_until < heard.silent_at());
            let hello = Hello {
                sequence: peer.sequence,
                outer_ttl: HELLO_TTL,
                router_id: identity.router_id.to_bits(),
                instance: identity.instance,
                heard_instance: heard.map_or(0, |heard| heard.instance),
                interval_ms: u16::try_from(peer.config.hello_interval.as_millis()).unwrap_or(u16::MAX),
                capabilities: Capabilities::OURS,
                largest_pooled_packet: largest,
                longest_hello: std::mem::take(&mut peer.longest),
            };
            let interval = peer.report_interval();
            let probe = peer.path_mtu.as_mut().and_then(|path_mtu| {
                let length = path_mtu.due(interval, now)?;
                peer.sequence = peer.sequence.wrapping_add(1);
                path_mtu.sent(peer.sequence, interval, now);
                Some(length)
            });
            let probe = probe.map(|length| {
                // It may be lost: what is told of received hellos is told by the one that is not padded.
                let hello = Hello { sequence: peer.sequence, longest_hello: 0, ..hello };
                DueHello { peer: index, hello, length }
            });
            std::iter::once(DueHello { peer: index, hello, length: 0 }).chain(probe)
        })
        .collect()
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
            silent.into_iter().chain(peer.has_hellos().then_some(peer.next_hello)).min()
        };
        self.rows.iter().flatten().filter_map(of).min()
    }
}

/// Length of a hello that is not padded, with its IP and UDP headers, in bytes: of an IPv6 one, the longer of the two.
const PLAIN_HELLO: usize = 40 + 8 + HELLO_LEN;

/// TTL of hellos, as of pooled packets.
pub const HELLO_TTL: u8 = 64;

#[cfg(test)]
mod tests;
