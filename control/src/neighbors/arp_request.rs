//! An ARP request as a frame (RFC 826).

use std::net::Ipv4Addr;

use carpool_dataplane::fib::PortIndex;
use carpool_dataplane::packet::arp::{ARP_LEN, Arp};
use carpool_dataplane::packet::ethernet::{EtherType, EthernetHeader, HEADER_LEN, MacAddr};

/// The shortest Ethernet frame, its checksum not counted (IEEE 802.3, 4A.4.2).
const MIN_FRAME: usize = 60;

/// A question for a neighbour's Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArpRequest {
    /// The port to ask at.
    pub port: PortIndex,
    /// Our Ethernet address there.
    pub mac: [u8; 6],
    /// Our address there.
    pub source: Ipv4Addr,
    /// Who is asked for.
    pub target: Ipv4Addr,
    /// Where it is believed to be; None: everybody is asked.
    pub to: Option<[u8; 6]>,
}

impl ArpRequest {
    /// The frame, padded to the least length.
    pub fn frame(&self) -> [u8; MIN_FRAME] {
        let mut frame = [0; MIN_FRAME];
        let dst = self.to.map_or(MacAddr::BROADCAST, MacAddr);
        if let Some((header, rest)) = frame.split_first_chunk_mut::<HEADER_LEN>()
            && let Some(arp) = rest.first_chunk_mut::<ARP_LEN>()
        {
            EthernetHeader { dst, src: MacAddr(self.mac), ether_type: EtherType::ARP }.write(header);
            Arp::request(MacAddr(self.mac), self.source, self.target).write(arp);
        }
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const THEIRS: [u8; 6] = [2, 0, 0, 0, 0, 2];

    #[test]
    fn a_request_goes_to_everybody_or_to_where_the_neighbour_was() {
        let (source, target) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
        let request = ArpRequest { port: PortIndex(0), mac: OURS, source, target, to: None };
        for (to, dst) in [(None, [0xff; 6]), (Some(THEIRS), THEIRS)] {
            let frame = ArpRequest { to, ..request }.frame();
            let header = EthernetHeader::parse(&frame).expect("a header");
            assert_eq!((header.dst.0, header.src.0, header.ether_type), (dst, OURS, EtherType::ARP));
            let arp = Arp::parse(&frame[HEADER_LEN..]).expect("an ARP packet");
            assert_eq!(arp, Arp::request(MacAddr(OURS), source, target));
        }
    }
}
