//! Paths: the routers behind a route, as far as they are known.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::route::Source;

/// `path_show`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathShow {}

/// A path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathEntry {
    /// The destinations it leads to.
    pub prefix: Ipv4Net,
    /// The routers on the way, nearest first.
    pub hops: Vec<PathHop>,
    /// The peer that stream packets to these destinations are pooled to; missing where nothing is pooled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// Why nothing is pooled, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who put it there.
    pub source: Source,
}

/// A router on a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathHop {
    /// One of its addresses.
    pub address: Ipv4Addr,
    /// Its name where it is a peer; missing for a router that just forwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
}

/// Reply to `path_show`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathList {
    /// The paths in order of prefix.
    pub paths: Vec<PathEntry>,
}
