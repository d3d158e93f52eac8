//! What packets that share a pool have in common, as one number: group of paths, rule, class, ECN field, flow bucket, and IP
//! version.

use super::super::packet_pooler::MAX_BUCKETS;
use super::super::rule::{Dscp, RuleIndex};
use super::super::stream_detector::StreamFields;
use crate::arch::lanes::{Form, Lanes};
use crate::packet::ecn;

/// What packets must have in common to share a ride.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PoolKey(pub(super) u64);

/// Odd, and its bits without a pattern: 2^32 by the golden ratio.
const BUCKET_FACTOR: u32 = 0x9e37_79b1;

/// A key has seven bits for the bucket: 48 in all, as the table of open pools needs it.
const _: () = assert!(MAX_BUCKETS <= 1 << 7);

impl PoolKey {
    /// The key of the pool that a packet with the ECN field `ecn`, 0 to 3, joins, for a group of paths under `rule`, for
    /// one class and one flow bucket (below [`MAX_BUCKETS`]), of IPv4 packets. Not-ECT, ECT(1), and ECT(0) with CE never
    /// share.
    #[inline(always)]
    pub fn new(group: u16, rule: RuleIndex, class: Dscp, ecn: u8, bucket: u8) -> PoolKey {
        PoolKey(
            u64::from(group) << 31
                | u64::from(rule.0) << 15
                | u64::from(class.value()) << 9
                | u64::from(ecn::outside(ecn)) << 7
                | u64::from(bucket),
        )
    }

    /// Which of `buckets` (at least 1) a flow with this hash is in, always the same one.
    #[inline(always)]
    pub fn bucket_of(flow: u32, buckets: u8) -> u8 {
        // Mixed once more: the upper bits of a flow's hash hardly differ between flows of neighbouring ports.
        let spread = (flow ^ flow >> 15).wrapping_mul(BUCKET_FACTOR);
        (((spread >> 8) * u32::from(buckets)) >> 24) as u8
    }

    /// The same of eight.
    #[inline(always)]
    pub(in crate::pool) fn bucket_of_lanes<F: Form>(form: F, flow: F::Lanes, buckets: u8) -> F::Lanes {
        if buckets == 1 {
            return form.splat(0);
        }
        let spread = (flow ^ flow.shr::<15>()) * form.splat(BUCKET_FACTOR);
        (spread.shr::<8>() * form.splat(buckets.into())).shr::<24>()
    }

    /// The key for a stream packet; its flow chooses one of `buckets` (at least 1).
    #[inline(always)]
    pub fn of_stream(group: u16, rule: RuleIndex, fields: &StreamFields, buckets: u8) -> PoolKey {
        let key = PoolKey::new(group, rule, fields.dscp, fields.ecn, PoolKey::bucket_of(fields.flow, buckets));
        // Apart, so that the addressee of the first packet's path takes all that join it: not every node takes IPv6.
        PoolKey(key.0 | u64::from(fields.is_ipv6()) << 47)
    }

    /// Whether all packets in the pool are IPv6, or all are IPv4.
    #[inline(always)]
    pub fn is_ipv6(self) -> bool {
        self.0 >> 47 & 1 == 1
    }

    /// The group of paths whose packets share the pool ([`crate::pool::path::PoolPath::groups`]).
    #[inline(always)]
    pub fn group(self) -> u16 {
        (self.0 >> 31) as u16
    }

    /// The rule that selected the packets.
    #[inline(always)]
    pub fn rule(self) -> RuleIndex {
        RuleIndex((self.0 >> 15) as u16)
    }

    /// The class of every packet in the pool, and of the pooled packet.
    #[inline(always)]
    pub fn class(self) -> Dscp {
        Dscp::of_tos(self.outer_tos())
    }

    /// The ECN field of the pooled packet: Not-ECT where no packet in it is ECN-capable, ECT(1) where each of them is
    /// ECT(1), ECT(0) where each is ECT(0) or CE.
    #[inline(always)]
    pub fn ecn(self) -> u8 {
        self.outer_tos() & 3
    }

    /// The class and the ECN field of the pooled packet, as they stand in the IP header.
    #[inline(always)]
    pub(in crate::pool) fn outer_tos(self) -> u8 {
        (self.0 >> 7) as u8
    }

    /// The flow bucket.
    #[inline(always)]
    pub fn bucket(self) -> u8 {
        self.0 as u8 & 0x7f
    }

    /// Its hash, of which the upper bits are the best (Knuth 6.4, multiplicative hashing).
    #[inline(always)]
    pub(in crate::pool) fn hash(self) -> u64 {
        self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

impl std::fmt::Debug for PoolKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PoolKey")
            .field("group", &self.group())
            .field("rule", &self.rule().0)
            .field("class", &self.class().value())
            .field("ecn", &self.ecn())
            .field("bucket", &self.bucket())
            .field("ipv6", &self.is_ipv6())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::stream_detector::Addresses;
    use super::*;

    proptest! {
        #[test]
        fn a_key_gives_back_what_went_in(
            group in any::<u16>(), rule in any::<u16>(), class in 0u8..64, ecn in 0u8..4, bucket in 0..MAX_BUCKETS,
        ) {
            let class = Dscp::new(class).expect("a code point");
            let key = PoolKey::new(group, RuleIndex(rule), class, ecn, bucket);
            prop_assert_eq!(key.group(), group);
            prop_assert_eq!(key.rule(), RuleIndex(rule));
            prop_assert_eq!(key.class(), class);
            prop_assert_eq!(key.ecn(), [0, 1, 2, 2][usize::from(ecn)]);
            prop_assert_eq!(key.outer_tos(), class.value() << 2 | key.ecn());
            prop_assert_eq!(key.bucket(), bucket);
            prop_assert!(key.0 < 1 << 47);
        }

        #[test]
        fn a_flow_stays_in_one_of_the_buckets(flow in any::<u32>(), buckets in 1..=MAX_BUCKETS) {
            let fields = StreamFields {
                addresses: Addresses::V4 { source: 0, destination: 0 }, protocol: 17, has_ports: false, source_port: 0, destination_port: 0,
                dscp: Dscp::default(), ecn: 0, length: 20, is_fragment: false, flow, pair: 0,
            };
            let key = PoolKey::of_stream(1, RuleIndex(2), &fields, buckets);
            prop_assert!(key.bucket() < buckets);
            let fields = StreamFields { addresses: Addresses::V6 { source: 0, destination: 0 }, ..fields };
            let key6 = PoolKey::of_stream(1, RuleIndex(2), &fields, buckets);
            prop_assert_eq!((key.is_ipv6(), key6.is_ipv6()), (false, true));
            prop_assert_eq!((key6.group(), key6.rule(), key6.bucket()), (1, RuleIndex(2), key.bucket()));
        }
    }
}
