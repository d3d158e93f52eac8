//! Whatever streams there are and whatever happens to pooled packets on the way: what comes out is what went in.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::pool::wire::entry::Entry;

/// How a stream's packets go on.
#[derive(Clone, Copy, Debug)]
enum Habit {
    Voice { stride: u32, pauses: bool },
    Telemetry,
    Noise,
}

#[derive(Clone, Copy, Debug)]
enum IpId {
    Stays,
    Counts,
    Random,
}

/// One packet of a stream, a pooled packet's end, or a turn of events.
#[derive(Clone, Debug)]
enum Step {
    Packet { stream: prop::sample::Index, length: u8, noise: u32, damaged: bool },
    Send(Fate),
    Wait { ms: u32 },
    SenderRestarts,
    ReceiverRestarts,
}

/// What happens to a pooled packet: the delays of its copies in milliseconds.
#[derive(Clone, Debug)]
struct Fate(Vec<u32>);

fn streams() -> impl Strategy<Value = Vec<(Header, Habit, IpId)>> {
    let header = (any::<bool>(), 0u8..3, 0u16..2, prop_oneof![Just(0u8), Just(0xb8)], any::<bool>()).prop_map(
        |(is_ipv6, host, port, tos, has_checksum)| Header { is_ipv6, host, port, tos, ttl: 60, has_checksum },
    );
    let habit = prop_oneof![
        4 => (prop_oneof![Just(160u32), Just(960), Just(70_000)], any::<bool>())
            .prop_map(|(stride, pauses)| Habit::Voice { stride, pauses }),
        2 => Just(Habit::Telemetry),
        1 => Just(Habit::Noise),
    ];
    let ip_id = prop_oneof![Just(IpId::Stays), Just(IpId::Counts), Just(IpId::Random)];
    prop::collection::vec((header, habit, ip_id), 1..8)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fate = prop_oneof![
        6 => Just(vec![5]),
        2 => Just(vec![]),
        1 => prop::collection::vec(0u32..60, 1..3),
        1 => prop::collection::vec(0u32..9000, 1..3),
    ];
    let step = prop_oneof![
        60 => (any::<prop::sample::Index>(), 0u8..40, any::<u32>(), prop::bool::weighted(0.03))
            .prop_map(|(stream, length, noise, damaged)| Step::Packet { stream, length, noise, damaged }),
        20 => fate.prop_map(|delays| Step::Send(Fate(delays))),
        10 => (1u32..30).prop_map(|ms| Step::Wait { ms }),
        1 => (1u32..8000).prop_map(|ms| Step::Wait { ms }),
        1 => Just(Step::SenderRestarts),
        1 => Just(Step::ReceiverRestarts),
    ];
    prop::collection::vec(step, 1..600)
}

/// The next packet of a stream; `number` makes each its own.
fn next(stream: &(Header, Habit, IpId), number: u32, length: u8, noise: u32) -> Vec<u8> {
    let (header, habit, ip_id) = stream;
    let ip_id = match ip_id {
        IpId::Stays => 9,
        IpId::Counts => number as u16,
        IpId::Random => noise as u16,
    };
    let mut data = number.to_be_bytes().to_vec();
    data.resize(4 + usize::from(length), noise as u8);
    let payload = match *habit {
        Habit::Voice { stride, pauses } => {
            let pause = if pauses { number / 10 * 12_345 } else { 0 };
            let start = [
                0x80,
                if number.is_multiple_of(10) { 0x80 } else { 0 } | if noise.is_multiple_of(50) { 101 } else { 18 },
            ];
            let timestamp = number.wrapping_mul(stride).wrapping_add(pause);
            let source = if noise.is_multiple_of(97) { 1 } else { 0xfeed };
            rtp(start, number as u16, timestamp, source, &data)
        }
        Habit::Telemetry => data,
        Habit::Noise => {
            let noisy = noise.to_be_bytes();
            [&noisy[..], &noisy, &noisy, &noisy, &data].concat()
        }
    };
    header.packet(ip_id, &payload)
}

/// What is sent for a packet that is forwarded, and does leave.
fn forwarded(compressor: &mut Compressor, packet: &[u8], place: Place, now: Tick) -> Vec<u8> {
    let encoded = compressor.encode_forwarded(packet, place, &SPACE, now);
    compressor.sent(&encoded);
    let mut entry = vec![0; encoded.len(packet.len())];
    encoded.write(packet, &mut entry).expect("room for it");
    entry
}

/// Both ends, and the pooled packets between them.
struct World {
    now: Tick,
    compressor: Compressor,
    decompressor: Decompressor,
    instance: u32,
    /// Entries, each with the packet that it is made of.
    pool: Vec<(Vec<u8>, Vec<u8>)>,
    /// By time of arrival: the payload, and the packets that its entries are made of.
    on_the_way: Vec<(Tick, Vec<u8>, Vec<Vec<u8>>)>,
    /// All packets that left in a pooled packet, and all that came out, in order.
    left: Vec<Vec<u8>>,
    out: Vec<Vec<u8>>,
    /// The last announcement under each id of this run.
    announced: HashMap<u16, Tick>,
}

