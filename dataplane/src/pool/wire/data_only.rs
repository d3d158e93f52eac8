//! Kind 1: a pooled packet whose index travels in a packet of its own (kind 2).
//!
//! Alone it is so many packets behind each other, and nobody can say where one ends. [`DataOnly::join`] brings it
//! together with its rows: what comes of that is checked like a pooled packet that had them in band.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use super::pooled_packet::SHORTEST;
use super::{HEADER_LEN, Kind, PoolHeader, PooledPacket, ROW_LEN, WireError};

/// A pooled packet without its index, with at least as much data as the shortest packets would need.
#[derive(Clone, Copy, Debug)]
pub struct DataOnly<'a> {
    header: PoolHeader,
    data: &'a [u8],
}

impl<'a> DataOnly<'a> {
    /// Reads a UDP payload of kind 1.
    #[inline]
    pub fn parse(payload: &'a [u8]) -> Result<DataOnly<'a>, WireError> {
        let header = PoolHeader::parse(payload)?;
        if header.kind != Kind::DataOnly {
            return Err(WireError::UnsupportedKind);
        }
        if header.count == 0 {
            return Err(WireError::NoRows);
        }
        let data = payload.get(HEADER_LEN..).unwrap_or_default();
        if data.len() < usize::from(header.count) * usize::from(SHORTEST) {
            return Err(WireError::DataTooShort);
        }
        Ok(DataOnly { header, data })
    }

    /// The pool header: its count is the number of packets, its sequence number what their index names.
    #[inline]
    pub fn header(&self) -> &PoolHeader {
        &self.header
    }

    /// The packets, all of them, one behind the other.
    #[inline]
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// The packet with the rows of its index, which may come from anybody: all is checked that is checked in band.
    #[inline]
    pub fn join(&self, index: &'a [[u8; ROW_LEN]]) -> Result<PooledPacket<'a>, WireError> {
        if index.len() != usize::from(self.header.count) {
            return Err(WireError::IndexCount);
        }
        PooledPacket::of_parts(self.header, index, self.data)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::mutation::mutated;
    use crate::pool::wire::{header_and_rows_len, pooled};

    /// The same packets as [`pooled`] carries, and their rows.
    pub(crate) fn parted(lengths: &[u16]) -> (Vec<u8>, Vec<[u8; ROW_LEN]>) {
        let mut payload = pooled(lengths);
        let rows: Vec<u8> = payload.drain(HEADER_LEN..header_and_rows_len(lengths.len())).collect();
        payload[0] = 0x11;
        (payload, rows.as_chunks().0.to_vec())
    }

    #[test]
    fn a_packet_and_its_rows_are_what_they_were_in_band() {
        let in_band = pooled(&[30, 40, 20]);
        let expected: Vec<_> = PooledPacket::parse(&in_band).unwrap().rows().collect();
        let (payload, rows) = parted(&[30, 40, 20]);
        let joined = DataOnly::parse(&payload).unwrap().join(&rows).unwrap();
        assert_eq!(joined.rows().collect::<Vec<_>>(), expected);
        assert_eq!((joined.header().count, joined.header().sequence), (3, 7));
    }

    #[test]
    fn each_broken_bound_of_the_data_has_its_name() {
        let broken = |change: fn(&mut Vec<u8>)| {
            let (mut payload, _) = parted(&[30, 40, 20]);
            change(&mut payload);
            DataOnly::parse(&payload).map(|_| ()).unwrap_err()
        };
        assert_eq!(broken(|p| p.truncate(7)), WireError::TruncatedHeader);
        assert_eq!(broken(|p| p[0] = 0x10), WireError::UnsupportedKind);
        assert_eq!(broken(|p| p[1] = 0), WireError::NoRows);
        assert_eq!(broken(|p| p.truncate(HEADER_LEN + 59)), WireError::DataTooShort);
        assert_eq!(broken(|p| p[1] = 5), WireError::DataTooShort);
    }

    #[test]
    fn rows_that_contradict_the_data_make_no_pooled_packet() {
        let joined = |change: fn(&mut Vec<[u8; ROW_LEN]>)| {
            let (payload, mut rows) = parted(&[30, 40, 20]);
            change(&mut rows);
            DataOnly::parse(&payload).unwrap().join(&rows).map(|_| ())
        };
        let of_others = |lengths: &[u16]| {
            let (payload, _) = parted(&[30, 40, 20]);
            DataOnly::parse(&payload).unwrap().join(&parted(lengths).1).map(|_| ())
        };
        assert_eq!(joined(|_| ()), Ok(()));
        assert_eq!(joined(|rows| rows.truncate(2)), Err(WireError::IndexCount));
        assert_eq!(joined(|rows| rows.push(rows[2])), Err(WireError::IndexCount));
        assert_eq!(joined(|rows| rows.swap(1, 2)), Err(WireError::RowGap));
        assert_eq!(joined(|rows| rows[0][1] = 1), Err(WireError::FirstRowStart));
        assert_eq!(of_others(&[30, 40, 21]), Err(WireError::RowBeyondData));
        assert_eq!(of_others(&[30, 40, 19]), Err(WireError::RowTooShort));
        assert_eq!(of_others(&[40, 30, 20]), Err(WireError::InnerLength));
    }

    proptest! {
        #[test]
        fn whatever_is_joined_covers_its_data(
            payload in mutated(prop::collection::vec(20u16..80, 1..6).prop_map(|lengths| parted(&lengths).0)),
            rows in mutated(prop::collection::vec(20u16..80, 1..6).prop_map(|lengths| parted(&lengths).1.concat())),
        ) {
            let Ok(packet) = DataOnly::parse(&payload) else { return Ok(()) };
            prop_assert!(packet.data().len() >= 20 * usize::from(packet.header().count));
            if let Ok(joined) = packet.join(rows.as_chunks().0) {
                prop_assert_eq!(joined.rows().count(), usize::from(packet.header().count));
                let covered: Vec<u8> = joined.rows().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
                prop_assert_eq!(&covered[..], packet.data());
            }
        }

        #[test]
        fn what_is_joined_is_what_a_receiver_takes_in_band(lengths in prop::collection::vec(20u16..250, 1..=255)) {
            let (payload, rows) = parted(&lengths);
            let joined = DataOnly::parse(&payload).unwrap().join(&rows).unwrap();
            let found: Vec<u16> = joined.rows().map(|(row, _)| row.length).collect();
            prop_assert_eq!(found, lengths);
        }
    }
}
