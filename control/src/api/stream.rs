//! Provisioned streams: those whose headers both ends were told of, so that only payloads travel.

use serde::{Deserialize, Serialize};

use super::route::{Source, default_limit, deserialize_limit};
use super::text::{CodePoint, Endpoint};

/// The most streams of one `stream_show`.
pub const STREAM_PAGE_MAX: u32 = super::route::ROUTE_PAGE_MAX;

/// `stream_add`, and a stream as the configuration has it. Both ends are told the same, but for the peer: each names the
/// other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// What both ends call it, unique among the streams to and from the peer.
    pub id: u16,
    /// The name of the peer at the other end.
    pub peer: String,
    /// Where its packets come from.
    pub source: Endpoint,
    /// Where they go to, in the same family.
    pub destination: Endpoint,
    /// Their class; the default one where missing.
    #[serde(default)]
    pub dscp: CodePoint,
    /// The TTL or hop limit with which they arrive at the router that pools them, 2 to 255.
    pub ttl: u8,
}

/// `stream_del`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamDel {
    /// The stream's id.
    pub id: u16,
    /// The name of its peer.
    pub peer: String,
}

/// `stream_show`: the streams in order of peer and id, a page at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamShow {
    /// Only those of this peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// How many to skip.
    #[serde(default)]
    pub offset: u32,
    /// The most to return, 1 to [`STREAM_PAGE_MAX`]: what is outside is taken for the nearest bound.
    #[serde(default = "default_limit", deserialize_with = "deserialize_limit")]
    pub limit: u32,
}

/// A stream as the router has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamEntry {
    /// What both ends call it.
    pub id: u16,
    /// The name of the peer at the other end.
    pub peer: String,
    /// Where its packets come from.
    pub source: Endpoint,
    /// Where they go to.
    pub destination: Endpoint,
    /// Their class.
    pub dscp: CodePoint,
    /// The TTL or hop limit with which they arrive at the router that pools them.
    pub ttl: u8,
    /// Why its packets travel whole, in words; missing where nothing is known to stand in the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who put it there.
    pub put_by: Source,
}

/// Reply to `stream_show`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamList {
    /// All streams that fit, on all pages.
    pub total: u64,
    /// How many were skipped.
    pub offset: u32,
    /// The streams in order of peer and id.
    pub streams: Vec<StreamEntry>,
}
