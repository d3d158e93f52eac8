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

use super::id_spaces::IdSpaces;
use super::stream::{Announced, Next, Stream};
use super::{ContextTimes, IdSpace, MULTIPLIERS, bits_of, mix};
use crate::arch::{RateLimit, Tick, TickRate, TickSpan};
use crate::packet::Sum;
use crate::packet::copy::copy;
use crate::pool::FlowSeed;
use crate::pool::header_template::{RTP_LEN, Template};
use crate::pool::wire::entry::{Announcement, Prefix};

const WAYS: usize = 4;
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
    /// What hashes are made with: nobody outside can choose streams that crowd each other out.
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
#[derive(Clone, Debug)]
pub struct Encoded {
    prefix: Prefix,
    /// Bytes of the packet that are left out at its start.
    skip: usize,
    announcement: Option<Pending>,
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

/// The streams a worker sends, and what the far ends know of each.
pub struct Compressor {
    sets: Box<[Set]>,
    /// Slots by id, for reports: where two have the same place the older is forgotten, and announced in its time.
    by_context: Box<[u32]>,
    ids: IdSpaces,
    seed: FlowSeed,
    idle: TickSpan,
    times: ContextTimes,
    counters: CompressorCounters,
}

#[derive(Clone, Copy)]
struct Set {
    /// Of the streams' hashes; what is in a vacant slot's is of no account.
    tags: [u32; WAYS],
    streams: [Option<Stream>; WAYS],
}

impl Encoded {
    /// The packet as it is.
    fn whole() -> Encoded {
        Encoded { prefix: Prefix::new(), skip: 0, announcement: None }
    }

    /// A prefix, and what is left behind the header.
    #[inline]
    fn compressed(prefix: Prefix, template: &Template, has_rtp: bool) -> Encoded {
        let skip = template.len() + if has_rtp { RTP_LEN } else { 0 };
        Encoded { prefix, skip, announcement: None }
    }

    /// The length of the entry that a packet of `packet` bytes becomes.
    #[inline]
    pub fn len(&self, packet: usize) -> usize {
        (self.prefix.len() + packet).saturating_sub(self.skip)
    }

    /// Writes the entry of `packet` to `out`. None where `out` is not exactly as
    /// long as [`Encoded::len`] says, or the packet is not the one that was encoded.
    #[inline]
    pub fn write(&self, packet: &[u8], out: &mut [u8]) -> Option<()> {
        let (prefix, body) = out.split_at_mut_checked(self.prefix.len())?;
        let packet = packet.get(self.skip..).filter(|packet| packet.len() == body.len())?;
        (copy(&self.prefix, prefix) && copy(packet, body)).then_some(())
    }
}

impl Compressor {
    /// A compressor that knows no stream. All the memory it will ever need is allocated here.
    pub fn new(limits: CompressorLimits) -> Compressor {
        let sets = limits.streams.div_ceil(WAYS).clamp(1, 1 << 24).next_power_of_two();
        Compressor {
            sets: vec![Set { tags: [0; WAYS], streams: [None; WAYS] }; sets].into(),
            by_context: vec![u32::MAX; 2 * WAYS * sets].into(),
            ids: IdSpaces::new(limits.spaces, limits.times.reuse, limits.id_bits, limits.losses),
            seed: limits.seed,
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
    pub fn encode(&mut self, packet: &[u8], space: IdSpace, now: Tick) -> Encoded {
        let Some((template, varying)) = Template::of(packet) else { return Encoded::whole() };
        let hash = hash(self.seed, &template, space);
        let set_at = hash as usize & (self.sets.len() - 1);
        let tag = (hash >> 32) as u32;
        let Some(set) = self.sets.get_mut(set_at) else { return Encoded::whole() };
        let Some((way, stream)) = set.find(tag, &template, space) else {
            let stream = || Stream::first(template, space, varying.ip_id, varying.payload, now);
            set.claim(tag, stream, self.idle, now);
            return Encoded::whole();
        };
        // What the far end would not rebuild to the last bit travels whole.
        if !template.rebuilds(&stream.sums, &varying, Sum::of(varying.payload)) {
            return Encoded::whole();
        }
        match stream.next(varying.ip_id, varying.payload, &self.times, now) {
            Next::Whole => Encoded::whole(),
            Next::Compressed { prefix, has_rtp } => Encoded::compressed(prefix, &template, has_rtp),
            Next::Announce(reference) => {
                let Some(context) = self.ids.next(space, now) else {
                    self.counters.no_id += 1;
                    return match stream.go_on(varying.ip_id, varying.payload, &self.times, now) {
                        Some((prefix, has_rtp)) => Encoded::compressed(prefix, &template, has_rtp),
                        None => Encoded::whole(),
                    };
                };
                let prefix = Announcement { context, profile: reference.profile }.prefix();
                let slot = (WAYS * set_at + way) as u32;
                let announcement = Some(Pending { slot, announced: Announced::new(context, reference, now) });
                Encoded { prefix, skip: 0, announcement }
            }
        }
    }

    /// The packet does travel so. Until another one does, that can be undone.
    #[inline]
    pub fn sent(&mut self, encoded: &Encoded) -> Undo {
        let form = match &encoded.announcement {
            Some(pending) => {
                self.counters.announced += 1;
                self.announce(pending);
                Form::Announced { slot: pending.slot, context: pending.announced.context }
            }
            None if encoded.prefix.is_empty() => {
                self.counters.whole += 1;
                Form::Whole
            }
            None => {
                self.counters.compressed += 1;
                Form::Compressed
            }
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
                    let space = stream.space;
                    self.ids.take_back(space, context);
                }
            }
        }
    }

