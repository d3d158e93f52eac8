//! The compressor of one worker: which entry a stream packet becomes in a pooled packet with short rows.
//!
//! [`Compressor::encode`] says how a packet is to travel and [`Compressor::sent`] that it does: an announcement counts
//! only from then on, so a packet that in the end finds no room announces nothing. Packets that could not be rebuilt
//! byte for byte (options, fragments, other protocols, checksums that no sender would compute) travel whole.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use std::time::Duration;

use super::id_spaces::{IdSpaces, SpaceIndex};
use super::reference::Reference;
use super::stream::{Announced, Next, Stream};
use super::tags::{Tag, Tags, WAYS};
use super::{ContextTimes, IdSpace, MULTIPLIERS, mix};
use crate::arch::{RateLimit, Tick, TickRate, TickSpan, prefetch_read};
use crate::packet::ipv4::PROTOCOL_UDP;
use crate::pool::FlowSeed;
use crate::pool::flow_hash::hashes_ipv4;
use crate::pool::header_template::{Apart, IPV4_UDP, Template, Varying};
use crate::pool::rtp::{RTP_LEN, Rtp};
use crate::pool::wire::entry::{Announcement, PredictedPrefix, Prefix};

/// A stream gives way to a new one after it was silent for so long.
const IDLE: Duration = Duration::from_secs(1);
/// Contexts to one addressee from one port that may be reported unknown per second in the long run: whoever makes up
/// reports uses up a sixth of the ids at the most.
const LOSSES: u64 = 512;
/// And at once: a restarted addressee knows none.
const LOSSES_AT_ONCE: u64 = 4096;

/// What a compressor's memory is sized for, at construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressorLimits {
    /// Streams known at one time, rounded up to a power of two; the packets of others travel whole.
    pub streams: usize,
    /// Pairs of a peer and a source port that have contexts at one time.
    pub spaces: usize,
    /// How many bits of ids are used, 4 to 16: all, but where a test is to see them come around.
    pub id_bits: u8,
    /// A stream gives way to a new one after it was silent for so long.
    pub idle: TickSpan,
    /// How long announcements hold.
    pub times: ContextTimes,
    /// How many contexts of each pair may be reported unknown.
    pub losses: RateLimit,
    /// What hashes are made with, those by flow of the packets included: nobody outside can choose streams that crowd each
    /// other out.
    pub seed: FlowSeed,
}

impl CompressorLimits {
    /// For a router with a few peers: 16,384 streams.
    pub fn usual(rate: TickRate, seed: FlowSeed) -> CompressorLimits {
        CompressorLimits { streams: 16_384, spaces: 1024, ..CompressorLimits::small(rate, seed) }
    }

    /// For few streams.
    pub fn small(rate: TickRate, seed: FlowSeed) -> CompressorLimits {
        CompressorLimits {
            streams: 64,
            spaces: 8,
            id_bits: 16,
            idle: rate.ticks(IDLE),
            times: ContextTimes::at(rate),
            losses: RateLimit::new(rate, LOSSES, LOSSES_AT_ONCE),
            seed,
        }
    }
}

/// What the compressor did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompressorCounters {
    /// Packets that travelled whole.
    pub whole: u64,
    /// Packets that announced their header.
    pub announced: u64,
    /// Packets that travelled without it.
    pub compressed: u64,
    /// Announcements that found no free id.
    pub no_id: u64,
    /// Contexts that the far end reported it does not know, and that are announced anew.
    pub lost: u64,
    /// Contexts that were reported so but are not used any more, were reported already, or are too many in a short time.
    pub not_lost: u64,
}

/// How a packet is to travel.
#[derive(Clone, Copy, Debug)]
pub struct Encoded {
    prefix: Prefix,
    /// Bytes of the packet that are left out at its start.
    skip: u8,
    /// Whether its header is announced.
    is_announcement: bool,
}

