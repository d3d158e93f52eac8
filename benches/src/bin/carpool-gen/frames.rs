//! The frames that are sent: UDP datagrams with a stamp, of the sizes asked for.
//!
//! Each size has a template, whose checksums are known but for what changes from packet to packet; a packet is a copy of it
//! with the flow and the stamp filled in, and the checksums corrected.

use std::net::IpAddr;

use carpool_dataplane::arch::Tick;
use carpool_dataplane::dpdk::Mbuf;
use carpool_dataplane::packet::ipv4::{self, PROTOCOL_UDP};
use carpool_dataplane::packet::{
    EtherType, EthernetHeader, Ipv4Header, Ipv6Header, MacAddr, Sum, UdpHeader, ethernet, ipv6, udp,
};

use crate::flows::{Flows, Spread};
use crate::stamp::{STAMP_LEN, Stamp, TrialId};

/// Length of an Ethernet frame's checksum, which frame sizes include and packets in memory have not.
pub const FCS_LEN: usize = 4;
/// The largest frame, without a VLAN tag.
pub const MAX_FRAME: u16 = 1518;
/// Hops that packets may make.
const TTL: u8 = 64;

/// How large frames are, in bytes, the checksum included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "serde_json::Value")]
pub enum Size {
    /// All of one size.
    Bytes(u16),
    /// Seven of 64, four of 570, one of 1518, over and over.
    Imix,
}

/// The mix, in the order in which frames are sent.
const IMIX: [u16; 12] = [64, 570, 64, 64, 570, 64, 1518, 64, 570, 64, 570, 64];

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        if text == "imix" {
            return Ok(Size::Imix);
        }
        text.parse().map(Size::Bytes).map_err(|_| format!("{text} is no frame size: expected \"imix\" or bytes"))
    }
}

impl TryFrom<serde_json::Value> for Size {
    type Error = String;

    fn try_from(value: serde_json::Value) -> Result<Size, String> {
        match value {
            serde_json::Value::String(text) => text.parse(),
            other => other.to_string().parse(),
        }
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Size::Bytes(bytes) => write!(formatter, "{bytes} B"),
            Size::Imix => write!(formatter, "IMIX"),
        }
    }
}

/// Why there are no such frames.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramesError {
    #[error(
        "frames of {size} B: expected {least} to {MAX_FRAME}, the checksum included, as they carry UDP over {family} \
         and a stamp of {STAMP_LEN} B"
    )]
    Size { size: u16, least: usize, family: &'static str },
}

/// Who sends to whom on the link.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    pub source: MacAddr,
    pub gateway: MacAddr,
}

/// A frame of one size but for what changes, and what it adds to checksums.
struct Template {
    frame: Vec<u8>,
    /// Of the IPv4 header without its destination.
    ip: Sum,
    /// Of pseudo header and datagram, without addresses of destination, source port and stamp.
    udp: Sum,
}

/// Makes frames.
pub struct Frames {
    templates: Vec<Template>,
    flows: Flows,
    spread: Spread,
}

impl Frames {
    /// Frames of such flows, in a class of service (0 to 63).
    pub fn new(size: Size, link: Link, flows: Flows, dscp: u8) -> Result<Frames, FramesError> {
        let sizes = match &size {
            Size::Bytes(bytes) => std::slice::from_ref(bytes),
            Size::Imix => &IMIX[..],
        };
        let is_ipv4 = flows.source.is_ipv4();
        // Of a mix, the smallest frames are as long as they have to be.
        let least = least(is_ipv4);
        let fits = |bytes: u16| (least..=usize::from(MAX_FRAME)).contains(&bytes.into());
        let mut templates = Vec::new();
        for bytes in sizes {
            let family = if is_ipv4 { "IPv4" } else { "IPv6" };
            let bytes = match size {
                Size::Imix => usize::from(*bytes).max(least),
                Size::Bytes(bytes) if fits(bytes) => bytes.into(),
                Size::Bytes(size) => return Err(FramesError::Size { size, least, family }),
            };
            templates.push(Template::new(bytes - FCS_LEN, link, &flows, dscp));
        }
        Ok(Frames { templates, flows, spread: flows.spread() })
    }

    /// Writes the packet with this number into an empty mbuf. False where it does not fit.
    #[inline]
    pub fn write(&self, mbuf: &mut Mbuf, trial: TrialId, sequence: u64, now: Tick) -> bool {
        let flow = self.flows.of(sequence);
        // Not the same flows for the same sizes in every round.
        let turn = sequence.wrapping_add(sequence / u64::from(self.flows.count())) % self.templates.len() as u64;
        let Some(template) = self.templates.get(turn as usize) else { return false };
        let Some(room) = mbuf.append(template.frame.len()) else { return false };
        room.copy_from_slice(&template.frame);
        let mut stamp = [0; STAMP_LEN];
        Stamp::new(trial, sequence, now).write(&mut stamp);
        let destination = self.spread.destination(flow);
        template.fill(room, destination, self.flows.source_port(flow), &stamp).is_some()
    }
}

