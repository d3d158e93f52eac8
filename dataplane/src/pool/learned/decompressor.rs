//! The decompressor of one worker: which packet an entry of a pooled packet with short rows stands for.
//!
//! It keeps a context for as long as the wire format allows, in a table of fixed size where the oldest gives way, and
//! notes which contexts it was asked for and does not have, for a report to their sender.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use std::net::IpAddr;

use super::reference::Reference;
use super::tags::{Tag, Tags, WAYS};
use super::unknown_contexts::{Origin, UnknownContexts};
use crate::arch::{Tick, TickSpan};
use crate::packet::Total;
use crate::packet::copy::copy;
use crate::packet::ipv4::Plain;
use crate::pool::header_template::{IPV4_UDP, Template, TemplateSums, add_payload};
use crate::pool::rtp::{RTP_LEN, Rtp};
use crate::pool::wire::entry::{Announcement, CompressedEntry, Entry, Profile};

/// Why an entry gives no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It names a context that is not known here, or no longer.
    UnknownContext,
    /// It announces a packet whose header cannot be learned, or says what cannot be in its context.
    Malformed,
}

/// The packet that an entry stands for.
#[derive(Clone, Copy, Debug)]
pub enum Opened<'a> {
    /// It was there.
    Whole(&'a [u8]),
    /// It is to be rebuilt.
    Rebuilt(Rebuilt<'a>),
}

/// A packet to be rebuilt.
#[derive(Clone, Copy, Debug)]
pub struct Rebuilt<'a> {
    template: &'a Template,
    sums: &'a TemplateSums,
    ip_id: u16,
    rtp: Option<Rtp>,
    /// What is behind the headers.
    payload: &'a [u8],
}

/// A packet to be rebuilt as nearly all are: of IPv4, with an RTP header as predicted.
#[derive(Clone, Copy, Debug)]
pub struct Plainly<'a> {
    template: &'a Template,
    sums: &'a TemplateSums,
    ip_id: u16,
    rtp: Rtp,
    media: &'a [u8],
}

/// The contexts a worker knows.
pub struct Decompressor {
    /// Of each set: made of the contexts' names.
    tags: Box<[Tags]>,
    /// The contexts of all sets in turn.
    contexts: Box<[Context]>,
    forget: TickSpan,
    unknown: UnknownContexts,
    disputed: u64,
}

/// The contexts of one origin, as long as one pooled packet of it is taken apart.
pub struct OriginContexts<'a> {
    all: &'a mut Decompressor,
    origin: Origin,
    /// The name of its context 0, and what places contexts by their ids.
    name: Name,
    hash: u64,
    now: Tick,
}

/// What a context goes by: its origin and its id, in words that are compared at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Name {
    peer: [u64; 2],
    /// Instance, source port and id.
    rest: u64,
    is_ipv6: bool,
}

/// In two cache lines side by side.
#[derive(Clone, Copy)]
#[repr(align(128))]
struct Context {
    name: Name,
    /// When it was announced.
    at: Tick,
    template: Template,
    sums: TemplateSums,
    reference: Reference,
    /// Something else was announced under its id, which no sender does so soon: it stands for neither.
    is_disputed: bool,
    /// Its packets are plain, unless they are to the pool port.
    is_plain: bool,
}

const _: () = assert!(size_of::<Context>() == 128);

impl Name {
    /// Of the context 0 of an origin.
    fn first_of(origin: Origin) -> Name {
        let peer = match origin.peer {
            IpAddr::V4(address) => [address.to_bits().into(), 0],
            IpAddr::V6(address) => [(address.to_bits() >> 64) as u64, address.to_bits() as u64],
        };
        let rest = u64::from(origin.instance) << 32 | u64::from(origin.source_port) << 16;
        Name { peer, rest, is_ipv6: origin.peer.is_ipv6() }
    }

    /// Of another one of the same origin, where this is the context 0.
    #[inline(always)]
    fn with_id(self, id: u16) -> Name {
        Name { rest: self.rest | u64::from(id), ..self }
    }
}

impl Opened<'_> {
    /// The length of the packet in bytes.
    #[inline]
    #[allow(clippy::len_without_is_empty)] // No packet is empty.
    pub fn len(&self) -> usize {
        match self {
            Opened::Whole(packet) => packet.len(),
            Opened::Rebuilt(rebuilt) => rebuilt.len(),
        }
    }

    /// Writes the packet to `out`, which is exactly as long as it; None where it is not.
    #[inline]
    pub fn write(&self, out: &mut [u8]) -> Option<()> {
        match self {
            Opened::Whole(packet) if packet.len() == out.len() => {
                out.copy_from_slice(packet);
                Some(())
            }
            Opened::Whole(_) => None,
            Opened::Rebuilt(rebuilt) => rebuilt.write(out),
        }
    }
}

