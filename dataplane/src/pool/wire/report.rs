//! Kind 6: a report from the addressee of pooled packets to their sender.
//!
//! A list of items, each with its type and length, so that a receiver skips those it does not know. Whoever parsed a
//! [`Report`] walks over its items without checking anything again.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use super::{HEADER_LEN, Kind, PoolHeader, WireError};

/// The most contexts that one item names.
pub const MAX_CONTEXTS: usize = 64;

const UNKNOWN_CONTEXTS: u8 = 1;
/// Type, a reserved byte, and length.
const ITEM_HEADER_LEN: usize = 4;
/// Instance and source port.
const UNKNOWN_CONTEXTS_LEN: usize = 6;

/// A report all of whose bounds hold: its items fill it from the first byte behind the pool header to the last.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    header: PoolHeader,
    items: &'a [u8],
}

/// What a report says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportItem<'a> {
    /// Contexts that the reporter does not know.
    UnknownContexts {
        /// Which run of the sender they belong to, as the pooled packets said.
        instance: u32,
        /// The UDP source port of those pooled packets.
        source_port: u16,
        /// The contexts' ids, one at least, big-endian.
        contexts: &'a [[u8; 2]],
    },
    /// Something this version does not know.
    Other,
}

impl<'a> Report<'a> {
    /// Reads a UDP payload of kind 6.
    #[inline]
    pub fn parse(payload: &'a [u8]) -> Result<Report<'a>, WireError> {
        let header = PoolHeader::parse(payload)?;
        if header.kind != Kind::Report {
            return Err(WireError::UnsupportedKind);
        }
        if header.count == 0 {
            return Err(WireError::NoRows);
        }
        let items = payload.get(HEADER_LEN..).unwrap_or_default();
        let mut rest = items;
        for _ in 0..header.count {
            (_, rest) = item(rest)?;
        }
        if rest.is_empty() { Ok(Report { header, items }) } else { Err(WireError::TrailingData) }
    }

    /// The pool header.
    #[inline]
    pub fn header(&self) -> &PoolHeader {
        &self.header
    }

    /// What it says, in order.
    #[inline]
    pub fn items(&self) -> impl Iterator<Item = ReportItem<'a>> + use<'a> {
        let mut rest = self.items;
        (0..self.header.count).map_while(move |_| {
            let (item, behind) = item(rest).ok()?;
            rest = behind;
            Some(item)
        })
    }
}

/// The item at the start of `bytes`, and what is behind it.
#[inline]
fn item(bytes: &[u8]) -> Result<(ReportItem<'_>, &[u8]), WireError> {
    let (&[item_type, _reserved, l0, l1], behind) =
        bytes.split_first_chunk::<ITEM_HEADER_LEN>().ok_or(WireError::TruncatedReport)?;
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    let (value, behind) = behind.split_at_checked(length).ok_or(WireError::TruncatedReport)?;
    if item_type != UNKNOWN_CONTEXTS {
        return Ok((ReportItem::Other, behind));
    }
    let (&instance, value) = value.split_first_chunk().ok_or(WireError::ReportItem)?;
    let (&source_port, contexts) = value.split_first_chunk().ok_or(WireError::ReportItem)?;
    let (instance, source_port) = (u32::from_be_bytes(instance), u16::from_be_bytes(source_port));
    match contexts.as_chunks() {
        ([], _) | (_, [_, ..]) => Err(WireError::ReportItem),
        (contexts, []) => Ok((ReportItem::UnknownContexts { instance, source_port, contexts }, behind)),
    }
}

/// The length of a UDP payload of kind 6 that names `contexts` contexts of one source port, in bytes.
#[inline]
pub const fn unknown_contexts_len(contexts: usize) -> usize {
    HEADER_LEN + ITEM_HEADER_LEN + UNKNOWN_CONTEXTS_LEN + 2 * contexts
}

/// Writes a UDP payload of kind 6: contexts, of pooled packets of `instance` from `source_port`, that are unknown. None where
/// there is none or more than [`MAX_CONTEXTS`], or `out` is not as long as [`unknown_contexts_len`] says.
pub fn write_unknown_contexts(
    outer_ttl: u8,
    sequence: u32,
    instance: u32,
    source_port: u16,
    contexts: &[u16],
    out: &mut [u8],
) -> Option<()> {
    if contexts.is_empty() || contexts.len() > MAX_CONTEXTS || out.len() != unknown_contexts_len(contexts.len()) {
        return None;
    }
    let (header, rest) = out.split_first_chunk_mut()?;
    PoolHeader { kind: Kind::Report, count: 1, outer_ttl, template: 0, sequence }.write(header);
    let (item, rest) = rest.split_first_chunk_mut::<ITEM_HEADER_LEN>()?;
    let [l0, l1] = ((UNKNOWN_CONTEXTS_LEN + 2 * contexts.len()) as u16).to_be_bytes();
    *item = [UNKNOWN_CONTEXTS, 0, l0, l1];
    let (to, rest) = rest.split_first_chunk_mut()?;
    *to = instance.to_be_bytes();
    let (port, rest) = rest.split_first_chunk_mut()?;
    *port = source_port.to_be_bytes();
    for (to, context) in rest.as_chunks_mut().0.iter_mut().zip(contexts) {
        *to = context.to_be_bytes();
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::mutation::mutated;

    fn report(source_port: u16, contexts: &[u16]) -> Vec<u8> {
        let mut payload = vec![0; unknown_contexts_len(contexts.len())];
        write_unknown_contexts(64, 7, 0xcafe_f00d, source_port, contexts, &mut payload).unwrap();
        payload
    }

    #[test]
    fn a_report_is_what_the_document_draws() {
        let payload = report(7665, &[5, 0x1234]);
        assert_eq!(
            payload,
            [0x16, 1, 64, 0, 0, 0, 0, 7, 1, 0, 0, 10, 0xca, 0xfe, 0xf0, 0x0d, 0x1d, 0xf1, 0, 5, 0x12, 0x34]
        );
        let report = Report::parse(&payload).unwrap();
        let expected =
            ReportItem::UnknownContexts { instance: 0xcafe_f00d, source_port: 7665, contexts: &[[0, 5], [0x12, 0x34]] };
        assert_eq!(report.items().collect::<Vec<_>>(), [expected]);
    }

    #[test]
    fn unknown_items_are_skipped() {
        let mut payload = report(7665, &[5]);
        payload[1] = 3;
        payload.splice(8..8, [99, 0, 0, 3, 1, 2, 3]);
        payload.extend_from_slice(&[100, 0, 0, 0]);
        let items: Vec<_> = Report::parse(&payload).unwrap().items().collect();
        let known = ReportItem::UnknownContexts { instance: 0xcafe_f00d, source_port: 7665, contexts: &[[0, 5]] };
        assert_eq!(items, [ReportItem::Other, known, ReportItem::Other]);
    }

    #[test]
    fn every_broken_bound_has_its_name() {
        let broken = |change: fn(&mut Vec<u8>)| {
            let mut payload = report(7665, &[5, 6]);
            change(&mut payload);
            Report::parse(&payload).map(|_| ()).unwrap_err()
        };
        assert_eq!(broken(|p| p.truncate(5)), WireError::TruncatedHeader);
        assert_eq!(broken(|p| p[0] = 0x15), WireError::UnsupportedKind);
        assert_eq!(broken(|p| p[1] = 0), WireError::NoRows);
        assert_eq!(broken(|p| p[1] = 2), WireError::TruncatedReport);
        assert_eq!(broken(|p| p.truncate(11)), WireError::TruncatedReport);
        assert_eq!(broken(|p| p[11] = 11), WireError::TruncatedReport);
        assert_eq!(broken(|p| p[11] = 9), WireError::ReportItem);
        assert_eq!(broken(|p| p[11] = 6), WireError::ReportItem);
        assert_eq!(broken(|p| p[11] = 3), WireError::ReportItem);
        assert_eq!(broken(|p| p[11] = 8), WireError::TrailingData);
    }

    #[test]
    fn no_report_is_written_that_no_receiver_would_take() {
        let mut out = [0; unknown_contexts_len(MAX_CONTEXTS + 1)];
        assert_eq!(write_unknown_contexts(64, 0, 1, 1, &[], &mut out[..unknown_contexts_len(0)]), None);
        assert_eq!(write_unknown_contexts(64, 0, 1, 1, &[1; MAX_CONTEXTS + 1], &mut out), None);
        assert_eq!(write_unknown_contexts(64, 0, 1, 1, &[1], &mut out[..unknown_contexts_len(1) + 1]), None);
    }

    proptest! {
        #[test]
        fn items_of_what_is_accepted_lie_within_it(
            payload in mutated(prop::collection::vec(any::<u16>(), 1..9).prop_map(|contexts| report(1, &contexts))),
        ) {
            if let Ok(report) = Report::parse(&payload) {
                prop_assert_eq!(report.items().count(), usize::from(report.header().count));
            }
        }
    }
}
