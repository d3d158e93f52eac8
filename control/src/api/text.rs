//! Values as operators write them: prefixes, Ethernet addresses, ports, protocols, code points.
//!
//! What is parsed here is parsed alike in the configuration file, on the command line and on the control socket: each
//! type goes through its text (`FromStr`, `Display`), also in JSON. Errors say what was expected.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use carpool_dataplane::pool::path::{MAX_HOPS, SharedHops};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Reads a prefix of either family: `203.0.113.0/24`, `2001:db8::/32`, an address alone for all of its bits, `default` for
/// 0.0.0.0/0.
///
/// # Errors
/// Says what was expected; bits set beyond the prefix length are an error, and the message proposes the prefix meant.
pub fn parse_prefix(text: &str) -> Result<IpNet, String> {
    if text == "default" {
        return Ok(IpNet::default());
    }
    let net = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text
            .parse::<IpNet>()
            .map_err(|_| format!("{text:?}: expected a prefix such as 203.0.113.0/24 or 2001:db8::/32, or default"))?,
    };
    if net != net.trunc() {
        return Err(format!("{net} has bits set beyond its length; {} was meant?", net.trunc()));
    }
    Ok(net)
}

/// `#[serde(deserialize_with)]` for a prefix; see [`parse_prefix`].
pub fn deserialize_prefix<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IpNet, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    parse_prefix(&text).map_err(serde::de::Error::custom)
}

/// `#[serde(deserialize_with)]` for a prefix that may be missing; goes with `#[serde(default)]`.
pub fn deserialize_optional_prefix<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpNet>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| parse_prefix(&text)).transpose().map_err(serde::de::Error::custom)
}

/// Implements `Serialize` and `Deserialize` through the text of a type.
macro_rules! serde_as_text {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

/// An Ethernet address, `02:00:00:00:00:01`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// Whether it is a group address (IEEE 802.3, 3.2.3), which no neighbour can have.
    pub fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?}: expected an Ethernet address such as 02:00:00:00:00:01");
        let mut address = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut address {
            let part = parts.next().ok_or_else(wrong)?;
            let is_hex = matches!(part.len(), 1 | 2) && part.bytes().all(|digit| digit.is_ascii_hexdigit());
            *byte = is_hex.then(|| u8::from_str_radix(part, 16).ok()).flatten().ok_or_else(wrong)?;
        }
        if parts.next().is_some() { Err(wrong()) } else { Ok(MacAddress(address)) }
    }
}

serde_as_text!(MacAddress);

/// Transport ports, `5060` or `16384-32767`. Never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// The ports from `first` to `last`; None where there are none.
    pub fn new(first: u16, last: u16) -> Option<PortRange> {
        (first <= last).then_some(PortRange { first, last })
    }

    /// As a range of numbers.
    pub fn range(self) -> RangeInclusive<u16> {
        self.first..=self.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |number: &str| {
            let digits = !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit());
            digits.then(|| number.parse::<u16>().ok()).flatten()
        };
        let (Some(first), Some(last)) = (port(first), port(last)) else {
            return Err(format!("{text:?}: expected a port (0 to 65535) or a range such as 16384-32767"));
        };
        PortRange::new(first, last).ok_or_else(|| format!("{text:?}: the range is empty, its first port is the larger"))
    }
}

serde_as_text!(PortRange);

/// An IP protocol: `udp`, `tcp`, ... or its number (IANA, Protocol Numbers).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Protocol(pub u8);

/// The protocols that have a name here.
const PROTOCOLS: [(&str, u8); 9] = [
    ("icmp", 1),
    ("tcp", 6),
    ("udp", 17),
    ("dccp", 33),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("sctp", 132),
    ("udplite", 136),
];

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match PROTOCOLS.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((_, number)) = PROTOCOLS.iter().find(|(name, _)| *name == text) {
            return Ok(Protocol(*number));
        }
        text.parse()
            .map(Protocol)
            .map_err(|_| format!("{text:?}: expected an IP protocol: udp, tcp, icmp, ... or a number from 0 to 255"))
    }
}

serde_as_text!(Protocol);

/// An address and a UDP port, `192.0.2.9:5004` or `[2001:db8::9]:5004`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
}

