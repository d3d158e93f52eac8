//! Hosts and routers on our links.

use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize};

use super::text::MacAddress;

/// The most neighbours in one reply to `neighbor_show`.
pub const NEIGHBOR_PAGE_MAX: u32 = 10_000;

/// `neighbor_show`: the neighbours in order of address, a page at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NeighborShow {
    /// How many to skip.
    #[serde(default)]
    pub offset: u32,
    /// The most to return, 1 to [`NEIGHBOR_PAGE_MAX`]: what is outside is taken for the nearest bound.
    #[serde(default = "default_limit", deserialize_with = "deserialize_limit")]
    pub limit: u32,
}

fn default_limit() -> u32 {
    1000
}

fn deserialize_limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    u32::deserialize(deserializer).map(|limit| limit.clamp(1, NEIGHBOR_PAGE_MAX))
}

/// `neighbor_add`: a neighbour that needs no resolution and does not age.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NeighborAdd {
    /// Its address, in the subnet of a port.
    pub address: IpAddr,
    /// Its Ethernet address; no group address.
    pub mac: MacAddress,
    /// The port's name; found by the address where missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
}

/// `neighbor_del`: forgets a neighbour, static or learned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NeighborDel {
    /// Its address.
    pub address: IpAddr,
    /// The port's name; found by the address where missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
}

/// What is known of a neighbour (RFC 4861, 7.3.2, applied to ARP).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NeighborState {
    /// Asked for, not heard of yet.
    Incomplete,
    /// Heard of lately.
    Reachable,
    /// Not heard of for a while; used all the same.
    Stale,
    /// Stale, in use, and being asked.
    Probe,
    /// Did not answer.
    Failed,
}

/// A neighbour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighborEntry {
    /// Its address.
    pub address: IpAddr,
    /// Its Ethernet address, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddress>,
    /// The port's name.
    pub port: String,
    /// What is known of it.
    pub state: NeighborState,
    /// Time since it was last heard of, or, where it never was, since it was first asked for; in milliseconds.
    pub age_ms: u64,
    /// Whether an operator added it: it does not age.
    #[serde(rename = "static")]
    pub is_static: bool,
}

/// Reply to `neighbor_show`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighborList {
    /// How many there are, all pages together.
    pub total: u64,
    /// How many were skipped.
    pub offset: u32,
    /// The page.
    pub neighbors: Vec<NeighborEntry>,
}
