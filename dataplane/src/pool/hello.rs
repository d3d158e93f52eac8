//! Hellos (kind 4): how peers know that they live, which packets they take, and that each hears the other.
//!
//! The control thread decides when to send them and what a silence means; workers pass received ones up to it. Behind
//! the fields there may be padding, to probe the path MTU; a later version may put others there: they are ignored.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use super::wire::{HEADER_LEN, Kind, PoolHeader, WireError};

/// The length of a hello without padding, with the pool header, in bytes.
pub const HELLO_LEN: usize = HEADER_LEN + BODY_LEN;

const BODY_LEN: usize = 20;

/// A hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Counts hellos and pooled packets alike: per source address, source port and destination address.
    pub sequence: u32,
    /// The TTL of the outer IP header as it was sent: with the TTL received it tells the number of hops between the
    /// peers.
    pub outer_ttl: u8,
    /// Who sends it: the router id, as a number in host order.
    pub router_id: u32,
    /// Which run of the sender: drawn at random at its start, never 0. A new one means that it was restarted.
    pub instance: u32,
    /// The instance the sender last heard from the addressee; 0: none. Who finds its own here knows that it is heard.
    pub heard_instance: u32,
    /// How long until the sender's next hello, in milliseconds.
    pub interval_ms: u16,
    /// What the sender takes.
    pub capabilities: Capabilities,
    /// The longest pooled packet the sender takes, with its IP header, in bytes.
    pub largest_pooled_packet: u16,
    /// The longest hello, with its IP header and padding, in bytes, that the sender got from the addressee since its own
    /// hello before this one; 0: none. Tells which probes of the path MTU arrive.
    pub longest_hello: u16,
}

/// What a router takes: a set of flags. Unknown ones are kept and mean nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(pub u16);

impl Capabilities {
    /// Bit 0: pooled packets of kind 0 with whole IPv4 packets.
    pub const WHOLE_IPV4: Capabilities = Capabilities(1);
    /// Bit 1: pooled packets of kind 0 with whole IPv6 packets.
    pub const WHOLE_IPV6: Capabilities = Capabilities(1 << 1);
    /// Bit 2: an index out of band, in packets of its own (kinds 1 and 2).
    pub const INDEX_OUT_OF_BAND: Capabilities = Capabilities(1 << 2);
    /// Bit 3: pooled packets of predetermined lengths (kind 3).
    pub const PREDETERMINED: Capabilities = Capabilities(1 << 3);
    /// Bit 4: entries of provisioned streams (type 128).
    pub const PROVISIONED: Capabilities = Capabilities(1 << 4);
    /// Bit 5: learned headers (kind 5), whose unknown contexts it reports (kind 6).
    pub const LEARNED: Capabilities = Capabilities(1 << 5);
    /// Bit 6: opens pooled packets of its peers that are addressed to others, and takes out what is due.
    pub const ON_THE_WAY: Capabilities = Capabilities(1 << 6);
    /// What a peer takes that is taken for alive and never spoke: it can be of another make, or an older one.
    pub const UNHEARD: Capabilities = Capabilities(Capabilities::WHOLE_IPV4.0 | Capabilities::WHOLE_IPV6.0);
    /// What this router takes.
    pub const OURS: Capabilities = Capabilities(
        Capabilities::WHOLE_IPV4.0
            | Capabilities::WHOLE_IPV6.0
            | Capabilities::INDEX_OUT_OF_BAND.0
            | Capabilities::PREDETERMINED.0
            | Capabilities::PROVISIONED.0
            | Capabilities::LEARNED.0
            | Capabilities::ON_THE_WAY.0,
    );

    /// The flags that this version knows, with the names that people see.
    pub const NAMES: &[(Capabilities, &str)] = &[
        (Capabilities::WHOLE_IPV4, "whole-ipv4"),
        (Capabilities::WHOLE_IPV6, "whole-ipv6"),
        (Capabilities::INDEX_OUT_OF_BAND, "out-of-band"),
        (Capabilities::PREDETERMINED, "predetermined"),
        (Capabilities::PROVISIONED, "provisioned"),
        (Capabilities::LEARNED, "learned"),
        (Capabilities::ON_THE_WAY, "on-the-way"),
    ];

