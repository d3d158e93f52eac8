//! Provisioned streams: payloads of streams that both ends were told of (docs/wire-format.md, type 128).
//!
//! A [`StreamSet`] is compiled from the configuration, published and only read. The pooler asks it which entry a packet
//! becomes, the depooler which packet an entry stands for: the same bytes, checksums included. A packet that is not as
//! its stream was told, or would not come back byte for byte, is not encoded and travels whole.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use std::net::SocketAddr;

use arrayvec::ArrayVec;
use hashbrown::HashMap;

use super::header_template::{IPV4_UDP, Open, Template, TemplateSums, add_payload};
use super::rule::Dscp;
use crate::fib::PeerIndex;
use crate::packet::Total;
use crate::packet::copy::copy;
use crate::packet::ipv4::Plain;

/// The most bytes that stand in front of the payload of an entry.
const MAX_PREFIX: usize = 6;

const ECN: u8 = 0x03;
const DONT_FRAGMENT: u8 = 0x04;
const NO_UDP_CHECKSUM: u8 = 0x08;
/// IP id of IPv4, or flow label of IPv6.
const ID_FOLLOWS: u8 = 0x10;

/// What both ends call a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u16);

/// A stream that both ends were told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// What both ends call it; unique for each peer.
    pub id: StreamId,
    /// The other end.
    pub peer: PeerIndex,
    /// Where its packets come from.
    pub source: SocketAddr,
    /// Where they go to, in the same family.
    pub destination: SocketAddr,
    /// Their class.
    pub dscp: Dscp,
    /// The TTL with which they arrive at the router that pools them: 2 to 255. It takes one off as it forwards them, and
    /// so does the router that rebuilds them: what that sends has two less.
    pub ttl: u8,
}

/// Why a list of streams is not a set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamSetError {
    #[error("stream {0}: another one to the same peer has this id")]
    DuplicateId(u16),
    #[error("stream {0}: source and destination are of two families")]
    TwoFamilies(u16),
    #[error("stream {id}: ttl {ttl}: at least 2, for the router that pools takes one off")]
    TtlTooSmall { id: u16, ttl: u8 },
    #[error("stream {second} has the packets that stream {first} has")]
    SamePackets { first: u16, second: u16 },
}

/// Streams by what they are called and by what they look like.
#[derive(Clone, Debug, Default)]
pub struct StreamSet {
    by_id: HashMap<(PeerIndex, StreamId), Known>,
    by_template: HashMap<(PeerIndex, Template), StreamId>,
}

/// What its packets are rebuilt from.
#[derive(Clone, Copy, Debug)]
struct Known {
    template: Template,
    sums: TemplateSums,
    /// Its packets are plain, unless they are to the pool port.
    is_plain: bool,
}

/// The entry that a packet becomes.
#[derive(Clone, Debug)]
pub struct Encoded {
    prefix: ArrayVec<u8, MAX_PREFIX>,
    /// Bytes of the packet that are left out at its start.
    skip: usize,
}

/// The packet that an entry stands for.
#[derive(Clone, Copy, Debug)]
pub struct Rebuilt<'a> {
    template: Template,
    sums: TemplateSums,
    ip_id: u16,
    payload: &'a [u8],
}

/// Why an entry stands for no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No stream of this peer has its id.
    UnknownStream,
    /// It is shorter than what it says, or says what does not exist.
    Malformed,
}

impl StreamSet {
    /// Checks and compiles `streams`.
    ///
    /// # Errors
    /// See [`StreamSetError`]; the first error found is reported.
    pub fn new(streams: &[Stream]) -> Result<StreamSet, StreamSetError> {
        let mut set = StreamSet::default();
        for &Stream { id, peer, source, destination, dscp, ttl } in streams {
            if ttl < 2 {
                return Err(StreamSetError::TtlTooSmall { id: id.0, ttl });
            }
            let template =
                Template::new(source, destination, dscp, ttl - 1).ok_or(StreamSetError::TwoFamilies(id.0))?;
            if set.by_id.insert((peer, id), Known::new(template)).is_some() {
                return Err(StreamSetError::DuplicateId(id.0));
            }
            if let Some(first) = set.by_template.insert((peer, template), id) {
                return Err(StreamSetError::SamePackets { first: first.0, second: id.0 });
            }
        }
        Ok(set)
    }

    /// Whether there is no stream.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// What `packet`, on its way to `peer` with its TTL decremented, becomes. None where it travels whole.
    #[inline]
    pub fn encode(&self, peer: PeerIndex, packet: &[u8]) -> Option<Encoded> {
        if self.is_empty() {
            return None;
        }
        let (whole, varying) = Template::of(packet)?;
        let (template, open) = whole.without_open();
        let id = self.by_template.get(&(peer, template))?;
        if !varying.is_usual() {
            return None;
        }
        let mut flags = open.ecn;
        let [label0, label1, label2] = open.flow_label;
        let has_id = varying.ip_id != 0 || open.flow_label != [0; 3];
        for (flag, is_set) in
            [(DONT_FRAGMENT, open.dont_fragment), (NO_UDP_CHECKSUM, !open.has_udp_checksum), (ID_FOLLOWS, has_id)]
        {
            flags |= if is_set { flag } else { 0 };
        }
        let [id0, id1] = id.0.to_be_bytes();
        let [i0, i1] = varying.ip_id.to_be_bytes();
        let mut prefix: ArrayVec<u8, MAX_PREFIX> =
            if template.is_ipv4() { [id0, id1, flags, i0, i1, 0] } else { [id0, id1, flags, label0, label1, label2] }
                .into();
        prefix.truncate(if !has_id {
            3
        } else if template.is_ipv4() {
            5
        } else {
            6
        });
        Some(Encoded { prefix, skip: template.len() })
    }