impl World {
    /// The far end has room for so many contexts.
    fn new(contexts: usize) -> World {
        World {
            now: Tick(0),
            compressor: compressor(8),
            decompressor: decompressor(contexts),
            instance: 1,
            pool: Vec::new(),
            on_the_way: Vec::new(),
            left: Vec::new(),
            out: Vec::new(),
            announced: HashMap::new(),
        }
    }

    fn stage(&mut self, packet: Vec<u8>) -> Result<(), TestCaseError> {
        let entry = entry(&mut self.compressor, &packet, self.now);
        prop_assert!(entry.len() <= packet.len() + 5);
        if let Ok(Entry::Announcement(announcement, _)) = Entry::parse(&entry)
            && let Some(before) = self.announced.insert(announcement.context, self.now)
        {
            prop_assert!(self.now.since(before) >= times().reuse, "an id came again too early");
        }
        self.pool.push((entry, packet));
        Ok(())
    }

    fn send(&mut self, fate: &Fate) {
        let pool = std::mem::take(&mut self.pool);
        for pool in pool.chunks(255) {
            let (entries, packets): (Vec<_>, Vec<_>) = pool.iter().cloned().unzip();
            let payload = short_packet(self.instance, &entries);
            for &delay in &fate.0 {
                let at = self.now + TickSpan(u64::from(delay) * MS);
                self.on_the_way.push((at, payload.clone(), packets.clone()));
            }
            self.left.extend(packets);
        }
    }

    /// Delivers what arrives until `until`, in the order of arrival, and what the far end reports with it.
    fn wait(&mut self, until: Tick) -> Result<(), TestCaseError> {
        self.on_the_way.sort_by_key(|(at, ..)| *at);
        while self.on_the_way.first().is_some_and(|(at, ..)| *at <= until) {
            let (at, payload, packets) = self.on_the_way.remove(0);
            self.now = self.now.max(at);
            let packet = ShortPacket::parse(&payload).expect("a sound packet");
            prop_assert_eq!(packet.entries().count(), packets.len());
            for (entry, original) in packet.entries().zip(packets) {
                match opened(&mut self.decompressor, packet.instance(), entry, self.now) {
                    // Not just any packet that was sent: a stream's last one again would be one.
                    Ok(packet) => {
                        prop_assert_eq!(&packet, &original);
                        self.out.push(packet);
                    }
                    Err(refused) => prop_assert_eq!(refused, Refused::UnknownContext),
                }
            }
            if let Some((from, contexts)) = self.decompressor.unknown().take(self.now)
                && from.instance == self.instance
            {
                for context in contexts {
                    self.compressor.unknown_there(SPACE, context, self.now);
                }
            }
        }
        self.now = self.now.max(until);
        Ok(())
    }