/// An announcement that has not left yet.
#[derive(Clone, Copy, Debug)]
struct Pending {
    slot: u32,
    announced: Announced,
}

/// What it takes to undo that a packet was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undo {
    form: Form,
}

/// How a packet travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Whole,
    /// The stream in this slot is announced under this id.
    Announced {
        slot: u32,
        context: u16,
    },
    Compressed,
}

/// The headers that packets which are [predicted](Compressor::predicted) go without, in bytes.
pub const PREDICTED: usize = IPV4_UDP + RTP_LEN;

/// The streams a worker sends, and what the far ends know of each.
pub struct Compressor {
    /// Of each set: made of the hashes of the streams' flows.
    tags: Box<[Tags]>,
    /// The streams of all sets in turn.
    streams: Box<[Stream]>,
    /// What hashes are made with, and made of that, for a word of IPv6 each.
    seed: FlowSeed,
    secrets: [u64; SECRETS],
    /// What the packet encoded last announces, if it does and is sent.
    pending: Option<Pending>,
    /// Slots by id, for reports: where two have the same place the older is forgotten, and announced in its time.
    by_context: Box<[u32]>,
    ids: IdSpaces,
    idle: TickSpan,
    times: ContextTimes,
    counters: CompressorCounters,
}

const SECRETS: usize = 6;

/// Where the stream of a packet may be: in the set that its flow's hash and its class say. Streams of one flow that differ in TTL
/// or addressee are in one set.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    slot: u32,
    flow: u32,
}

impl Encoded {
    /// The packet as it is.
    const WHOLE: Encoded = Encoded { prefix: Prefix::NONE, skip: 0, is_announcement: false };

    /// A prefix, and what is left behind the headers, of which those of IP and UDP have so many bytes.
    #[inline(always)]
    fn compressed(prefix: Prefix, headers: usize, has_rtp: bool) -> Encoded {
        let skip = headers + if has_rtp { RTP_LEN } else { 0 };
        Encoded { prefix, skip: skip as u8, is_announcement: false }
    }

    /// The length of the entry that a packet of `packet` bytes becomes.
    #[inline(always)]
    pub fn len(&self, packet: usize) -> usize {
        (self.prefix.len() + packet).saturating_sub(self.skip.into())
    }

    /// Where the entry has the packet whole, if it has: a prefix may be in front.
    #[inline(always)]
    pub fn whole_at(&self) -> Option<usize> {
        (self.skip == 0).then_some(self.prefix.len())
    }

    /// Writes the entry of `packet` to `out`. None where `out` is not exactly as
    /// long as [`Encoded::len`] says, or the packet is not the one that was encoded.
    #[inline(always)]
    pub fn write(&self, packet: &[u8], out: &mut [u8]) -> Option<()> {
        self.prefix.write(packet.get(usize::from(self.skip)..)?, out).then_some(())
    }
}

impl Compressor {
    /// A compressor that knows no stream. All the memory it will ever need is allocated here.
    pub fn new(limits: CompressorLimits) -> Compressor {
        let sets = limits.streams.div_ceil(WAYS).clamp(1, 1 << 24).next_power_of_two();
        let mut secret = limits.seed.0;
        let [multiplier, other, ..] = MULTIPLIERS;
        let mut next = || {
            secret = secret.wrapping_add(multiplier);
            mix(secret, secret ^ other)
        };
        Compressor {
            tags: vec![Tags::default(); sets].into(),
            streams: vec![Stream::NONE; WAYS * sets].into(),
            seed: limits.seed,
            secrets: std::array::from_fn(|_| next()),
            pending: None,
            by_context: vec![u32::MAX; 2 * WAYS * sets].into(),
            ids: IdSpaces::new(limits.spaces, limits.times.reuse, limits.id_bits, limits.losses),
            idle: limits.idle,
            times: limits.times,
            counters: CompressorCounters::default(),
        }
    }

