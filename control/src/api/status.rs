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
}
