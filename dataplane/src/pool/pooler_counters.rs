//! What a packet pooler counts: plain numbers of one worker, which it publishes as it does all its counters.
//!
//! At any time `staged + created = lone + pooled_packets + held + absorbed + broken` holds exactly, where `lone` sums up
//! the lone flushes and `held` is what the pooler says it holds.

use crate::arch::TickSpan;

/// Why a pool was flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushReason {
    /// Its window ended.
    Window,
    /// The path MTU was reached: the next packet would not fit, or none would.
    Full,
    /// The rule's largest count was reached.
    Count,
    /// Its window had ended, and now it has as many packets as its rule requires.
    RequiredCount,
    /// It never got as many packets as its rule requires: it had waited as long as that allows.
    Hold,
    /// No company was likely to come within the window.
    Adaptive,
    /// A packet of a flow in it was about to overtake.
    Order,
    /// There was no buffer for a pooled packet.
    NoBuffer,
    /// Routes, rules or addresses changed.
    Reconfigured,
    /// The worker stops.
    Shutdown,
}

impl FlushReason {
    /// All reasons, in the order in which counters list them.
    pub const ALL: [FlushReason; 10] = [
        FlushReason::Window,
        FlushReason::Full,
        FlushReason::Count,
        FlushReason::RequiredCount,
        FlushReason::Hold,
        FlushReason::Adaptive,
        FlushReason::Order,
        FlushReason::NoBuffer,
        FlushReason::Reconfigured,
        FlushReason::Shutdown,
    ];

    /// The word for it in output and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            FlushReason::Window => "window",
            FlushReason::Full => "full",
            FlushReason::Count => "count",
            FlushReason::RequiredCount => "required_count",
            FlushReason::Hold => "hold",
            FlushReason::Adaptive => "adaptive",
            FlushReason::Order => "order",
            FlushReason::NoBuffer => "no_buffer",
            FlushReason::Reconfigured => "reconfigured",
            FlushReason::Shutdown => "shutdown",
        }
    }
}

/// Why a packet that was to be staged was passed on as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unstaged {
    /// So long that on this path no other packet could ever share its pool.
    CannotShare,
    /// As many pools, or different windows, are open as there is room for.
    PoolTableFull,
    /// Memory for a pooled packet was exhausted.
    NoPoolBuffer,
    /// Its peer or flow bucket is beyond what the pooler was made for, or there is no equipped node on what its way has in
    /// common with that of its pool.
    BeyondLimits,
}

impl Unstaged {
    /// All reasons, in the order in which counters list them.
    pub const ALL: [Unstaged; 4] =
        [Unstaged::CannotShare, Unstaged::PoolTableFull, Unstaged::NoPoolBuffer, Unstaged::BeyondLimits];

    /// The word for it in output and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Unstaged::CannotShare => "cannot_share",
            Unstaged::PoolTableFull => "pool_table_full",
            Unstaged::NoPoolBuffer => "no_pool_buffer",
            Unstaged::BeyondLimits => "beyond_limits",
        }
    }
}

/// Pools flushed for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct FlushCounter {
    /// Left as the one packet they held.
    pub lone: u64,
    /// Left as a pooled packet.
    pub pooled: u64,
}

/// How many pooled packets with 0, 1, ... 62 rows there were; the last counts all with more.
pub const ROWS_HISTOGRAM: usize = 64;

/// How long pools were open, in powers of two: entry 0 counts zero ticks, entry i those from 2^(i-1) to 2^i - 1; the last
/// all that were longer.
pub const DELAY_HISTOGRAM: usize = 48;

/// The counters of a packet pooler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolerCounters {
    /// Packets taken into a pool.
    pub staged: u64,
    /// Packets handed on unpooled instead, by [`Unstaged`].
    pub unstaged: [u64; Unstaged::ALL.len()],
    /// Pools flushed, by [`FlushReason`].
    pub flushed: [FlushCounter; FlushReason::ALL.len()],
    /// Buffers taken for pooled packets.
    pub created: u64,
    /// Packets that went into a pooled packet and whose own buffer was given back.
    pub absorbed: u64,
    /// Pooled packets sent.
    pub pooled_packets: u64,
    /// Packets they carried.
    pub rows: u64,
    /// Of them those that travelled as entries of provisioned streams.
    pub provisioned_entries: u64,
    /// Of them those that travelled whole in pooled packets for such entries.
    pub provisioned_whole: u64,
    /// Bytes of IP length that were carried.
    pub bytes_in: u64,
    /// Bytes of IP length that they were carried in, with those of index packets.
    pub bytes_out: u64,
    /// Index packets sent.
    pub indexes: u64,
    /// Buffers given back because memory was shorter than promised, with what was in them. Zero unless something is
    /// wrong with the memory.
    pub broken: u64,
    /// Pooled packets by rows.
    pub rows_histogram: [u64; ROWS_HISTOGRAM],
    /// The waits of the first packets of all pools, summed up, in ticks: the longest wait in each pool.
    pub delay_sum: TickSpan,
    /// The longest of them.
    pub delay_max: TickSpan,
    /// Pools by the wait of their first packet.
    pub delay_histogram: [u64; DELAY_HISTOGRAM],
}

