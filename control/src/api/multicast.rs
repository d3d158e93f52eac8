//! Multicast routes: where packets to a group come from, and where their replicas go.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::route::Source;

/// `multicast_add`, and a route as the configuration has it. One for the same group and source is replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MulticastRoute {
    /// The group: 224.0.1.0 to 239.255.255.255, or one of IPv6 that routers forward, with a scope of 3 to f.
    pub group: IpAddr,
    /// Who sends, of the family of the group; missing: whoever does. A route for one source comes before the one for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// The port or peer that packets must come in by.
    pub from: String,
    /// The ports and peers that they go to.
    pub to: Vec<String>,
}

/// `multicast_del`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MulticastDel {
    /// The group.
    pub group: IpAddr,
    /// The source; missing: the route for all sources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
}

/// `multicast_show`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MulticastShow {}

/// Whether a leg is a port or a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LegKind {
    /// A port: packets leave on its link as themselves.
    Port,
    /// A peer: they travel in pooled packets.
    Peer,
}

/// A leg of a multicast or overlay route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegEntry {
    /// The name of the port or peer.
    pub name: String,
    /// Which of both; missing where there is none of this name any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<LegKind>,
    /// Why nothing is sent by it, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A multicast route as the router has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MulticastEntry {
    /// The group.
    pub group: IpAddr,
    /// Who sends; missing: whoever does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// Where packets must come in.
    pub from: LegEntry,
    /// Where they go.
    pub to: Vec<LegEntry>,
    /// Who put it there: `source` is who sends.
    pub put_by: Source,
}

/// Reply to `multicast_show`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MulticastList {
    /// The routes in order of group and source.
    pub multicast: Vec<MulticastEntry>,
}
