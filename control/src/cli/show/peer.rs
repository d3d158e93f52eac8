//! Peers.

use super::{short_time, show, word};
use crate::api::peer::PeerList;
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
        ("last hello", Align::Right),
        ("why", Align::Left),
    ]);
    for peer in &list.peers {
        table.row([
            peer.name.clone(),
            peer.address.to_string(),
            cell(peer.source),
            word(&peer.format),
            word(&peer.state),
            peer.hops.to_string(),
            format!("{} B", peer.path_mtu),
            peer.last_hello_ms.map_or_else(|| "never".to_owned(), |age| format!("{} ago", short_time(age))),
            cell(peer.reason.as_ref()),
        ]);
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::peer::{PeerEntry, PeerFormat, PeerState};
    use crate::cli::show::Show;

    #[test]
    fn peers_show_whether_they_live_and_since_when_not() {
        let up = PeerEntry {
            name: "east".to_owned(),
            address: [198, 51, 100, 7].into(),
            source: Some([192, 0, 2, 1].into()),
            format: PeerFormat::Native,
            state: PeerState::Up,
            reason: None,
            hops: 2,
            path_mtu: 1500,
            last_hello_ms: Some(120),
        };
        let down = PeerEntry {
            name: "west".to_owned(),
            source: None,
            format: PeerFormat::SimplemuxFast,
            state: PeerState::Down,
            reason: Some("no route to it".to_owned()),
            last_hello_ms: None,
            ..up.clone()
        };
        assert_eq!(
            PeerList { peers: vec![up, down] }.text(),
            "\
name  address       from       format          state  hops  path mtu  last hello  why
east  198.51.100.7  192.0.2.1  native          up        2    1500 B  120 ms ago  -
west  198.51.100.7  -          simplemux-fast  down      2    1500 B       never  no route to it
"
        );
    }
}
