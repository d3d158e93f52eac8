//! Which peers live: hellos out, hellos in, and what their silence means.
//!
//! A peer is up while its hellos arrive and say that it hears ours, of this very run of ours: either direction failing
//! takes it down, and so does a restart of either router. It is down when it was silent for three of the intervals that
//! it announced. One that is configured so is assumed to be up. Time is an argument; the control thread calls.

mod path_mtu;
mod told;

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant};

use carpool_dataplane::fib::PeerIndex;
use carpool_dataplane::pool::hello::{Capabilities, HELLO_LEN, Hello};
use log::{debug, info, warn};

use crate::api::peer::PeerFormat;
use crate::config;
pub use path_mtu::PathMtu;
pub use told::{ToldPeers, ToldPeersError};

/// A peer is down after so many of its intervals without a hello.
const INTERVALS: u32 = 3;
/// The shortest silence that takes a peer down, whatever interval it announces.
const LEAST_SILENCE: Duration = Duration::from_millis(30);

/// Who we are in hellos.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The router's identity.
    pub router_id: Ipv4Addr,
    /// A number of this run of the router; not 0.
    pub instance: u32,
}

/// What a peer last said.
#[derive(Clone, Copy, Debug)]
struct Heard {
    at: Instant,
    router_id: u32,
    instance: u32,
    interval: Duration,
    /// It hears us.
    hears_us: bool,
    capabilities: Capabilities,
    /// The longest pooled packet that it takes, in bytes.
    largest: Option<NonZeroU16>,
    /// Hops that the hello came over.
    hops: Option<u8>,
}

/// A peer.
#[derive(Clone, Debug)]
pub struct Peer {
    /// As configured.
    pub config: config::Peer,
    /// All its addresses.
    pub addresses: Arc<[IpAddr]>,
    heard: Option<Heard>,
    next_hello: Instant,
    sequence: u32,
    was_up: bool,
    /// The longest pooled packet that it took, what it could do, and the path MTU, when changes were last noted.
    took: (Option<NonZeroU16>, Capabilities, Option<u16>),
    /// Its last hello said that it cannot be pooled to, which the log says once.
    is_incapable: bool,
    /// The longest hello that came from it since the last one to it, in bytes of IP length.
    longest: u16,
    /// What is known of the path to it; None while it does not tell which probes arrive, or must not be probed.
    path_mtu: Option<PathMtu>,
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

/// Why a peer is not up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// No hello ever came.
    NeverHeard,
    /// Hellos came, but none for so long.
    Silent(Duration),
    /// Hellos come, but say that ours do not arrive.
    DoesNotHearUs,
}

impl std::fmt::Display for Down {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Down::NeverHeard => f.write_str("no hello has come from it"),
            Down::Silent(time) => write!(f, "no hello has come from it for {} ms", time.as_millis()),
            Down::DoesNotHearUs => f.write_str("its hellos come, but it does not hear ours"),
        }
    }
}

impl Peer {
    /// Whether it lives, or else why it is taken not to.
    pub fn state(&self, now: Instant) -> Result<(), Down> {
        if self.config.assume {
            return Ok(());
        }
        let heard = self.heard.ok_or(Down::NeverHeard)?;
        let silent = now.saturating_duration_since(heard.at);
        if now >= heard.silent_at() {
            return Err(Down::Silent(silent));
        }
        if heard.hears_us { Ok(()) } else { Err(Down::DoesNotHearUs) }
    }

    /// Whether it speaks our format: only then are there hellos.
    pub fn has_hellos(&self) -> bool {
        self.config.format == PeerFormat::Native
    }

    /// The longest pooled packet that it says it takes, in bytes of IP length; None where it does not say.
    pub fn largest_pooled_packet(&self) -> Option<NonZeroU16> {
        self.heard?.largest
    }

    /// What it takes. Of one that is assumed to live and never spoke: what every version and make does.
    pub fn capabilities(&self) -> Capabilities {
        let unheard = match (self.has_hellos(), self.config.assume) {
            (true, true) => Capabilities::UNHEARD,
            // It is down: its first hello, which says what it takes, need not be a change yet.
            (true, false) => Capabilities::OURS,
            (false, _) => Capabilities::WHOLE_IPV4,
        };
        self.heard.map_or(unheard, |heard| heard.capabilities)
    }