/// The smallest frame that has room for headers and stamp, the checksum included.
fn least(is_ipv4: bool) -> usize {
    let ip = if is_ipv4 { ipv4::MIN_HEADER_LEN } else { ipv6::HEADER_LEN };
    ethernet::HEADER_LEN + ip + udp::HEADER_LEN + STAMP_LEN + FCS_LEN
}

impl Template {
    /// A frame of `length` bytes without its checksum, which holds headers and stamp.
    fn new(length: usize, link: Link, flows: &Flows, dscp: u8) -> Template {
        let mut frame = vec![0; ethernet::HEADER_LEN];
        let ip_len = length - ethernet::HEADER_LEN;
        let nowhere = flows.spread().destination(0);
        let ether_type = if nowhere.is_ipv4() { EtherType::IPV4 } else { EtherType::IPV6 };
        if let Some(out) = frame.first_chunk_mut() {
            EthernetHeader { dst: link.gateway, src: link.source, ether_type }.write(out);
        }
        let header_len = if nowhere.is_ipv4() { ipv4::MIN_HEADER_LEN } else { ipv6::HEADER_LEN };
        let udp_len = (ip_len - header_len) as u16;
        let (mut ip4, mut ip6) = ([0; ipv4::MIN_HEADER_LEN], [0; ipv6::HEADER_LEN]);
        let (ip, pseudo) = match (flows.source, nowhere) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let header = Ipv4Header {
                    header_len: ipv4::MIN_HEADER_LEN as u8,
                    dscp_ecn: dscp << 2,
                    total_len: ip_len as u16,
                    id: 0,
                    dont_fragment: true,
                    more_fragments: false,
                    fragment_offset: 0,
                    ttl: TTL,
                    protocol: PROTOCOL_UDP,
                    src,
                    dst,
                };
                header.write(&mut ip4);
                ip4[10..12].fill(0);
                ip4[16..].fill(0);
                (&ip4[..], Sum::of(&src.octets()))
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let header = Ipv6Header {
                    traffic_class: dscp << 2,
                    flow_label: 0,
                    payload_len: udp_len,
                    next_header: PROTOCOL_UDP,
                    hop_limit: TTL,
                    src,
                    dst,
                };
                header.write(&mut ip6);
                ip6[24..].fill(0);
                (&ip6[..], Sum::of(&src.octets()))
            }
            _ => unreachable!("flows are checked to be of one family"),
        };
        let udp_header = UdpHeader { src_port: 0, dst_port: flows.destination_port, length: udp_len, checksum: 0 };
        let mut udp_bytes = [0; udp::HEADER_LEN];
        udp_header.write(&mut udp_bytes);
        frame.extend_from_slice(ip);
        frame.extend_from_slice(&udp_bytes);
        frame.resize(length, 0);
        let udp = pseudo.add_word(PROTOCOL_UDP.into()).add_word(udp_len).add(Sum::of(&udp_bytes));
        Template { frame, ip: Sum::of(ip), udp }
    }

    /// Fills in what changes. None where `frame` is no copy of the template.
    #[inline]
    fn fill(&self, frame: &mut [u8], to: IpAddr, source_port: u16, stamp: &[u8; STAMP_LEN]) -> Option<()> {
        let l3 = frame.get_mut(ethernet::HEADER_LEN..)?;
        let (to, datagram) = match to {
            IpAddr::V4(to) => {
                let to_sum = Sum::of(&to.octets());
                let (header, datagram) = l3.split_first_chunk_mut::<{ ipv4::MIN_HEADER_LEN }>()?;
                header[10..12].copy_from_slice(&self.ip.add(to_sum).checksum().to_be_bytes());
                header[16..].copy_from_slice(&to.octets());
                (to_sum, datagram)
            }
            IpAddr::V6(to) => {
                let (header, datagram) = l3.split_first_chunk_mut::<{ ipv6::HEADER_LEN }>()?;
                header[24..].copy_from_slice(&to.octets());
                (Sum::of(&to.octets()), datagram)
            }
        };
        let (header, payload) = datagram.split_first_chunk_mut::<{ udp::HEADER_LEN }>()?;
        *payload.first_chunk_mut()? = *stamp;
        header[..2].copy_from_slice(&source_port.to_be_bytes());
        let checksum = match self.udp.add(to).add_word(source_port).add(Sum::of(stamp)).checksum() {
            0 => 0xffff,
            checksum => checksum,
        };
        header[6..].copy_from_slice(&checksum.to_be_bytes());
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use carpool_dataplane::dpdk::{HEADROOM, Mempool, test_eal};
    use carpool_dataplane::packet::udp::Verdict;

    use super::*;
    use crate::flows::Order;
    use crate::flows::tests::flows;

    const LINK: Link = Link { source: MacAddr([2, 0, 0, 0, 0, 2]), gateway: MacAddr([2, 0, 0, 0, 0, 1]) };

    /// The first `count` frames.
    fn made(name: &str, size: Size, flows: Flows, count: u64) -> Vec<Vec<u8>> {
        let pool = Mempool::create(test_eal(), name, 63, HEADROOM + 2048).expect("there is memory");
        let mut cache = pool.cache();
        let frames = Frames::new(size, LINK, flows, 46).expect("such frames can be made");
        (0..count)
            .map(|sequence| {
                let mut mbuf = cache.alloc().expect("the pool is not empty");
                assert!(frames.write(&mut mbuf, TrialId(3), sequence, Tick(77)));
                mbuf.bytes().to_vec()
            })
            .collect()
    }

    #[test]
    fn frames_are_whole_and_sound_and_carry_their_number() {
        for (name, prefix) in [("frames4", "198.18.0.0/15"), ("frames6", "2001:db8:1::/48")] {
            let is_ipv4 = prefix.contains('.');
            let flows = flows(prefix, 300, 64, Order::Random);
            for size in [least(is_ipv4) as u16, 333, 1518] {
                for (sequence, frame) in made(name, Size::Bytes(size), flows, 200).iter().enumerate() {
                    assert_eq!(frame.len(), usize::from(size) - FCS_LEN);
                    let l3 = &frame[14..];
                    let flow = flows.of(sequence as u64);
                    let (dst, datagram, verdict) = if is_ipv4 {
                        let header = Ipv4Header::parse(l3).expect("sound");
                        assert_eq!((header.dscp(), usize::from(header.total_len)), (46, l3.len()));
                        let datagram = header.payload(l3).expect("whole");
                        (IpAddr::V4(header.dst), datagram, udp::verify(header.src, header.dst, datagram))
                    } else {
                        let header = Ipv6Header::parse(l3).expect("sound");
                        assert_eq!((header.dscp(), header.total_len()), (46, l3.len()));
                        let datagram = header.payload(l3).expect("whole");
                        (IpAddr::V6(header.dst), datagram, udp::verify6(header.src, header.dst, datagram))
                    };
                    assert_eq!((dst, verdict), (flows.spread().destination(flow), Verdict::Valid));
                    let header = UdpHeader::parse(datagram).expect("sound");
                    assert_eq!((header.src_port, header.dst_port), (flows.source_port(flow), 30_000));
                    let stamp = Stamp::parse(&datagram[8..]).expect("stamped");
                    assert_eq!(stamp, Stamp::new(TrialId(3), sequence as u64, Tick(77)));
                }
            }
        }
    }

    #[test]
    fn the_mix_is_seven_to_four_to_one_and_no_flow_has_one_size_only() {
        let flows = flows("198.18.0.0/15", 12, 1, Order::Sequential);
        let frames = made("frames_mix", Size::Imix, flows, 1200);
        let count = |bytes| frames.iter().filter(|frame| frame.len() + FCS_LEN == bytes).count();
        assert_eq!([64, 570, 1518].map(count), [700, 400, 100]);
        assert!(frames.iter().step_by(12).any(|frame| frame.len() != frames[0].len()));
    }

    #[test]
    fn sizes_are_read_and_those_that_cannot_be_are_refused() {
        assert_eq!("imix".parse(), Ok(Size::Imix));
        assert_eq!("64".parse(), Ok(Size::Bytes(64)));
        assert!("".parse::<Size>().is_err() && "-1".parse::<Size>().is_err() && "70000".parse::<Size>().is_err());
        let refused = |prefix, size| {
            Frames::new(Size::Bytes(size), LINK, flows(prefix, 1, 1, Order::Random), 0).err().map(|e| e.to_string())
        };
        assert!(refused("10.0.0.0/8", 64).is_none() && refused("2001:db8::/32", 84).is_none());
        assert!(refused("10.0.0.0/8", 63).is_some_and(|text| text.contains("64 to 1518")));
        assert!(refused("2001:db8::/32", 83).is_some_and(|text| text.contains("84 to 1518")));
        assert!(refused("10.0.0.0/8", 1519).is_some());
    }
}
