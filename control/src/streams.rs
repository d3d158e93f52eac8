//! The provisioned streams in force: those of the configuration, and what the control socket made of them.
//!
//! No two streams of a peer share an id or packets. A stream stays while its peer is not there, and means nothing
//! meanwhile. A configured stream that was deleted over the socket is hidden until a restart, whatever the file says.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use carpool_dataplane::fib::PeerIndex;
use carpool_dataplane::pool::Dscp;
use carpool_dataplane::pool::provisioned::{self, StreamId, StreamSet, StreamSetError};
use hashbrown::HashMap;

use crate::api::peer::PeerFormat;
use crate::api::route::Source;
use crate::api::stream::Stream;
use crate::api::text::{CodePoint, Endpoint};
use crate::config::{Peer, wrong_with_host};

/// The most streams of all peers together.
pub const STREAM_LIMIT: usize = 16_384;
/// The TTL that packets of a stream can arrive with: two routers take one off each.
pub const STREAM_TTL: RangeInclusive<u8> = 2..=255;

/// Why a stream cannot be added, deleted or reloaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamsError {
    #[error("stream {id} of peer {peer:?} is there already")]
    Exists { id: u16, peer: String },
    #[error("stream {id} of peer {peer:?}: stream {other} of this peer has the same source, destination, dscp and ttl")]
    SamePackets { id: u16, peer: String, other: u16 },
    #[error("there is no stream {id} of peer {peer:?}")]
    NotFound { id: u16, peer: String },
    #[error("more than {STREAM_LIMIT} streams")]
    TooMany,
}

/// What tells the packets of a stream from others to the same peer, and the peer.
pub fn packets_of(stream: &Stream) -> (&str, Endpoint, Endpoint, CodePoint, u8) {
    (&stream.peer, stream.source, stream.destination, stream.dscp, stream.ttl)
}

/// Why there can be no such stream, by the key to change and what was expected there. `peer` is the one that it names, if
/// that is there.
pub fn wrong_with_stream(stream: &Stream, peer: Option<&Peer>) -> Option<(&'static str, String)> {
    let Some(peer) = peer else {
        return Some(("peer", "expected the name of a peer".into()));
    };
    if peer.format != PeerFormat::Native {
        return Some(("peer", "expected a peer of the native format: no other has provisioned streams".into()));
    }
    if !STREAM_TTL.contains(&stream.ttl) {
        let message = format!(
            "expected {} to {}: the TTL with which packets arrive where they are pooled",
            STREAM_TTL.start(),
            STREAM_TTL.end()
        );
        return Some(("ttl", message));
    }
    let (source, destination) = (stream.source.address, stream.destination.address);
    // Packets to a group travel between overlay nodes, which read every row and take whole packets only.
    for (key, address) in [("source", source), ("destination", destination)] {
        if wrong_with_host(address).is_some() {
            let message = "expected the address of a host: no loopback, link-local, multicast or reserved one";
            return Some((key, message.into()));
        }
    }
    if source.is_ipv4() != destination.is_ipv4() {
        return Some(("destination", "expected an address of the family that the source's has".into()));
    }
    None
}

/// All streams.
#[derive(Clone, Debug, Default)]
pub struct Streams {
    config: Vec<Stream>,
    added: Vec<Stream>,
    hidden: BTreeSet<(String, u16)>,
}

impl Streams {
    /// The streams of a configuration.
    pub fn new(config: Vec<Stream>) -> Streams {
        Streams { config, ..Streams::default() }
    }

    /// The streams in force and who put each there: the file's in its order, then those of the socket.
    pub fn in_force(&self) -> impl Iterator<Item = (&Stream, Source)> {
        let is_hidden = |stream: &Stream| !self.hidden.is_empty() && self.hidden.contains(&key(stream));
        let configured = self.config.iter().filter(move |stream| !is_hidden(stream));
        configured
            .map(|stream| (stream, Source::Config))
            .chain(self.added.iter().map(|stream| (stream, Source::Socket)))
    }