    /// Whether all of `flags` are set.
    pub const fn contains(self, flags: Capabilities) -> bool {
        self.0 & flags.0 == flags.0
    }
}

impl Hello {
    /// Reads a UDP payload of kind 4.
    pub fn parse(payload: &[u8]) -> Result<Hello, WireError> {
        let header = PoolHeader::parse(payload)?;
        if header.kind != Kind::Hello {
            return Err(WireError::UnsupportedKind);
        }
        if header.count != 0 {
            return Err(WireError::HelloRows);
        }
        let body = payload.get(HEADER_LEN..).and_then(fields).ok_or(WireError::TruncatedHello)?;
        let (router_id, instance, heard_instance, [interval, capabilities, largest, longest_hello]) = body;
        if instance == 0 {
            return Err(WireError::HelloInstance);
        }
        Ok(Hello {
            sequence: header.sequence,
            outer_ttl: header.outer_ttl,
            router_id,
            instance,
            heard_instance,
            interval_ms: interval,
            capabilities: Capabilities(capabilities),
            largest_pooled_packet: largest,
            longest_hello,
        })
    }

    /// Writes the UDP payload.
    pub fn write(&self, out: &mut [u8; HELLO_LEN]) {
        let mut header = [0; HEADER_LEN];
        PoolHeader { kind: Kind::Hello, count: 0, outer_ttl: self.outer_ttl, template: 0, sequence: self.sequence }
            .write(&mut header);
        let parts: [&[u8]; 8] = [
            &header,
            &self.router_id.to_be_bytes(),
            &self.instance.to_be_bytes(),
            &self.heard_instance.to_be_bytes(),
            &self.interval_ms.to_be_bytes(),
            &self.capabilities.0.to_be_bytes(),
            &self.largest_pooled_packet.to_be_bytes(),
            &self.longest_hello.to_be_bytes(),
        ];
        for (to, from) in out.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
    }
}

