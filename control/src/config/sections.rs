//! Each table of the configuration by itself: which keys it has, what their values may be.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use carpool_dataplane::pool::wire::{Template, TemplateId};
use carpool_dataplane::pool::{Dscp, Lone, MAX_BUCKETS, Match, Representation};
use ipnet::IpNet;
use toml::de::{DeTable, DeValue};

use super::document::{Document, Table, integer};
use super::rule::{Criteria, Index, RULE_COUNT, RULE_HOLD, RULE_SIZE, RULE_WINDOW};
use super::{Config, DEFAULT_POOL_PORT, Dataplane, Idle, Memory, Neighbor, Path, Peer, PoolOn, Port, Route, Rule};
use crate::api::DEFAULT_SOCKET;
use crate::api::multicast::MulticastRoute;
use crate::api::overlay::OverlayRoute;
use crate::api::peer::PeerFormat;
use crate::api::quantity::{parse_bytes, parse_microseconds};
use crate::api::route::RouteTarget;
use crate::api::rule::IndexPlace;
use crate::api::stream::Stream;
use crate::api::text::{CodePoint, Endpoint, HopsToShare, MacAddress, PortRange, Protocol, parse_prefix};
use crate::paths::{HopList, MAX_HOPS};
use crate::streams::STREAM_TTL;

/// Path MTU to a peer, in bytes.
pub const PEER_MTU: RangeInclusive<u16> = 128..=9000;
/// The keys of a rule that say how its packets are pooled.
const CRITERIA: [&str; 12] = [
    "max_size",
    "window",
    "max_count",
    "required_count",
    "hold",
    "adaptive",
    "shared_hops",
    "path_mtu",
    "lone",
    "representation",
    "index",
    "template",
];

const PORT_MTU: RangeInclusive<u32> = 576..=9000;
const PORT_MTU_DEFAULT: u16 = 1500;
const DESCRIPTORS_DEFAULT: u16 = 1024;
/// Time between hellos to a peer.
pub const HELLO_INTERVAL: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);
const HIGHEST_CORE: u32 = 1023;

const IPV4_ADDRESS: &str = "an IPv4 address such as \"192.0.2.1\"";
const GATEWAY: &str = "an IP address such as \"192.0.2.1\", a link-local one with its port as in \"fe80::1%p0\"";
const ADDRESS: &str = "an IP address such as \"192.0.2.1\" or \"2001:db8::1\"";
const PREFIX: &str = "a prefix without host bits, such as \"203.0.113.0/24\" or \"2001:db8::/32\"";
const NAME: &str = "a name of 1 to 32 letters, digits, '-', '_' or '.'";

