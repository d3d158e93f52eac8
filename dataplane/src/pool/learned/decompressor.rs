//! The decompressor of one worker: which packet an entry of a pooled packet with short rows stands for.
//!
//! It keeps a context for as long as the wire format allows, in a table of fixed size where the oldest gives way, and
//! notes which contexts it was asked for and does not have, for a report to their sender.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use super::reference::Reference;
use super::unknown_contexts::{Origin, UnknownContexts};
use crate::arch::{Tick, TickSpan};
use crate::packet::Sum;
use crate::packet::checksum::copy_and_sum;
use crate::pool::header_template::{RTP_LEN, Rtp, Template, TemplateSums};
use crate::pool::wire::entry::{Announcement, Entry, Profile};

const WAYS: usize = 4;

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

/// The contexts a worker knows.
pub struct Decompressor {
    sets: Box<[[Option<Context>; WAYS]]>,
    forget: TickSpan,
    unknown: UnknownContexts,
    disputed: u64,
}

#[derive(Clone, Copy)]
struct Context {
    id: u16,
    origin: Origin,
    /// When it was announced.
    at: Tick,
    template: Template,
    sums: TemplateSums,
    reference: Reference,
    /// Something else was announced under its id, which no sender does so soon: it stands for neither.
    is_disputed: bool,
}

impl Opened<'_> {
    /// The length of the packet in bytes.
    #[inline]
    #[allow(clippy::len_without_is_empty)] // No packet is empty.
    pub fn len(&self) -> usize {
        match self {
            Opened::Whole(packet) => packet.len(),
            Opened::Rebuilt(Rebuilt { template, rtp, payload, .. }) => {
                template.len() + if rtp.is_some() { RTP_LEN } else { 0 } + payload.len()
            }
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
    #[inline]
    fn write(&self, out: &mut [u8]) -> Option<()> {
        let (header, body) = out.split_at_mut_checked(self.template.len())?;
        let (rtp_sum, rest) = match self.rtp {
            Some(rtp) => {
                let (to, rest) = body.split_first_chunk_mut::<RTP_LEN>()?;
                *to = rtp.to_bytes();
                (Sum::of(to), rest)
            }
            None => (Sum::ZERO, body),
        };
        if rest.len() != self.payload.len() {
            return None;
        }
        // An RTP header is of even length.
        let payload_sum = rtp_sum.add(copy_and_sum(self.payload, rest));
        let payload_len = rest.len() + if self.rtp.is_some() { RTP_LEN } else { 0 };
        self.template.write(self.sums, self.ip_id, payload_len, payload_sum, header)
    }
}

impl Decompressor {
    /// A decompressor that knows no context and has room for some `contexts`, rounded up to a power of two; each lives
    /// for `forget`. `unknown` is where it notes those it does not have. All memory is allocated here.
    pub fn new(contexts: usize, forget: TickSpan, unknown: UnknownContexts) -> Decompressor {
        let sets = contexts.div_ceil(WAYS).clamp(1, 1 << 24).next_power_of_two();
        Decompressor { sets: vec![[None; WAYS]; sets].into(), forget, unknown, disputed: 0 }
    }

    /// The packet that `entry`, from `origin`, stands for. `now` is never before that of an earlier call.
    ///
    /// # Errors
    /// Why there is none. An unknown context is noted.
    #[inline]
    pub fn open<'a>(&'a mut self, origin: Origin, entry: &'a [u8], now: Tick) -> Result<Opened<'a>, Refused> {
        match Entry::parse(entry).map_err(|_| Refused::Malformed)? {
            Entry::Whole(packet) => Ok(Opened::Whole(packet)),
            Entry::Announcement(announcement, packet) => {
                self.learn(origin, &announcement, packet, now).ok_or(Refused::Malformed)?;
                Ok(Opened::Whole(packet))
            }
            Entry::Compressed(entry) => {
                let at = self.set_of(origin, entry.context);
                let found = self.sets.get(at).and_then(|set| {
                    set.iter().flatten().find(|context| context.id == entry.context && context.origin == origin)
                });
                let is_known = |context: &&Context| now.since(context.at) < self.forget && !context.is_disputed;
                let Some(context) = found.filter(is_known) else {
                    self.unknown.note(origin, entry.context, now);
                    return Err(Refused::UnknownContext);
                };
                let reference = &context.reference;
                let (change, payload) = entry.change(reference.has_rtp()).ok_or(Refused::Malformed)?;
                let (ip_id, rtp) = reference.after(&change);
                let ip_id = if context.template.is_ipv4() { ip_id } else { 0 };
                let rtp = reference.has_rtp().then_some(rtp);
                Ok(Opened::Rebuilt(Rebuilt { template: &context.template, sums: &context.sums, ip_id, rtp, payload }))
            }
        }
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

    /// How many announcements said something else than one under the same id that had not been forgotten.
    #[inline]
    pub fn disputed(&self) -> u64 {
        self.disputed
    }

    /// Takes note of what an announcement says, unless the packet's header cannot be learned.
    ///
    /// A sender does not announce another header, nor the same one anew, under an id that may still be known. So what is not a
    /// copy of the announcement that is known is a forgery, or that one was: entries of this id stand for nothing then,
    /// until both are forgotten. The sender hears of it and announces its stream under another id. A copy makes nothing
    /// live longer.
    fn learn(&mut self, origin: Origin, announcement: &Announcement, packet: &[u8], now: Tick) -> Option<()> {
        let (template, varying) = Template::of(packet)?;
        let rtp = match announcement.profile {
            Profile::Udp => Rtp::default(),
            Profile::Rtp { id_counts: true, .. } if !template.is_ipv4() => return None,
            Profile::Rtp { .. } => Rtp::read(varying.payload)?.0,
        };
        let reference = Reference { profile: announcement.profile, ip_id: varying.ip_id, rtp };
        let id = announcement.context;
        let at = self.set_of(origin, id);
        let set = self.sets.get_mut(at)?;
        let mut context =
            Context { id, origin, at: now, template, sums: template.sums(), reference, is_disputed: false };
        let same = set.iter_mut().find(|other| other.is_some_and(|other| other.id == id && other.origin == origin));
        let is_known = |known: &Context| now.since(known.at) < self.forget;
        if let Some(known) = same.as_ref().and_then(|same| same.as_ref()).filter(|known| is_known(known)) {
            if known.template == template && known.reference == reference {
                return Some(());
            }
            context.is_disputed = true;
            self.disputed += 1;
            self.unknown.note(origin, id, now);
        }
        let slot = match same {
            Some(same) => Some(same),
            None => set.iter_mut().min_by_key(|other| other.map(|other| other.at)),
        };
        *slot? = Some(context);
        Some(())
    }

    /// Ids given out in turn lie in sets in turn.
    #[inline]
    fn set_of(&self, origin: Origin, id: u16) -> usize {
        (origin.hash() as usize).wrapping_add(usize::from(id)) & (self.sets.len() - 1)
    }
}