    /// The streams as they are after one was added over the socket.
    pub fn with(&self, stream: Stream) -> Result<Streams, StreamsError> {
        let mut streams = self.clone();
        streams.added.push(stream);
        streams.check()?;
        Ok(streams)
    }

    /// The streams as they are after one was deleted over the socket.
    pub fn without(&self, id: u16, peer: &str) -> Result<Streams, StreamsError> {
        let is_this = |stream: &Stream| stream.id == id && stream.peer == peer;
        let mut streams = self.clone();
        if let Some(at) = streams.added.iter().position(is_this) {
            streams.added.remove(at);
        } else if streams.in_force().any(|(stream, _)| is_this(stream)) {
            streams.hidden.insert((peer.into(), id));
        } else {
            return Err(StreamsError::NotFound { id, peer: peer.into() });
        }
        Ok(streams)
    }

    /// The streams as they are after the file changed.
    pub fn reloaded(&self, config: Vec<Stream>) -> Result<Streams, StreamsError> {
        let streams = Streams { config, ..self.clone() };
        streams.check()?;
        Ok(streams)
    }

    fn check(&self) -> Result<(), StreamsError> {
        let (mut ids, mut packets) = (BTreeSet::new(), HashMap::new());
        for (stream, _) in self.in_force() {
            let (id, peer) = (stream.id, || stream.peer.clone());
            if !ids.insert((&stream.peer, id)) {
                return Err(StreamsError::Exists { id, peer: peer() });
            }
            if let Some(other) = packets.insert(packets_of(stream), id) {
                return Err(StreamsError::SamePackets { id, peer: peer(), other });
            }
        }
        if ids.len() > STREAM_LIMIT { Err(StreamsError::TooMany) } else { Ok(()) }
    }

    /// What workers make entries of packets by, and packets of entries. `index_of` knows the peers of the native format by
    /// name; streams of others are left out.
    ///
    /// # Errors
    /// Where a stream is not one that [`wrong_with_stream`] lets pass.
    pub fn compile(&self, index_of: impl Fn(&str) -> Option<PeerIndex>) -> Result<StreamSet, StreamSetError> {
        let compiled = self.in_force().filter_map(|(stream, _)| {
            Some(provisioned::Stream {
                id: StreamId(stream.id),
                peer: index_of(&stream.peer)?,
                source: stream.source.into(),
                destination: stream.destination.into(),
                dscp: Dscp::new(stream.dscp.value())?,
                ttl: stream.ttl,
            })
        });
        StreamSet::new(&compiled.collect::<Vec<_>>())
    }
}