    /// Goes through all steps, and on until nothing is on its way.
    fn live(&mut self, streams: &[(Header, Habit, IpId)], steps: &[Step]) -> Result<(), TestCaseError> {
        let mut numbers = vec![0u32; streams.len()];
        for step in steps {
            match *step {
                Step::Packet { stream, length, noise, damaged } => {
                    let at = stream.index(streams.len());
                    numbers[at] += 1;
                    let mut packet = next(&streams[at], numbers[at], length, noise);
                    if damaged {
                        let at = noise as usize % packet.len();
                        // Not version and length: those a router checks before it pools anything.
                        packet[if at < 6 { 10 } else { at }] ^= 1 << (noise % 8);
                    }
                    self.stage(packet)?;
                }
                Step::Send(ref fate) => self.send(fate),
                Step::Wait { ms } => self.wait(self.now + TickSpan(u64::from(ms) * MS))?,
                Step::SenderRestarts => {
                    self.compressor = compressor(8);
                    self.pool.clear();
                    self.announced.clear();
                    self.instance += 1;
                }
                Step::ReceiverRestarts => self.decompressor = decompressor(8),
            }
        }
        self.wait(self.now + TickSpan(20_000 * MS))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_comes_out_is_what_went_in(streams in streams(), steps in steps()) {
        let mut world = World::new(8);
        world.live(&streams, &steps)?;
    }

    #[test]
    fn where_nothing_is_lost_everything_comes_out_in_order(streams in streams(), mut steps in steps()) {
        steps.retain(|step| !matches!(step, Step::ReceiverRestarts));
        let sent = |step| match step {
            Step::Send(_) => vec![Step::Send(Fate(vec![5]))],
            // Nothing waits in a pool for as long as contexts hold.
            Step::Wait { .. } => vec![Step::Send(Fate(vec![5])), step],
            _ => vec![step],
        };
        let steps: Vec<Step> = steps.into_iter().flat_map(sent).collect();
        // Room for all that are announced within the time for which contexts hold.
        let mut world = World::new(4096);
        world.live(&streams, &steps)?;
        prop_assert_eq!(&world.out, &world.left);
    }

    #[test]
    fn a_lost_announcement_costs_a_round_trip(
        header in prop_oneof![Just(Header::USUAL), Just(Header::IPV6)], lost in 0u32..600, round_trip in 1u64..10,
    ) {
        let (mut compressor, mut decompressor) = (compressor(64), decompressor(64));
        let mut reports: Vec<(Tick, u16)> = Vec::new();
        let mut missing = Vec::new();
        for number in 0..1000u32 {
            let now = Tick(u64::from(number) * 20 * MS);
            reports.retain(|&(at, context)| {
                if at <= now {
                    compressor.unknown_there(SPACE, context, now);
                }
                at > now
            });
            let packet = voice(header, number);
            let entry = entry(&mut compressor, &packet, now);
            let is_announcement = matches!(Entry::parse(&entry), Ok(Entry::Announcement(..)));
            if number >= lost && is_announcement && missing.is_empty() {
                missing.push(number);
                continue;
            }
            match opened(&mut decompressor, 1, &entry, now) {
                Ok(found) => prop_assert_eq!(found, packet),
                Err(_) => missing.push(number),
            }
            if let Some((_, contexts)) = decompressor.unknown().take(now) {
                reports.extend(contexts.iter().map(|&context| (now + TickSpan(round_trip * 20 * MS), context)));
            }
        }
        prop_assert!(missing.len() as u64 <= 1 + round_trip, "{missing:?}");
    }

    #[test]
    fn what_is_predicted_travels_as_when_it_is_encoded(
        streams in streams(),
        steps in prop::collection::vec(
            (
                any::<prop::sample::Index>(), prop_oneof![8 => Just(1i32), 1 => -3..3, 1 => -400..400], 0u8..40, any::<u32>(),
                prop::option::weighted(0.05, (any::<prop::sample::Index>(), 1u8..)), 0u64..40,
            ),
            1..300,
        ),
    ) {
        let (mut usual, mut quick) = (compressor(64), compressor(64));
        let mut numbers = vec![200_000u32; streams.len()];
        let mut now = Tick(0);
        for (stream, by, length, noise, damage, ms) in steps {
            now = now + TickSpan(ms * MS);
            let at = stream.index(streams.len());
            numbers[at] = numbers[at].wrapping_add_signed(by);
            let header = Header { is_ipv6: false, ..streams[at].0 };
            let mut packet = next(&(header, streams[at].1, streams[at].2), numbers[at], length, noise);
            if let Some((place, bits)) = damage {
                let place = place.index(packet.len());
                packet[place] ^= bits;
            }
            if Plain::recognise(&packet, u32::MAX).is_none() {
                continue;
            }
            let place = usual.place_of(u32::from(header.host) << 16 | u32::from(header.port), header.tos);
            let expected = forwarded(&mut usual, &packet, place, now);
            let short = quick.space_of(&SPACE).and_then(|space| {
                let (prefix, body) = quick.predicted(&packet, place, space, now)?;
                let mut entry = vec![0; prefix.length() + body.len()];
                prefix.write(body, &mut entry).then_some(entry)
            });
            let found = match short {
                Some(entry) => {
                    quick.sent_predicted(1);
                    entry
                }
                None => {
                    let place = quick.place_of(u32::from(header.host) << 16 | u32::from(header.port), header.tos);
                    forwarded(&mut quick, &packet, place, now)
                }
            };
            prop_assert_eq!(found, expected);
            prop_assert_eq!(quick.counters(), usual.counters());
        }
    }

    #[test]
    fn no_entry_makes_the_decompressor_panic(
        entries in prop::collection::vec(
            crate::packet::mutation::mutated(prop_oneof![
                Just([&[0x1c, 0, 1, 0, 160][..], &voice(Header::USUAL, 0)].concat()),
                Just([&[0x10, 0, 2][..], &voice(Header::IPV6, 0)].concat()),
                prop::collection::vec(any::<u8>(), 0..20).prop_map(|rest| [&[0x80, 0, 1][..], &rest].concat()),
                (any::<u8>(), prop::collection::vec(any::<u8>(), 0..20))
                    .prop_map(|(flags, rest)| [&[0x80 | flags, 0, 1][..], &rest].concat()),
            ]),
            1..20,
        ),
    ) {
        let mut decompressor = decompressor(8);
        for entry in entries {
            let _ = opened(&mut decompressor, 1, &entry, Tick(0));
        }
    }
}
