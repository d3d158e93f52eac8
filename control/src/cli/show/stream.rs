//! Provisioned streams, in the words that add them.

use super::{show, word};
use crate::api::stream::StreamList;
use crate::cli::table::{Align, Table, cell};

show!(StreamList, text);

fn text(list: &StreamList) -> String {
    let (left, right) = (|heading| (heading, Align::Left), |heading| (heading, Align::Right));
    let mut table = Table::new(&[
        right("id"),
        left("peer"),
        left("source"),
        left("destination"),
        left("dscp"),
        right("ttl"),
        left("put by"),
        left("why whole"),
    ]);
    for stream in &list.streams {
        table.row([
            stream.id.to_string(),
            stream.peer.clone(),
            stream.source.to_string(),
            stream.destination.to_string(),
            stream.dscp.to_string(),
            stream.ttl.to_string(),
            word(&stream.put_by),
            cell(stream.reason.as_ref()),
        ]);
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::route::Source;
    use crate::api::stream::StreamEntry;
    use crate::cli::show::Show;

    #[test]
    fn streams_show_what_both_ends_are_told_and_why_they_travel_whole() {
        let four = StreamEntry {
            id: 7,
            peer: "east".to_owned(),
            source: "10.0.0.9:16384".parse().expect("an endpoint"),
            destination: "203.0.113.9:20000".parse().expect("an endpoint"),
            dscp: "ef".parse().expect("a code point"),
            ttl: 64,
            reason: None,
            put_by: Source::Config,
        };
        let six = StreamEntry {
            id: 65535,
            source: "[2001:db8::9]:5004".parse().expect("an endpoint"),
            destination: "[2001:db8:1::9]:5004".parse().expect("an endpoint"),
            reason: Some("there is no peer east".to_owned()),
            put_by: Source::Socket,
            ..four.clone()
        };
        assert_eq!(
            StreamList { total: 2, offset: 0, streams: vec![four, six] }.text(),
            "\
\x20  id  peer  source              destination           dscp  ttl  put by  why whole
    7  east  10.0.0.9:16384      203.0.113.9:20000     ef     64  config  -
65535  east  [2001:db8::9]:5004  [2001:db8:1::9]:5004  ef     64  socket  there is no peer east
"
        );
    }
}
