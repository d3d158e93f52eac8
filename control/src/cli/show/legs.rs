//! Multicast and overlay routes, in the words that add them.

use super::{show, word};
use crate::api::multicast::{LegEntry, MulticastList};
use crate::api::overlay::OverlayList;
use crate::cli::table::{Align, Table, cell};

show!(MulticastList, multicast);
show!(OverlayList, overlays);

fn multicast(list: &MulticastList) -> String {
    let left = |heading| (heading, Align::Left);
    let mut table = Table::new(&["group", "source", "from", "to", "put by", "why not"].map(left));
    for route in &list.multicast {
        table.row([
            route.group.to_string(),
            route.source.map_or_else(|| "any".to_owned(), |source| source.to_string()),
            route.from.name.clone(),
            names(&route.to),
            word(&route.put_by),
            cell(reasons([&route.from].into_iter().chain(&route.to)).as_ref()),
        ]);
    }
    table.text()
}

fn overlays(list: &OverlayList) -> String {
    let left = |heading| (heading, Align::Left);
    let mut table = Table::new(&["prefix", "from", "to", "hops", "source", "why not"].map(left));
    for route in &list.overlays {
        let hops: Vec<_> = route.hops.iter().map(ToString::to_string).collect();
        table.row([
            route.prefix.to_string(),
            route.from.as_ref().map_or_else(|| "any".to_owned(), |from| from.name.clone()),
            names(&route.to),
            cell(Some(hops.join(" > ")).filter(|hops| !hops.is_empty())),
            word(&route.source),
            cell(reasons(route.from.iter().chain(&route.to)).as_ref()),
        ]);
    }
    table.text()
}

pub(super) fn names(legs: &[LegEntry]) -> String {
    legs.iter().map(|leg| leg.name.as_str()).collect::<Vec<_>>().join(" ")
}

/// Why some legs are not used; None where all are.
pub(super) fn reasons<'a>(legs: impl Iterator<Item = &'a LegEntry>) -> Option<String> {
    let reasons: Vec<_> =
        legs.filter_map(|leg| leg.reason.as_ref().map(|reason| format!("{}: {reason}", leg.name))).collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::multicast::{LegKind, MulticastEntry};
    use crate::api::overlay::OverlayEntry;
    use crate::api::route::Source;
    use crate::cli::show::Show;

    fn leg(name: &str, kind: LegKind, reason: Option<&str>) -> LegEntry {
        LegEntry { name: name.into(), kind: Some(kind), reason: reason.map(Into::into) }
    }

    #[test]
    fn routes_show_their_legs_and_why_one_is_silent() {
        let list = MulticastList {
            multicast: vec![MulticastEntry {
                group: [239, 1, 2, 3].into(),
                source: None,
                from: leg("p0", LegKind::Port, None),
                to: vec![leg("p1", LegKind::Port, None), leg("B", LegKind::Peer, Some("no hello has come from it"))],
                put_by: Source::Socket,
            }],
        };
        assert_eq!(
            list.text(),
            "\
group      source  from  to    put by  why not
239.1.2.3  any     p0    p1 B  socket  B: no hello has come from it
"
        );
        let list = OverlayList {
            overlays: vec![OverlayEntry {
                prefix: "203.0.113.0/24".parse().expect("a prefix"),
                from: None,
                to: vec![leg("B", LegKind::Peer, None)],
                hops: vec![[10, 0, 0, 3].into(), [10, 0, 0, 4].into()],
                source: Source::Config,
            }],
        };
        assert_eq!(
            list.text(),
            "\
prefix          from  to  hops                 source  why not
203.0.113.0/24  any   B   10.0.0.3 > 10.0.0.4  config  -
"
        );
    }
}
