//! What follows a verb, word by word: routes, neighbours, paths, peers, streams and rules as ip(8) writes them.
//!
//! Errors are one sentence that says what stood there and what was expected.

use std::net::{IpAddr, Ipv4Addr};

use crate::api::multicast::{MulticastDel, MulticastRoute};
use crate::api::neighbor::{NeighborAdd, NeighborDel};
use crate::api::overlay::OverlayRoute;
use crate::api::path::PathAdd;
use crate::api::peer::{PeerAdd, PeerFormat};
use crate::api::quantity::{parse_bytes, parse_microseconds};
use crate::api::route::{Route, RouteTarget};
use crate::api::rule::{IndexPlace, LonePacket, PacketRepresentation, RuleAdd};
use crate::api::stream::{Stream, StreamDel};
use crate::api::text::{Protocol, parse_prefix};

/// Words yet to be read.
struct Words<'a, W> {
    rest: &'a [W],
}

impl<'a, W: AsRef<str>> Words<'a, W> {
    fn next(&mut self) -> Option<&'a str> {
        let (word, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(word.as_ref())
    }

    /// The words up to one of these, or to the end.
    fn until(&mut self, stops: &[&str]) -> Vec<&'a str> {
        let count = self.rest.iter().position(|word| stops.contains(&word.as_ref())).unwrap_or(self.rest.len());
        (0..count).filter_map(|_| self.next()).collect()
    }

    /// The next word, which is `what`.
    fn expect(&mut self, what: &str) -> Result<&'a str, String> {
        self.next().ok_or_else(|| format!("expected {what} at the end"))
    }

    fn end(&mut self) -> Result<(), String> {
        match self.next() {
            None => Ok(()),
            Some(word) => Err(format!("{word:?}: nothing more was expected")),
        }
    }
}

/// Reads `PREFIX via ADDRESS`, a link-local one with its port behind it as in `fe80::1%p0`, `blackhole PREFIX` or `unreachable PREFIX`.
pub(super) fn route<W: AsRef<str>>(words: &[W]) -> Result<Route, String> {
    let mut words = Words { rest: words };
    let nowhere = |words: &mut Words<'_, W>, target| {
        let prefix = parse_prefix(words.expect("a prefix")?)?;
        Ok(Route { prefix, target })
    };
    let route = match words.expect("a prefix, blackhole or unreachable")? {
        "blackhole" => nowhere(&mut words, RouteTarget::Blackhole),
        "unreachable" => nowhere(&mut words, RouteTarget::Unreachable),
        prefix => {
            let prefix = parse_prefix(prefix)?;
            match words.expect("via ADDRESS")? {
                "via" => {}
                word => return Err(format!("{word:?}: expected via ADDRESS")),
            }
            Route::new(prefix, RouteTarget::parse_gateway(words.expect("an address")?)?)
        }
    };
    words.end()?;
    route
}

/// Reads `ADDRESS lladdr MAC [dev PORT]`.
pub(super) fn neighbor_add<W: AsRef<str>>(words: &[W]) -> Result<NeighborAdd, String> {
    let mut words = Words { rest: words };
    let address = address(words.expect("an address")?)?;
    let (mut mac, mut port) = (None, None);
    while let Some(word) = words.next() {
        match word {
            "lladdr" => once(&mut mac, word, words.expect("an Ethernet address")?.parse()?)?,
            "dev" | "port" => once(&mut port, word, words.expect("a port's name")?.to_owned())?,
            _ => return Err(format!("{word:?}: expected lladdr MAC or dev PORT")),
        }
    }
    Ok(NeighborAdd { address, mac: mac.ok_or("expected lladdr MAC")?, port })
}

/// Reads `ADDRESS [dev PORT]`.
pub(super) fn neighbor_del<W: AsRef<str>>(words: &[W]) -> Result<NeighborDel, String> {
    let mut words = Words { rest: words };
    let address = address(words.expect("an address")?)?;
    let mut port = None;
    while let Some(word) = words.next() {
        match word {
            "dev" | "port" => once(&mut port, word, words.expect("a port's name")?.to_owned())?,
            _ => return Err(format!("{word:?}: expected dev PORT")),
        }
    }
    Ok(NeighborDel { address, port })
}

