//! Kind 3: a pooled packet without any index, of packets whose lengths both ends know beforehand.
//!
//! A [`Template`] is what they know: a length, or several that follow each other in turn. The control thread publishes
//! the [`Templates`]; a [`Predetermined`] packet exists only where its data is exactly what its template says.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use std::num::NonZeroU8;

use super::pooled_packet::{SHORTEST, check_whole};
use super::{HEADER_LEN, Kind, PoolHeader, WireError};

/// The most lengths of a template: so few that a pool can have them at hand.
pub const MAX_LENGTHS: usize = 16;

/// The name of a template on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TemplateId(NonZeroU8);

impl TemplateId {
    /// The id `value`; None for 0, which names no template.
    pub const fn new(value: u8) -> Option<TemplateId> {
        match NonZeroU8::new(value) {
            Some(value) => Some(TemplateId(value)),
            None => None,
        }
    }

    /// 1 to 255.
    #[inline(always)]
    pub const fn value(self) -> u8 {
        self.0.get()
    }
}

/// Why a list of lengths is no template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// There is no length at all.
    #[error("no lengths: at least one is needed")]
    Empty,
    /// There are more than [`MAX_LENGTHS`].
    #[error("{0} lengths: at most {MAX_LENGTHS} are possible")]
    TooMany(usize),
    /// A length that no IP packet has.
    #[error("length {0}: no IP packet is shorter than {SHORTEST} bytes")]
    TooShort(u16),
}

/// The lengths of the packets in a pooled packet, in bytes: they follow each other in turn, and the first one comes
/// behind the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Template {
    lengths: [u16; MAX_LENGTHS],
    /// How many of them there are: at least 1.
    count: u8,
}

impl Template {
    /// A template of these lengths.
    pub fn new(lengths: &[u16]) -> Result<Template, TemplateError> {
        if lengths.is_empty() {
            return Err(TemplateError::Empty);
        }
        if lengths.len() > MAX_LENGTHS {
            return Err(TemplateError::TooMany(lengths.len()));
        }
        if let Some(length) = lengths.iter().find(|length| **length < SHORTEST) {
            return Err(TemplateError::TooShort(*length));
        }
        let mut template = Template { lengths: [0; MAX_LENGTHS], count: lengths.len() as u8 };
        template.lengths.iter_mut().zip(lengths).for_each(|(to, from)| *to = *from);
        Ok(template)
    }

    /// The length of the packet at `position`, from 0, in a pooled packet.
    #[inline(always)]
    pub fn length_at(&self, position: u8) -> u16 {
        self.lengths.get(usize::from(position % self.count.max(1))).copied().unwrap_or(u16::MAX)
    }

    /// The lengths, once.
    pub fn lengths(&self) -> &[u16] {
        self.lengths.get(..usize::from(self.count)).unwrap_or_default()
    }
}

/// All templates, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Templates {
    /// By id - 1, as far as there is any.
    by_id: Vec<Option<Template>>,
}

impl Templates {
    /// The template with the id that a pool header names; None where there is none.
    #[inline(always)]
    pub fn get(&self, id: u8) -> Option<&Template> {
        self.by_id.get(usize::from(id.checked_sub(1)?))?.as_ref()
    }
}

/// The last one given under an id is the one it names.
impl FromIterator<(TemplateId, Template)> for Templates {
    fn from_iter<I: IntoIterator<Item = (TemplateId, Template)>>(templates: I) -> Templates {
        let mut by_id = Vec::new();
        for (id, template) in templates {
            let at = usize::from(id.value()) - 1;
            by_id.resize(by_id.len().max(at + 1), None);
            if let Some(place) = by_id.get_mut(at) {
                *place = Some(template);
            }
        }
        Templates { by_id }
    }
}

/// A pooled packet all of whose bounds hold: each of its packets is an IP packet of the length that its template has
/// for it, and the last one ends the data.
#[derive(Clone, Copy, Debug)]
pub struct Predetermined<'a> {
    header: PoolHeader,
    template: &'a Template,
    data: &'a [u8],
}

