//! The generator as a host on a link: it has addresses, says so to who asks (ARP, neighbour discovery), and finds the
//! router's Ethernet address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use carpool_dataplane::packet::arp::{ARP_LEN, Arp, ArpOperation};
use carpool_dataplane::packet::ipv6::{self, link_local_of};
use carpool_dataplane::packet::nd::{self, Message, PACKET_LEN, Solicitation, group_mac, solicited_node};
use carpool_dataplane::packet::{EtherType, EthernetHeader, Ipv6Header, MacAddr, ethernet};

/// The longest frame that a host writes here.
pub const MAX_FRAME: usize = ethernet::HEADER_LEN + PACKET_LEN;
/// Ethernet pads what is shorter.
const MIN_FRAME: usize = 60;

/// What a frame was to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A question about one of its addresses: the answer has so many bytes.
    Answer(usize),
    /// Somebody says where an address is.
    Told(IpAddr, MacAddr),
    /// Talk among neighbours that is none of its business.
    Talk,
    /// Something else.
    Other,
}

/// A host with one link.
#[derive(Clone, Debug)]
pub struct Host {
    mac: MacAddr,
    addresses: Vec<IpAddr>,
}

impl Host {
    /// A host with these addresses, and the link-local one that goes with its Ethernet address.
    pub fn new(mac: MacAddr, mut addresses: Vec<IpAddr>) -> Host {
        addresses.push(link_local_of(mac).into());
        Host { mac, addresses }
    }

    /// Looks at a frame, and writes the answer, if one is due, to `out`.
    #[inline]
    pub fn hear(&self, frame: &[u8], out: &mut [u8; MAX_FRAME]) -> Heard {
        let Some((header, packet)) = EthernetHeader::parse(frame).zip(frame.get(ethernet::HEADER_LEN..)) else {
            return Heard::Other;
        };
        match header.ether_type {
            EtherType::ARP => self.hear_arp(packet, out),
            // Next header; everything but ICMPv6 is done with.
            EtherType::IPV6 if packet.get(6) == Some(&58) => self.hear_neighbour(&header, packet, out),
            _ => Heard::Other,
        }
    }

    fn hear_arp(&self, packet: &[u8], out: &mut [u8; MAX_FRAME]) -> Heard {
        let Ok(arp) = Arp::parse(packet) else { return Heard::Talk };
        match arp.operation {
            ArpOperation::Reply => Heard::Told(arp.sender_ip.into(), arp.sender_mac),
            ArpOperation::Request if self.addresses.contains(&arp.target_ip.into()) => {
                Heard::Answer(write_arp(&arp.reply(self.mac), arp.sender_mac, out))
            }
            ArpOperation::Request => Heard::Talk,
        }
    }

    fn hear_neighbour(&self, frame: &EthernetHeader, packet: &[u8], out: &mut [u8; MAX_FRAME]) -> Heard {
        let Ok(header) = Ipv6Header::parse(packet) else { return Heard::Other };
        match Message::parse(&header, packet) {
            Ok(Message::Advertisement(news)) => match news.target_mac {
                Some(mac) => Heard::Told(news.target.into(), mac),
                None => Heard::Talk,
            },
            Ok(Message::Solicitation(question)) if self.addresses.contains(&question.target.into()) => {
                let answer = question.answer(self.mac);
                let mut message = [0; PACKET_LEN];
                let length = answer.write(&mut message);
                let to = if answer.dst.is_multicast() {
                    group_mac(answer.dst)
                } else {
                    question.source_mac.unwrap_or(frame.src)
                };
                Heard::Answer(self.write(to, EtherType::IPV6, message.get(..length).unwrap_or_default(), out))
            }
            Ok(Message::Solicitation(_)) => Heard::Talk,
            // Router solicitations and the like.
            Err(_) if packet.get(ipv6::HEADER_LEN).is_some_and(|kind| nd::TYPES.contains(kind)) => Heard::Talk,
            Err(_) => Heard::Other,
        }
    }

