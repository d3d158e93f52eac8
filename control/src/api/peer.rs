//! Peers: the routers that pooled packets are exchanged with.

use std::net::{IpAddr, Ipv4Addr};

use carpool_dataplane::pool::{self, simplemux::Flavour};
use serde::{Deserialize, Serialize};

/// `peer_show`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerShow {}

/// `peer_add`: adds a peer; a name that is taken is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerAdd {
    /// Its name, unique among the peers.
    pub name: String,
    /// Where pooled packets to it are addressed and those from it come from.
    pub address: IpAddr,
    /// Its other addresses, as hops of paths name it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alias: Vec<IpAddr>,
    /// The address of ours that it knows us by; that of the port towards it where missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// The largest packet on the way to it, in bytes of IP length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// Whether the path MTU is searched for; it is where missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe_mtu: Option<bool>,
    /// It is taken to be alive, hellos or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assume: Option<bool>,
    /// In which format pooled packets are exchanged with it; our own where missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<PeerFormat>,
    /// Time between hellos to it, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hello_interval_ms: Option<u64>,
}

impl PeerAdd {
    /// A peer of which nothing else is said yet.
    pub fn new(name: String, address: IpAddr) -> PeerAdd {
        let alias = Vec::new();
        let (source, mtu, probe_mtu, assume, format, hello_interval_ms) = (None, None, None, None, None, None);
        PeerAdd { name, address, alias, source, mtu, probe_mtu, assume, format, hello_interval_ms }
    }
}

/// `peer_del`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerDel {
    /// The peer's name.
    pub name: String,
}

/// Whether a peer lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerState {
    /// Its hellos arrive.
    Up,
    /// They do not: traffic goes on unpooled.
    Down,
    /// Configured to be taken for alive without hellos.
    Assumed,
}

/// In which format pooled packets are exchanged with a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerFormat {
    /// Our own.
    #[default]
    Native,
    /// Simplemux, its normal flavour.
    Simplemux,
    /// Simplemux, its fast flavour.
    SimplemuxFast,
}

impl From<PeerFormat> for pool::Format {
    fn from(format: PeerFormat) -> pool::Format {
        match format {
            PeerFormat::Native => pool::Format::Native,
            PeerFormat::Simplemux => pool::Format::Simplemux(Flavour::Normal),
            PeerFormat::SimplemuxFast => pool::Format::Simplemux(Flavour::Fast),
        }
    }
}

/// How the path MTU to a peer is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathMtuSource {
    /// It is configured, or taken for granted.
    Configured,
    /// It is being searched for.
    Probing,
    /// Probes of this length get there, and none that are much longer, or none longer are sent.
    Probed,
}

/// A peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerEntry {
    /// Its name.
    pub name: String,
    /// Where pooled packets to it are addressed.
    pub address: IpAddr,
    /// Its other addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alias: Vec<IpAddr>,
    /// The address of ours that it knows us by; missing where no route leads to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// In which format pooled packets are exchanged with it.
    pub format: PeerFormat,
    /// Whether it lives.
    pub state: PeerState,
    /// Why it is down, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Hops from it to us, routers that just forward counted: what its last hello tells; missing where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hops: Option<u8>,
    /// The largest pooled packet to it, in bytes of IP length.
    pub path_mtu: u16,
    /// How that is known.
    pub path_mtu_source: PathMtuSource,
    /// What it takes, as its last hello says: the flags of docs/wire-format.md by name.
    pub capabilities: Vec<String>,
    /// Its router id; missing where no hello came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router_id: Option<Ipv4Addr>,
    /// Time since its last hello, in milliseconds; missing where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_hello_ms: Option<u64>,
}

/// Reply to `peer_show`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerList {
    /// The peers, in the order of the configuration; then those that came over the control socket.
    pub peers: Vec<PeerEntry>,
}
