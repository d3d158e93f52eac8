//! Every reason for which a packet ends here, each with a name of its own.
//!
//! The names are what `carpool stats --drops` prints and what documents explain; a reason without a packet that can
//! reach it does not belong here.

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why a packet was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Drop {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Drop {
            /// All reasons, in the order of their counters.
            pub const ALL: &'static [Drop] = &[$(Drop::$variant,)+];
            /// How many there are.
            pub const COUNT: usize = Drop::ALL.len();

            /// The name in output and metrics.
            pub fn name(self) -> &'static str {
                match self { $(Drop::$variant => $name,)+ }
            }

            /// One sentence on what it means.
            pub fn meaning(self) -> &'static str {
                match self { $(Drop::$variant => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

reasons! {
    /// The frame is shorter than its headers, or spread over several segments.
    FrameMalformed = "frame_malformed",
    /// The frame was addressed to another station.
    NotForUs = "not_for_us",
    /// The EtherType is one this router does not handle.
    EtherTypeUnknown = "ether_type_unknown",
    /// The ARP packet is malformed, or not about IPv4 on Ethernet.
    ArpMalformed = "arp_malformed",
    /// An ARP packet that neither asks for nor tells us anything.
    ArpIgnored = "arp_ignored",
    /// A neighbour solicitation or advertisement that fails a check of RFC 4861, 7.1.
    NdMalformed = "nd_malformed",
    /// A neighbour solicitation or advertisement that neither asks for nor tells us anything.
    NdIgnored = "nd_ignored",
    /// The IPv4 packet is shorter than its header or its total length (RFC 1812, 5.2.2).
    Ipv4Length = "ipv4_length",
    /// The IP version is not 4, or the header length is below 20 bytes (RFC 1812, 5.2.2).
    Ipv4Header = "ipv4_header",
    /// The IPv4 header checksum is wrong (RFC 1812, 5.2.2).
    Ipv4Checksum = "ipv4_checksum",
    /// The IPv6 packet is shorter than its header or its payload length (RFC 8200, 3).
    Ipv6Length = "ipv6_length",
    /// The EtherType says IPv6 and the version does not.
    Ipv6Header = "ipv6_header",
    /// Addressed to this router, with extension headers that are malformed or ask for what it does not do (RFC 8200, 4).
    Ipv6Extensions = "ipv6_extensions",
    /// The source address cannot be that of a host on another network (RFC 1812, 5.3.7, RFC 4291, 2).
    MartianSource = "martian_source",
    /// The destination address cannot be forwarded to (RFC 1812, 5.3.7, RFC 4291, 2.5).
    MartianDestination = "martian_destination",
    /// A link-local source or destination on its way to another link, or to a node that is not this one (RFC 4291, 2.5.6).
    LinkScope = "link_scope",
    /// A multicast destination: there is no multicast route.
    NoMulticastRoute = "no_multicast_route",
    /// A multicast destination for the link alone, never forwarded: in 224.0.0.0/24 (RFC 5771, 4), or of IPv6 and of no wider
    /// scope (RFC 4291, 2.7), where it is none of our groups.
    MulticastLinkLocal = "multicast_link_local",
    /// To a multicast group, by another port or peer than its route says: the reverse-path check.
    MulticastRpf = "multicast_rpf",
    /// To a prefix behind an overlay, by another way than its route says, or with no way on but back.
    OverlayRpf = "overlay_rpf",
    /// For a leg of a multicast or overlay route whose peer is not alive, or does not take packets of this family.
    LegDown = "leg_down",
    /// A unicast IP packet in a broadcast frame (RFC 1812, 5.3.4).
    LinkBroadcast = "link_broadcast",
    /// The destination is the broadcast or network address of one of our subnets (RFC 2644).
    DirectedBroadcast = "directed_broadcast",
    /// No prefix covers the destination.
    NoRoute = "no_route",
    /// The route to the destination says unreachable.
    RouteUnreachable = "route_unreachable",
    /// The route to the destination says blackhole.
    RouteBlackhole = "route_blackhole",
    /// The time to live, or hop limit, ran out here.
    TtlExpired = "ttl_expired",
    /// Larger than the next link takes, and not to be fragmented: marked so, IPv6, or made by this router.
    FragmentationNeeded = "fragmentation_needed",
    /// Fragmentation found no memory, or the packet's options cannot be carried into fragments.
    FragmentationFailed = "fragmentation_failed",
    /// The neighbour has not answered, and its queue of waiting packets is full.
    NeighbourQueueFull = "neighbour_queue_full",
    /// The neighbour did not answer in time.
    NeighbourUnreachable = "neighbour_unreachable",
    /// Addressed to this router, to a protocol or port that nothing here listens to.
    LocalUnhandled = "local_unhandled",
    /// A fragment of an IPv6 packet to this router, which puts none together.
    LocalFragment = "local_fragment",
    /// An ICMP message to this router that is malformed or needs no action.
    LocalIcmp = "local_icmp",
    /// No memory for the packet's copy or answer.
    NoBuffer = "no_buffer",
    /// The port's transmit queue and the worker's queue in front of it are full.
    TxFull = "tx_full",
    /// A message about neighbours, of which there were too many to look at.
    NeighbourLimited = "neighbour_limited",
    /// The ring to the control thread is full.
    ControlRingFull = "control_ring_full",
    /// Taken-out packets found no room in the re-entry queue.
    ReentryFull = "reentry_full",
    /// Not ECN-capable, inside a pooled packet that met congestion: dropped as the router there would have (RFC 6040, 4.2).
    PoolCongested = "pool_congested",
    /// A pooled packet that could not be completed, because packet memory was smaller than promised; or one of learned headers
    /// that is too old to leave, because the worker stood still.
    PoolBroken = "pool_broken",
    /// Pooled packets inside pooled packets, nested too deep.
    PoolNesting = "pool_nesting",
    /// A packet to the pool port from an address that is no configured peer.
    PoolUnknownPeer = "pool_unknown_peer",
    /// A fragment to the pool port: pooled packets are never fragmented.
    PoolFragment = "pool_fragment",
    /// The UDP length of a packet to the pool port contradicts its IP length.
    PoolUdpLength = "pool_udp_length",
    /// The UDP checksum of a packet to the pool port is wrong or missing.
    PoolUdpChecksum = "pool_udp_checksum",
    /// A packet to the pool port shorter than the pool header.
    PoolTruncatedHeader = "pool_truncated_header",
    /// A pooled packet of a version this router does not know.
    PoolUnsupportedVersion = "pool_unsupported_version",
    /// A pooled packet with an authentication trailer, which this router cannot verify.
    PoolAuthenticatedUnsupported = "pool_authenticated_unsupported",
    /// A pooled packet of a kind this router does not take.
    PoolUnsupportedKind = "pool_unsupported_kind",
    /// A pooled packet that says it carries nothing.
    PoolNoRows = "pool_no_rows",
    /// A pooled packet whose index goes beyond its end.
    PoolTruncatedIndex = "pool_truncated_index",
    /// A pooled packet whose first row does not start at 0.
    PoolFirstRowStart = "pool_first_row_start",
    /// A pooled packet with a row that starts before the one in front of it.
    PoolRowOrder = "pool_row_order",
    /// A pooled packet with a row that starts within the one in front of it.
    PoolRowOverlap = "pool_row_overlap",
    /// A pooled packet with a gap between two rows.
    PoolRowGap = "pool_row_gap",
    /// A pooled packet with a representation this router does not take.
    PoolUnsupportedType = "pool_unsupported_type",
    /// A pooled packet with a row shorter than the IP header of its packet.
    PoolRowTooShort = "pool_row_too_short",
    /// A pooled packet with a row that ends behind the data.
    PoolRowBeyondData = "pool_row_beyond_data",
    /// A pooled packet with data behind its last row.
    PoolTrailingData = "pool_trailing_data",
    /// A pooled packet with a packet inside that is not of the IP version its row says.
    PoolInnerVersion = "pool_inner_version",
    /// A pooled packet with a packet inside whose header gives another length than its row.
    PoolInnerLength = "pool_inner_length",
    /// A pooled packet without an index that has less data than its packets take at least.
    PoolDataTooShort = "pool_data_too_short",
    /// A pooled packet whose index has another number of rows than it has packets.
    PoolIndexCount = "pool_index_count",
    /// An index packet that says it holds no index.
    PoolNoBlocks = "pool_no_blocks",
    /// An index packet whose blocks are out of order, or too far from each other.
    PoolBlockOrder = "pool_block_order",
    /// An index packet with something behind its last block.
    PoolTrailingIndex = "pool_trailing_index",
    /// A predetermined packet whose template is not configured here.
    PoolUnknownTemplate = "pool_unknown_template",
    /// A predetermined packet that is not as long as its template says.
    PoolTemplateLength = "pool_template_length",
    /// A pooled packet without its index, which did not come in time.
    PoolIndexMissing = "pool_index_missing",
    /// A pooled packet without an index that came when later ones of its sequence had been handed out.
    PoolDataLate = "pool_data_late",
    /// A pooled packet without an index whose sequence number another one had before.
    PoolDataDuplicate = "pool_data_duplicate",
    /// An index packet whose pooled packets did not come in time.
    PoolIndexUnused = "pool_index_unused",
    /// An index packet about pooled packets that had been given up.
    PoolIndexLate = "pool_index_late",
    /// An index packet about pooled packets whose index was there before.
    PoolIndexDuplicate = "pool_index_duplicate",
    /// A pooled packet without an index, or an index, far from where its sequence stands.
    PoolSequenceStray = "pool_sequence_stray",
    /// No room for a pooled packet to wait for its index, or for an index to wait for its packet.
    PoolIndexQueueFull = "pool_index_queue_full",
    /// A pooled packet or an index that waited when its sender ceased to be a peer.
    PoolPeerGone = "pool_peer_gone",
    /// A pooled packet with a row that repeats no row, no times, or beyond the count.
    PoolRowRepetition = "pool_row_repetition",
    /// A pooled packet with an entry of a form that does not exist.
    PoolUnsupportedEntry = "pool_unsupported_entry",
    /// A report that ends within an item.
    PoolTruncatedReport = "pool_truncated_report",
    /// A report with an item whose length does not suit its type.
    PoolReportItem = "pool_report_item",
    /// A packet without its header, from a context that is not known here: it is reported, and announced again.
    PoolUnknownContext = "pool_unknown_context",
    /// A packet of a provisioned stream that this router was not told of.
    PoolUnknownStream = "pool_unknown_stream",
    /// A packet that announces a header that cannot be learned, or says what cannot be in its context or stream.
    PoolMalformedEntry = "pool_malformed_entry",
    /// A hello that says it carries packets.
    PoolHelloRows = "pool_hello_rows",
    /// A hello shorter than its fields.
    PoolTruncatedHello = "pool_truncated_hello",
    /// A hello without an instance.
    PoolHelloInstance = "pool_hello_instance",
    /// A packet to a Simplemux port from an address that is no configured peer of that format.
    SimplemuxUnknownPeer = "simplemux_unknown_peer",
    /// A Simplemux packet with options in its IPv4 header.
    SimplemuxOuterOptions = "simplemux_outer_options",
    /// A fragment to a Simplemux port: they are not reassembled.
    SimplemuxFragment = "simplemux_fragment",
    /// The UDP length of a packet to a Simplemux port contradicts its IP length.
    SimplemuxUdpLength = "simplemux_udp_length",
    /// A packet to a Simplemux port that does not come from the same port.
    SimplemuxSourcePort = "simplemux_source_port",
    /// The UDP checksum of a packet to a Simplemux port is wrong or missing.
    SimplemuxUdpChecksum = "simplemux_udp_checksum",
    /// A Simplemux datagram without an entry.
    SimplemuxNoEntries = "simplemux_no_entries",
    /// A Simplemux datagram of more than 2304 bytes.
    SimplemuxTooLong = "simplemux_too_long",
    /// A Simplemux datagram of more than 100 entries.
    SimplemuxTooManyEntries = "simplemux_too_many_entries",
    /// A Simplemux datagram with a separator that goes beyond its end.
    SimplemuxTruncatedSeparator = "simplemux_truncated_separator",
    /// A Simplemux datagram with a length of three bytes, which none needs.
    SimplemuxThreeByteLength = "simplemux_three_byte_length",
    /// A Simplemux datagram with a length of two bytes where one says it as well.
    SimplemuxOverlongLength = "simplemux_overlong_length",
    /// A Simplemux datagram with an IPv4 packet shorter than an IPv4 header.
    SimplemuxEntryTooShort = "simplemux_entry_too_short",
    /// A Simplemux datagram with an entry that goes beyond its end.
    SimplemuxEntryBeyondEnd = "simplemux_entry_beyond_end",
    /// A Simplemux datagram with a packet inside that is not IPv4 though its separator says so.
    SimplemuxInnerVersion = "simplemux_inner_version",
    /// A Simplemux datagram with a packet inside whose total length is not that of its entry.
    SimplemuxInnerLength = "simplemux_inner_length",
    /// An entry of a Simplemux datagram that is no IPv4 packet: it is dropped alone.
    SimplemuxUnsupportedProtocol = "simplemux_unsupported_protocol",
    /// Too many packets were on the way to the worker that has the pools of its path.
    HandoverFull = "handover_full",
    /// Waited for a neighbour, for its index, or for the worker that has the pools of its path, when the router stopped.
    Shutdown = "shutdown",
}

#[cfg(test)]
mod tests {
    use super::Drop;

    #[test]
    fn every_reason_has_a_name_of_its_own_and_a_meaning() {
        let names: std::collections::HashSet<_> = Drop::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Drop::COUNT);
        for (position, reason) in Drop::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, position, "the counters are in the order of the variants");
            assert!(reason.meaning().ends_with('.'), "{}", reason.name());
        }
    }
}