/// Whether a text can be the name of a port, peer or rule.
pub fn is_name(text: &str) -> bool {
    (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// The whole document. None where something that must be there is not, or not readable; the document then has errors.
pub(super) fn read<'t>(document: &Document<'t>, root: &DeTable<'t>) -> Option<Config> {
    let root = Table::new(document, String::new(), root);
    let (router_id, addresses) = root.table("router").map_or((None, Vec::new()), router);
    let dataplane = root.table("dataplane").map_or_else(Dataplane::default, dataplane);
    let socket = root.table("control").and_then(control).unwrap_or_else(|| DEFAULT_SOCKET.into());
    let pool_port = root.table("pool").and_then(pool).unwrap_or(DEFAULT_POOL_PORT);
    let ports = all(root.tables("port"), port);
    let neighbor = |table: &Table<'_, '_>| neighbor(table, ports.as_deref().unwrap_or(&[]));
    let neighbors = all(root.tables("neighbor"), neighbor);
    let routes = all(root.tables("route"), route);
    let peers = all(root.tables("peer"), peer);
    let paths = all(root.tables("path"), path);
    let multicast = all(root.tables("multicast"), multicast);
    let overlays = all(root.tables("overlay"), overlay);
    let templates = all(root.tables("template"), template);
    let streams = all(root.tables("stream"), stream);
    let rules = all(root.tables("rule"), rule);
    if ports.as_ref().is_some_and(Vec::is_empty) {
        document.error("port", "missing; expected at least one [[port]]");
    }
    root.finish();
    let ports = ports?;
    let router_id = router_id.or_else(|| {
        let mut addresses = ports.iter().flat_map(|port| &port.addresses);
        addresses.find_map(|net| match net {
            IpNet::V4(net) => Some(net.addr()),
            IpNet::V6(_) => None,
        })
    });
    if router_id.is_none() && document.is_sound() {
        document.error("router.id", format!("missing where no port has an IPv4 address; expected {IPV4_ADDRESS}"));
    }
    Some(Config {
        router_id: router_id?,
        addresses,
        dataplane,
        socket,
        ports,
        neighbors: neighbors?,
        routes: routes?,
        peers: peers?,
        pool_port,
        paths: paths?,
        multicast: multicast?,
        overlays: overlays?,
        templates: templates?,
        streams: streams?,
        rules: rules?,
    })
}

/// Reads every table, so that all errors are found; None where one could not be read.
fn all<'d, 't, T>(tables: Vec<Table<'d, 't>>, read: impl Fn(&Table<'d, 't>) -> Option<T>) -> Option<Vec<T>> {
    let values: Vec<_> = tables
        .into_iter()
        .map(|table| {
            let value = read(&table);
            table.finish();
            value
        })
        .collect();
    values.into_iter().collect()
}

fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

fn prefix(text: &str) -> Option<IpNet> {
    parse_prefix(text).ok()
}

fn ipv4_address(text: &str) -> Option<Ipv4Addr> {
    text.parse().ok()
}

fn duration(text: &str) -> Option<Duration> {
    parse_microseconds(text).ok().map(Duration::from_micros)
}

fn router(table: Table<'_, '_>) -> (Option<Ipv4Addr>, Vec<IpAddr>) {
    let id = table.text("id", IPV4_ADDRESS, ipv4_address);
    let addresses = table.texts("address", ADDRESS, address);
    table.finish();
    (id, addresses)
}

impl Default for Dataplane {
    fn default() -> Self {
        Dataplane {
            cores: Vec::new(),
            control_cores: Vec::new(),
            idle: Idle::Adaptive,
            memory: Memory::Auto,
            memory_mb: None,
            mbufs: None,
            pool_on: PoolOn::Local,
            buckets: 1,
        }
    }
}

fn dataplane(table: Table<'_, '_>) -> Dataplane {
    let cores = |key| {
        let expected = format!("a CPU number from 0 to {HIGHEST_CORE}");
        table.list(key, &expected, |value| {
            integer(value).filter(|core| *core <= HIGHEST_CORE).and_then(|core| u16::try_from(core).ok())
        })
    };
    let idle = table.text("idle", "\"adaptive\" or \"spin\"", |text| match text {
        "adaptive" => Some(Idle::Adaptive),
        "spin" => Some(Idle::Spin),
        _ => None,
    });
    let memory = table.text("memory", "\"auto\", \"hugepages\" or \"no-huge\"", |text| match text {
        "auto" => Some(Memory::Auto),
        "hugepages" => Some(Memory::Hugepages),
        "no-huge" => Some(Memory::NoHuge),
        _ => None,
    });
    let pool_on = table.text("pool_on", "\"local\" or \"owner\"", |text| match text {
        "local" => Some(PoolOn::Local),
        "owner" => Some(PoolOn::Owner),
        _ => None,
    });
    let buckets = table.integer("buckets", 1..=u32::from(MAX_BUCKETS)).and_then(|count| u8::try_from(count).ok());
    let dataplane = Dataplane {
        cores: cores("cores"),
        control_cores: cores("control_cores"),
        idle: idle.unwrap_or(Idle::Adaptive),
        memory: memory.unwrap_or(Memory::Auto),
        memory_mb: table.integer("memory_mb", 16..=1_048_576),
        mbufs: table.integer("mbufs", 1024..=16_777_215),
        pool_on: pool_on.unwrap_or(PoolOn::Local),
        buckets: buckets.unwrap_or(1),
    };
    table.finish();
    dataplane
}

fn control(table: Table<'_, '_>) -> Option<PathBuf> {
    // The length is that of sun_path in sockaddr_un, its final NUL not counted.
    let socket = table.text("socket", "an absolute path of at most 107 bytes", |text| {
        (text.starts_with('/') && text.len() <= 107 && !text.contains('\0')).then(|| text.into())
    });
    table.finish();
    socket
}

fn pool(table: Table<'_, '_>) -> Option<u16> {
    let port = table.integer("port", 1..=65535).and_then(|port| u16::try_from(port).ok());
    table.finish();
    port
}

fn port(table: &Table<'_, '_>) -> Option<Port> {
    let name = table.required_text("name", NAME, |text| is_name(text).then(|| text.to_owned()));
    let device = table.required_text(
        "device",
        "a PCI address such as \"0000:3b:00.0\" or a DPDK device such as \"net_af_packet0,iface=eth1\"",
        |text| (!text.is_empty() && !text.contains(char::is_whitespace)).then(|| text.to_owned()),
    );
    if table.value("address").is_none() {
        table.error("address", "missing; expected a list of addresses such as [\"192.0.2.1/24\"]");
    }
    let expected = "an address with the length of its subnet's prefix, such as \"192.0.2.1/24\" or \"2001:db8::1/64\"";
    let addresses = table.texts("address", expected, |text| text.parse().ok());
    if addresses.is_empty() {
        table.error("address", "expected at least one address such as \"192.0.2.1/24\"");
    }
    let descriptors = |key| {
        let expected = "a power of two from 64 to 4096";
        table
            .optional(key, expected, |value| {
                integer(value).filter(|count| count.is_power_of_two() && (64..=4096).contains(count))
            })
            .and_then(|count| u16::try_from(count).ok())
            .unwrap_or(DESCRIPTORS_DEFAULT)
    };
    let mtu = table.integer("mtu", PORT_MTU).and_then(|mtu| u16::try_from(mtu).ok()).unwrap_or(PORT_MTU_DEFAULT);
    let (rx_descriptors, tx_descriptors) = (descriptors("rx_descriptors"), descriptors("tx_descriptors"));
    Some(Port { name: name?, device: device?, addresses, mtu, rx_descriptors, tx_descriptors })
}

fn neighbor(table: &Table<'_, '_>, ports: &[Port]) -> Option<Neighbor> {
    let address = table.required_text("address", ADDRESS, address);
    let mac = table.required_text("mac", "an Ethernet address of a station, such as \"02:00:00:00:00:01\"", |text| {
        text.parse::<MacAddress>().ok().filter(|mac| !mac.is_multicast()).map(|mac| mac.0).filter(|mac| *mac != [0; 6])
    });
    let names = ports.iter().map(|port| format!("{:?}", port.name)).collect::<Vec<_>>().join(", ");
    let port = table.required_text("port", &format!("the name of a [[port]]: {names}"), |text| {
        ports.iter().position(|port| port.name == text).and_then(|position| u16::try_from(position).ok())
    });
    Some(Neighbor { address: address?, mac: mac?, port: port? })
}

fn route(table: &Table<'_, '_>) -> Option<Route> {
    let prefix = table.required_text("prefix", PREFIX, prefix);
    let via = table.text("via", GATEWAY, |text| RouteTarget::parse_gateway(text).ok());
    let yes = |key| table.optional(key, "true", |value| value.as_bool().filter(|yes| *yes));
    let (blackhole, unreachable) = (yes("blackhole"), yes("unreachable"));
    let said = ["via", "blackhole", "unreachable"].into_iter().filter(|key| table.value(key).is_some());
    if said.count() != 1 {
        table.error("prefix", "expected exactly one of via, blackhole = true and unreachable = true beside it");
        return None;
    }
    let target = match (via, blackhole, unreachable) {
        (Some(gateway), None, None) => gateway,
        (None, Some(_), None) => RouteTarget::Blackhole,
        (None, None, Some(_)) => RouteTarget::Unreachable,
        _ => return None,
    };
    Some(Route { prefix: prefix?, target })
}

fn peer(table: &Table<'_, '_>) -> Option<Peer> {
    let name = table.required_text("name", NAME, |text| is_name(text).then(|| text.to_owned()));
    let peer_address = table.required_text("address", ADDRESS, address);
    let alias = table.texts("alias", ADDRESS, address);
    let source = table.text("source", ADDRESS, address);
    let mtu = table.integer("mtu", u32::from(*PEER_MTU.start())..=u32::from(*PEER_MTU.end()));
    let probe_mtu = table.optional("probe_mtu", "true or false", DeValue::as_bool);
    let assume = table.optional("assume", "true or false", DeValue::as_bool).unwrap_or(false);
    let format = table.text("format", "\"native\", \"simplemux\" or \"simplemux-fast\"", |text| match text {
        "native" => Some(PeerFormat::Native),
        "simplemux" => Some(PeerFormat::Simplemux),
        "simplemux-fast" => Some(PeerFormat::SimplemuxFast),
        _ => None,
    });
    let interval = table.text("hello_interval", "a time from \"10ms\" to \"60s\"", |text| {
        duration(text).filter(|interval| HELLO_INTERVAL.contains(interval))
    });
    let default = Peer::new(name?, peer_address?);
    Some(Peer {
        alias,
        source,
        mtu: mtu.and_then(|mtu| u16::try_from(mtu).ok()),
        assume,
        probe_mtu: probe_mtu.unwrap_or(default.probe_mtu),
        format: format.unwrap_or_default(),
        hello_interval: interval.unwrap_or(default.hello_interval),
        ..default
    })
}

fn path(table: &Table<'_, '_>) -> Option<Path> {
    let prefix = table.required_text("prefix", PREFIX, prefix);
    let hops = table.texts("hops", ADDRESS, address);
    let hops = HopList::new(&hops);
    if hops.is_none() {
        let message = format!("expected the addresses of 1 to {MAX_HOPS} routers, the next hop first");
        table.error("hops", message);
    }
    Some(Path { prefix: prefix?, hops: hops? })
}

fn multicast(table: &Table<'_, '_>) -> Option<MulticastRoute> {
    let group = table.required_text("group", "a group such as \"239.1.2.3\" or \"ff3e::8000:1\"", address);
    let source = table.text("source", ADDRESS, address);
    let from = table.required_text("from", "the name of a port or peer", |text| Some(text.to_owned()));
    Some(MulticastRoute { group: group?, source, from: from?, to: legs(table)? })
}

fn overlay(table: &Table<'_, '_>) -> Option<OverlayRoute> {
    let prefix = table.required_text("prefix", PREFIX, prefix);
    let from = table.text("from", "the name of a port or peer", |text| Some(text.to_owned()));
    let hops = table.texts("hops", ADDRESS, address);
    Some(OverlayRoute { prefix: prefix?, from, to: legs(table)?, hops })
}

/// The names of the legs of a route.
fn legs(table: &Table<'_, '_>) -> Option<Vec<String>> {
    if table.value("to").is_none() {
        table.error("to", "missing; expected a list of names such as [\"p1\", \"east\"]");
        return None;
    }
    Some(table.texts("to", "the name of a port or peer", |text| Some(text.to_owned())))
}

fn template(table: &Table<'_, '_>) -> Option<(TemplateId, Template)> {
    let id = table.required("id", "a whole number from 1 to 255", |value| {
        integer(value).and_then(|id| u8::try_from(id).ok()).and_then(TemplateId::new)
    });
    let expected = format!("a length from {} to {} bytes", RULE_SIZE.start(), RULE_SIZE.end());
    let lengths: Vec<u16> = table.list("lengths", &expected, |value| {
        integer(value).and_then(|length| u16::try_from(length).ok()).filter(|length| RULE_SIZE.contains(length))
    });
    match Template::new(&lengths) {
        Ok(template) => Some((id?, template)),
        Err(error) => {
            table.error("lengths", error.to_string());
            None
        }
    }
}

fn stream(table: &Table<'_, '_>) -> Option<Stream> {
    let id = table
        .required("id", "a whole number from 0 to 65535", |value| integer(value).and_then(|id| u16::try_from(id).ok()));
    let peer = table.required_text("peer", "the name of a [[peer]]", |text| Some(text.to_owned()));
    let expected = "an address and a port such as \"192.0.2.9:5004\" or \"[2001:db8::9]:5004\"";
    let endpoint = |key| table.required_text(key, expected, |text| text.parse::<Endpoint>().ok());
    let (source, destination) = (endpoint("source"), endpoint("destination"));
    let dscp = code_point(table);
    let ttl = table.required("ttl", "a whole number from 2 to 255: the TTL where packets are pooled", |value| {
        integer(value).and_then(|ttl| u8::try_from(ttl).ok()).filter(|ttl| STREAM_TTL.contains(ttl))
    });
    let (source, destination) = (source?, destination?);
    Some(Stream { id: id?, peer: peer?, source, destination, dscp: dscp.unwrap_or_default(), ttl: ttl? })
}

fn rule(table: &Table<'_, '_>) -> Option<Rule> {
    let name = table.required_text("name", NAME, |text| is_name(text).then(|| text.to_owned()));
    if table.value("match").is_none() {
        table.error("match", "missing; expected a table such as { protocol = \"udp\", ports = \"5004\" }");
    }
    let matcher = table.table("match").map(matcher);
    let pools = table.optional("pool", "true or false", DeValue::as_bool).unwrap_or(true);
    if !pools {
        for key in CRITERIA {
            if table.value(key).is_some() {
                table.error(key, "expected no such key beside pool = false: a rule that never pools needs none");
            }
        }
        return Some(Rule { name: name?, matcher: matcher?, criteria: None });
    }
    let criteria = criteria(table);
    if let Some((key, message)) = criteria.as_ref().and_then(Criteria::contradiction) {
        table.error(key, message);
    }
    Some(Rule { name: name?, matcher: matcher?, criteria: Some(criteria?) })
}

fn criteria(table: &Table<'_, '_>) -> Option<Criteria> {
    let max_size = table.text("max_size", "a size from \"20B\" to \"9000B\"", |text| {
        parse_bytes(text).ok().and_then(|size| u16::try_from(size).ok()).filter(|size| RULE_SIZE.contains(size))
    });
    let window = table.required_text("window", "a time from \"1us\" to \"10s\"", |text| {
        duration(text).filter(|window| RULE_WINDOW.contains(window))
    });
    let count = |key| {
        let count = table.integer(key, u32::from(*RULE_COUNT.start())..=u32::from(*RULE_COUNT.end()));
        count.and_then(|count| u8::try_from(count).ok())
    };
    let (max_count, required_count) = (count("max_count"), count("required_count"));
    let hold = table
        .text("hold", "a time from \"1us\" to \"100s\"", |text| duration(text).filter(|hold| RULE_HOLD.contains(hold)));
    let adaptive = table.optional("adaptive", "true or false", DeValue::as_bool);
    let shared_hops = table.optional("shared_hops", HopsToShare::EXPECTED, |value| match value.as_str() {
        Some(text) => text.parse().ok().filter(|_| text == "path"),
        None => integer(value).and_then(HopsToShare::at_least),
    });
    let path_mtu = table.integer("path_mtu", u32::from(*PEER_MTU.start())..=u32::from(*PEER_MTU.end()));
    let lone = table.text("lone", "\"itself\" or \"pooled\"", |text| match text {
        "itself" => Some(Lone::Itself),
        "pooled" => Some(Lone::Pooled),
        _ => None,
    });
    let expected = "\"whole\", \"learned\" or \"provisioned\"";
    let representation = table.text("representation", expected, |text| match text {
        "whole" => Some(Representation::Whole),
        "learned" => Some(Representation::Learned),
        "provisioned" => Some(Representation::Provisioned),
        _ => None,
    });
    let place = table.text("index", "\"in-band\", \"out-of-band\" or \"predetermined\"", |text| match text {
        "in-band" => Some(IndexPlace::InBand),
        "out-of-band" => Some(IndexPlace::OutOfBand),
        "predetermined" => Some(IndexPlace::Predetermined),
        _ => None,
    });
    let template = table.integer("template", 1..=u32::from(u8::MAX)).and_then(|id| u8::try_from(id).ok());
    let understood = |key, value: bool| value == table.value(key).is_some();
    let is_told = understood("index", place.is_some()) && understood("template", template.is_some());
    let index = Index::told(place, template).map_err(|message| {
        if is_told {
            table.error("template", message);
        }
    });
    let default = Criteria::new(window?);
    Some(Criteria {
        max_size,
        max_count,
        required_count,
        hold,
        adaptive: adaptive.unwrap_or(default.adaptive),
        shared_hops: shared_hops.map_or(default.shared_hops, |HopsToShare(hops)| hops),
        path_mtu: path_mtu.and_then(|path_mtu| u16::try_from(path_mtu).ok()),
        lone: lone.unwrap_or(default.lone),
        representation: representation.unwrap_or(default.representation),
        index: index.ok()?,
        ..default
    })
}

fn matcher(table: Table<'_, '_>) -> Match {
    let ports = |key| {
        table.text(key, "a port such as \"5060\" or a range such as \"16384-32767\"", |text| {
            Some(text.parse::<PortRange>().ok()?.range())
        })
    };
    let matcher = Match {
        protocol: named(&table, "protocol", "\"udp\", \"tcp\" or an IP protocol number from 0 to 255")
            .map(|Protocol(number)| number),
        source_ports: ports("source_ports"),
        destination_ports: ports("ports"),
        source: table.text("from", PREFIX, prefix),
        destination: table.text("to", PREFIX, prefix),
        dscp: code_point(&table).and_then(|code_point| Dscp::new(code_point.value())),
    };
    table.finish();
    matcher
}

/// A value that has a name or is a number, which may be written as such.
fn named<T: FromStr>(table: &Table<'_, '_>, key: &'static str, expected: &str) -> Option<T> {
    table.optional(key, expected, |value| match value.as_str() {
        Some(text) => text.parse().ok(),
        None => integer(value).and_then(|number| number.to_string().parse().ok()),
    })
}

fn code_point(table: &Table<'_, '_>) -> Option<CodePoint> {
    named(table, "dscp", "a code point such as \"ef\", or its number from 0 to 63")
}