/// Reads `NAME address ADDRESS`, and what else may be said of a peer, what follows the name in any order.
pub(super) fn peer<W: AsRef<str>>(words: &[W]) -> Result<PeerAdd, String> {
    let mut words = Words { rest: words };
    let name = words.expect("the peer's name")?.to_owned();
    let mut at = None;
    let mut aliases = None;
    let mut peer = PeerAdd::new(name, Ipv4Addr::UNSPECIFIED.into());
    while let Some(word) = words.next() {
        match word {
            "address" => once(&mut at, word, address(words.expect("an address")?)?)?,
            "alias" => {
                let all = words.expect("addresses")?.split(',').map(address).collect::<Result<Vec<_>, _>>()?;
                once(&mut aliases, word, all)?;
            }
            "source" => once(&mut peer.source, word, address(words.expect("an address")?)?)?,
            "mtu" => once(&mut peer.mtu, word, bytes(word, words.expect("a size")?)?)?,
            "probe-mtu" => once(&mut peer.probe_mtu, word, truth(word, words.expect("true or false")?)?)?,
            "assume" => once(&mut peer.assume, word, truth(word, words.expect("true or false")?)?)?,
            "format" => {
                let format = match words.expect("a format")? {
                    "native" => PeerFormat::Native,
                    "simplemux" => PeerFormat::Simplemux,
                    "simplemux-fast" => PeerFormat::SimplemuxFast,
                    text => return Err(format!("format {text}: expected native, simplemux or simplemux-fast")),
                };
                once(&mut peer.format, word, format)?;
            }
            "hello-interval" => {
                let text = words.expect("a time")?;
                let time = parse_microseconds(text)?;
                let whole = time.is_multiple_of(1000).then_some(time / 1000);
                let whole = whole.ok_or_else(|| format!("hello-interval {text}: expected whole milliseconds"))?;
                once(&mut peer.hello_interval_ms, word, whole)?;
            }
            word => {
                return Err(format!(
                    "{word:?}: expected address, alias, source, mtu, probe-mtu, assume, format or hello-interval"
                ));
            }
        }
    }
    peer.address = at.ok_or("expected address ADDRESS")?;
    peer.alias = aliases.unwrap_or_default();
    Ok(peer)
}

/// Reads `PREFIX hops ADDRESS...`, addresses one by one or with commas between them.
pub(super) fn path<W: AsRef<str>>(words: &[W]) -> Result<PathAdd, String> {
    let mut words = Words { rest: words };
    let prefix = parse_prefix(words.expect("a prefix")?)?;
    match words.expect("hops ADDRESS...")? {
        "hops" => {}
        word => return Err(format!("{word:?}: expected hops ADDRESS...")),
    }
    let mut hops = Vec::new();
    let mut word = words.expect("an address")?;
    loop {
        for text in word.split(',').filter(|text| !text.is_empty()) {
            hops.push(address(text)?);
        }
        match words.next() {
            Some(next) => word = next,
            None => return Ok(PathAdd { prefix, hops }),
        }
    }
}

/// Reads `ID peer NAME source ENDPOINT destination ENDPOINT [dscp D] ttl N`, what follows the id in any order.
pub(super) fn stream_add<W: AsRef<str>>(words: &[W]) -> Result<Stream, String> {
    let mut words = Words { rest: words };
    let id = stream_id(words.expect("the stream's id")?)?;
    let (mut peer, mut source, mut destination, mut dscp, mut ttl) = (None, None, None, None, None);
    while let Some(word) = words.next() {
        match word {
            "peer" => once(&mut peer, word, words.expect("a peer's name")?.to_owned())?,
            "source" => once(&mut source, word, words.expect("an address and a port")?.parse()?)?,
            "destination" => once(&mut destination, word, words.expect("an address and a port")?.parse()?)?,
            "dscp" => once(&mut dscp, word, words.expect("a DSCP")?.parse()?)?,
            "ttl" => {
                let text = words.expect("a number")?;
                let hops = text.parse().map_err(|_| format!("ttl {text}: expected a number from 2 to 255"))?;
                once(&mut ttl, word, hops)?;
            }
            _ => return Err(format!("{word:?}: expected peer, source, destination, dscp or ttl")),
        }
    }
    Ok(Stream {
        id,
        peer: peer.ok_or("expected peer NAME, the router at the other end")?,
        source: source.ok_or("expected source ADDRESS:PORT")?,
        destination: destination.ok_or("expected destination ADDRESS:PORT")?,
        dscp: dscp.unwrap_or_default(),
        ttl: ttl.ok_or("expected ttl N, which packets have where they come to the router that pools them")?,
    })
}

