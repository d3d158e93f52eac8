//! What the compressor knows of one stream: what it announced, and what the next announcement should say.
//!
//! A stream is watched for one packet before anything is announced: so the first announcement knows how timestamps and
//! IP ids go on, and streams of one packet cost nothing. It is announced anew when it is due, when the far end does not
//! know it, and when the bytes that a fresh announcement would have saved come to what one costs.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use super::ContextTimes;
use super::id_spaces::SpaceIndex;
use super::reference::Reference;
use crate::arch::{Tick, TickSpan};
use crate::pool::header_template::Template;
use crate::pool::rtp::Rtp;
use crate::pool::wire::entry::{PredictedPrefix, Prefix, Profile};

/// Bytes that an announcement costs beyond a compressed packet: about a header.
const ANNOUNCEMENT_COST: u16 = 40;
/// A stream is announced anew after so many packets, whatever the time: sequence differences stay small.
const REFRESH_PACKETS: u16 = 4096;
/// Sequence numbers that go on by at most this are those of one stream.
const MAX_STEP: u16 = 16;
/// Packets that must continue each other before a stream that was no RTP is taken for it.
const CONVINCING: u8 = 4;
/// What a packet that does not fit the RTP context adds to the doubt whether it should be one; one that does takes one off.
const MISFIT: u8 = 8;
/// From this doubt on it is none.
const TOO_MUCH_DOUBT: u8 = 32;

/// A stream on its way to one place: in two cache lines side by side, of which every packet takes note.
#[derive(Clone, Copy, Debug)]
#[repr(align(128))]
pub(super) struct Stream {
    /// What its packets have in common.
    template: Template,
    /// Whose ids it goes by.
    space: SpaceIndex,
    /// When its latest packet came.
    pub(super) used: Tick,
    announced: Option<Announced>,
    last_ip_id: u16,
    /// The RTP header of the latest packet, if it looked like one.
    last_rtp: Option<Rtp>,
    /// How timestamps go on with each sequence number.
    stride: Option<u16>,
    /// A stride seen once.
    next_stride: u16,
    id_counts: bool,
    /// Packets at the end that continued each other's RTP headers.
    run: u8,
    doubt: u8,
    /// Whether the latest packet is what was announced predicts, and nothing else was learned of the stream since: of a packet
    /// that is predicted likewise, and follows it, there is nothing to learn.
    is_settled: bool,
}

const _: () = assert!(size_of::<Stream>() == 128);

/// What the far end was told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Announced {
    pub(super) context: u16,
    pub(super) at: Tick,
    reference: Reference,
    /// Packets that may refer to it yet; 0 as well where the far end does not know it or the debt is too high.
    left: u16,
    /// Bytes that a fresh announcement would have saved since.
    debt: u16,
    /// The far end does not know it.
    is_lost: bool,
}

/// How a packet is to travel.
#[derive(Clone, Debug)]
pub(super) enum Next {
    /// As it is: it says nothing about its stream, or does not fit.
    Whole,
    /// With this in front of what is left; whether its RTP header is left out too.
    Compressed { prefix: Prefix, has_rtp: bool },
    /// Whole, under a new id, as what later packets refer to.
    Announce(Reference),
}

impl Announced {
    /// An announcement that leaves now.
    pub(super) fn new(context: u16, reference: Reference, at: Tick) -> Announced {
        Announced { context, at, reference, left: REFRESH_PACKETS, debt: 0, is_lost: false }
    }

    /// A fresh announcement would have saved so many bytes.
    #[inline(always)]
    fn owe(&mut self, bytes: u16) {
        self.debt = self.debt.saturating_add(bytes);
        if self.debt >= ANNOUNCEMENT_COST {
            self.left = 0;
        }
    }

    #[inline(always)]
    fn is_due(&self, refresh: TickSpan, now: Tick) -> bool {
        self.left == 0 || now.since(self.at) >= refresh
    }
}

impl Stream {
    /// What is in a place that is vacant.
    pub(super) const NONE: Stream = Stream {
        template: Template::NONE,
        space: SpaceIndex::NONE,
        used: Tick(0),
        announced: None,
        last_ip_id: 0,
        last_rtp: None,
        stride: None,
        next_stride: 0,
        id_counts: false,
        run: 0,
        doubt: 0,
        is_settled: false,
    };

    /// A stream of which this is the first packet.
    pub(super) fn first(template: Template, space: SpaceIndex, ip_id: u16, payload: &[u8], now: Tick) -> Stream {
        Stream { template, space, used: now, last_ip_id: ip_id, last_rtp: likely_rtp(payload), ..Stream::NONE }
    }

    /// Whether it is the one of such packets there.
    #[inline(always)]
    pub(super) fn is<const N: usize>(&self, words: &[u64; N], space: SpaceIndex) -> bool {
        self.space == space && self.template.has(words)
    }

    /// Whether a packet is its own that starts with these words, whose length is this, and that [is](Template::is_of) of its
    /// template.
    #[inline(always)]
    pub(super) fn has(&self, words: [u64; 5], length: u16, behind: &[u8], space: SpaceIndex) -> bool {
        self.space == space && self.template.is_of(words, length, behind)
    }

