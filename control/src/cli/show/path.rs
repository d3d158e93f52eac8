//! Paths and what is pooled along them.

use super::{show, word};
use crate::api::path::{PathHop, PathList};
use crate::cli::table::{Align, Table, cell};

show!(PathList, text);

fn text(list: &PathList) -> String {
    let left = |heading| (heading, Align::Left);
    let mut table = Table::new(&["prefix", "hops", "pooled to", "source", "why not"].map(left));
    for path in &list.paths {
        table.row([
            path.prefix.to_string(),
            hops(&path.hops),
            cell(path.peer.as_ref()),
            word(&path.source),
            cell(path.reason.as_ref()),
        ]);
    }
    let mut text = table.text();
    // What the reason of a whole path does not say already.
    for path in &list.paths {
        for hop in &path.hops {
            if let Some(reason) = hop.reason.as_ref().filter(|reason| path.reason.as_ref() != Some(*reason)) {
                let peer = hop.peer.as_deref().unwrap_or_default();
                text.push_str(&format!("{}: {peer} just forwards: {reason}\n", path.prefix));
            }
        }
    }
    text
}

/// Routers, nearest first; of a peer its name and the TTL of what it takes out.
pub(super) fn hops(hops: &[PathHop]) -> String {
    let hop = |hop: &PathHop| match (&hop.peer, hop.ttl) {
        (Some(peer), Some(ttl)) => format!("{} ({peer}: {ttl})", hop.address),
        (Some(peer), None) => format!("{} ({peer})", hop.address),
        (None, _) => hop.address.to_string(),
    };
    hops.iter().map(hop).collect::<Vec<_>>().join(" > ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::path::PathEntry;
    use crate::api::route::Source;
    use crate::cli::show::Show;

    #[test]
    fn a_path_names_its_peers_what_they_take_out_and_why_not() {
        let forwards = PathHop { address: [192, 0, 2, 2].into(), peer: None, ttl: None, reason: None };
        let far =
            PathHop { address: [198, 51, 100, 7].into(), peer: Some("east".to_owned()), ttl: Some(3), reason: None };
        let down = "peer mid is down: no hello has come from it";
        let mid = PathHop {
            address: [10, 0, 0, 2].into(),
            peer: Some("mid".to_owned()),
            ttl: None,
            reason: Some(down.to_owned()),
        };
        let path = PathEntry {
            prefix: "203.0.113.0/24".parse().expect("a prefix"),
            hops: vec![forwards.clone(), mid.clone(), far],
            peer: Some("east".to_owned()),
            reason: None,
            source: Source::Config,
        };
        let unpooled =
            PathEntry { hops: vec![forwards, mid], peer: None, reason: Some(down.to_owned()), ..path.clone() };
        assert_eq!(
            PathList { total: 2, offset: 0, paths: vec![path, unpooled] }.text(),
            "\
prefix          hops                                                 pooled to  source  why not
203.0.113.0/24  192.0.2.2 > 10.0.0.2 (mid) > 198.51.100.7 (east: 3)  east       config  -
203.0.113.0/24  192.0.2.2 > 10.0.0.2 (mid)                           -          config  peer mid is down: no hello has come from it
203.0.113.0/24: mid just forwards: peer mid is down: no hello has come from it
"
        );
    }
}