/// Reads `ID peer NAME`.
pub(super) fn stream_del<W: AsRef<str>>(words: &[W]) -> Result<StreamDel, String> {
    let mut words = Words { rest: words };
    let id = stream_id(words.expect("the stream's id")?)?;
    match words.expect("peer NAME")? {
        "peer" => {}
        word => return Err(format!("{word:?}: expected peer NAME")),
    }
    let peer = words.expect("a peer's name")?.to_owned();
    words.end()?;
    Ok(StreamDel { id, peer })
}

fn stream_id(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("{text:?}: expected the stream's id, a number from 0 to 65535"))
}

/// Reads `NAME [match MATCH] window TIME`, and what else a rule may say, what follows the name in any order.
pub(super) fn rule<W: AsRef<str>>(words: &[W]) -> Result<RuleAdd, String> {
    let mut words = Words { rest: words };
    let name = words.expect("the rule's name")?.to_owned();
    let mut rule = RuleAdd::new(name);
    let (mut pool, mut adaptive) = (None, None);
    while let Some(word) = words.next() {
        let matches = &mut rule.matches;
        match word {
            "match" => {}
            "protocol" => once(&mut matches.protocol, word, words.expect("a protocol")?.parse()?)?,
            "port" | "ports" => once(&mut matches.ports, word, words.expect("ports")?.parse()?)?,
            "source-port" | "source-ports" => once(&mut matches.source_ports, word, words.expect("ports")?.parse()?)?,
            "dscp" => once(&mut matches.dscp, word, words.expect("a DSCP")?.parse()?)?,
            "from" => once(&mut matches.from, word, parse_prefix(words.expect("a prefix")?)?)?,
            "to" => once(&mut matches.to, word, parse_prefix(words.expect("a prefix")?)?)?,
            "pool" => once(&mut pool, word, truth(word, words.expect("true or false")?)?)?,
            "max-size" => once(&mut rule.max_size_bytes, word, bytes(word, words.expect("a size")?)?)?,
            "window" => once(&mut rule.window_us, word, parse_microseconds(words.expect("a time")?)?)?,
            "max-count" => once(&mut rule.max_count, word, count(word, words.expect("a number")?)?)?,
            "required-count" => once(&mut rule.required_count, word, count(word, words.expect("a number")?)?)?,
            "hold" => once(&mut rule.hold_us, word, parse_microseconds(words.expect("a time")?)?)?,
            "adaptive" => once(&mut adaptive, word, truth(word, words.expect("true or false")?)?)?,
            "shared-hops" => {
                let hops = words.expect("path or a number")?.parse().map_err(|error| format!("shared-hops {error}"))?;
                once(&mut rule.shared_hops, word, hops)?;
            }
            "path-mtu" => once(&mut rule.path_mtu, word, bytes(word, words.expect("a size")?)?)?,
            "lone" => {
                let lone = match words.expect("itself or pooled")? {
                    "itself" => LonePacket::Itself,
                    "pooled" => LonePacket::Pooled,
                    text => return Err(format!("lone {text}: expected itself or pooled")),
                };
                once(&mut rule.lone, word, lone)?;
            }
            "representation" => {
                let representation = match words.expect("whole, learned or provisioned")? {
                    "whole" => PacketRepresentation::Whole,
                    "learned" => PacketRepresentation::Learned,
                    "provisioned" => PacketRepresentation::Provisioned,
                    text => return Err(format!("representation {text}: expected whole, learned or provisioned")),
                };
                once(&mut rule.representation, word, representation)?;
            }
            "index" => {
                let place = match words.expect("in-band, out-of-band or predetermined")? {
                    "in-band" => IndexPlace::InBand,
                    "out-of-band" => IndexPlace::OutOfBand,
                    "predetermined" => IndexPlace::Predetermined,
                    text => return Err(format!("index {text}: expected in-band, out-of-band or predetermined")),
                };
                once(&mut rule.index, word, place)?;
            }
            "template" => {
                let text = words.expect("the id of a template")?;
                let id = text.parse().map_err(|_| format!("template {text}: expected a number from 1 to 255"))?;
                once(&mut rule.template, word, id)?;
            }
            "position" => {
                let text = words.expect("a number")?;
                let place = text.parse().map_err(|_| format!("position {text}: expected a number, 0 for the first"))?;
                once(&mut rule.position, word, place)?;
            }
            word => match word.parse::<Protocol>() {
                Ok(protocol) if word.parse::<u8>().is_err() => once(&mut matches.protocol, "protocol", protocol)?,
                _ => {
                    return Err(format!(
                        "{word:?}: expected udp, tcp, protocol, port, source-port, dscp, from, to, pool, max-size, window, \
                         max-count, required-count, hold, adaptive, shared-hops, path-mtu, lone, \
                         representation, index, template or position"
                    ));
                }
            },
        }
    }
    (rule.pool, rule.adaptive) = (pool.unwrap_or(true), adaptive.unwrap_or(false));
    if rule.pool && rule.window_us.is_none() {
        return Err("expected window, such as window 2ms, or pool false".into());
    }
    Ok(rule)
}