    /// Who it says it is; None where no hello came.
    pub fn router_id(&self) -> Option<Ipv4Addr> {
        self.heard.map(|heard| Ipv4Addr::from_bits(heard.router_id))
    }

    /// What is known of the path MTU to it; None where it is not searched for.
    pub fn path_mtu(&self) -> Option<&PathMtu> {
        self.path_mtu.as_ref()
    }

    /// Hops from it to us, as far as its hellos tell.
    pub fn hops(&self) -> Option<u8> {
        self.heard?.hops
    }

    /// Time since its last hello.
    pub fn last_hello(&self, now: Instant) -> Option<Duration> {
        self.heard.map(|heard| now.saturating_duration_since(heard.at))
    }
}

impl Heard {
    fn silent_at(&self) -> Instant {
        self.at + (self.interval * INTERVALS).max(LEAST_SILENCE)
    }
}

/// All peers, by index. An index keeps its meaning while its peer is configured.
#[derive(Clone, Debug)]
pub struct Peers {
    identity: Identity,
    /// The longest pooled packet that we take, in bytes.
    largest: u16,
    rows: Vec<Option<Peer>>,
}

impl Peers {
    /// None yet. They are told who we are, and that no pooled packet may have more than `largest` bytes of IP length.
    pub fn new(identity: Identity, largest: u16) -> Peers {
        Peers { identity, largest, rows: Vec::new() }
    }

