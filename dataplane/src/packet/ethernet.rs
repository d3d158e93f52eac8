//! Ethernet II: addresses and the 14-byte header (RFC 894).
//!
//! The worker parses it first of every frame and writes it last. Frames with an 802.3 length field or a VLAN tag
//! parse like any other; their ether type is one that nothing claims.

use std::fmt;
use std::str::FromStr;

/// The length of an Ethernet header in bytes.
pub const HEADER_LEN: usize = 14;

/// A link layer address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// All stations on the link.
    pub const BROADCAST: MacAddr = MacAddr([0xff; 6]);

    /// No address: what an ARP request carries for its target.
    pub const ZERO: MacAddr = MacAddr([0; 6]);

    /// Whether it is for all stations on the link.
    #[inline]
    pub fn is_broadcast(self) -> bool {
        self == MacAddr::BROADCAST
    }

    /// Whether it is for a group of stations (the I/G bit of IEEE 802); broadcast is one.
    #[inline]
    pub fn is_multicast(self) -> bool {
        let [first, ..] = self.0;
        first & 1 != 0
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Text that is no link layer address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is no MAC address: expected six pairs of hexadecimal digits with colons between, like 02:00:00:00:00:01"
)]
pub struct ParseMacAddrError(String);

impl FromStr for MacAddr {
    type Err = ParseMacAddrError;

    fn from_str(text: &str) -> Result<MacAddr, ParseMacAddrError> {
        let error = || ParseMacAddrError(text.to_owned());
        let mut pairs = text.split(':');
        let mut bytes = [0; 6];
        for byte in &mut bytes {
            let pair = pairs.next().ok_or_else(error)?;
            // from_str_radix alone would take "+1".
            if pair.len() != 2 || !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(error());
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| error())?;
        }
        if pairs.next().is_some() { Err(error()) } else { Ok(MacAddr(bytes)) }
    }
}

/// What a frame carries (IEEE registration authority's numbers).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    /// Internet Protocol version 4.
    pub const IPV4: EtherType = EtherType(0x0800);
    /// Address Resolution Protocol.
    pub const ARP: EtherType = EtherType(0x0806);
    /// Internet Protocol version 6.
    pub const IPV6: EtherType = EtherType(0x86dd);
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EthernetHeader {
    /// The station or group the frame is for.
    pub dst: MacAddr,
    /// The station that sent it.
    pub src: MacAddr,
    /// What is behind the header.
    pub ether_type: EtherType,
}

/// Length of an Ethernet address in bytes.
const ADDRESS_LEN: usize = 6;

impl EthernetHeader {
    /// Reads the header at the start of `frame`; what it carries starts at [`HEADER_LEN`]. None where the frame is
    /// shorter than a header.
    #[inline]
    pub fn parse(frame: &[u8]) -> Option<EthernetHeader> {
        let &[d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = frame.first_chunk::<HEADER_LEN>()?;
        Some(EthernetHeader {
            dst: MacAddr([d0, d1, d2, d3, d4, d5]),
            src: MacAddr([s0, s1, s2, s3, s4, s5]),
            ether_type: EtherType(u16::from_be_bytes([t0, t1])),
        })
    }

    /// Writes the header as it is on the wire.
    #[inline]
    pub fn write(&self, out: &mut [u8; HEADER_LEN]) {
        let (dst, behind) = out.split_at_mut(ADDRESS_LEN);
        let (src, ether_type) = behind.split_at_mut(ADDRESS_LEN);
        dst.copy_from_slice(&self.dst.0);
        src.copy_from_slice(&self.src.0);
        ether_type.copy_from_slice(&self.ether_type.0.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_read_as_they_print() {
        let mac: MacAddr = "02:00:5E:10:00:fF".parse().unwrap();
        assert_eq!(mac, MacAddr([0x02, 0, 0x5e, 0x10, 0, 0xff]));
        assert_eq!(mac.to_string(), "02:00:5e:10:00:ff");
    }

    #[test]
    fn text_that_is_no_address_is_refused_by_name() {
        for text in
            ["", "02:00:00:00:00", "02:00:00:00:00:01:02", "2:0:0:0:0:1", "+2:00:00:00:00:01", "02-00-00-00-00-01"]
        {
            let error = text.parse::<MacAddr>().unwrap_err();
            assert!(error.to_string().contains(&format!("\"{text}\"")), "{error}");
        }
    }

    #[test]
    fn groups_and_broadcast_are_told_from_stations() {
        let group = MacAddr([0x01, 0, 0x5e, 0, 0, 1]);
        assert!(group.is_multicast() && !group.is_broadcast());
        assert!(MacAddr::BROADCAST.is_multicast() && MacAddr::BROADCAST.is_broadcast());
        assert!(!MacAddr([2, 0, 0, 0, 0, 1]).is_multicast());
    }

    #[test]
    fn a_frame_shorter_than_its_header_is_refused() {
        for length in 0..HEADER_LEN {
            assert_eq!(EthernetHeader::parse(&vec![0; length]), None, "{length} bytes");
        }
    }

    proptest! {
        #[test]
        fn headers_are_written_as_they_were_read(bytes: [u8; HEADER_LEN]) {
            let header = EthernetHeader::parse(&bytes).unwrap();
            let mut out = [0; HEADER_LEN];
            header.write(&mut out);
            prop_assert_eq!(out, bytes);
        }

        #[test]
        fn addresses_survive_text(bytes: [u8; 6]) {
            prop_assert_eq!(MacAddr(bytes).to_string().parse(), Ok(MacAddr(bytes)));
        }

        #[test]
        fn no_text_panics(text in ".{0,24}") {
            let _ = text.parse::<MacAddr>();
        }
    }
}