    /// What it did so far.
    pub fn counters(&self) -> &CompressorCounters {
        &self.counters
    }

    /// How `packet`, which starts with its IP header and ends with its last byte, is to travel to `space`. `now` is
    /// never before that of an earlier call.
    #[inline]
    pub fn encode(&mut self, packet: &[u8], space: &IdSpace, now: Tick) -> Encoded {
        match packet {
            &[0x45, tos, ..] => {
                let Some(apart) = Apart::of_ipv4::<false>(packet) else { return Encoded::WHOLE };
                let [_, second, third] = apart.words;
                let addresses_and_ports = [(second >> 32) as u32, third as u32, (third >> 32) as u32];
                let (flow, _) = hashes_ipv4(self.seed, addresses_and_ports, PROTOCOL_UDP);
                self.encode_apart(&apart, self.place_of(flow, tos), space, now)
            }
            [0x60..0x70, ..] => {
                let Some(apart) = Apart::of_ipv6(packet) else { return Encoded::WHOLE };
                self.encode_apart(&apart, self.place_of(self.hash_ipv6(&apart.words), 0), space, now)
            }
            _ => Encoded::WHOLE,
        }
    }

    /// The same for an IPv4 packet as it is when its TTL, which is above 0, has been decremented. Where it travels
    /// [whole](Encoded::whole_at), that is still to be done to what was written. `place` is that of its hash by flow.
    #[inline(always)]
    pub fn encode_forwarded(&mut self, packet: &[u8], place: Place, space: &IdSpace, now: Tick) -> Encoded {
        match packet {
            [0x45, ..] => match Apart::of_ipv4::<true>(packet) {
                Some(apart) => self.encode_apart(&apart, place, space, now),
                None => Encoded::WHOLE,
            },
            _ => Encoded::WHOLE,
        }
    }

    /// Whose ids the packets to `space` go by that are [predicted](Compressor::predicted), if that is known already.
    #[inline(always)]
    pub fn space_of(&self, space: &IdSpace) -> Option<SpaceIndex> {
        self.ids.last(space)
    }

