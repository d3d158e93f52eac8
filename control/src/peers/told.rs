//! The peers that operators name: those of the configuration, and what the control socket made of them.
//!
//! No two peers in force share a name or an address. A configured peer that was deleted over the socket is hidden until a
//! restart, whatever the file says meanwhile.

use std::collections::BTreeSet;
use std::net::IpAddr;

use carpool_dataplane::worker::MAX_PEERS;
use hashbrown::HashMap;

use crate::config::Peer;

/// Why a peer cannot be added, deleted or reloaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ToldPeersError {
    #[error("peer {0:?} is there already")]
    Exists(String),
    #[error("peer {name:?}: {address} is an address of peer {other:?} already")]
    Address { name: String, address: IpAddr, other: String },
    #[error("there is no peer {0:?}")]
    NotFound(String),
    #[error("more than {MAX_PEERS} peers")]
    TooMany,
}

/// All peers that were told.
#[derive(Clone, Debug, Default)]
pub struct ToldPeers {
    config: Vec<Peer>,
    added: Vec<Peer>,
    hidden: BTreeSet<String>,
}

impl ToldPeers {
    /// The peers of a configuration.
    pub fn new(config: Vec<Peer>) -> ToldPeers {
        ToldPeers { config, ..ToldPeers::default() }
    }

    /// The peers in force: the file's in its order, then those of the socket.
    pub fn in_force(&self) -> impl Iterator<Item = &Peer> {
        self.config.iter().filter(|peer| !self.hidden.contains(&peer.name)).chain(&self.added)
    }

    /// The peers as they are after one was added over the socket.
    pub fn with(&self, peer: Peer) -> Result<ToldPeers, ToldPeersError> {
        let mut peers = self.clone();
        peers.added.push(peer);
        peers.check()?;
        Ok(peers)
    }

    /// The peers as they are after one was deleted over the socket.
    pub fn without(&self, name: &str) -> Result<ToldPeers, ToldPeersError> {
        let mut peers = self.clone();
        if let Some(at) = peers.added.iter().position(|peer| peer.name == name) {
            peers.added.remove(at);
        } else if peers.in_force().any(|peer| peer.name == name) {
            peers.hidden.insert(name.into());
        } else {
            return Err(ToldPeersError::NotFound(name.into()));
        }
        Ok(peers)
    }

    /// The peers as they are after the file changed.
    pub fn reloaded(&self, config: Vec<Peer>) -> Result<ToldPeers, ToldPeersError> {
        let peers = ToldPeers { config, ..self.clone() };
        peers.check()?;
        Ok(peers)
    }

    fn check(&self) -> Result<(), ToldPeersError> {
        let mut names = BTreeSet::new();
        let mut addresses: HashMap<IpAddr, &str> = HashMap::new();
        for peer in self.in_force() {
            if !names.insert(&peer.name) {
                return Err(ToldPeersError::Exists(peer.name.clone()));
            }
            for address in peer.addresses() {
                if let Some(other) = addresses.insert(address, &peer.name) {
                    let (name, other) = (peer.name.clone(), other.to_owned());
                    return Err(ToldPeersError::Address { name, address, other });
                }
            }
        }
        if names.len() > usize::from(MAX_PEERS) { Err(ToldPeersError::TooMany) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: &str, last: u8) -> Peer {
        Peer::new(name.into(), IpAddr::from([10, 0, 0, last]))
    }

    fn names(peers: &ToldPeers) -> Vec<&str> {
        peers.in_force().map(|peer| peer.name.as_str()).collect()
    }

    #[test]
    fn what_the_socket_changed_survives_a_new_file() {
        let peers = ToldPeers::new(vec![peer("a", 1), peer("b", 2)]);
        let peers = peers.without("a").and_then(|peers| peers.with(peer("c", 3))).expect("possible");
        let peers = peers.reloaded(vec![peer("a", 1), peer("b", 2), peer("d", 4)]).expect("possible");
        assert_eq!(names(&peers), ["b", "d", "c"]);
        assert_eq!(peers.without("a").err(), Some(ToldPeersError::NotFound("a".into())));
        let again = peers.with(peer("a", 9)).expect("the file's is hidden");
        assert_eq!(names(&again.without("c").expect("it is there")), ["b", "d", "a"]);
    }

    #[test]
    fn no_two_peers_share_a_name_or_an_address() {
        let peers = ToldPeers::new(vec![peer("a", 1)]);
        assert_eq!(peers.with(peer("a", 2)).err(), Some(ToldPeersError::Exists("a".into())));
        let alias = Peer { alias: vec![IpAddr::from([10, 0, 0, 1])], ..peer("b", 2) };
        let error = peers.with(alias).expect_err("an alias is an address");
        assert_eq!(error.to_string(), "peer \"b\": 10.0.0.1 is an address of peer \"a\" already");
        let peers = peers.with(peer("b", 2)).expect("possible");
        assert_eq!(peers.reloaded(vec![peer("b", 5)]).err(), Some(ToldPeersError::Exists("b".into())));
    }

    #[test]
    fn there_are_at_most_so_many_peers() {
        let many = (0..u32::from(MAX_PEERS))
            .map(|i| Peer::new(format!("p{i}"), IpAddr::V4(std::net::Ipv4Addr::from_bits(0x0a00_0000 + i))));
        let full = ToldPeers::new(many.collect());
        assert_eq!(
            full.with(peer("b", 2)).map(|_| ()),
            Err(ToldPeersError::Address { name: "b".into(), address: IpAddr::from([10, 0, 0, 2]), other: "p2".into() })
        );
        let one_more = Peer::new("b".into(), IpAddr::from([192, 0, 2, 1]));
        assert_eq!(full.with(one_more).err(), Some(ToldPeersError::TooMany));
    }
}