impl Rebuilt<'_> {
    /// The length of the packet in bytes.
    #[inline(always)]
    #[allow(clippy::len_without_is_empty)] // No packet is empty.
    pub fn len(&self) -> usize {
        self.template.len() + if self.rtp.is_some() { RTP_LEN } else { 0 } + self.payload.len()
    }

    /// Writes the packet to `out`, which is exactly as long as it; None where it is not.
    #[inline(always)]
    pub fn write(&self, out: &mut [u8]) -> Option<()> {
        let (header, body) = out.split_at_mut_checked(self.template.len())?;
        let payload_len = body.len();
        let mut total = Total::default();
        let rest = match &self.rtp {
            Some(rtp) => {
                let (to, rest) = body.split_first_chunk_mut::<RTP_LEN>()?;
                rtp.write(&mut total, to);
                rest
            }
            None => body,
        };
        if !copy(self.payload, rest) {
            return None;
        }
        add_payload(&mut total, self.payload);
        self.template.write(self.sums, self.ip_id, payload_len, total, header)
    }
}

impl Plainly<'_> {
    /// The length of the packet in bytes.
    #[inline(always)]
    #[allow(clippy::len_without_is_empty)] // No packet is empty.
    pub fn len(&self) -> usize {
        IPV4_UDP + RTP_LEN + self.media.len()
    }

    /// Writes the packet to `out`, which is exactly as long as it; None where it is not.
    #[inline(always)]
    pub fn write(&self, out: &mut [u8]) -> Option<()> {
        let (header, body) = out.split_first_chunk_mut::<IPV4_UDP>()?;
        let (rtp, rest) = body.split_first_chunk_mut::<RTP_LEN>()?;
        if !copy(self.media, rest) {
            return None;
        }
        let mut total = Total::default();
        self.rtp.write(&mut total, rtp);
        add_payload(&mut total, self.media);
        self.template.write_ipv4(self.sums, self.ip_id, RTP_LEN + self.media.len(), total, header)
    }
}

impl Decompressor {
    /// A decompressor that knows no context and has room for some `contexts`, rounded up to a power of two; each lives
    /// for `forget`. `unknown` is where it notes those it does not have. All memory is allocated here.
    pub fn new(contexts: usize, forget: TickSpan, unknown: UnknownContexts) -> Decompressor {
        let sets = contexts.div_ceil(WAYS).clamp(1, 1 << 24).next_power_of_two();
        Decompressor {
            tags: vec![Tags::default(); sets].into(),
            contexts: vec![Context::NONE; WAYS * sets].into(),
            forget,
            unknown,
            disputed: 0,
        }
    }

    /// The contexts of `origin`. `now` is never before that of an earlier call.
    #[inline]
    pub fn of(&mut self, origin: Origin, now: Tick) -> OriginContexts<'_> {
        OriginContexts { all: self, origin, name: Name::first_of(origin), hash: origin.hash(), now }
    }

    /// When the contexts it was asked for and does not have can be reported, if there are any.
    #[inline]
    pub fn report_deadline(&self) -> Option<Tick> {
        self.unknown.deadline()
    }

    /// The contexts it was asked for and does not have.
    #[inline]
    pub fn unknown(&mut self) -> &mut UnknownContexts {
        &mut self.unknown
    }

    /// A place in this set, which is marked so from now on: a vacant one, or that of the oldest context.
    fn make_room(&mut self, set: usize, tag: Tag) -> Option<usize> {
        let tags = self.tags.get_mut(set)?;
        let contexts = self.contexts.as_chunks::<WAYS>().0.get(set)?;
        let places = contexts.iter().enumerate();
        let (way, _) = places.min_by_key(|&(way, context)| (!tags.is_vacant(way)).then_some(context.at))?;
        tags.mark(way, tag);
        Some(WAYS * set + way)
    }

    /// How many announcements said something else than one under the same id that had not been forgotten.
    #[inline]
    pub fn disputed(&self) -> u64 {
        self.disputed
    }
}