    /// Takes over a new list of peers. What is known of those that stay is kept; those that
    /// go leave their row empty, for others that come another time: nothing may take one for the other meanwhile.
    pub fn configure(&mut self, peers: impl IntoIterator<Item = config::Peer>, now: Instant) {
        let mut free: Vec<_> = (0..self.rows.len()).filter(|row| matches!(self.rows.get(*row), Some(None))).collect();
        let mut before: Vec<_> = self.rows.iter_mut().map(Option::take).collect();
        let mut new = Vec::new();
        for config in peers {
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
                    sequence: 0,
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

    /// A router says that a packet to the peer with this address was too long for a link that takes `mtu` bytes. `hello`: the
    /// sequence number of a quoted hello; None: it was a pooled packet, which does not prove that the router has seen one.
    pub fn packet_too_big(&mut self, address: IpAddr, mtu: u16, hello: Option<u32>, now: Instant) {
        let Some(peer) = self.rows.iter_mut().flatten().find(|peer| peer.config.address == address) else { return };
        let Some(path_mtu) = &mut peer.path_mtu else { return };
        let goes_on = match hello {
            Some(sequence) if peer.sequence.wrapping_sub(sequence) < RECENT_HELLOS => {
                debug!("peer {}: a router on the way takes {mtu} bytes", peer.config.name);
                path_mtu.told(mtu, now);
                true
            }
            Some(_) => false,
            None => mtu < path_mtu.current() && path_mtu.doubt(peer.config.hello_interval, now),
        };
        if goes_on {
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
            path_mtu.received(hello.longest_hello, peer.config.hello_interval, now);
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
            let probe = peer.path_mtu.as_mut().and_then(|path_mtu| path_mtu.due(peer.config.hello_interval, now));
            let probe = probe.map(|length| {
                peer.sequence = peer.sequence.wrapping_add(1);
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

/// A router that quotes a hello quotes one of the last few.
const RECENT_HELLOS: u32 = 16;

/// Length of a hello that is not padded, with its IP and UDP headers, in bytes: of an IPv6 one, the longer of the two.
const PLAIN_HELLO: usize = 40 + 8 + HELLO_LEN;

/// TTL of hellos, as of pooled packets.
pub const HELLO_TTL: u8 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const EAST: IpAddr = IpAddr::V4(EAST_ID);
    const EAST_ID: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
    const PLAIN: Arrival = Arrival { ttl: 63, length: 56 };
    const INTERVAL: Duration = Duration::from_millis(200);

    fn peer(address: IpAddr, assume: bool) -> config::Peer {
        config::Peer { assume, ..config::Peer::new(address.to_string(), address) }
    }

    fn peers(instance: u32, now: Instant) -> Peers {
        let mut peers = Peers::new(Identity { router_id: Ipv4Addr::new(192, 0, 2, 1), instance }, 1500);
        peers.configure([peer(EAST, false)], now);
        peers
    }

    /// What the other side would send.
    fn hello(instance: u32, heard_instance: u32) -> Hello {
        Hello {
            sequence: 1,
            outer_ttl: 64,
            router_id: EAST_ID.to_bits(),
            instance,
            heard_instance,
            interval_ms: 100,
            capabilities: Capabilities::OURS,
            largest_pooled_packet: 0,
            longest_hello: 0,
        }
    }

    const ROW: PeerIndex = PeerIndex(0);

    #[test]
    fn a_peer_is_up_when_it_hears_us_and_down_after_three_of_its_intervals() {
        let now = Instant::now();
        let mut peers = peers(7, now);
        assert_eq!(peers.get(ROW).expect("row").state(now), Err(Down::NeverHeard));
        peers.hello(EAST, &hello(1, 0), PLAIN, now);
        assert_eq!(peers.get(ROW).expect("row").state(now), Err(Down::DoesNotHearUs));
        assert!(!peers.take_changes(now));
        peers.hello(EAST, &hello(1, 7), PLAIN, now);
        assert!(peers.take_changes(now) && peers.is_up(ROW, now));
        let end = now + Duration::from_millis(300);
        assert!(peers.is_up(ROW, end - Duration::from_millis(1)));
        assert!(!peers.is_up(ROW, end));
        peers.due_hellos(end - INTERVAL / 2, end - INTERVAL / 2);
        assert_eq!(peers.deadline(), Some(end), "the end of its life wakes the control thread");
        assert!(peers.take_changes(end));
    }

    #[test]
    fn hellos_go_out_at_the_interval_and_say_whom_we_hear() {
        let now = Instant::now();
        let mut peers = peers(7, now);
        let first = peers.due_hellos(now, now);
        assert_eq!(first.len(), 1);
        assert_eq!((first[0].hello.instance, first[0].hello.heard_instance, first[0].hello.interval_ms), (7, 0, 200));
        assert_eq!(peers.deadline(), Some(now + INTERVAL));
        assert!(
            peers
                .due_hellos(now + INTERVAL - Duration::from_millis(1), now + INTERVAL - Duration::from_millis(1))
                .is_empty()
        );
        peers.hello(EAST, &hello(1, 0), PLAIN, now);
        let second = peers.due_hellos(now, now);
        assert_eq!(second[0].hello.heard_instance, 1, "who begins to be heard is told so at once");
        peers.hello(EAST, &hello(1, 7), PLAIN, now);
        assert!(peers.due_hellos(now, now).is_empty(), "once");
        let late = peers.due_hellos(now + Duration::from_secs(1), now + Duration::from_secs(1));
        assert_eq!(late[0].hello.heard_instance, 0, "who fell silent is not heard any more");
    }

    #[test]
    fn a_hello_that_changes_the_largest_pooled_packet_is_a_change() {
        let now = Instant::now();
        let mut peers = peers(7, now);
        peers.hello(EAST, &hello(1, 7), PLAIN, now);
        peers.take_changes(now);
        assert_eq!(peers.get(ROW).expect("row").largest_pooled_packet(), None, "0 says nothing");
        let smaller = Hello { largest_pooled_packet: 1200, ..hello(1, 7) };
        peers.hello(EAST, &smaller, PLAIN, now);
        assert!(peers.take_changes(now));
        assert_eq!(peers.get(ROW).expect("row").largest_pooled_packet().map(u16::from), Some(1200));
        peers.hello(EAST, &smaller, PLAIN, now);
        assert!(!peers.take_changes(now), "it says the same");
        assert_eq!(peers.due_hellos(now, now)[0].hello.largest_pooled_packet, 1500, "we say what we take");
    }

    #[test]
    fn a_hello_tells_what_the_peer_can_do_and_how_far_it_is() {
        let now = Instant::now();
        let mut peers = peers(7, now);
        let plain = Hello { capabilities: Capabilities::WHOLE_IPV4, ..hello(1, 7) };
        peers.hello(EAST, &plain, Arrival { ttl: 62, ..PLAIN }, now);
        peers.take_changes(now);
        let of = |peers: &Peers| peers.get(ROW).map(|peer| (peer.hops(), peer.capabilities()));
        assert_eq!(of(&peers), Some((Some(3), Capabilities::WHOLE_IPV4)));
        let both = Capabilities(Capabilities::WHOLE_IPV4.0 | Capabilities::ON_THE_WAY.0);
        peers.hello(EAST, &Hello { capabilities: both, ..hello(1, 7) }, Arrival { ttl: 65, ..PLAIN }, now);
        assert_eq!(of(&peers), Some((None, both)), "a TTL that has grown tells nothing");
        assert!(peers.take_changes(now), "paths over it change");
    }

    #[test]
    fn a_restart_of_either_side_needs_a_new_agreement() {
        let now = Instant::now();
        let mut peers = peers(7, now);
        peers.hello(EAST, &hello(1, 7), PLAIN, now);
        peers.hello(EAST, &hello(2, 0), PLAIN, now);
        assert!(!peers.is_up(ROW, now), "it has restarted and does not hear us yet");
        peers.hello(EAST, &hello(2, 6), PLAIN, now);
        assert!(!peers.is_up(ROW, now), "it hears the run of ours before this one");
        peers.hello(EAST, &hello(2, 7), PLAIN, now);
        assert!(peers.is_up(ROW, now));
    }

    #[test]
    fn strangers_and_echoes_of_ourselves_say_nothing() {
        let now = Instant::now();
        let mut peers = peers(7, now);
        peers.hello(IpAddr::from([10, 0, 0, 1]), &hello(1, 7), PLAIN, now);
        let echo = Hello { router_id: Ipv4Addr::new(192, 0, 2, 1).to_bits(), ..hello(7, 7) };
        peers.hello(EAST, &echo, PLAIN, now);
        let incapable = Hello { capabilities: Capabilities(0), ..hello(1, 7) };
        peers.hello(EAST, &incapable, PLAIN, now);
        assert_eq!(peers.get(ROW).expect("row").state(now), Err(Down::NeverHeard));
        assert!(peers.get(ROW).expect("row").is_incapable);
        peers.hello(EAST, &hello(1, 7), PLAIN, now);
        assert!(!peers.get(ROW).expect("row").is_incapable, "it would be news again");
    }

    #[test]
    fn a_probe_is_sent_beside_the_hello_and_what_arrived_of_the_peers_is_told_once() {
        let now = Instant::now();
        let mut peers = peers(7, now);
        let lengths = |due: &[DueHello]| due.iter().map(|due| due.length).collect::<Vec<_>>();
        let told = |due: &[DueHello]| due.iter().map(|due| due.hello.longest_hello).collect::<Vec<_>>();
        peers.hello(EAST, &hello(1, 7), PLAIN, now);
        assert_eq!(lengths(&peers.due_hellos(now, now)), [0], "it does not say which hellos arrive");
        peers.hello(EAST, &Hello { longest_hello: 56, ..hello(1, 7) }, PLAIN, now);
        assert_eq!(peers.get(ROW).and_then(Peer::path_mtu).map(PathMtu::current), Some(1200));
        let later = now + INTERVAL;
        let due = peers.due_hellos(later, later);
        assert_eq!((lengths(&due), told(&due)), (vec![0, 1500], vec![56, 0]));
        assert_eq!(due[1].hello.sequence, due[0].hello.sequence + 1);
        peers.take_changes(later);
        peers.hello(EAST, &Hello { longest_hello: 1500, ..hello(1, 7) }, Arrival { length: 1400, ..PLAIN }, later);
        assert!(peers.take_changes(later), "the path MTU has grown");
        let due = peers.due_hellos(later, later);
        assert_eq!((lengths(&due), told(&due)), (vec![0], vec![1400]), "its probe is answered at once");
        peers.hello(EAST, &Hello { longest_hello: 56, ..hello(2, 0) }, PLAIN, later);
        assert!(peers.get(ROW).is_some_and(|peer| peer.path_mtu().is_none()), "it has restarted");
    }

    #[test]
    fn only_a_quoted_hello_of_ours_lowers_the_path_mtu() {
        let now = Instant::now();
        let mut peers = peers(7, now);
        peers.hello(EAST, &Hello { longest_hello: 56, ..hello(1, 7) }, PLAIN, now);
        let probe = peers.due_hellos(now, now).pop().expect("a probe").hello;
        peers.hello(EAST, &Hello { longest_hello: 1500, ..hello(1, 7) }, PLAIN, now);
        let mtu = |peers: &Peers| peers.get(ROW).and_then(Peer::path_mtu).map(PathMtu::current);
        for (address, sequence) in [(EAST, probe.sequence + 1), (EAST, probe.sequence.wrapping_sub(16))] {
            peers.packet_too_big(address, 1400, Some(sequence), now);
        }
        peers.packet_too_big(IpAddr::from([10, 0, 0, 1]), 1400, Some(probe.sequence), now);
        assert_eq!(mtu(&peers), Some(1500), "that was not ours, or long ago");
        peers.packet_too_big(EAST, 1400, None, now);
        assert_eq!(mtu(&peers), Some(1500), "a pooled packet is quoted");
        let lengths: Vec<_> = peers.due_hellos(now, now).iter().map(|due| due.length).collect();
        assert_eq!(lengths, [0, 1500], "but it is asked for at once");
        peers.packet_too_big(EAST, 1400, Some(probe.sequence), now);
        assert_eq!(mtu(&peers), Some(1400));
    }

    #[test]
    fn an_assumed_peer_is_up_without_a_word() {
        let now = Instant::now();
        let mut peers = Peers::new(Identity { router_id: EAST_ID, instance: 1 }, 1500);
        peers.configure([peer(IpAddr::from([10, 0, 0, 1]), true)], now);
        assert!(peers.take_changes(now));
        assert!(peers.is_up(ROW, now + Duration::from_secs(1000)));
    }

    #[test]
    fn an_assumed_peer_takes_whole_packets_until_it_says_what_else() {
        let now = Instant::now();
        let mut peers = peers(7, now);
        peers.configure([peer(EAST, true)], now);
        let takes = |peers: &Peers| peers.iter().next().map(|(_, peer)| peer.capabilities());
        assert_eq!(takes(&peers), Some(Capabilities(0b11)));
        peers.hello(EAST, &hello(1, 7), PLAIN, now);
        assert_eq!(takes(&peers), Some(hello(1, 7).capabilities));
    }

    #[test]
    fn a_peer_of_another_format_gets_no_hellos_and_nothing_heard_before_counts_for_it() {
        let now = Instant::now();
        let mut peers = peers(7, now);
        peers.hello(EAST, &hello(1, 7), PLAIN, now);
        peers.configure([config::Peer { format: PeerFormat::Simplemux, ..peer(EAST, true) }], now);
        assert!(!peers.hello_is_due(now) && peers.due_hellos(now, now).is_empty());
        assert_eq!(peers.deadline(), None);
        let (index, east) = peers.iter().next().expect("it is there");
        assert_eq!((east.last_hello(now), peers.is_up(index, now)), (None, true));
        assert_eq!(east.capabilities(), Capabilities::WHOLE_IPV4, "the format has no other");
    }

    #[test]
    fn peers_keep_their_index_when_others_come_and_go() {
        let now = Instant::now();
        let (a, b, c) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]), IpAddr::from([10, 0, 0, 3]));
        let mut peers = peers(7, now);
        peers.configure([peer(a, false), peer(b, false), peer(EAST, false)], now);
        let index = peers.index_of(b).expect("b");
        peers.hello(b, &hello(1, 7), PLAIN, now);
        peers.configure([peer(c, false), peer(b, false)], now);
        assert_eq!(peers.index_of(b), Some(index));
        assert!(peers.is_up(index, now), "what is known of it stays");
        assert_eq!(peers.index_of(a), None);
        let row = peers.index_of(c).expect("c");
        assert_eq!(peers.rows().len(), 4, "rows are not used again at once");
        assert!(!peers.is_up(row, now));
        peers.configure([peer(a, false), peer(b, false), peer(c, false)], now);
        assert_eq!(peers.rows().len(), 4, "but later");
        assert_eq!((peers.index_of(b), peers.index_of(c)), (Some(index), Some(row)));
    }
}
