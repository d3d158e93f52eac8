//! Peers.

use std::net::IpAddr;

use super::{short_time, show, word};
use crate::api::peer::{PeerEntry, PeerList};
use crate::cli::table::{Align, Table, cell};

show!(PeerList, text);

fn text(list: &PeerList) -> String {
    let mut table = Table::new(&[
        ("name", Align::Left),
        ("address", Align::Left),
        ("from", Align::Left),
        ("format", Align::Left),
        ("state", Align::Left),
        ("hops", Align::Right),
        ("path mtu", Align::Right),
        ("known", Align::Left),
        ("takes", Align::Left),
        ("router id", Align::Left),
        ("last hello", Align::Right),
        ("why", Align::Left),
    ]);
    for peer in &list.peers {
        table.row([
            peer.name.clone(),
            addresses(peer),
            cell(peer.source),
            word(&peer.format),
            word(&peer.state),
            cell(peer.hops),
            format!("{} B", peer.path_mtu),
            word(&peer.path_mtu_source),
            cell(Some(peer.capabilities.join(",")).filter(|names| !names.is_empty())),
            cell(peer.router_id),
            peer.last_hello_ms.map_or_else(|| "never".to_owned(), |age| format!("{} ago", short_time(age))),
            cell(peer.reason.as_ref()),
        ]);
    }
    table.text()
}

fn addresses(peer: &PeerEntry) -> String {
    let all: Vec<_> = std::iter::once(&peer.address).chain(&peer.alias).map(IpAddr::to_string).collect();
    all.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::peer::{PathMtuSource, PeerFormat, PeerState};
    use crate::cli::show::Show;

    #[test]
    fn peers_show_whether_they_live_and_since_when_not() {
        let up = PeerEntry {
            name: "east".to_owned(),
            address: [198, 51, 100, 7].into(),
            alias: vec![[192, 0, 2, 2].into()],
            source: Some([192, 0, 2, 1].into()),
            format: PeerFormat::Native,
            state: PeerState::Up,
            reason: None,
            hops: Some(2),
            path_mtu: 1500,
            path_mtu_source: PathMtuSource::Probed,
            capabilities: vec!["whole-ipv4".to_owned(), "on-the-way".to_owned()],
            router_id: Some([198, 51, 100, 7].into()),
            last_hello_ms: Some(120),
        };
        let down = PeerEntry {
            name: "west".to_owned(),
            alias: vec![],
            source: None,
            format: PeerFormat::SimplemuxFast,
            state: PeerState::Down,
            reason: Some("no route to it".to_owned()),
            hops: None,
            path_mtu_source: PathMtuSource::Configured,
            capabilities: vec![],
            router_id: None,
            last_hello_ms: None,
            ..up.clone()
        };
        assert_eq!(
            PeerList { peers: vec![up, down] }.text(),
            "\
name  address                 from       format          state  hops  path mtu  known       takes                  router id     last hello  why
east  198.51.100.7,192.0.2.2  192.0.2.1  native          up        2    1500 B  probed      whole-ipv4,on-the-way  198.51.100.7  120 ms ago  -
west  198.51.100.7            -          simplemux-fast  down      -    1500 B  configured  -                      -                  never  no route to it
"
        );
    }
}
