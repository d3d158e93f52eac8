//! The Address Resolution Protocol for IPv4 over Ethernet (RFC 826).
//!
//! Workers answer requests for the router's own addresses and hand what they learn to the control thread, which owns
//! the neighbours.

use std::net::Ipv4Addr;

use super::ethernet::MacAddr;

/// The length of an ARP packet for IPv4 over Ethernet in bytes; Ethernet pads it to 46.
pub const ARP_LEN: usize = 28;

const HARDWARE_ETHERNET: u16 = 1;
const PROTOCOL_IPV4: u16 = 0x0800;
const MAC_LEN: u8 = 6;
const IPV4_LEN: u8 = 4;

/// What the sender wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArpOperation {
    /// Who has the target address?
    Request,
    /// The sender has it.
    Reply,
}

/// An ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Request or reply.
    pub operation: ArpOperation,
    /// The link layer address of the sender; never a group's in a packet that was parsed.
    pub sender_mac: MacAddr,
    /// The address of the sender; 0.0.0.0 in a probe (RFC 5227 section 2.1.1), from which nothing is to be learned.
    pub sender_ip: Ipv4Addr,
    /// The link layer address of the target; without meaning in a request.
    pub target_mac: MacAddr,
    /// The address asked for in a request, that of the asker in a reply.
    pub target_ip: Ipv4Addr,
}

/// Why an ARP packet is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArpError {
    /// Shorter than [`ARP_LEN`].
    #[error("ARP packet shorter than 28 bytes")]
    Truncated,
    /// The hardware type is not Ethernet.
    #[error("ARP hardware type is not Ethernet")]
    HardwareType,
    /// The protocol type is not IPv4.
    #[error("ARP protocol type is not IPv4")]
    ProtocolType,
    /// The address lengths are not 6 and 4.
    #[error("ARP address lengths are not 6 and 4")]
    AddressLength,
    /// Neither request nor reply.
    #[error("ARP operation is neither request nor reply")]
    Operation,
    /// The sender claims the link layer address of a group (RFC 1812 section 3.3.2: not to be believed).
    #[error("ARP sender claims a multicast link layer address")]
    SenderMac,
}

impl ArpError {
    /// Every reason there is.
    pub const ALL: [ArpError; 6] = [
        ArpError::Truncated,
        ArpError::HardwareType,
        ArpError::ProtocolType,
        ArpError::AddressLength,
        ArpError::Operation,
        ArpError::SenderMac,
    ];

    /// The name of its counter.
    pub const fn name(self) -> &'static str {
        match self {
            ArpError::Truncated => "arp_truncated",
            ArpError::HardwareType => "arp_hardware_type",
            ArpError::ProtocolType => "arp_protocol_type",
            ArpError::AddressLength => "arp_address_length",
            ArpError::Operation => "arp_operation",
            ArpError::SenderMac => "arp_sender_mac",
        }
    }
}

impl Arp {
    /// Reads what is behind an Ethernet header of type ARP. Padding behind it is ignored.
    pub fn parse(bytes: &[u8]) -> Result<Arp, ArpError> {
        let ([h0, h1, p0, p1, mac_len, ip_len, o0, o1], sender_mac, sender_ip, target_mac, target_ip) =
            fields(bytes).ok_or(ArpError::Truncated)?;
        // The order of the questions is that of RFC 826, "Packet Reception".
        if u16::from_be_bytes([h0, h1]) != HARDWARE_ETHERNET {
            return Err(ArpError::HardwareType);
        }
        if u16::from_be_bytes([p0, p1]) != PROTOCOL_IPV4 {
            return Err(ArpError::ProtocolType);
        }
        if (mac_len, ip_len) != (MAC_LEN, IPV4_LEN) {
            return Err(ArpError::AddressLength);
        }
        let operation = match u16::from_be_bytes([o0, o1]) {
            1 => ArpOperation::Request,
            2 => ArpOperation::Reply,
            _ => return Err(ArpError::Operation),
        };
        let sender_mac = MacAddr(sender_mac);
        if sender_mac.is_multicast() {
            return Err(ArpError::SenderMac);
        }
        Ok(Arp {
            operation,
            sender_mac,
            sender_ip: sender_ip.into(),
            target_mac: MacAddr(target_mac),
            target_ip: target_ip.into(),
        })
    }