impl Default for PoolerCounters {
    fn default() -> PoolerCounters {
        PoolerCounters {
            staged: 0,
            unstaged: Default::default(),
            flushed: Default::default(),
            created: 0,
            absorbed: 0,
            pooled_packets: 0,
            rows: 0,
            provisioned_entries: 0,
            provisioned_whole: 0,
            bytes_in: 0,
            bytes_out: 0,
            indexes: 0,
            broken: 0,
            rows_histogram: [0; ROWS_HISTOGRAM],
            delay_sum: TickSpan(0),
            delay_max: TickSpan(0),
            delay_histogram: [0; DELAY_HISTOGRAM],
        }
    }
}

impl PoolerCounters {
    /// Packets that left a pool as themselves.
    pub fn lone(&self) -> u64 {
        self.flushed.iter().map(|flushed| flushed.lone).sum()
    }

    /// Pools flushed for `reason`.
    pub fn flushed_for(&self, reason: FlushReason) -> FlushCounter {
        self.flushed.get(reason as usize).copied().unwrap_or_default()
    }

    /// Packets not staged for `reason`.
    pub fn unstaged_for(&self, reason: Unstaged) -> u64 {
        self.unstaged.get(reason as usize).copied().unwrap_or_default()
    }

    #[inline]
    pub(super) fn count_unstaged(&mut self, reason: Unstaged) {
        if let Some(count) = self.unstaged.get_mut(reason as usize) {
            *count += 1;
        }
    }

    #[inline]
    pub(super) fn count_lone(&mut self, reason: FlushReason) {
        if let Some(flushed) = self.flushed.get_mut(reason as usize) {
            flushed.lone += 1;
        }
    }

    #[inline]
    pub(super) fn count_pooled(&mut self, reason: FlushReason, rows: u8, bytes_in: u16, length: usize) {
        if let Some(flushed) = self.flushed.get_mut(reason as usize) {
            flushed.pooled += 1;
        }
        self.pooled_packets += 1;
        self.rows += u64::from(rows);
        self.bytes_in += u64::from(bytes_in);
        self.bytes_out += length as u64;
        if let Some(count) = self.rows_histogram.get_mut(usize::from(rows).min(ROWS_HISTOGRAM - 1)) {
            *count += 1;
        }
    }

    /// Counts how a pooled packet's rows travelled, so many of them as entries of provisioned streams; None where it is not
    /// for those.
    #[inline]
    pub(super) fn count_provisioned(&mut self, rows: u8, entries: Option<u8>) {
        if let Some(entries) = entries {
            self.provisioned_entries += u64::from(entries);
            self.provisioned_whole += u64::from(rows.saturating_sub(entries));
        }
    }

    #[inline]
    pub(super) fn count_indexes(&mut self, indexes: u64, bytes: u64) {
        self.indexes += indexes;
        self.bytes_out += bytes;
    }

    #[inline]
    pub(super) fn count_delay(&mut self, delay: TickSpan) {
        self.delay_sum = TickSpan(self.delay_sum.0.wrapping_add(delay.0));
        self.delay_max = self.delay_max.max(delay);
        let bits = (u64::BITS - delay.0.leading_zeros()) as usize;
        if let Some(count) = self.delay_histogram.get_mut(bits.min(DELAY_HISTOGRAM - 1)) {
            *count += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_counted_in_the_order_they_are_listed() {
        for (index, reason) in FlushReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
        for (index, reason) in Unstaged::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }

    #[test]
    fn delays_fall_into_powers_of_two() {
        let mut counters = PoolerCounters::default();
        for delay in [0, 1, 2, 3, 4, u64::MAX] {
            counters.count_delay(TickSpan(delay));
        }
        assert_eq!(counters.delay_histogram[..4], [1, 1, 2, 1]);
        assert_eq!(counters.delay_histogram[DELAY_HISTOGRAM - 1], 1);
        assert_eq!(counters.delay_max, TickSpan(u64::MAX));
    }
}
