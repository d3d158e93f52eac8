//! What is running, and how much of everything it has.

use serde::{Deserialize, Serialize};

/// `version`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionShow {}

/// Reply to `version`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The router's version.
    pub version: String,
    /// DPDK's version.
    pub dpdk: String,
}

/// `status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusShow {}

/// Reply to `status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The router's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Time since it started, in milliseconds.
    pub uptime_ms: u64,
    /// Its configuration file.
    pub config: String,
    /// The cores of its workers.
    pub cores: Vec<u32>,
    /// The idle policy: `adaptive` or `spin`.
    pub idle: String,
    /// Routes, connected and local ones counted.
    pub routes: u64,
    /// Neighbours.
    pub neighbors: u64,
    /// Pooling rules.
    pub rules: u64,
    /// Peers that are up or assumed to be.
    pub peers_up: u64,
    /// Peers.
    pub peers: u64,
    /// The forwarding table.
    pub fib: Fib,
    /// Changes that were refused since it started, for want of room or because a worker stood still.
    pub refused_changes: u64,
}

/// The forwarding table of the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fib {
    /// Prefixes in it.
    pub prefixes: u64,
    /// Its memory in use.
    pub used_bytes: u64,
    /// Its memory out of use, that waits until every worker has moved on.
    pub retired_bytes: u64,
}