    /// The question who has `target_ip`, to be sent to the broadcast address or, to refresh, to the known one.
    pub fn request(sender_mac: MacAddr, sender_ip: Ipv4Addr, target_ip: Ipv4Addr) -> Arp {
        Arp { operation: ArpOperation::Request, sender_mac, sender_ip, target_mac: MacAddr::ZERO, target_ip }
    }

    /// The answer to this request from the station that has `target_ip`: `mac`.
    pub fn reply(&self, mac: MacAddr) -> Arp {
        Arp {
            operation: ArpOperation::Reply,
            sender_mac: mac,
            sender_ip: self.target_ip,
            target_mac: self.sender_mac,
            target_ip: self.sender_ip,
        }
    }

    /// Writes the packet as it is on the wire, without padding.
    pub fn write(&self, out: &mut [u8; ARP_LEN]) {
        let [h0, h1] = HARDWARE_ETHERNET.to_be_bytes();
        let [p0, p1] = PROTOCOL_IPV4.to_be_bytes();
        let operation = match self.operation {
            ArpOperation::Request => 1,
            ArpOperation::Reply => 2,
        };
        let parts: [&[u8]; 5] = [
            &[h0, h1, p0, p1, MAC_LEN, IPV4_LEN, 0, operation],
            &self.sender_mac.0,
            &self.sender_ip.octets(),
            &self.target_mac.0,
            &self.target_ip.octets(),
        ];
        for (to, from) in out.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
    }
}

type Fields = ([u8; 8], [u8; 6], [u8; 4], [u8; 6], [u8; 4]);

/// The types, lengths and operation; the sender's addresses; the target's.
fn fields(bytes: &[u8]) -> Option<Fields> {
    let (&types, bytes) = bytes.split_first_chunk()?;
    let (&sender_mac, bytes) = bytes.split_first_chunk()?;
    let (&sender_ip, bytes) = bytes.split_first_chunk()?;
    let (&target_mac, bytes) = bytes.split_first_chunk()?;
    let (&target_ip, _) = bytes.split_first_chunk()?;
    Some((types, sender_mac, sender_ip, target_mac, target_ip))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::mutation::mutated;

    const ROUTER: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const HOST: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

    fn request_bytes() -> [u8; ARP_LEN] {
        let mut bytes = [0; ARP_LEN];
        Arp::request(HOST, Ipv4Addr::new(192, 0, 2, 2), Ipv4Addr::new(192, 0, 2, 1)).write(&mut bytes);
        bytes
    }

    #[test]
    fn a_request_is_what_rfc_826_draws() {
        let expected = [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2, 192, 0, 2, 2, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1];
        assert_eq!(request_bytes(), expected);
    }

    #[test]
    fn the_reply_goes_back_to_who_asked() {
        let reply = Arp::parse(&request_bytes()).unwrap().reply(ROUTER);
        assert_eq!(reply.operation, ArpOperation::Reply);
        assert_eq!((reply.sender_mac, reply.sender_ip), (ROUTER, Ipv4Addr::new(192, 0, 2, 1)));
        assert_eq!((reply.target_mac, reply.target_ip), (HOST, Ipv4Addr::new(192, 0, 2, 2)));
    }

    #[test]
    fn padding_is_ignored() {
        let mut padded = request_bytes().to_vec();
        padded.resize(46, 0xee);
        assert_eq!(Arp::parse(&padded), Arp::parse(&request_bytes()));
    }

    #[test]
    fn each_broken_field_is_refused_by_its_name() {
        let broken = |position: usize, value: u8| {
            let mut bytes = request_bytes();
            bytes[position] = value;
            Arp::parse(&bytes)
        };
        assert_eq!(Arp::parse(&request_bytes()[..27]), Err(ArpError::Truncated));
        assert_eq!(broken(1, 6), Err(ArpError::HardwareType));
        assert_eq!(broken(2, 0x86), Err(ArpError::ProtocolType));
        assert_eq!(broken(4, 8), Err(ArpError::AddressLength));
        assert_eq!(broken(5, 16), Err(ArpError::AddressLength));
        assert_eq!(broken(7, 0), Err(ArpError::Operation));
        assert_eq!(broken(7, 3), Err(ArpError::Operation));
        assert_eq!(broken(8, 3), Err(ArpError::SenderMac));
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_written_as_it_was_read(bytes in mutated(Just(request_bytes().to_vec()))) {
            if let Ok(arp) = Arp::parse(&bytes) {
                let mut out = [0; ARP_LEN];
                arp.write(&mut out);
                prop_assert_eq!(&out[..], &bytes[..ARP_LEN]);
            }
        }
    }
}