    /// Whose ids it goes by.
    pub(super) fn space(&self) -> SpaceIndex {
        self.space
    }

    /// The id it goes by, if it was announced.
    #[inline]
    pub(super) fn context(&self) -> Option<u16> {
        self.announced.map(|announced| announced.context)
    }

    /// Whether this id is its own, and the far end should know it.
    #[inline]
    pub(super) fn is_announced_as(&self, context: u16) -> bool {
        self.announced.is_some_and(|announced| announced.context == context && !announced.is_lost)
    }

    /// The announcement has left.
    #[inline]
    pub(super) fn announce(&mut self, announced: Announced) {
        self.announced = Some(announced);
        self.settle();
    }

    /// The announcement has not left after all.
    pub(super) fn withdraw(&mut self) {
        self.announced = None;
    }

    /// The far end does not know it: it is to be announced anew.
    pub(super) fn lost(&mut self) {
        if let Some(announced) = &mut self.announced {
            (announced.is_lost, announced.left) = (true, 0);
        }
    }

    /// What its next packet, most of which are of RTP and what the context predicts, travels with in place of its headers.
    /// None where it is another one: that is for [`Stream::next`].
    #[inline(always)]
    pub(super) fn next_as_predicted(
        &mut self,
        ip_id: u16,
        rtp: &Rtp,
        times: &ContextTimes,
        now: Tick,
    ) -> Option<PredictedPrefix> {
        let announced = self.announced.as_mut()?;
        if announced.is_due(times.refresh, now) {
            return None;
        }
        let (difference, marker) = announced.reference.predicts(ip_id, rtp)?;
        // What was announced looked like RTP; so does this, but with a marker perhaps.
        if marker && !rtp.is_likely() {
            return None;
        }
        announced.left -= 1;
        if difference > u8::MAX.into() {
            // It takes a byte less behind an announcement of the packet before, if that was not far away.
            let is_near = |last: &Rtp| rtp.sequence.wrapping_sub(last.sequence) <= u8::MAX.into();
            announced.owe(self.last_rtp.as_ref().is_some_and(is_near).into());
        }
        let prefix = PredictedPrefix::new(announced.context, difference, marker);
        self.used = now;
        self.doubt = self.doubt.saturating_sub(1);
        self.learn_predicted(ip_id, rtp);
        Some(prefix)
    }

    /// [Learns](Stream::learn) of a packet that is what was announced predicts.
    #[inline(always)]
    fn learn_predicted(&mut self, ip_id: u16, rtp: &Rtp) {
        if let Some(last) = &mut self.last_rtp
            && self.is_settled
        {
            let step = rtp.sequence.wrapping_sub(last.sequence);
            if step.wrapping_sub(1) < MAX_STEP {
                (last.sequence, last.timestamp) = (rtp.sequence, rtp.timestamp);
                self.last_ip_id = ip_id;
                self.run = self.run.saturating_add(1);
                return;
            }
            if is_overtaken(step) {
                return;
            }
        }
        self.learn(ip_id, Some(*rtp));
        self.settle();
    }

    /// Finds out whether there is something to learn of packets that follow and are predicted.
    #[inline(never)]
    fn settle(&mut self) {
        let (Some(Announced { reference, .. }), Some(last)) = (&self.announced, &self.last_rtp) else { return };
        let Profile::Rtp { stride, id_counts } = reference.profile else { return };
        self.is_settled = reference.predicts(self.last_ip_id, last).is_some()
            && (self.stride, self.next_stride, self.id_counts) == (Some(stride), stride, id_counts);
    }

    /// How its next packet is to travel.
    #[inline]
    pub(super) fn next(&mut self, ip_id: u16, payload: &[u8], times: &ContextTimes, now: Tick) -> Next {
        self.used = now;
        let rtp = likely_rtp(payload);
        let before = (self.last_ip_id, self.last_rtp);
        self.learn(ip_id, rtp);
        let Some(announced) = self.announced.as_ref().filter(|announced| !announced.is_lost) else {
            // Whoever makes up reports is not to have every packet announced.
            let too_early = self.announced.is_some_and(|lost| now.since(lost.at) < times.again);
            return if too_early { Next::Whole } else { Next::Announce(self.reference(self.run > 0, ip_id, rtp)) };
        };
        let Some(has_rtp) = announced.reference.fits(rtp) else {
            self.doubt = self.doubt.saturating_add(MISFIT).min(2 * TOO_MUCH_DOUBT);
            let is_another_source = self.run > 0;
            return if is_another_source || self.doubt >= TOO_MUCH_DOUBT {
                Next::Announce(self.reference(is_another_source, ip_id, rtp))
            } else {
                Next::Whole
            };
        };
        let has_become_rtp = !has_rtp && self.doubt == 0 && self.run >= CONVINCING;
        let is_due = announced.is_due(times.refresh, now);
        self.doubt = self.doubt.saturating_sub(1);
        if has_become_rtp || is_due {
            return Next::Announce(self.reference(has_rtp || self.run > 0, ip_id, rtp));
        }
        let rtp = rtp.unwrap_or(Rtp::NONE);
        let Some(announced) = &self.announced else { return Next::Whole };
        let change = announced.reference.change_to(ip_id, &rtp);
        let prefix = change.prefix(announced.context);
        let debt = if is_shortest(&prefix, has_rtp) { 0 } else { self.saving(before, has_rtp, ip_id, &rtp, &prefix) };
        if let Some(announced) = &mut self.announced {
            announced.left = announced.left.saturating_sub(1);
            announced.owe(debt);
        }
        Next::Compressed { prefix, has_rtp }
    }