impl<'a> Predetermined<'a> {
    /// Reads a UDP payload of kind 3 and checks every bound before it touches what the bound is about.
    #[inline]
    pub fn parse(payload: &'a [u8], templates: &'a Templates) -> Result<Predetermined<'a>, WireError> {
        let header = PoolHeader::parse(payload)?;
        if header.kind != Kind::Predetermined {
            return Err(WireError::UnsupportedKind);
        }
        if header.count == 0 {
            return Err(WireError::NoRows);
        }
        let template = templates.get(header.template).ok_or(WireError::UnknownTemplate)?;
        let data = payload.get(HEADER_LEN..).unwrap_or_default();
        let mut rest = data;
        for position in 0..header.count {
            let length = usize::from(template.length_at(position));
            let (packet, behind) = rest.split_at_checked(length).ok_or(WireError::TemplateLength)?;
            check_whole(packet)?;
            rest = behind;
        }
        if !rest.is_empty() {
            return Err(WireError::TemplateLength);
        }
        Ok(Predetermined { header, template, data })
    }

    /// The pool header.
    #[inline]
    pub fn header(&self) -> &PoolHeader {
        &self.header
    }

    /// The packets in order.
    #[inline]
    pub fn packets(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (template, mut rest) = (self.template, self.data);
        (0..self.header.count).map_while(move |position| {
            let (packet, behind) = rest.split_at_checked(usize::from(template.length_at(position)))?;
            rest = behind;
            Some(packet)
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::mutation::mutated;
    use crate::pool::wire::data_only::tests::parted;

    pub(crate) fn templates(id: u8, lengths: &[u16]) -> Templates {
        let id = TemplateId::new(id).unwrap();
        Templates::from_iter([(id, Template::new(lengths).unwrap())])
    }

    /// A UDP payload of kind 3 that carries a packet of each length.
    pub(crate) fn predetermined(id: u8, lengths: &[u16]) -> Vec<u8> {
        let mut payload = parted(lengths).0;
        payload[0] = 0x13;
        payload[3] = id;
        payload
    }

    #[test]
    fn lengths_follow_each_other_in_turn() {
        let template = Template::new(&[30, 40, 20]).unwrap();
        let found: Vec<u16> = (0..7).map(|position| template.length_at(position)).collect();
        assert_eq!(found, [30, 40, 20, 30, 40, 20, 30]);
        assert_eq!(template.length_at(255), 30);
    }

    #[test]
    fn lists_that_are_no_template_are_refused() {
        assert_eq!(Template::new(&[]), Err(TemplateError::Empty));
        assert_eq!(Template::new(&[60, 19]), Err(TemplateError::TooShort(19)));
        assert_eq!(Template::new(&[60; 17]), Err(TemplateError::TooMany(17)));
        assert!(Template::new(&[20; 16]).is_ok_and(|template| template.lengths() == [20; 16]));
        assert_eq!(TemplateId::new(0), None);
    }

    #[test]
    fn a_template_is_found_under_its_id_and_no_other() {
        let templates = templates(7, &[60]);
        let known: Vec<u8> = (0..=255).filter(|id| templates.get(*id).is_some()).collect();
        assert_eq!(known, [7]);
    }

    #[test]
    fn packets_of_the_lengths_both_ends_know_come_out_in_order() {
        let payload = predetermined(7, &[30, 40, 30]);
        let templates = templates(7, &[30, 40]);
        let packet = Predetermined::parse(&payload, &templates).unwrap();
        let found: Vec<(usize, u8)> = packet.packets().map(|bytes| (bytes.len(), bytes[19])).collect();
        assert_eq!(found, [(30, 0), (40, 1), (30, 2)]);
        assert_eq!((packet.header().count, packet.header().template), (3, 7));
    }

    #[test]
    fn a_packet_of_either_family_may_be_in_it() {
        let mut payload = predetermined(7, &[60, 60]);
        let ipv6 = &mut payload[HEADER_LEN + 60..];
        ipv6[0] = 0x60;
        ipv6[4..6].copy_from_slice(&20u16.to_be_bytes());
        assert_eq!(Predetermined::parse(&payload, &templates(7, &[60])).unwrap().packets().count(), 2);
    }

    #[test]
    fn each_broken_bound_of_a_predetermined_packet_has_its_name() {
        let templates = templates(7, &[30, 40]);
        let broken = |change: fn(&mut Vec<u8>)| {
            let mut payload = predetermined(7, &[30, 40, 30]);
            change(&mut payload);
            Predetermined::parse(&payload, &templates).map(|_| ()).unwrap_err()
        };
        assert_eq!(broken(|p| p.truncate(7)), WireError::TruncatedHeader);
        assert_eq!(broken(|p| p[0] = 0x10), WireError::UnsupportedKind);
        assert_eq!(broken(|p| p[1] = 0), WireError::NoRows);
        assert_eq!(broken(|p| p[3] = 0), WireError::UnknownTemplate);
        assert_eq!(broken(|p| p[3] = 8), WireError::UnknownTemplate);
        assert_eq!(broken(|p| p[1] = 2), WireError::TemplateLength);
        assert_eq!(broken(|p| p[1] = 4), WireError::TemplateLength);
        assert_eq!(broken(|p| p.truncate(p.len() - 1)), WireError::TemplateLength);
        assert_eq!(broken(|p| p.push(0)), WireError::TemplateLength);
        assert_eq!(broken(|p| p[HEADER_LEN] = 0x55), WireError::InnerVersion);
        assert_eq!(broken(|p| p[HEADER_LEN + 3] = 29), WireError::InnerLength);
        assert_eq!(broken(|p| p[HEADER_LEN] = 0x60), WireError::RowTooShort);
    }

    proptest! {
        #[test]
        fn what_is_accepted_covers_its_data_with_the_lengths_of_its_template(
            lengths in prop::collection::vec(20u16..80, 1..4),
            payload in mutated(prop::collection::vec(Just(30u16), 1..6).prop_map(|l| predetermined(7, &l))),
            fits: bool,
        ) {
            let templates = templates(7, if fits { &[30] } else { &lengths });
            if let Ok(packet) = Predetermined::parse(&payload, &templates) {
                let packets: Vec<&[u8]> = packet.packets().collect();
                prop_assert_eq!(packets.len(), usize::from(packet.header().count));
                prop_assert_eq!(packets.concat(), &payload[HEADER_LEN..]);
                let template = templates.get(7).unwrap();
                for (position, packet) in (0..).zip(packets) {
                    prop_assert_eq!(packet.len(), usize::from(template.length_at(position)));
                }
            }
        }
    }
}
