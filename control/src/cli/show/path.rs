//! Paths and what is pooled along them.

use super::{show, word};
use crate::api::path::{PathHop, PathList};
use crate::cli::table::{Align, Table, cell};

show!(PathList, text);

fn text(list: &PathList) -> String {
    let left = |heading| (heading, Align::Left);
    let mut table = Table::new(&["prefix", "hops", "pooled to", "source", "why not"].map(left));
    for path in &list.paths {
        let hops: Vec<String> = path.hops.iter().map(hop).collect();
        table.row([
            path.prefix.to_string(),
            hops.join(" > "),
            cell(path.peer.as_ref()),
            word(&path.source),
            cell(path.reason.as_ref()),
        ]);
    }
    table.text()
}

fn hop(hop: &PathHop) -> String {
    match &hop.peer {
        Some(peer) => format!("{} ({peer})", hop.address),
        None => hop.address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::path::PathEntry;
    use crate::api::route::Source;
    use crate::cli::show::Show;

    #[test]
    fn a_path_names_its_peers_and_why_nothing_is_pooled() {
        let hops = vec![
            PathHop { address: [192, 0, 2, 2].into(), peer: None },
            PathHop { address: [198, 51, 100, 7].into(), peer: Some("east".to_owned()) },
        ];
        let path = PathEntry {
            prefix: "203.0.113.0/24".parse().expect("a prefix"),
            hops,
            peer: Some("east".to_owned()),
            reason: None,
            source: Source::Config,
        };
        let unpooled = PathEntry { peer: None, reason: Some("peer east is down".to_owned()), ..path.clone() };
        assert_eq!(
            PathList { paths: vec![path, unpooled] }.text(),
            "\
prefix          hops                             pooled to  source  why not
203.0.113.0/24  192.0.2.2 > 198.51.100.7 (east)  east       config  -
203.0.113.0/24  192.0.2.2 > 198.51.100.7 (east)  -          config  peer east is down
"
        );
    }
}