fn key(stream: &Stream) -> (String, u16) {
    (stream.peer.clone(), stream.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(peer: &str, id: u16) -> Stream {
        Stream {
            id,
            peer: peer.into(),
            source: Endpoint { address: [198, 18, 1, 10].into(), port: id },
            destination: Endpoint { address: [203, 0, 113, 10].into(), port: 5004 },
            dscp: CodePoint::default(),
            ttl: 64,
        }
    }

    fn keys(streams: &Streams) -> Vec<(&str, u16)> {
        streams.in_force().map(|(stream, _)| (stream.peer.as_str(), stream.id)).collect()
    }

    #[test]
    fn what_the_socket_changed_survives_a_new_file() {
        let streams = Streams::new(vec![stream("east", 1), stream("east", 2)]);
        let streams = streams.without(1, "east").and_then(|streams| streams.with(stream("east", 3))).expect("possible");
        let file = vec![stream("east", 1), stream("east", 2), stream("west", 1)];
        let streams = streams.reloaded(file).expect("possible");
        assert_eq!(keys(&streams), [("east", 2), ("west", 1), ("east", 3)]);
        let gone = StreamsError::NotFound { id: 1, peer: "east".into() };
        assert_eq!(streams.without(1, "east").expect_err("it is hidden"), gone);
        let again = streams.with(stream("east", 1)).expect("the file's is hidden");
        assert_eq!(keys(&again.without(3, "east").expect("it is there")), [("east", 2), ("west", 1), ("east", 1)]);
    }

    #[test]
    fn no_two_streams_of_a_peer_share_an_id_or_packets() {
        let streams = Streams::new(vec![stream("east", 1)]);
        let other = Stream { source: stream("east", 2).source, ..stream("east", 1) };
        assert_eq!(streams.with(other).expect_err("taken").to_string(), "stream 1 of peer \"east\" is there already");
        let same = Stream { id: 2, ..stream("east", 1) };
        assert_eq!(
            streams.with(same.clone()).expect_err("the same packets").to_string(),
            "stream 2 of peer \"east\": stream 1 of this peer has the same source, destination, dscp and ttl"
        );
        assert!(streams.with(Stream { ttl: 63, ..same.clone() }).is_ok(), "other packets");
        assert!(streams.with(Stream { peer: "west".into(), ..same }).is_ok(), "another peer");
        let added = streams.with(stream("east", 2)).expect("possible");
        assert!(added.reloaded(vec![stream("east", 2)]).is_err(), "the socket has one of this id");
    }

    #[test]
    fn there_are_at_most_so_many_streams() {
        let many = (0..STREAM_LIMIT).map(|id| stream("east", u16::try_from(id).expect("less than 65536")));
        let full = Streams::new(many.collect());
        assert_eq!(full.with(stream("west", 1)).expect_err("full"), StreamsError::TooMany);
        assert!(full.without(1, "east").expect("it is there").with(stream("west", 1)).is_ok());
    }

    #[test]
    fn workers_get_the_streams_of_the_peers_that_are_there() {
        let streams = Streams::new(vec![stream("east", 1), stream("west", 1)]);
        let set = streams.compile(|name| (name == "east").then_some(PeerIndex(3))).expect("sound streams");
        assert!(set.open(PeerIndex(3), &[0, 1, 0]).is_ok());
        assert!(set.open(PeerIndex(3), &[0, 2, 0]).is_err());
        assert!(streams.compile(|_| None).expect("sound streams").is_empty());
    }

    #[test]
    fn what_can_be_no_stream_is_told_by_its_key() {
        let peer = Peer::new("east".into(), [198, 51, 100, 7].into());
        let sound = stream("east", 1);
        let wrong = |stream: &Stream, peer: Option<&Peer>| wrong_with_stream(stream, peer).map(|(key, _)| key);
        assert_eq!(wrong(&sound, Some(&peer)), None);
        assert_eq!(wrong(&sound, None), Some("peer"));
        let foreign = Peer { format: PeerFormat::Simplemux, ..peer.clone() };
        assert_eq!(wrong(&sound, Some(&foreign)), Some("peer"));
        let at = |text: &str| Endpoint { address: text.parse().expect("an address"), port: 5004 };
        for (key, stream) in [
            ("ttl", Stream { ttl: 1, ..sound.clone() }),
            ("source", Stream { source: at("127.0.0.1"), ..sound.clone() }),
            ("source", Stream { source: at("239.1.2.3"), ..sound.clone() }),
            ("source", Stream { source: at("fe80::1"), ..sound.clone() }),
            ("destination", Stream { destination: at("0.0.0.0"), ..sound.clone() }),
            ("destination", Stream { destination: at("239.1.2.3"), ..sound.clone() }),
            ("destination", Stream { destination: at("2001:db8::1"), ..sound.clone() }),
            ("destination", Stream { source: at("2001:db8::1"), destination: at("ff05::1"), ..sound.clone() }),
        ] {
            assert_eq!(wrong(&stream, Some(&peer)), Some(key), "{stream:?}");
        }
        let six = Stream { source: at("2001:db8::1"), destination: at("2001:db8::2"), ..sound };
        assert_eq!(wrong(&six, Some(&peer)), None);
    }
}