    /// What an IPv4 packet, which is [plain](crate::packet::ipv4::Plain) and whose TTL is still to be decremented, travels with
    /// in place of its headers, and what is left of it, where it is of RTP and just what its stream's context predicts. None says
    /// nothing: the packet is to be [encoded](Compressor::encode_forwarded) then. Who sends it tells so by
    /// [`Compressor::sent_predicted`].
    #[inline(always)]
    pub fn predicted<'p>(
        &mut self,
        packet: &'p [u8],
        place: Place,
        space: SpaceIndex,
        now: Tick,
    ) -> Option<(PredictedPrefix, &'p [u8])> {
        let (start, body) = packet.split_first_chunk::<PREDICTED>()?;
        let words = start.as_chunks::<8>().0.first_chunk::<5>()?.map(u64::from_le_bytes);
        let stream = self.streams.get_mut(place.slot as usize)?;
        if !stream.has(words, u16::try_from(packet.len()).ok()?, body, space) {
            return None;
        }
        let [a, _, _, d, e] = words;
        let ip_id = ((a >> 32) as u16).swap_bytes();
        let prefix = stream.next_as_predicted(ip_id, &Rtp::of_words(d, e), &self.times, now)?;
        Some((prefix, body))
    }

    /// So many packets that were [predicted](Compressor::predicted) do travel so: one at least.
    #[inline(always)]
    pub fn sent_predicted(&mut self, packets: usize) -> Undo {
        self.counters.compressed += packets as u64;
        Undo { form: Form::Compressed }
    }

    /// Where the stream of a packet with this hash by flow, and these bits of DSCP and ECN, may be: that is brought closer.
    #[inline(always)]
    pub fn place_of(&self, flow: u32, tos: u8) -> Place {
        // Classes of one flow are in sets of their own: there may be more of them than a set has places.
        let flow = flow ^ u32::from(tos).wrapping_mul(0x9e37_79b1);
        let set = flow as usize & (self.tags.len() - 1);
        let way = self.tags.get(set).and_then(|tags| tags.with(Tag::of_flow(flow)).next());
        let slot = WAYS * set + way.unwrap_or(0);
        if let Some(stream) = self.streams.get(slot) {
            prefetch_read(stream);
            prefetch_read(std::ptr::from_ref(stream).wrapping_byte_add(64));
        }
        Place { slot: slot as u32, flow }
    }

    #[inline(always)]
    fn encode_apart<const N: usize>(
        &mut self,
        Apart { words, varying }: &Apart<'_, N>,
        place: Place,
        space: &IdSpace,
        now: Tick,
    ) -> Encoded
    where
        Template: From<[u64; N]>,
    {
        // What the far end would not rebuild to the last bit travels whole.
        if !varying.is_usual() {
            return Encoded::WHOLE;
        }
        let &Varying { ip_id, payload, .. } = varying;
        let Some(space) = self.ids.open(space, now) else {
            self.counters.no_id += 1;
            return Encoded::WHOLE;
        };
        if let Some(stream) = self.streams.get_mut(place.slot as usize)
            && stream.is(words, space)
            && let Some((rtp, _)) = Rtp::read(payload)
            && let Some(prefix) = stream.next_as_predicted(ip_id, &rtp, &self.times, now)
        {
            return Encoded::compressed(prefix.into(), Apart::<N>::LEN, true);
        }
        self.encode_other(place, Template::from(*words), space, (ip_id, payload), now).unwrap_or(Encoded::WHOLE)
    }

    /// The same for packets of other streams than the one that may be there, and for those that are not as predicted. None:
    /// whole.
    #[inline(never)]
    fn encode_other(
        &mut self,
        Place { slot, flow }: Place,
        template: Template,
        space: SpaceIndex,
        (ip_id, payload): (u16, &[u8]),
        now: Tick,
    ) -> Option<Encoded> {
        let (set, tag) = (slot as usize / WAYS, Tag::of_flow(flow));
        let mut slots = self.tags.get(set)?.with(tag).map(|way| WAYS * set + way);
        let is_it = |&slot: &usize| self.streams.get(slot).is_some_and(|stream| stream.is(template.words(), space));
        let Some(slot) = slots.find(is_it) else {
            self.watch((set, tag), Stream::first(template, space, ip_id, payload, now));
            return None;
        };
        let stream = self.streams.get_mut(slot)?;
        match stream.next(ip_id, payload, &self.times, now) {
            Next::Whole => None,
            Next::Compressed { prefix, has_rtp } => Some(Encoded::compressed(prefix, template.len(), has_rtp)),
            Next::Announce(reference) => self.announcement(slot, &reference, now).or_else(|| {
                let (prefix, has_rtp) = self.streams.get(slot)?.go_on(ip_id, payload, &self.times, now)?;
                Some(Encoded::compressed(prefix, template.len(), has_rtp))
            }),
        }
    }

    /// A packet that announces its stream. None where no id is free.
    #[inline(never)]
    fn announcement(&mut self, slot: usize, reference: &Reference, now: Tick) -> Option<Encoded> {
        let Some(context) = self.ids.next(self.streams.get(slot)?.space(), now) else {
            self.counters.no_id += 1;
            return None;
        };
        let prefix = Announcement { context, profile: reference.profile }.prefix();
        self.pending = Some(Pending { slot: slot as u32, announced: Announced::new(context, *reference, now) });
        Some(Encoded { prefix, skip: 0, is_announcement: true })
    }

    /// Puts a stream into a vacant place of its set, or into the one of the stream that was silent longest, if that was for
    /// `idle`.
    fn watch(&mut self, (set, tag): (usize, Tag), stream: Stream) {
        let (Some(tags), Some(streams)) = (self.tags.get_mut(set), self.streams.as_chunks_mut::<WAYS>().0.get_mut(set))
        else {
            return;
        };
        let places = streams.iter_mut().enumerate().map(|(way, place)| (!tags.is_vacant(way), way, place));
        let oldest = places.min_by_key(|(is_taken, _, place)| is_taken.then_some(place.used));
        if let Some((is_taken, way, place)) = oldest
            && (!is_taken || stream.used.since(place.used) >= self.idle)
        {
            *place = stream;
            tags.mark(way, tag);
        }
    }

    /// Nobody outside can choose streams that have the same: a product for each two words, of which the sender knows neither
    /// factor.
    #[inline]
    fn hash_ipv6(&self, &[a, b, c, d, e, f]: &[u64; 6]) -> u32 {
        let [s0, s1, s2, s3, s4, s5] = self.secrets;
        (mix(a ^ s0, b ^ s1) ^ mix(c ^ s2, d ^ s3) ^ mix(e ^ s4, f ^ s5)) as u32
    }

    /// The packet encoded last does travel so. Until another one does, that can be undone.
    #[inline(always)]
    pub fn sent(&mut self, encoded: &Encoded) -> Undo {
        let form = if encoded.is_announcement {
            self.announce()
        } else if encoded.prefix.is_empty() {
            self.counters.whole += 1;
            Form::Whole
        } else {
            self.counters.compressed += 1;
            Form::Compressed
        };
        Undo { form }
    }

    /// The packet of the last call of [`Compressor::sent`] does not travel so after all.
    pub fn withdraw(&mut self, undo: Undo) {
        match undo.form {
            Form::Whole => self.counters.whole -= 1,
            Form::Compressed => self.counters.compressed -= 1,
            Form::Announced { slot, context } => {
                self.counters.announced -= 1;
                if let Some(stream) = self.stream_mut(slot).filter(|stream| stream.context() == Some(context)) {
                    stream.withdraw();
                    let space = stream.space();
                    self.ids.take_back(space, context);
                }
            }
        }
    }

    #[inline(never)]
    fn announce(&mut self) -> Form {
        let Some(Pending { slot, announced }) = self.pending.take() else { return Form::Whole };
        let Some(stream) = self.stream_mut(slot) else { return Form::Whole };
        let (space, context) = (stream.space(), announced.context);
        stream.announce(announced);
        self.counters.announced += 1;
        self.ids.take(space, announced.at);
        let at = self.place(space, context);
        if let Some(place) = self.by_context.get_mut(at) {
            *place = slot;
        }
        Form::Announced { slot, context }
    }

    /// The far end does not know a context. Where it still stands for a stream of this compressor, that is announced anew,
    /// soon but not too often.
    pub fn unknown_there(&mut self, space: IdSpace, context: u16, now: Tick) {
        match self.lose(space, context, now) {
            Some(()) => self.counters.lost += 1,
            None => self.counters.not_lost += 1,
        }
    }

    fn lose(&mut self, space: IdSpace, context: u16, now: Tick) -> Option<()> {
        let space = self.ids.find(space)?;
        let slot = *self.by_context.get(self.place(space, context))?;
        let stream = self.streams.get_mut(slot as usize)?;
        let is_lost = stream.space() == space && stream.is_announced_as(context) && self.ids.may_lose(space, now);
        is_lost.then(|| stream.lost())
    }

    fn stream_mut(&mut self, slot: u32) -> Option<&mut Stream> {
        self.streams.get_mut(slot as usize)
    }

    /// Where the slot of a context is kept. Ids in turn have places in turn.
    fn place(&self, space: SpaceIndex, context: u16) -> usize {
        let [multiplier, ..] = MULTIPLIERS;
        (mix(space.bits(), multiplier) as usize).wrapping_add(usize::from(context)) & (self.by_context.len() - 1)
    }
}