    /// Asks who has an address, and returns the length of the frame. None where it has no address of that family to ask
    /// from.
    pub fn ask(&self, target: IpAddr, out: &mut [u8; MAX_FRAME]) -> Option<usize> {
        match target {
            IpAddr::V4(target) => {
                let own: Ipv4Addr = self.addresses.iter().find_map(|address| match address {
                    IpAddr::V4(own) => Some(*own),
                    IpAddr::V6(_) => None,
                })?;
                Some(write_arp(&Arp::request(self.mac, own, target), MacAddr::BROADCAST, out))
            }
            IpAddr::V6(target) => {
                let own: Ipv6Addr = self.addresses.iter().find_map(|address| match address {
                    IpAddr::V6(own) => Some(*own),
                    IpAddr::V4(_) => None,
                })?;
                let mut message = [0; PACKET_LEN];
                let length = Solicitation::new(own, self.mac, target, true).write(&mut message);
                let group = group_mac(solicited_node(target));
                Some(self.write(group, EtherType::IPV6, message.get(..length)?, out))
            }
        }
    }

    fn write(&self, dst: MacAddr, ether_type: EtherType, packet: &[u8], out: &mut [u8; MAX_FRAME]) -> usize {
        write_frame(EthernetHeader { dst, src: self.mac, ether_type }, packet, out)
    }
}

fn write_arp(arp: &Arp, dst: MacAddr, out: &mut [u8; MAX_FRAME]) -> usize {
    let mut packet = [0; ARP_LEN];
    arp.write(&mut packet);
    write_frame(EthernetHeader { dst, src: arp.sender_mac, ether_type: EtherType::ARP }, &packet, out)
}

/// Writes a frame with its padding and returns its length.
fn write_frame(header: EthernetHeader, packet: &[u8], out: &mut [u8; MAX_FRAME]) -> usize {
    out.fill(0);
    let Some((front, behind)) = out.split_first_chunk_mut() else { return 0 };
    header.write(front);
    for (to, from) in behind.iter_mut().zip(packet) {
        *to = *from;
    }
    (ethernet::HEADER_LEN + packet.len()).clamp(MIN_FRAME, MAX_FRAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(last: u8) -> Host {
        let mac = MacAddr([2, 0, 0, 0, 0, last]);
        let six = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into());
        Host::new(mac, vec![Ipv4Addr::new(192, 0, 2, last).into(), six.into()])
    }

    #[test]
    fn two_hosts_find_each_other_in_both_families() {
        let (asker, answerer, third) = (host(1), host(2), host(3));
        for address in answerer.addresses.clone() {
            let (mut question, mut answer) = ([0; MAX_FRAME], [0; MAX_FRAME]);
            let length = asker.ask(address, &mut question).expect("it has an address of that family");
            assert_eq!(third.hear(&question[..length], &mut answer), Heard::Talk, "{address}");
            let heard = answerer.hear(&question[..length], &mut answer);
            let Heard::Answer(length) = heard else { panic!("{address}: {heard:?}") };
            let mut none = [0; MAX_FRAME];
            assert_eq!(asker.hear(&answer[..length], &mut none), Heard::Told(address, answerer.mac), "{address}");
            let header = EthernetHeader::parse(&answer).expect("a frame");
            assert_eq!((header.dst, header.src), (asker.mac, answerer.mac));
        }
    }

    #[test]
    fn other_frames_are_left_to_others_and_nonsense_does_no_harm() {
        let (host, mut out) = (host(1), [0; MAX_FRAME]);
        for frame in [&[0; 0][..], &[0; 13], &[0; 60], &[0xff; 1500]] {
            assert_eq!(host.hear(frame, &mut out), Heard::Other);
        }
        let mut arp = [0; 60];
        arp[12..14].copy_from_slice(&[8, 6]);
        assert_eq!(host.hear(&arp, &mut out), Heard::Talk);
    }
}
