//! What the router would do with a packet to an address.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::multicast::MulticastEntry;
use super::overlay::OverlayEntry;
use super::path::PathHop;
use super::route::{AdjacencyKind, Source};
use super::text::MacAddress;

/// `lookup`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lookup {
    /// The destination.
    pub address: IpAddr,
}

/// Reply to `lookup`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookupResult {
    /// The destination.
    pub address: IpAddr,
    /// What is done with packets to it.
    pub adjacency: AdjacencyKind,
    /// The longest prefix that covers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<IpNet>,
    /// Who put the route there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// The next router.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<IpAddr>,
    /// The port packets leave by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// The Ethernet address packets are sent to; missing while it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddress>,
    /// The peer that stream packets to it are pooled to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// The routers on its path, where one is known that leaves the same way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<Vec<PathHop>>,
    /// The overlay route that packets to it take; what is said above is then for packets of the router itself alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlay: Option<OverlayEntry>,
    /// The multicast routes of a group, in order of source; that of a source comes before the one for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub multicast: Vec<MulticastEntry>,
}