    /// The packet that an entry from `peer` stands for.
    ///
    /// # Errors
    /// Why there is none.
    #[inline]
    pub fn open<'a>(&self, peer: PeerIndex, entry: &'a [u8]) -> Result<Rebuilt<'a>, Refused> {
        let (id, flags, rest) = parse(entry).ok_or(Refused::Malformed)?;
        self.by_id.get(&(peer, id)).ok_or(Refused::UnknownStream)?.rebuild(flags, rest)
    }

    /// The same, and whom the packet is for, where it is [`Plain`], of which `but` is the port. None says nothing but that it
    /// needs [`StreamSet::open`].
    #[inline(always)]
    pub fn plain<'a>(&self, peer: PeerIndex, entry: &'a [u8], but: u32) -> Option<(Rebuilt<'a>, u32)> {
        let (id, flags, rest) = parse(entry)?;
        let known = self.by_id.get(&(peer, id))?;
        if !known.is_plain || known.template.is_to(but) {
            return None;
        }
        Some((known.rebuild(flags, rest).ok()?, known.template.destination()))
    }
}

/// What an entry begins with.
#[inline(always)]
fn parse(entry: &[u8]) -> Option<(StreamId, u8, &[u8])> {
    let (&[id0, id1, flags], rest) = entry.split_first_chunk()?;
    Some((StreamId(u16::from_be_bytes([id0, id1])), flags, rest))
}

impl Known {
    fn new(template: Template) -> Known {
        let (sums, mut packet) = (template.sums(), [0; IPV4_UDP]);
        let is_written = template.is_ipv4() && template.write(&sums, 0, 0, Total::default(), &mut packet).is_some();
        Known { template, sums, is_plain: is_written && Plain::recognise(&packet, u32::MAX).is_some() }
    }

    /// The packet that an entry stands for, of which this is behind the id.
    #[inline(always)]
    fn rebuild<'a>(&self, flags: u8, rest: &'a [u8]) -> Result<Rebuilt<'a>, Refused> {
        let Known { template, sums, .. } = self;
        let is_ipv4 = template.is_ipv4();
        if flags & !(ECN | DONT_FRAGMENT | NO_UDP_CHECKSUM | ID_FOLLOWS) != 0
            || (!is_ipv4 && flags & DONT_FRAGMENT != 0)
        {
            return Err(Refused::Malformed);
        }
        let mut open = Open {
            ecn: flags & ECN,
            dont_fragment: flags & DONT_FRAGMENT != 0,
            has_udp_checksum: flags & NO_UDP_CHECKSUM == 0,
            flow_label: [0; 3],
        };
        let (mut ip_id, mut payload) = ([0; 2], rest);
        match (flags & ID_FOLLOWS != 0, is_ipv4) {
            (false, _) => {}
            (true, true) => {
                let (id, behind) = rest.split_first_chunk().ok_or(Refused::Malformed)?;
                (ip_id, payload) = (*id, behind);
            }
            (true, false) => {
                let (label, behind) = rest.split_first_chunk().ok_or(Refused::Malformed)?;
                (open.flow_label, payload) = (*label, behind);
                if matches!(label, [16..=255, ..]) {
                    return Err(Refused::Malformed);
                }
            }
        }
        let (template, sums) = (template.with_open(&open), sums.with_open(is_ipv4, &open));
        Ok(Rebuilt { template, sums, ip_id: u16::from_be_bytes(ip_id), payload })
    }
}

impl Encoded {
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
        let payload = packet.get(self.skip..).filter(|payload| payload.len() == body.len())?;
        (copy(&self.prefix, prefix) && copy(payload, body)).then_some(())
    }
}

impl Rebuilt<'_> {
    /// The length of the packet in bytes.
    #[inline(always)]
    #[allow(clippy::len_without_is_empty)] // No packet is empty.
    pub fn len(&self) -> usize {
        self.template.len() + self.payload.len()
    }

    /// Writes the packet to `out`, which is exactly as long as it; None where it is not.
    #[inline(always)]
    pub fn write(&self, out: &mut [u8]) -> Option<()> {
        let (header, body) = out.split_at_mut_checked(self.template.len())?;
        if !copy(self.payload, body) {
            return None;
        }
        let mut total = Total::default();
        add_payload(&mut total, self.payload);
        self.template.write(&self.sums, self.ip_id, body.len(), total, header)
    }
}

#[cfg(test)]
mod tests;
