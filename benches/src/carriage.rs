//! What both ends of a case are configured with: the rule, the way to the peer, and what they know beforehand.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use carpool_dataplane::arch::TickRate;
use carpool_dataplane::fib::PeerIndex;
use carpool_dataplane::packet::ipv4::PROTOCOL_UDP;
use carpool_dataplane::pool::hello::Capabilities;
use carpool_dataplane::pool::provisioned::{Stream, StreamId, StreamSet, StreamSetError};
use carpool_dataplane::pool::wire::{self, Template, TemplateError, TemplateId};
use carpool_dataplane::pool::{Dscp, Format, Index, Match, PeerPath, Representation, Rule};
use ipnet::{IpNet, Ipv4Net};

use crate::case::{Carriage, Case, PATH_MTU, STREAMS, Setting};
use crate::growth::Dimension;
use crate::network::{Network, ports};

/// How long stream packets wait for company.
pub const WINDOW: Duration = Duration::from_millis(5);
/// TTL of what comes in.
pub const TTL: u8 = 64;
/// Its class: expedited forwarding.
pub const DSCP: u8 = 46;
/// The only peer, in the eyes of either end.
pub const PEER: PeerIndex = PeerIndex(0);

/// The template of predetermined packets: all are of the length of the case.
pub fn template(case: &Case) -> Result<(TemplateId, Template), TemplateError> {
    const FIRST: TemplateId = TemplateId::new(1).expect("not 0");
    Ok((FIRST, Template::new(&[case.length])?))
}

/// UDP of up to 300 bytes is pooled as the case says.
pub fn rule(case: &Case, rate: TickRate) -> Result<Rule, TemplateError> {
    let (representation, index) = match case.carriage {
        Carriage::Whole | Carriage::Ipv6 | Carriage::Simplemux(_) => (Representation::Whole, Index::InBand),
        Carriage::Learned => (Representation::Learned, Index::InBand),
        Carriage::Provisioned => (Representation::Provisioned, Index::InBand),
        Carriage::OutOfBand => (Representation::Whole, Index::OutOfBand),
        Carriage::Predetermined => {
            let (id, template) = template(case)?;
            (Representation::Whole, Index::Predetermined { id, template })
        }
    };
    Ok(Rule {
        max_size: 300,
        window: rate.ticks(WINDOW),
        representation,
        index,
        adaptive: case.setting == Setting::Adaptive,
        ..Rule::new("voice", Match { protocol: Some(PROTOCOL_UDP), ..Match::default() })
    })
}

/// That rule, behind others that its packets do not fit where the case has more.
pub fn rules(case: &Case, rate: TickRate) -> Result<Vec<Rule>, TemplateError> {
    let last = rule(case, rate)?;
    let [alike, mixed] = [Dimension::Rules, Dimension::MixedRules].map(|rules| case.grown(rules));
    let more = alike.or(mixed).unwrap_or(1).saturating_sub(1) as u16;
    let other = |number: u16| {
        let matcher = if mixed.is_some() { other_sort(number) } else { other_port(number) };
        Rule { name: format!("other-{number}"), matcher, ..last.clone() }
    };
    Ok((1..=more).map(other).chain([last.clone()]).collect())
}

/// UDP to one port that no stream has.
fn other_port(number: u16) -> Match {
    Match { protocol: Some(PROTOCOL_UDP), destination_ports: Some(number..=number), ..Match::default() }
}

/// What an operator sorts packets by, in turn: ranges of ports, classes, protocols, prefixes, and all of it.
fn other_sort(number: u16) -> Match {
    let [turn, low] = [number / 6, number % 256].map(|number| number as u8);
    let net = |first, length| Ipv4Net::new([first, 16 + turn % 16, low, 0].into(), length).ok().map(IpNet::V4);
    let port = 1000 + number % 10_000;
    let (protocol, ports, dscp) = (Some(PROTOCOL_UDP), Some(port..=port + 99), Dscp::new(turn % DSCP));
    match number % 6 {
        0 => Match { protocol, destination_ports: ports, ..Match::default() },
        1 => Match { dscp, ..Match::default() },
        2 => Match { protocol: Some(100 + turn % 100), ..Match::default() },
        3 => Match { destination: net(10, 24), ..Match::default() },
        4 => Match { source: net(172, 28), ..Match::default() },
        _ => Match {
            protocol,
            source_ports: ports,
            source: net(10, 32),
            destination: net(172, 20),
            dscp,
            ..Match::default()
        },
    }
}

/// The way of pooled packets from `source` to `addressee`, who takes everything.
pub fn peer_path(case: &Case, source: IpAddr, addressee: IpAddr) -> PeerPath {
    let format = match case.carriage {
        Carriage::Simplemux(flavour) => Format::Simplemux(flavour),
        _ => Format::Native,
    };
    let port = format.port().unwrap_or(wire::PORT);
    PeerPath {
        addressee,
        source,
        mtu: PATH_MTU,
        outer_ttl: 64,
        source_port_base: port,
        destination_port: port,
        checksum: true,
        format,
        capabilities: Capabilities(u16::MAX),
    }
}

/// The streams that both ends were told of.
pub fn streams(case: &Case) -> Result<StreamSet, StreamSetError> {
    let network = Network::of(case);
    let count = if case.carriage == Carriage::Provisioned { STREAMS } else { 0 };
    let stream = |number| {
        let [source_port, destination_port] = ports(number);
        Stream {
            id: StreamId(number),
            peer: PEER,
            source: SocketAddr::new(network.source(number), source_port),
            destination: SocketAddr::new(network.destination(number), destination_port),
            dscp: Dscp::new(DSCP).unwrap_or_default(),
            ttl: TTL,
        }
    };
    StreamSet::new(&(0..count).map(stream).collect::<Vec<_>>())
}
