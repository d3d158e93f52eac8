//! Pools: what was pooled since the router started, and what is open now.

use carpool_dataplane::worker::{Counter, Counters};
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
    /// The share of each worker.
    pub workers: Vec<PoolWorker>,
    /// The pools that are open now, at most [`OPEN_POOLS_MAX`].
    pub open: Vec<OpenPool>,
    /// What came from each peer that anything came from.
    pub received_from: Vec<ReceivedFrom>,
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
    /// Index packets sent, for pooled packets without an index.
    pub index_packets: u64,
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
    /// Packets that a rule was for and that were not pooled, by reason.
    pub unpooled: UnpooledCounts,
    /// What became of packets that were to travel as entries of provisioned streams.
    pub provisioned: ProvisionedCounts,
    /// What became of packets that were to travel behind learned headers.
    pub learned: LearnedCounts,
    /// What arrived.
    pub received: PoolReceived,
    /// What passed on its way to another router.
    pub transit: PoolTransit,
    /// The longest that a pool was open, from its first packet to its flush, in microseconds.
    pub longest_us: u64,
}

impl PoolTotals {
    /// The totals of the workers whose counters were merged.
    pub fn of(counters: &Counters) -> PoolTotals {
        let get = |counter| counters.get(counter);
        let (pooled_packets, rows) = (get(Counter::PoolSent), get(Counter::PoolRowsSent));
        PoolTotals {
            staged: get(Counter::PoolStaged),
            lone: get(Counter::PoolLone),
            pooled_packets,
            index_packets: get(Counter::CreatedIndex),
            rows,
            ratio: if pooled_packets == 0 { 0.0 } else { rows as f64 / pooled_packets as f64 },
            bytes_in: get(Counter::PoolBytesIn),
            bytes_out: get(Counter::PoolBytesOut),
            flush: FlushCounts {
                window: get(Counter::FlushWindow),
                full: get(Counter::FlushFull),
                count: get(Counter::FlushCount),
                required_count: get(Counter::FlushRequiredCount),
                hold: get(Counter::FlushHold),
                adaptive: get(Counter::FlushAdaptive),
                order: get(Counter::FlushOrder),
                no_buffer: get(Counter::FlushNoBuffer),
                reconfigured: get(Counter::FlushReconfigured),
                shutdown: get(Counter::FlushShutdown),
            },
            unpooled: UnpooledCounts {
                too_large: get(Counter::PoolTooLarge),
                cannot_share: get(Counter::PoolCannotShare),
                table_full: get(Counter::PoolTableFull),
                no_buffer: get(Counter::PoolNoBuffer),
                no_peer: get(Counter::PoolNoPeer),
            },
            provisioned: ProvisionedCounts {
                sent: get(Counter::ProvisionedSent),
                whole: get(Counter::ProvisionedWhole),
            },
            learned: LearnedCounts {
                compressed: get(Counter::LearnedCompressed),
                announced: get(Counter::LearnedAnnounced),
                whole: get(Counter::LearnedWhole),
                no_id: get(Counter::LearnedNoId),
                lost: get(Counter::LearnedLost),
                not_lost: get(Counter::LearnedNotLost),
                disputed: get(Counter::LearnedDisputed),
            },
            received: PoolReceived { packets: get(Counter::PoolReceived), rows: get(Counter::PoolRowsReceived) },
            transit: PoolTransit {
                packets: get(Counter::TransitOpened),
                rows: get(Counter::TransitRows),
                ended: get(Counter::TransitEnded),
            },
            longest_us: get(Counter::PoolLongestNs).div_ceil(1000),
        }
    }
}

/// A worker's share in the pools, since the router started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PoolWorker {
    /// Its number.
    pub worker: u32,
    /// Stream packets handed to its pooler.
    pub staged: u64,
    /// Stream packets it sent inside pooled packets.
    pub rows: u64,
    /// Pooled packets it sent.
    pub pooled_packets: u64,
    /// Stream packets per pooled packet it sent; 0 where it sent none.
    pub ratio: f64,
    /// Packets it handed over to the workers that have the pools of their paths.
    pub handed_over: u64,
    /// Packets that other workers handed over to it.
    pub taken_over: u64,
}

impl PoolWorker {
    /// The share of the worker with this number, which has these counters.
    pub fn of(worker: u32, counters: &Counters) -> PoolWorker {
        let PoolTotals { staged, rows, pooled_packets, ratio, .. } = PoolTotals::of(counters);
        let (handed_over, taken_over) =
            (counters.get(Counter::AbsorbedHandedOver), counters.get(Counter::CreatedTakenOver));
        PoolWorker { worker, staged, rows, pooled_packets, ratio, handed_over, taken_over }
    }
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
    /// Its window had ended, and it got as many packets as its rule requires.
    pub required_count: u64,
    /// It had waited for packets that its rule requires as long as that allows.
    pub hold: u64,
    /// No company was likely to come within the window.
    pub adaptive: u64,
    /// So that a packet of one of its flows did not overtake it.
    pub order: u64,
    /// There was no memory for a pooled packet.
    pub no_buffer: u64,
    /// Routes, rules or peers changed.
    pub reconfigured: u64,
    /// The router stopped.
    pub shutdown: u64,
}

