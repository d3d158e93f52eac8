//! Which flows [plain](crate::packet::ipv4::Plain) packets are of, of eight at a time: all that is asked of those that no pool is for.

use super::flow_hash::FlowSeed;
use super::plain_burst::{BURST, Fields, START};
use crate::arch::lanes::{Form, LANES, Lanes, Work};

/// A look at the packets of a burst. Its result are the hashes of their flows, and a bit for each whose flow is not known from this:
/// it is a fragment, or ends before ports do.
pub struct FlowLook<'a> {
    /// How each begins.
    pub packets: [&'a [u8; START]; BURST],
    /// What hashes are made with.
    seed: FlowSeed,
}

impl FlowLook<'_> {
    /// At nothing.
    pub fn empty<'a>(seed: FlowSeed) -> FlowLook<'a> {
        FlowLook { packets: [&[0; START]; BURST], seed }
    }
}

impl Work for FlowLook<'_> {
    type Output = ([u32; BURST], u32);

    #[inline(always)]
    fn run<F: Form>(self, form: F) -> ([u32; BURST], u32) {
        let keys = self.seed.keys();
        let (mut hashes, mut known, mut shift) = ([0; BURST], 0, 0);
        for (packets, hashes) in self.packets.as_chunks().0.iter().zip(hashes.as_chunks_mut().0) {
            let fields = Fields::read(form, packets, keys);
            fields.flow.store(hashes);
            known |= fields.tell_flow(form) << shift;
            shift += LANES as u32;
        }
        (hashes, !known)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::stream_detector::StreamFields;
    use super::*;
    use crate::arch::lanes::Vectors;

    proptest! {
        #[test]
        fn each_packet_has_the_flow_that_it_has_alone(
            packets in prop::collection::vec(
                (any::<[u8; START]>(), prop_oneof![Just(17u8), Just(6), any::<u8>()], 20..=START),
                0..=BURST,
            ),
            seed: u64,
        ) {
            let packets: Vec<([u8; START], usize)> = packets
                .into_iter()
                .map(|(mut packet, protocol, length)| {
                    (packet[0], packet[2], packet[3], packet[9]) = (0x45, 0, length as u8, protocol);
                    (packet, length)
                })
                .collect();
            for form in Vectors::available() {
                let mut look = FlowLook::empty(FlowSeed(seed));
                look.packets.iter_mut().zip(&packets).for_each(|(to, (packet, _))| *to = packet);
                let (hashes, unknown) = form.run(look);
                for (at, (packet, length)) in packets.iter().enumerate() {
                    let alone = StreamFields::read(&packet[..*length], FlowSeed(seed)).expect("a whole packet");
                    let is_unknown = unknown >> at & 1 == 1;
                    prop_assert_eq!(is_unknown, alone.is_fragment || *length < START, "{:?}", packet);
                    prop_assert!(is_unknown || hashes[at] == alone.flow, "{:?}", packet);
                }
            }
        }
    }
}