    fn announce(&mut self, pending: &Pending) {
        let (context, now) = (pending.announced.context, pending.announced.at);
        let Some(stream) = self.stream_mut(pending.slot) else { return };
        stream.announce(pending.announced);
        let space = stream.space;
        self.ids.take(space, now);
        let at = self.place(space, context);
        if let Some(slot) = self.by_context.get_mut(at) {
            *slot = pending.slot;
        }
    }

    /// The far end does not know a context. Where it still stands for a stream of this compressor, that is announced anew,
    /// soon but not too often.
    pub fn unknown_there(&mut self, space: IdSpace, context: u16, now: Tick) {
        let slot = self.by_context.get(self.place(space, context)).copied().unwrap_or(u32::MAX);
        let is_meant = |stream: &&mut Stream| stream.space == space && stream.is_announced_as(context);
        let is_lost = self.stream_mut(slot).filter(is_meant).is_some() && self.ids.may_lose(space, now);
        if is_lost && let Some(stream) = self.stream_mut(slot) {
            stream.lost();
            self.counters.lost += 1;
        } else {
            self.counters.not_lost += 1;
        }
    }

    fn stream_mut(&mut self, slot: u32) -> Option<&mut Stream> {
        let slot = slot as usize;
        self.sets.get_mut(slot / WAYS)?.streams.get_mut(slot % WAYS)?.as_mut()
    }

    /// Where the slot of a context is kept. Ids in turn have places in turn.
    fn place(&self, space: IdSpace, context: u16) -> usize {
        (space.hash() as usize).wrapping_add(usize::from(context)) & (self.by_context.len() - 1)
    }
}

impl Set {
    #[inline]
    fn find(&mut self, tag: u32, template: &Template, space: IdSpace) -> Option<(usize, &mut Stream)> {
        let tags = self.tags;
        self.streams.iter_mut().zip(tags).enumerate().find_map(|(way, (stream, other))| {
            let stream = stream.as_mut().filter(|_| other == tag)?;
            (stream.template == *template && stream.space == space).then_some((way, stream))
        })
    }

    /// Puts a stream into a vacant slot, or into the one that was silent longest, if that was for `idle`.
    fn claim(&mut self, tag: u32, stream: impl FnOnce() -> Stream, idle: TickSpan, now: Tick) {
        let slots = self.streams.iter_mut().zip(&mut self.tags);
        let oldest = slots.min_by_key(|(stream, _)| stream.map(|stream| stream.used));
        if let Some((slot, of_slot)) = oldest
            && slot.is_none_or(|stream| now.since(stream.used) >= idle)
        {
            (*slot, *of_slot) = (Some(stream()), tag);
        }
    }
}

#[inline]
fn hash(seed: FlowSeed, template: &Template, space: IdSpace) -> u64 {
    let (bytes, is_short) = template.words();
    let (words, _) = bytes.as_chunks::<8>();
    let words = words.get(..if is_short { 4 } else { 6 }).unwrap_or_default();
    let [first, multipliers @ ..] = MULTIPLIERS;
    let mut hash = mix(seed.0 ^ bits_of(space.addressee, space.source_port), first);
    for (pair, multiplier) in words.as_chunks::<2>().0.iter().zip(multipliers) {
        let [a, b] = pair.map(u64::from_le_bytes);
        hash = mix(hash ^ a, multiplier ^ b);
    }
    hash
}
