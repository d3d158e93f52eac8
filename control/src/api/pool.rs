//! Pools: what was pooled since the router started, and what is open now.

use serde::{Deserialize, Serialize};

use super::text::CodePoint;

/// The most open pools in a reply.
pub const OPEN_POOLS_MAX: usize = 10_000;

/// `pool_show`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolShow {}

/// Reply to `pool_show`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolReport {
    /// Counts since the router started, all workers together.
    pub totals: PoolTotals,
    /// The pools that are open now, at most [`OPEN_POOLS_MAX`].
    pub open: Vec<OpenPool>,
}

/// Counts since the router started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PoolTotals {
    /// Stream packets handed to the pooler.
    pub staged: u64,
    /// Stream packets that left as themselves because no company came within the window.
    pub lone: u64,
    /// Pooled packets sent.
    pub pooled_packets: u64,
    /// Stream packets sent inside them.
    pub rows: u64,
    /// Stream packets per pooled packet sent; 0 where none was sent.
    pub ratio: f64,
    /// Bytes of the stream packets sent inside pooled packets.
    pub bytes_in: u64,
    /// Bytes of the pooled packets sent, from the outer IP header on.
    pub bytes_out: u64,
    /// Why pools were flushed.
    pub flush: FlushCounts,
    /// What arrived.
    pub received: PoolReceived,
    /// The longest that a pool was open, from its first packet to its flush, in microseconds.
    pub longest_us: u64,
}

/// Pools flushed, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlushCounts {
    /// The window had ended.
    pub window: u64,
    /// The next packet would have exceeded the path MTU.
    pub full: u64,
    /// The rule's largest count was reached.
    pub count: u64,
    /// So that a packet of one of its flows did not overtake it.
    pub order: u64,
    /// Routes, rules or peers changed.
    pub reconfigured: u64,
    /// The router stopped.
    pub shutdown: u64,
}

/// Pooled packets that arrived here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolReceived {
    /// Pooled packets received and taken apart.
    pub packets: u64,
    /// Packets taken out of them.
    pub rows: u64,
}

/// A pool that is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenPool {
    /// The worker that holds it.
    pub worker: u32,
    /// The name of the peer it goes to.
    pub peer: String,
    /// The name of its rule.
    pub rule: String,
    /// The class of its packets.
    pub dscp: CodePoint,
    /// Whether they are ECN-capable.
    pub ecn_capable: bool,
    /// Packets in it.
    pub packets: u32,
    /// Their bytes.
    pub bytes: u32,
    /// How long it has been open, in microseconds.
    pub age_us: u64,
}
