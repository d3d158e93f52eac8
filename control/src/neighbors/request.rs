//! A question for a neighbour's Ethernet address as a frame: an ARP request (RFC 826) or a neighbour solicitation
//! (RFC 4861).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use arrayvec::ArrayVec;
use carpool_dataplane::fib::PortIndex;
use carpool_dataplane::packet::arp::{ARP_LEN, Arp};
use carpool_dataplane::packet::ethernet::{EtherType, EthernetHeader, HEADER_LEN, MacAddr};
use carpool_dataplane::packet::nd::{PACKET_LEN, Solicitation, group_mac};

/// The shortest Ethernet frame, its checksum not counted (IEEE 802.3, 4A.4.2).
const MIN_FRAME: usize = 60;
/// The longest question, in bytes.
const MAX_FRAME: usize = HEADER_LEN + PACKET_LEN;

/// Our address on the link, and the one that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    V4 { source: Ipv4Addr, target: Ipv4Addr },
    V6 { source: Ipv6Addr, target: Ipv6Addr },
}

impl Addresses {
    /// Both of them; None where they are not of one family.
    pub fn new(source: IpAddr, target: IpAddr) -> Option<Addresses> {
        match (source, target) {
            (IpAddr::V4(source), IpAddr::V4(target)) => Some(Addresses::V4 { source, target }),
            (IpAddr::V6(source), IpAddr::V6(target)) => Some(Addresses::V6 { source, target }),
            _ => None,
        }
    }

    /// Who is asked for.
    pub fn target(&self) -> IpAddr {
        match self {
            Addresses::V4 { target, .. } => (*target).into(),
            Addresses::V6 { target, .. } => (*target).into(),
        }
    }
}

/// A question for a neighbour's Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The port to ask at.
    pub port: PortIndex,
    /// Our Ethernet address there.
    pub mac: [u8; 6],
    /// Who asks for whom.
    pub addresses: Addresses,
    /// Where it is believed to be; None: everybody is asked, or all who might be meant.
    pub to: Option<[u8; 6]>,
}

impl Request {
    /// The frame, padded to the least length.
    pub fn frame(&self) -> ArrayVec<u8, MAX_FRAME> {
        let mut frame = [0; MAX_FRAME];
        let (src, to) = (MacAddr(self.mac), self.to.map(MacAddr));
        let length = match self.addresses {
            Addresses::V4 { source, target } => {
                let dst = to.unwrap_or(MacAddr::BROADCAST);
                if let Some(arp) = behind_header(&mut frame, EthernetHeader { dst, src, ether_type: EtherType::ARP })
                    && let Some(arp) = arp.first_chunk_mut::<ARP_LEN>()
                {
                    Arp::request(src, source, target).write(arp);
                }
                MIN_FRAME
            }
            Addresses::V6 { source, target } => {
                let question = Solicitation::new(source, src, target, to.is_none());
                let dst = to.unwrap_or(group_mac(question.dst));
                let packet = behind_header(&mut frame, EthernetHeader { dst, src, ether_type: EtherType::IPV6 });
                let packet = packet.and_then(|packet| packet.first_chunk_mut::<PACKET_LEN>());
                HEADER_LEN + packet.map_or(0, |packet| question.write(packet))
            }
        };
        frame.into_iter().take(length).collect()
    }
}

/// Writes the header; returns what is behind it.
fn behind_header(frame: &mut [u8], header: EthernetHeader) -> Option<&mut [u8]> {
    let (to, rest) = frame.split_first_chunk_mut::<HEADER_LEN>()?;
    header.write(to);
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use carpool_dataplane::packet::ipv6::Ipv6Header;
    use carpool_dataplane::packet::nd::Message;

    const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const THEIRS: [u8; 6] = [2, 0, 0, 0, 0, 2];

    #[test]
    fn a_request_goes_to_everybody_or_to_where_the_neighbour_was() {
        let (source, target) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
        let request = Request { port: PortIndex(0), mac: OURS, addresses: Addresses::V4 { source, target }, to: None };
        for (to, dst) in [(None, [0xff; 6]), (Some(THEIRS), THEIRS)] {
            let frame = Request { to, ..request }.frame();
            let header = EthernetHeader::parse(&frame).expect("a header");
            assert_eq!((header.dst.0, header.src.0, header.ether_type), (dst, OURS, EtherType::ARP));
            let arp = Arp::parse(&frame[HEADER_LEN..]).expect("an ARP packet");
            assert_eq!((arp, frame.len()), (Arp::request(MacAddr(OURS), source, target), MIN_FRAME));
        }
    }

    #[test]
    fn a_solicitation_goes_to_the_group_of_the_address_or_to_where_the_neighbour_was() {
        let (source, target): (Ipv6Addr, Ipv6Addr) =
            ("2001:db8::1".parse().expect("an address"), "2001:db8::1:2:3".parse().expect("an address"));
        let request = Request { port: PortIndex(0), mac: OURS, addresses: Addresses::V6 { source, target }, to: None };
        let group = [0x33, 0x33, 0xff, 0x02, 0, 3];
        for (to, dst) in [(None, group), (Some(THEIRS), THEIRS)] {
            let frame = Request { to, ..request }.frame();
            let header = EthernetHeader::parse(&frame).expect("a header");
            assert_eq!((header.dst.0, header.src.0, header.ether_type), (dst, OURS, EtherType::IPV6));
            let packet = &frame[HEADER_LEN..];
            let header = Ipv6Header::parse(packet).expect("a header");
            let asked = Solicitation::new(source, MacAddr(OURS), target, to.is_none());
            assert_eq!(Message::parse(&header, packet), Ok(Message::Solicitation(asked)));
        }
    }
}
