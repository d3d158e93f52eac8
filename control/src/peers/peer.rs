//! What is known of one peer.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant};

use carpool_dataplane::pool::hello::Capabilities;

use super::{Down, Heard, PathMtu};
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

    /// What it takes. Of one that is assumed to live and never spoke: what any router of this version does.
    pub fn capabilities(&self) -> Capabilities {
        let unheard = if self.has_hellos() { Capabilities::OURS } else { Capabilities::WHOLE_IPV4 };
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
