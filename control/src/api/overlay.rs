//! Overlay routes: prefixes that are reached from overlay node to overlay node, in pooled packets.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::multicast::LegEntry;
use super::route::Source;
use super::text::deserialize_prefix;

/// `overlay_add`, and a route as the configuration has it. One to the same prefix is replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverlayRoute {
    /// The destinations.
    #[serde(deserialize_with = "deserialize_prefix")]
    pub prefix: IpNet,
    /// The port or peer that packets must come in by; missing: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The peers that they go to, each of them.
    pub to: Vec<String>,
    /// The overlay nodes behind the peer, nearest first, where `to` has one: packets are taken out at the last of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hops: Vec<IpAddr>,
}

/// `overlay_del`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverlayDel {
    /// The destinations of the route: exactly these.
    #[serde(deserialize_with = "deserialize_prefix")]
    pub prefix: IpNet,
}

/// `overlay_show`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverlayShow {}

/// An overlay route as the router has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayEntry {
    /// The destinations.
    pub prefix: IpNet,
    /// Where packets must come in; missing: anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<LegEntry>,
    /// Where they go.
    pub to: Vec<LegEntry>,
    /// The overlay nodes behind the peer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hops: Vec<IpAddr>,
    /// Who put it there.
    pub source: Source,
}

/// Reply to `overlay_show`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayList {
    /// The routes in order of prefix.
    pub overlays: Vec<OverlayEntry>,
}