impl Endpoint {
    /// What can stand there, in words.
    pub const EXPECTED: &str = "an address and a port such as 192.0.2.9:5004 or [2001:db8::9]:5004";
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::from(*self).fmt(f)
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // SocketAddr also takes a zone, `fe80::1%2`, which means something on one host only.
        let address = text.parse::<SocketAddr>().ok().filter(|_| !text.contains('%'));
        let address = address.ok_or_else(|| format!("{text:?}: expected {}", Endpoint::EXPECTED))?;
        Ok(Endpoint { address: address.ip(), port: address.port() })
    }
}

impl From<Endpoint> for SocketAddr {
    fn from(endpoint: Endpoint) -> SocketAddr {
        SocketAddr::new(endpoint.address, endpoint.port)
    }
}

serde_as_text!(Endpoint);

/// A differentiated services code point (RFC 2474): `ef`, `af41`, `cs5`, `default`, ... or its number, 0 to 63.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CodePoint(u8);

/// The code points that have a name (RFC 2474, 2597, 3246, 5865, 8622).
const CODE_POINTS: [(&str, u8); 24] = [
    ("default", 0),
    ("le", 1),
    ("cs0", 0),
    ("cs1", 8),
    ("af11", 10),
    ("af12", 12),
    ("af13", 14),
    ("cs2", 16),
    ("af21", 18),
    ("af22", 20),
    ("af23", 22),
    ("cs3", 24),
    ("af31", 26),
    ("af32", 28),
    ("af33", 30),
    ("cs4", 32),
    ("af41", 34),
    ("af42", 36),
    ("af43", 38),
    ("cs5", 40),
    ("voice-admit", 44),
    ("ef", 46),
    ("cs6", 48),
    ("cs7", 56),
];

impl CodePoint {
    /// The code point `value`; None above 63.
    pub fn new(value: u8) -> Option<CodePoint> {
        (value < 64).then_some(CodePoint(value))
    }

    /// 0 to 63.
    pub fn value(self) -> u8 {
        self.0
    }
}

impl fmt::Display for CodePoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match CODE_POINTS.iter().find(|(_, value)| *value == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for CodePoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((_, value)) = CODE_POINTS.iter().find(|(name, _)| *name == text) {
            return Ok(CodePoint(*value));
        }
        text.parse()
            .ok()
            .and_then(CodePoint::new)
            .ok_or_else(|| format!("{text:?}: expected a DSCP: ef, af41, cs5, ... or a number from 0 to 63"))
    }
}

serde_as_text!(CodePoint);

/// How much of their ways packets must share to share a pool: `path`, or a number of hops from 1 to 16, in JSON a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HopsToShare(pub SharedHops);

impl HopsToShare {
    /// What can stand there, in words.
    pub const EXPECTED: &str = "\"path\" or a whole number from 1 to 16";

    /// At least so many; None where that is no possible number.
    pub fn at_least(hops: u32) -> Option<HopsToShare> {
        let hops = u8::try_from(hops).ok().filter(|hops| (1..=MAX_HOPS).contains(&usize::from(*hops)))?;
        Some(HopsToShare(SharedHops::AtLeast(hops)))
    }
}

impl FromStr for HopsToShare {
    type Err = String;

    fn from_str(text: &str) -> Result<HopsToShare, String> {
        if text == "path" {
            return Ok(HopsToShare(SharedHops::WholePath));
        }
        let hops = text.parse().ok().and_then(HopsToShare::at_least);
        hops.ok_or_else(|| format!("{text:?}: expected {}", HopsToShare::EXPECTED))
    }
}

impl fmt::Display for HopsToShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            SharedHops::WholePath => f.write_str("path"),
            SharedHops::AtLeast(hops) => hops.fmt(f),
        }
    }
}

impl Serialize for HopsToShare {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            SharedHops::WholePath => serializer.serialize_str("path"),
            SharedHops::AtLeast(hops) => serializer.serialize_u8(hops),
        }
    }
}