fn truth(word: &str, text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| format!("{word} {text}: expected true or false"))
}

/// A size of at most 65535 bytes.
fn bytes(word: &str, text: &str) -> Result<u16, String> {
    parse_bytes(text)?.try_into().map_err(|_| format!("{word} {text}: at most 65535 bytes"))
}

/// So many packets.
fn count(word: &str, text: &str) -> Result<u8, String> {
    let count = text.parse().ok().filter(|count| *count >= 2);
    count.ok_or_else(|| format!("{word} {text}: expected a number from 2 to 255"))
}

/// What begins something else in a multicast or overlay route.
const LEG_WORDS: [&str; 4] = ["source", "from", "to", "hops"];

/// Reads `GROUP [source ADDRESS] from NAME to NAME...`, what follows the group in any order.
pub(super) fn multicast_add<W: AsRef<str>>(words: &[W]) -> Result<MulticastRoute, String> {
    let mut words = Words { rest: words };
    let group = address(words.expect("a group")?)?;
    let (mut source, mut from, mut to) = (None, None, None);
    while let Some(word) = words.next() {
        match word {
            "source" => once(&mut source, word, address(words.expect("an address")?)?)?,
            "from" => once(&mut from, word, words.expect("the name of a port or peer")?.to_owned())?,
            "to" => once(&mut to, word, names(&mut words)?)?,
            _ => return Err(format!("{word:?}: expected source, from or to")),
        }
    }
    let from = from.ok_or("expected from NAME, a port or peer")?;
    Ok(MulticastRoute { group, source, from, to: to.ok_or("expected to NAME..., ports and peers")? })
}

/// Reads `GROUP [source ADDRESS]`.
pub(super) fn multicast_del<W: AsRef<str>>(words: &[W]) -> Result<MulticastDel, String> {
    let mut words = Words { rest: words };
    let group = address(words.expect("a group")?)?;
    let mut source = None;
    while let Some(word) = words.next() {
        match word {
            "source" => once(&mut source, word, address(words.expect("an address")?)?)?,
            _ => return Err(format!("{word:?}: expected source ADDRESS")),
        }
    }
    Ok(MulticastDel { group, source })
}

/// Reads `PREFIX [from NAME] to PEER... [hops ADDRESS...]`, what follows the prefix in any order.
pub(super) fn overlay_add<W: AsRef<str>>(words: &[W]) -> Result<OverlayRoute, String> {
    let mut words = Words { rest: words };
    let prefix = parse_prefix(words.expect("a prefix")?)?;
    let (mut from, mut to, mut hops) = (None, None, None);
    while let Some(word) = words.next() {
        match word {
            "from" => once(&mut from, word, words.expect("the name of a port or peer")?.to_owned())?,
            "to" => once(&mut to, word, names(&mut words)?)?,
            "hops" => {
                let addresses = words.until(&LEG_WORDS).into_iter().map(address).collect::<Result<Vec<_>, _>>()?;
                once(&mut hops, word, addresses)?;
            }
            _ => return Err(format!("{word:?}: expected from, to or hops")),
        }
    }
    let to = to.ok_or("expected to PEER..., the names of peers")?;
    Ok(OverlayRoute { prefix, from, to, hops: hops.unwrap_or_default() })
}

/// One name or more.
fn names<W: AsRef<str>>(words: &mut Words<'_, W>) -> Result<Vec<String>, String> {
    match words.until(&LEG_WORDS) {
        names if names.is_empty() => Err("expected a name after to".into()),
        names => Ok(names.into_iter().map(str::to_owned).collect()),
    }
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("{text:?}: expected an IP address"))
}

/// Takes the value of a word that may stand there once.
fn once<T>(place: &mut Option<T>, word: &str, value: T) -> Result<(), String> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("{word} is there twice")),
    }
}

#[cfg(test)]
mod tests;