/// Packets that a rule was for and that were not pooled, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnpooledCounts {
    /// Larger than the rule pools.
    pub too_large: u64,
    /// So long that no other could ever share a pooled packet with them.
    pub cannot_share: u64,
    /// Too many pools were open.
    pub table_full: u64,
    /// There was no memory for a pooled packet.
    pub no_buffer: u64,
    /// The peer of their path is silent, or does not take them, or takes longer packets than the link towards it.
    pub no_peer: u64,
}

/// Packets in pooled packets of provisioned streams, by how they travelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvisionedCounts {
    /// As entries of their streams.
    pub sent: u64,
    /// Whole, because no stream says of them what would have to be rebuilt.
    pub whole: u64,
}

/// Packets in pooled packets of learned headers, by how they travelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LearnedCounts {
    /// Without their headers.
    pub compressed: u64,
    /// With them, so that the addressee learns them.
    pub announced: u64,
    /// Whole.
    pub whole: u64,
    /// Of these, those that were to announce their headers and found no free id.
    pub no_id: u64,
    /// Headers that the addressee reported unknown, and that were announced again.
    pub lost: u64,
    /// Headers that it reported unknown but that are not in use any more, were reported already, or are too many.
    pub not_lost: u64,
    /// Announcements that came from peers and contradict one under the same id.
    pub disputed: u64,
}

/// Pooled packets that arrived here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolReceived {
    /// Pooled packets received and taken apart.
    pub packets: u64,
    /// Packets taken out of them.
    pub rows: u64,
}

/// Pooled packets of peers that passed here on their way to another router.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolTransit {
    /// Pooled packets whose index was counted down.
    pub packets: u64,
    /// Packets taken out of them.
    pub rows: u64,
    /// Those of which nothing was left.
    pub ended: u64,
}

/// Pooled packets that arrived from a peer, and what their sequence numbers tell of the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivedFrom {
    /// The peer's name.
    pub peer: String,
    /// Pooled packets received, duplicates and all.
    pub packets: u64,
    /// Packets taken out of them.
    pub rows: u64,
    /// Pooled packets that did not come while the next 64 did.
    pub lost: u64,
    /// Pooled packets that came after a later one.
    pub reordered: u64,
    /// Pooled packets that had come before.
    pub duplicated: u64,
}

/// An IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Family::Ipv4 => "ipv4",
            Family::Ipv6 => "ipv6",
        })
    }
}

/// What the packets of a pool say of ECN (RFC 3168): those that differ in it never share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ecn {
    /// They are not ECN-capable.
    NotEct,
    /// ECT(0), or CE.
    Ect0,
    /// ECT(1): those of L4S (RFC 9331).
    Ect1,
}

impl Ecn {
    /// By the ECN field that the pooled packet has; None where it is CE, which none is sent with.
    pub fn of(field: u8) -> Option<Ecn> {
        match field {
            0 => Some(Ecn::NotEct),
            1 => Some(Ecn::Ect1),
            2 => Some(Ecn::Ect0),
            _ => None,
        }
    }
}

impl std::fmt::Display for Ecn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Ecn::NotEct => "not-ect",
            Ecn::Ect0 => "ect0",
            Ecn::Ect1 => "ect1",
        })
    }
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
    /// What its packets are.
    pub family: Family,
    /// The class of its packets.
    pub dscp: CodePoint,
    /// What its packets say of ECN.
    pub ecn: Ecn,
    /// The flow bucket.
    pub bucket: u8,
    /// How they lie in it, as came of the rule's wishes and of what the peer takes: `whole`, `out-of-band`,
    /// `predetermined`, `provisioned`, `learned` or `simplemux`.
    pub layout: String,
    /// Packets in it.
    pub packets: u32,
    /// Their bytes.
    pub bytes: u32,
    /// How long it has been open, in microseconds.
    pub age_us: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// The names of the workers' counters and the keys of the reply are the same words.
    #[test]
    fn every_reason_to_flush_that_is_counted_is_told() {
        let mut counters = Counters::default();
        for (value, counter) in (1..).zip(Counter::ALL) {
            counters.set(*counter, value);
        }
        let totals = serde_json::to_value(PoolTotals::of(&counters)).expect("serializable");
        let reasons =
            Counter::ALL.iter().filter_map(|counter| Some((counter.name().strip_prefix("flush_")?, *counter)));
        let mut count = 0;
        for (reason, counter) in reasons {
            assert_eq!(totals["flush"][reason], Value::from(counters.get(counter)), "flush {reason}");
            count += 1;
        }
        assert_eq!(totals["flush"].as_object().map(|flush| flush.len()), Some(count));
        for (at, counter) in Counter::ALL.iter().filter_map(|c| Some((c.name().strip_prefix("learned_")?, c))) {
            assert_eq!(totals["learned"][at], Value::from(counters.get(*counter)), "learned {at}");
        }
        let provisioned = [Counter::ProvisionedSent, Counter::ProvisionedWhole].map(|counter| counters.get(counter));
        assert_eq!(totals["provisioned"], serde_json::json!({"sent": provisioned[0], "whole": provisioned[1]}));
    }

    #[test]
    fn the_ratio_is_zero_before_anything_was_pooled() {
        assert_eq!(PoolTotals::of(&Counters::default()), PoolTotals::default());
        let mut counters = Counters::default();
        counters.add(Counter::PoolSent, 2);
        counters.add(Counter::PoolRowsSent, 9);
        counters.set(Counter::PoolLongestNs, 1001);
        let totals = PoolTotals::of(&counters);
        assert_eq!((totals.ratio, totals.longest_us), (4.5, 2));
    }
}