/// Router id, instance, heard instance; interval, capabilities, largest pooled packet and longest hello.
fn fields(body: &[u8]) -> Option<(u32, u32, u32, [u16; 4])> {
    let body = body.first_chunk::<BODY_LEN>()?;
    let (&router_id, rest) = body.split_first_chunk()?;
    let (&instance, rest) = rest.split_first_chunk()?;
    let (&heard_instance, rest) = rest.split_first_chunk()?;
    let (&interval, rest) = rest.split_first_chunk()?;
    let (&capabilities, rest) = rest.split_first_chunk()?;
    let (&largest, rest) = rest.split_first_chunk()?;
    let (&longest, _) = rest.split_first_chunk()?;
    Some((
        u32::from_be_bytes(router_id),
        u32::from_be_bytes(instance),
        u32::from_be_bytes(heard_instance),
        [interval, capabilities, largest, longest].map(u16::from_be_bytes),
    ))
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::mutation::mutated;
    use crate::pool::vectors::Vector;

    pub(crate) const HELLO: Hello = Hello {
        sequence: 9,
        outer_ttl: 64,
        router_id: 0x0a00_0001,
        instance: 0x1234_5678,
        heard_instance: 0x9abc_def0,
        interval_ms: 500,
        capabilities: Capabilities::WHOLE_IPV4,
        largest_pooled_packet: 1500,
        longest_hello: 1280,
    };

    pub(crate) fn hello() -> Vec<u8> {
        let mut out = [0; HELLO_LEN];
        HELLO.write(&mut out);
        out.to_vec()
    }

    #[test]
    fn a_hello_is_what_the_document_draws() {
        let expected = [
            0x14, 0, 64, 0, 0, 0, 0, 9, // version 1, kind 4; no rows; outer TTL; template; sequence
            0x0a, 0, 0, 1, // router id
            0x12, 0x34, 0x56, 0x78, // instance
            0x9a, 0xbc, 0xde, 0xf0, // heard instance
            0x01, 0xf4, // interval
            0, 1, // capabilities
            0x05, 0xdc, // largest pooled packet
            0x05, 0x00, // longest hello
        ];
        assert_eq!(hello(), expected);
        assert_eq!(Hello::parse(&expected), Ok(HELLO));
    }

    /// What a hello says, in the words of the golden vectors.
    fn words(hello: &Hello) -> String {
        let Hello { sequence, outer_ttl, instance, heard_instance, interval_ms, .. } = hello;
        let (router_id, capabilities) = (std::net::Ipv4Addr::from_bits(hello.router_id), hello.capabilities.0);
        let (largest, longest) = (hello.largest_pooled_packet, hello.longest_hello);
        format!(
            "hear sequence {sequence} outer_ttl {outer_ttl} router_id {router_id} instance {instance:08x} heard_instance \
             {heard_instance:08x} interval {interval_ms} capabilities {capabilities:04x} largest {largest} longest {longest}"
        )
    }

    #[test]
    fn golden_vectors_are_read_as_they_say_and_written_alike() {
        let vectors = Vector::all("kind4");
        assert!(vectors.iter().any(|vector| vector.name.starts_with("hear_")), "there are some");
        for vector in vectors {
            let payload = &vector.section("payload").bytes;
            let parsed = Hello::parse(payload);
            let meaning = match &parsed {
                Ok(hello) => words(hello),
                Err(error) => format!("drop {}", error.name()),
            };
            let expected: Vec<_> = vector.expected().into_iter().map(|(words, _)| words.join(" ")).collect();
            assert_eq!(expected, [meaning], "{}", vector.name);
            if let Ok(hello) = parsed {
                let mut written = [0; HELLO_LEN];
                hello.write(&mut written);
                let mut plain: [u8; HELLO_LEN] = *payload.first_chunk().expect("a whole hello");
                plain[3] = 0;
                assert_eq!(written, plain, "{}", vector.name);
            }
        }
    }

    #[test]
    fn each_broken_bound_has_its_name() {
        let broken = |position: usize, value: u8| {
            let mut bytes = hello();
            bytes[position] = value;
            Hello::parse(&bytes)
        };
        assert_eq!(Hello::parse(&hello()[..7]), Err(WireError::TruncatedHeader));
        assert_eq!(Hello::parse(&hello()[..HELLO_LEN - 1]), Err(WireError::TruncatedHello));
        assert_eq!(broken(0, 0x24), Err(WireError::UnsupportedVersion));
        assert_eq!(broken(0, 0x1c), Err(WireError::AuthenticatedUnsupported));
        assert_eq!(broken(0, 0x10), Err(WireError::UnsupportedKind));
        assert_eq!(broken(1, 1), Err(WireError::HelloRows));
        let mut none = hello();
        none[12..16].fill(0);
        assert_eq!(Hello::parse(&none), Err(WireError::HelloInstance));
    }

    #[test]
    fn padding_and_the_template_are_ignored() {
        let mut bytes = hello();
        bytes[3] = 0xee;
        bytes.resize(1472, 0xee);
        assert_eq!(Hello::parse(&bytes), Ok(HELLO));
    }

    #[test]
    fn every_capability_of_ours_has_a_name_of_its_own() {
        let named = Capabilities::NAMES.iter().fold(0, |named, (flag, _)| {
            assert_eq!((flag.0.count_ones(), named & flag.0), (1, 0), "{flag:?} has one bit, which no other has");
            named | flag.0
        });
        assert_eq!(Capabilities(named), Capabilities::OURS);
        let names: std::collections::BTreeSet<_> = Capabilities::NAMES.iter().map(|(_, name)| name).collect();
        assert_eq!(names.len(), Capabilities::NAMES.len());
    }

    #[test]
    fn unknown_capabilities_hide_no_known_one() {
        assert!(Capabilities(0x8001).contains(Capabilities::WHOLE_IPV4));
        assert!(!Capabilities(0x8000).contains(Capabilities::WHOLE_IPV4));
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_written_as_it_was_read(bytes in mutated(Just(hello()))) {
            if let Ok(parsed) = Hello::parse(&bytes) {
                let mut out = [0; HELLO_LEN];
                parsed.write(&mut out);
                let mut expected = bytes[..HELLO_LEN].to_vec();
                expected[3] = 0;
                prop_assert_eq!(&out[..], &expected[..]);
            }
        }
    }
}