impl<'de> Deserialize<'de> for HopsToShare {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let hops = match value.as_str() {
            Some("path") => Some(HopsToShare(SharedHops::WholePath)),
            Some(_) => None,
            None => value.as_u64().and_then(|hops| u32::try_from(hops).ok()).and_then(HopsToShare::at_least),
        };
        hops.ok_or_else(|| serde::de::Error::custom(format!("shared_hops {value}: expected {}", HopsToShare::EXPECTED)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_prefix_is_an_address_and_a_length_or_an_address_or_default() {
        assert_eq!(parse_prefix("203.0.113.0/24").map(|net| net.to_string()), Ok("203.0.113.0/24".to_owned()));
        assert_eq!(parse_prefix("203.0.113.9").map(|net| net.to_string()), Ok("203.0.113.9/32".to_owned()));
        assert_eq!(parse_prefix("default").map(|net| net.to_string()), Ok("0.0.0.0/0".to_owned()));
    }

    #[test]
    fn a_prefix_with_host_bits_is_refused_with_the_one_that_was_meant() {
        assert_eq!(
            parse_prefix("203.0.113.9/24"),
            Err("203.0.113.9/24 has bits set beyond its length; 203.0.113.0/24 was meant?".to_owned())
        );
        assert!(parse_prefix("203.0.113.0/33").is_err_and(|error| error.contains("expected a prefix")));
    }

    #[test]
    fn names_and_numbers_mean_the_same() {
        assert_eq!("udp".parse(), Ok(Protocol(17)));
        assert_eq!("17".parse(), Ok(Protocol(17)));
        assert_eq!("ef".parse(), Ok(CodePoint(46)));
        assert_eq!("46".parse(), Ok(CodePoint(46)));
        assert!("64".parse::<CodePoint>().is_err());
        assert!("256".parse::<Protocol>().is_err());
    }

    #[test]
    fn a_range_that_contains_no_port_is_refused() {
        assert_eq!("5060".parse(), Ok(PortRange { first: 5060, last: 5060 }));
        for wrong in ["9-8", "", "-", "1-", "-1", "1-2-3", "65536", "+5"] {
            assert!(wrong.parse::<PortRange>().is_err(), "{wrong:?} was accepted");
        }
    }

    #[test]
    fn an_endpoint_is_an_address_and_a_port() {
        for text in ["192.0.2.9:5004", "[2001:db8::9]:5004"] {
            assert_eq!(text.parse::<Endpoint>().map(|endpoint| endpoint.to_string()), Ok(text.to_owned()));
        }
        for text in ["192.0.2.9", "192.0.2.9:65536", "2001:db8::9:5004", "[fe80::1%2]:5004", "host:5004", ""] {
            let error =
                format!("{text:?}: expected an address and a port such as 192.0.2.9:5004 or [2001:db8::9]:5004");
            assert_eq!(text.parse::<Endpoint>(), Err(error));
        }
    }

    #[test]
    fn an_ethernet_address_has_six_bytes() {
        assert_eq!("2:0:0:0:0:A".parse(), Ok(MacAddress([2, 0, 0, 0, 0, 10])));
        for wrong in ["", "1:2:3:4:5", "1:2:3:4:5:6:7", "1:2:3:4:5:g", "001:2:3:4:5:6", "+1:2:3:4:5:6"] {
            assert!(wrong.parse::<MacAddress>().is_err(), "{wrong:?} was accepted");
        }
    }

    #[test]
    fn hops_to_share_are_a_number_or_the_whole_path() {
        for (json, text) in [("1", "1"), ("16", "16"), ("\"path\"", "path")] {
            let hops: HopsToShare = serde_json::from_str(json).expect("a sound value");
            assert_eq!((hops.to_string().as_str(), text.parse()), (text, Ok(hops)));
            assert_eq!(serde_json::to_string(&hops).expect("JSON"), json);
        }
        for wrong in ["0", "17", "\"3\"", "\"all\"", "-1", "1.5", "null", "[]"] {
            assert!(serde_json::from_str::<HopsToShare>(wrong).is_err(), "{wrong} was accepted");
        }
        let error = "0".parse::<HopsToShare>().expect_err("nobody shares nothing");
        assert_eq!(error, "\"0\": expected \"path\" or a whole number from 1 to 16");
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(bytes: [u8; 6], protocol: u8, code in 0u8..64, a: u16, b: u16) {
            let mac = MacAddress(bytes);
            prop_assert_eq!(mac.to_string().parse(), Ok(mac));
            prop_assert_eq!(Protocol(protocol).to_string().parse(), Ok(Protocol(protocol)));
            let code = CodePoint(code);
            prop_assert_eq!(code.to_string().parse(), Ok(code));
            let ports = PortRange { first: a.min(b), last: a.max(b) };
            prop_assert_eq!(ports.to_string().parse(), Ok(ports));
        }

        #[test]
        fn no_text_makes_a_parser_panic(text in "\\PC{0,20}") {
            let _ = parse_prefix(&text);
            let _ = text.parse::<MacAddress>();
            let _ = text.parse::<PortRange>();
            let _ = text.parse::<Protocol>();
            let _ = text.parse::<CodePoint>();
            let _ = text.parse::<Endpoint>();
        }
    }
}