    /// How a packet that was to announce the stream anew travels where no id is free: by the old announcement, while that
    /// holds; whether its RTP header is left out too. None: as it is.
    #[cold]
    pub(super) fn go_on(&self, ip_id: u16, payload: &[u8], times: &ContextTimes, now: Tick) -> Option<(Prefix, bool)> {
        let is_known = |announced: &Announced| !announced.is_lost && now.since(announced.at) < times.longest_use;
        let Announced { context, reference, .. } = self.announced.filter(is_known)?;
        let rtp = likely_rtp(payload);
        let has_rtp = reference.fits(rtp)?;
        Some((reference.change_to(ip_id, &rtp.unwrap_or(Rtp::NONE)).prefix(context), has_rtp))
    }

    /// What an announcement of this packet says.
    #[inline]
    fn reference(&self, is_rtp: bool, ip_id: u16, rtp: Option<Rtp>) -> Reference {
        match rtp {
            Some(rtp) if is_rtp && self.doubt < TOO_MUCH_DOUBT => {
                let (stride, id_counts) = (self.stride.unwrap_or(0), self.id_counts);
                Reference { profile: Profile::Rtp { stride, id_counts }, ip_id, rtp }
            }
            _ => Reference { profile: Profile::Udp, ip_id, rtp: Rtp::NONE },
        }
    }

    /// By how many bytes a prefix is longer than had the packet before this one been announced.
    #[inline]
    fn saving(&self, before: (u16, Option<Rtp>), has_rtp: bool, ip_id: u16, rtp: &Rtp, prefix: &Prefix) -> u16 {
        let (before_ip_id, before_rtp) = before;
        let fresh = self.reference(has_rtp, before_ip_id, before_rtp);
        if fresh.has_rtp() != has_rtp {
            return 0;
        }
        prefix.len().saturating_sub(fresh.change_to(ip_id, rtp).prefix_len()) as u16
    }

    /// Takes note of how this packet goes on from the one before. One that was overtaken tells nothing.
    #[inline(never)]
    fn learn(&mut self, ip_id: u16, rtp: Option<Rtp>) {
        self.is_settled = false;
        if let (Some(last), Some(rtp)) = (self.last_rtp, rtp)
            && last.source == rtp.source
        {
            let step = rtp.sequence.wrapping_sub(last.sequence);
            if is_overtaken(step) {
                return;
            }
            if step <= MAX_STEP {
                self.run = self.run.saturating_add(1);
                self.learn_stride(rtp.timestamp.wrapping_sub(last.timestamp), step);
                match ip_id.wrapping_sub(self.last_ip_id) {
                    0 => self.id_counts = false,
                    by if by == step => self.id_counts = true,
                    _ => {}
                }
            } else {
                self.run = 0;
            }
        } else {
            self.run = 0;
        }
        self.last_ip_id = ip_id;
        self.last_rtp = rtp;
    }

    /// The first stride is believed at once, another one when it was seen twice: a pause in speech is none.
    #[inline(always)]
    fn learn_stride(&mut self, by: u32, step: u16) {
        let step = u32::from(step);
        if let Some(stride) = self.stride
            && by == u32::from(stride) * step
        {
            // As ever, and no division.
            self.next_stride = stride;
            return;
        }
        self.learn_other_stride(by, step);
    }

    #[cold]
    fn learn_other_stride(&mut self, by: u32, step: u32) {
        let Some(stride) = by.checked_div(step).and_then(|stride| u16::try_from(stride).ok()) else { return };
        if by != u32::from(stride) * step {
            return;
        }
        if self.stride.is_none() || self.next_stride == stride {
            self.stride = Some(stride);
        }
        self.next_stride = stride;
    }
}

/// Whether a packet whose sequence number is so much higher came late, or twice.
#[inline(always)]
fn is_overtaken(step: u16) -> bool {
    step == 0 || step > u16::MAX - MAX_STEP
}

#[inline(always)]
fn likely_rtp(payload: &[u8]) -> Option<Rtp> {
    Rtp::read(payload).map(|(rtp, _)| rtp).filter(Rtp::is_likely)
}

/// Whether no announcement could make this prefix shorter: first byte, id, and the sequence difference.
#[inline]
fn is_shortest(prefix: &Prefix, has_rtp: bool) -> bool {
    prefix.len() <= 3 + usize::from(has_rtp)
}
