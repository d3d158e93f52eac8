//! Provisioned streams in force, and in the words of clients: what they add, what they are shown, and why packets of one
//! travel whole.

use std::sync::Arc;

use carpool_dataplane::fib::PeerIndex;
use carpool_dataplane::pool::hello::Capabilities;
use hashbrown::HashMap;
use log::error;

use super::Router;
use crate::api::Refusal;
use crate::api::peer::PeerFormat;
use crate::api::stream::{Stream, StreamEntry, StreamList, StreamShow};
use crate::streams::{Streams, StreamsError, wrong_with_stream};

impl From<StreamsError> for Refusal {
    fn from(error: StreamsError) -> Refusal {
        let message = error.to_string();
        match error {
            StreamsError::Exists { .. } | StreamsError::SamePackets { .. } => Refusal::exists(message),
            StreamsError::NotFound { .. } => Refusal::not_found(message),
            StreamsError::TooMany => Refusal::limit(message),
        }
    }
}

impl Router {
    /// Puts these streams in force with the peers as they are now, for the next publication. To be called where either
    /// changes: a peer that goes may leave its index to another.
    pub(super) fn provision(&mut self, streams: Streams) {
        self.streams = streams;
        let native = self.peers.iter().filter(|(_, peer)| peer.config.format == PeerFormat::Native);
        let indices: HashMap<&str, PeerIndex> =
            native.map(|(index, peer)| (peer.config.name.as_str(), index)).collect();
        let set = self.streams.compile(|name| indices.get(name).copied());
        self.provisioned = Arc::new(set.unwrap_or_else(|error| {
            error!("{error}: no stream is provisioned");
            Default::default()
        }));
    }

    /// The streams as they are after a client has added this one.
    pub(super) fn with_stream(&self, stream: Stream) -> Result<Streams, Refusal> {
        let (id, peer) = (stream.id, &stream.peer);
        let told = self.config.peers.iter().find(|told| told.name == *peer);
        match wrong_with_stream(&stream, told) {
            Some((key, message)) => Err(Refusal::conflict(format!("stream {id} of peer {peer:?}: {key}: {message}"))),
            None => Ok(self.streams.with(stream)?),
        }
    }

    pub(super) fn stream_list(&self, show: &StreamShow) -> StreamList {
        let is_shown = |stream: &Stream| show.peer.as_ref().is_none_or(|peer| stream.peer == *peer);
        let mut streams: Vec<_> = self.streams.in_force().filter(|(stream, _)| is_shown(stream)).collect();
        streams.sort_by_key(|(stream, _)| (&stream.peer, stream.id));
        let peers: HashMap<&str, _> = self.peers.iter().map(|(_, peer)| (peer.config.name.as_str(), peer)).collect();
        let page = streams.iter().skip(show.offset as usize).take(show.limit as usize);
        let page = page.map(|(stream, put_by)| StreamEntry {
            id: stream.id,
            peer: stream.peer.clone(),
            source: stream.source,
            destination: stream.destination,
            dscp: stream.dscp,
            ttl: stream.ttl,
            reason: why_whole(&stream.peer, peers.get(stream.peer.as_str()).copied()),
            put_by: *put_by,
        });
        StreamList { total: streams.len() as u64, offset: show.offset, streams: page.collect() }
    }
}

/// Why no packet is sent to a peer as an entry of a stream, if none is.
fn why_whole(name: &str, peer: Option<&crate::peers::Peer>) -> Option<String> {
    let Some(peer) = peer else { return Some(format!("there is no peer {name}")) };
    if peer.config.format != PeerFormat::Native {
        return Some(format!("peer {name} is not of the native format"));
    }
    let takes = peer.capabilities().contains(Capabilities::PROVISIONED);
    (!takes).then(|| format!("peer {name} does not take entries of provisioned streams"))
}
