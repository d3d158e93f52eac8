//! Paths: the routers behind a route, as far as they are known.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::route::{Source, default_limit, deserialize_limit};
use super::text::{deserialize_optional_prefix, deserialize_prefix};

/// The most paths of one `path_show`.
pub const PATH_PAGE_MAX: u32 = super::route::ROUTE_PAGE_MAX;

/// `path_add`: adds a path; one to the same prefix is replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathAdd {
    /// The destinations it leads to.
    #[serde(deserialize_with = "deserialize_prefix")]
    pub prefix: IpNet,
    /// The routers on the way, the next hop first.
    pub hops: Vec<IpAddr>,
}

/// Reply to `path_add`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathChanged {
    /// Whether a path to this prefix was there before.
    pub replaced: bool,
}

/// `path_del`: deletes the path to exactly this prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathDel {
    /// The prefix.
    #[serde(deserialize_with = "deserialize_prefix")]
    pub prefix: IpNet,
}

/// `path_show`: the paths in order of prefix, a page at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathShow {
    /// Only paths to this prefix or to a part of it.
    #[serde(default, deserialize_with = "deserialize_optional_prefix", skip_serializing_if = "Option::is_none")]
    pub prefix: Option<IpNet>,
    /// How many paths to skip.
    #[serde(default)]
    pub offset: u32,
    /// The most paths to return, 1 to [`PATH_PAGE_MAX`]: what is outside is taken for the nearest bound.
    #[serde(default = "default_limit", deserialize_with = "deserialize_limit")]
    pub limit: u32,
}

/// A path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathEntry {
    /// The destinations it leads to.
    pub prefix: IpNet,
    /// The routers on the way, nearest first.
    pub hops: Vec<PathHop>,
    /// The peer that pooled packets on it are addressed to; missing where nothing is pooled.
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
    pub address: IpAddr,
    /// Its name where it is a peer; missing for a router that just forwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// The TTL, in the index of a pooled packet, of packets that are taken out here; missing where none are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u8>,
    /// Why a peer takes nothing out here, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Reply to `path_show`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathList {
    /// All paths that fit, on all pages.
    pub total: u64,
    /// How many were skipped.
    pub offset: u32,
    /// The paths in order of prefix.
    pub paths: Vec<PathEntry>,
}
