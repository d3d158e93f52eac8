//! What is known of one peer.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant};

use carpool_dataplane::fib::PeerIndex;
use carpool_dataplane::pool::hello::{Capabilities, Hello};

use super::{Down, DueHello, HELLO_TTL, Heard, Identity, PathMtu};
use crate::api::peer::PeerFormat;
use crate::config;

/// A peer.
#[derive(Clone, Debug)]
pub struct Peer {
    /// As configured.
    pub config: config::Peer,
    /// All its addresses.
    pub addresses: Arc<[IpAddr]>,
    pub(super) heard: Option<Heard>,
    pub(super) next_hello: Instant,
    pub(super) sequence: u32,
    pub(super) was_up: bool,
    /// The longest pooled packet that it took, what it could do, and the path MTU, when changes were last noted.
    pub(super) took: (Option<NonZeroU16>, Capabilities, Option<u16>),
    /// Its last hello said that it cannot be pooled to, which the log says once.
    pub(super) is_incapable: bool,
    /// The longest hello that came from it since the last one to it, in bytes of IP length.
    pub(super) longest: u16,
    /// What is known of the path to it; None while it does not tell which probes arrive, or must not be probed.
    pub(super) path_mtu: Option<PathMtu>,
}

/// What our hellos say to all peers.
pub(super) struct OwnHello {
    pub identity: Identity,
    /// The longest pooled packet that we take, in bytes.
    pub largest: u16,
    /// Peers that were heard until then are not silent.
    pub heard_until: Instant,
}

impl Peer {
    /// One of which nothing was heard; the sequence number before that of its first hello, and when that is due.
    pub(super) fn new(config: config::Peer, sequence: u32, first_hello: Instant) -> Peer {
        Peer {
            addresses: config.addresses().collect(),
            config,
            heard: None,
            next_hello: first_hello,
            sequence,
            was_up: false,
            took: (None, Capabilities::OURS, None),
            is_incapable: false,
            longest: 0,
            path_mtu: None,
        }
    }

    /// The same one with another configuration.
    pub(super) fn reconfigured(self, config: config::Peer, now: Instant) -> Peer {
        let addresses = config.addresses().collect();
        let next_hello = self.next_hello.min(now + config.hello_interval);
        let path_mtu = self.path_mtu.filter(|_| config.probe_mtu);
        Peer { config, addresses, next_hello, path_mtu, ..self }
    }

    /// Whether a hello is due.
    pub(super) fn hello_is_due(&self, now: Instant) -> bool {
        self.has_hellos() && self.next_hello <= now
    }

    /// Sends a hello, and a probe beside it where one is due. False, and nothing has changed, where there is no room for it.
    pub(super) fn send_hello(
        &mut self,
        index: PeerIndex,
        own: &OwnHello,
        now: Instant,
        send: &mut impl FnMut(&DueHello) -> bool,
    ) -> bool {
        let hello_interval = self.config.hello_interval;
        let heard = self.heard.filter(|heard| own.heard_until < heard.silent_at());
        let hello = Hello {
            sequence: self.sequence.wrapping_add(1),
            outer_ttl: HELLO_TTL,
            router_id: own.identity.router_id.to_bits(),
            instance: own.identity.instance,
            heard_instance: heard.map_or(0, |heard| heard.instance),
            interval_ms: u16::try_from(hello_interval.as_millis()).unwrap_or(u16::MAX),
            capabilities: Capabilities::OURS,
            largest_pooled_packet: own.largest,
            longest_hello: self.longest,
        };
        if !send(&DueHello { peer: index, hello, length: 0 }) {
            return false;
        }
        (self.sequence, self.longest) = (hello.sequence, 0);
        self.next_hello = after(self.next_hello, hello_interval, now);
        let interval = self.report_interval();
        if let Some(path_mtu) = &mut self.path_mtu
            && let Some(length) = path_mtu.due(interval, now)
        {
            // It may be lost: what is told of received hellos is told by the one that is not padded.
            let hello = Hello { sequence: hello.sequence.wrapping_add(1), longest_hello: 0, ..hello };
            // Where there is no room for it, it is due with the next hello.
            if send(&DueHello { peer: index, hello, length }) {
                self.sequence = hello.sequence;
                path_mtu.sent(hello.sequence, interval, now);
            }
        }
        true
    }

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

    /// How often either side tells what it received: as often as both send.
    pub(super) fn report_interval(&self) -> Duration {
        self.heard.map_or(self.config.hello_interval, |heard| heard.interval.max(self.config.hello_interval))
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

/// When the hello after one that was due at `due` is due: those that were late are not late together from then on.
fn after(due: Instant, interval: Duration, now: Instant) -> Instant {
    let late = now.saturating_duration_since(due).as_nanos() % interval.as_nanos().max(1);
    now + interval - Duration::from_nanos(u64::try_from(late).unwrap_or(0))
}