impl OriginContexts<'_> {
    /// The packet that `entry` stands for.
    ///
    /// # Errors
    /// Why there is none. An unknown context is noted.
    #[inline(always)]
    pub fn open<'a>(&'a mut self, entry: &'a [u8]) -> Result<Opened<'a>, Refused> {
        match CompressedEntry::parse(entry) {
            Some(entry) => self.rebuild(entry).map(Opened::Rebuilt),
            None => self.whole(entry).map(Opened::Whole),
        }
    }

    /// The packet that `entry` stands for, and whom it is for, where it is one as nearly all are: it changed as predicted, its
    /// context is known, and it is [`Plain`], of which `but` is the port. None says nothing but that it needs
    /// [`OriginContexts::open`].
    #[inline(always)]
    pub fn plain<'a>(&'a self, entry: &'a [u8], but: u32) -> Option<(Plainly<'a>, u32)> {
        let entry = CompressedEntry::parse(entry)?;
        let (difference, marker, payload) = entry.predicted()?;
        let context = self.all.contexts.get(self.find(entry.context)?)?;
        if !context.is_plain || self.now.since(context.at) >= self.all.forget || context.template.is_to(but) {
            return None;
        }
        let (ip_id, rtp) = context.reference.predicted(difference, marker)?;
        let Context { template, sums, .. } = context;
        Some((Plainly { template, sums, ip_id, rtp, media: payload }, template.destination()))
    }

    /// The packet that an entry has whole.
    #[inline(never)]
    fn whole<'a>(&mut self, entry: &'a [u8]) -> Result<&'a [u8], Refused> {
        match Entry::parse(entry) {
            Ok(Entry::Whole(packet)) => Ok(packet),
            Ok(Entry::Announcement(announcement, packet)) => {
                self.learn(&announcement, packet).ok_or(Refused::Malformed)?;
                Ok(packet)
            }
            Ok(Entry::Compressed(_)) | Err(_) => Err(Refused::Malformed),
        }
    }

    #[inline(always)]
    fn rebuild<'a>(&'a mut self, entry: CompressedEntry<'a>) -> Result<Rebuilt<'a>, Refused> {
        let is_known = |context: &&Context| self.now.since(context.at) < self.all.forget && !context.is_disputed;
        let found = self.find(entry.context).and_then(|slot| self.all.contexts.get(slot));
        let Some(context) = found.filter(is_known) else {
            self.all.unknown.note(self.origin, entry.context, self.now);
            return Err(Refused::UnknownContext);
        };
        let Context { template, sums, reference, .. } = context;
        if let Some((difference, marker, payload)) = entry.predicted()
            && let Some((ip_id, rtp)) = reference.predicted(difference, marker)
        {
            return Ok(Rebuilt { template, sums, ip_id, rtp: Some(rtp), payload });
        }
        let (change, payload) = entry.change(reference.has_rtp()).ok_or(Refused::Malformed)?;
        let (ip_id, rtp) = reference.after(&change);
        Ok(Rebuilt { template, sums, ip_id, rtp: reference.has_rtp().then_some(rtp), payload })
    }

    /// Where a context is, if it is anywhere.
    #[inline(always)]
    fn find(&self, id: u16) -> Option<usize> {
        let (set, tag) = self.place(id);
        let name = self.name.with_id(id);
        let mut slots = self.all.tags.get(set)?.with(tag).map(|way| WAYS * set + way);
        slots.find(|&slot| self.all.contexts.get(slot).is_some_and(|context| context.name == name))
    }

    /// The set of a context, and what marks it there. Ids given out in turn lie in sets in turn.
    #[inline(always)]
    fn place(&self, id: u16) -> (usize, Tag) {
        let place = self.hash.wrapping_add(id.into());
        (place as usize & (self.all.tags.len() - 1), Tag::of(place ^ place >> 32))
    }

    /// Takes note of what an announcement says, unless the packet's header cannot be learned.
    ///
    /// A sender does not announce another header, nor the same one anew, under an id that may still be known. So what is not a
    /// copy of the announcement that is known is a forgery, or that one was: entries of this id stand for nothing then,
    /// until both are forgotten. The sender hears of it and announces its stream under another id. A copy makes nothing
    /// live longer.
    #[inline(never)]
    fn learn(&mut self, announcement: &Announcement, packet: &[u8]) -> Option<()> {
        let (template, varying) = Template::of(packet)?;
        let rtp = match announcement.profile {
            Profile::Udp => Rtp::NONE,
            Profile::Rtp { id_counts: true, .. } if !template.is_ipv4() => return None,
            Profile::Rtp { .. } => Rtp::read(varying.payload)?.0,
        };
        let reference = Reference { profile: announcement.profile, ip_id: varying.ip_id, rtp };
        let (id, now) = (announcement.context, self.now);
        let name = self.name.with_id(id);
        let (sums, is_plain) = (template.sums(), Plain::recognise(packet, u32::MAX).is_some());
        let mut context = Context { name, at: now, template, sums, reference, is_disputed: false, is_plain };
        let same = self.find(id);
        if let Some(known) = same.and_then(|slot| self.all.contexts.get(slot))
            && now.since(known.at) < self.all.forget
        {
            if known.template == template && known.reference == reference {
                return Some(());
            }
            (context.is_disputed, context.is_plain) = (true, false);
            self.all.disputed += 1;
            self.all.unknown.note(self.origin, id, now);
        }
        let (set, tag) = self.place(id);
        let slot = same.or_else(|| self.all.make_room(set, tag))?;
        *self.all.contexts.get_mut(slot)? = context;
        Some(())
    }
}

impl Context {
    /// What is in a place that is vacant.
    const NONE: Context = Context {
        name: Name { peer: [0; 2], rest: 0, is_ipv6: false },
        at: Tick(0),
        template: Template::NONE,
        sums: TemplateSums::NONE,
        reference: Reference { profile: Profile::Udp, ip_id: 0, rtp: Rtp::NONE },
        is_disputed: false,
        is_plain: false,
    };
}
