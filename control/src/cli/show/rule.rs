//! Pooling rules, their match in the words of `rule add`.

use super::{show, word};
use crate::api::quantity::format_microseconds;
use crate::api::rule::{IndexPlace, LonePacket, PacketRepresentation, RuleEntry, RuleList, RuleMatch};
use crate::cli::table::{Align, Table, cell};

show!(RuleList, text);

fn text(list: &RuleList) -> String {
    let (left, right) = (|heading| (heading, Align::Left), |heading| (heading, Align::Right));
    let mut table = Table::new(&[
        right("position"),
        left("name"),
        left("match"),
        right("max-size"),
        right("window"),
        right("max-count"),
        right("shared-hops"),
        left("more"),
        left("source"),
    ]);
    for rule in &list.rules {
        table.row([
            rule.position.to_string(),
            rule.name.clone(),
            words(&rule.matches),
            cell(rule.max_size_bytes.map(|size| format!("{size}B"))),
            cell(rule.window_us.map(format_microseconds)),
            cell(rule.max_count),
            cell(rule.shared_hops),
            cell(more(rule)),
            word(&rule.source),
        ]);
    }
    table.text()
}

/// What most rules do not say.
fn more(rule: &RuleEntry) -> Option<String> {
    let named = |name: &str, value: Option<String>| value.map(|value| format!("{name} {value}"));
    let words = [
        (!rule.pool).then(|| "pool false".to_owned()),
        named("required-count", rule.required_count.map(|count| count.to_string())),
        named("hold", rule.hold_us.map(format_microseconds)),
        rule.adaptive.filter(|adaptive| *adaptive).map(|_| "adaptive true".to_owned()),
        named("path-mtu", rule.path_mtu.map(|path_mtu| format!("{path_mtu}B"))),
        rule.lone.filter(|lone| *lone == LonePacket::Pooled).map(|_| "lone pooled".to_owned()),
        rule.representation
            .filter(|representation| *representation != PacketRepresentation::Whole)
            .map(|representation| format!("representation {}", word(&representation))),
        rule.index.filter(|index| *index != IndexPlace::InBand).map(|index| format!("index {}", word(&index))),
        named("template", rule.template.map(|id| id.to_string())),
    ];
    let words: Vec<String> = words.into_iter().flatten().collect();
    (!words.is_empty()).then(|| words.join(" "))
}

fn words(matches: &RuleMatch) -> String {
    let named = |name: &str, value: Option<String>| value.map(|value| format!("{name} {value}"));
    let protocol = matches.protocol.map(|protocol| match protocol.to_string() {
        number if number.bytes().all(|digit| digit.is_ascii_digit()) => format!("protocol {number}"),
        name => name,
    });
    let words: Vec<String> = [
        protocol,
        named("port", matches.ports.map(|ports| ports.to_string())),
        named("source-port", matches.source_ports.map(|ports| ports.to_string())),
        named("dscp", matches.dscp.map(|dscp| dscp.to_string())),
        named("from", matches.from.map(|prefix| prefix.to_string())),
        named("to", matches.to.map(|prefix| prefix.to_string())),
    ]
    .into_iter()
    .flatten()
    .collect();
    if words.is_empty() { "everything".to_owned() } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::route::Source;
    use crate::cli::show::Show;
    use crate::cli::words;

    #[test]
    fn rules_show_in_the_words_that_add_them() {
        let line = "udp port 16384-32767 source-port 5 dscp ef from 10.0.0.0/8 to 10.1.0.0/16";
        let added = format!("voice match {line} max-size 300B window 2ms");
        let added = words::rule(&added.split(' ').collect::<Vec<_>>()).expect("a sound rule");
        let rule = RuleEntry {
            position: 0,
            name: added.name,
            matches: added.matches,
            pool: true,
            max_size_bytes: added.max_size_bytes,
            window_us: added.window_us,
            max_count: Some(255),
            required_count: None,
            hold_us: None,
            adaptive: Some(false),
            shared_hops: "path".parse().ok(),
            path_mtu: None,
            lone: Some(LonePacket::Itself),
            representation: Some(PacketRepresentation::Whole),
            index: Some(IndexPlace::InBand),
            template: None,
            source: Source::Config,
        };
        assert_eq!(super::words(&rule.matches), line);
        let all = RuleEntry { position: 1, name: "rest".to_owned(), matches: RuleMatch::default(), ..rule.clone() };
        let number = RuleMatch { protocol: Some("99".parse().expect("a protocol")), ..RuleMatch::default() };
        let odd =
            RuleEntry { position: 2, name: "odd".to_owned(), matches: number, window_us: Some(1500), ..rule.clone() };
        let bulk = RuleEntry {
            position: 3,
            name: "bulk".to_owned(),
            matches: RuleMatch::default(),
            required_count: Some(5),
            hold_us: Some(20_000),
            shared_hops: "3".parse().ok(),
            path_mtu: Some(1200),
            lone: Some(LonePacket::Pooled),
            ..rule.clone()
        };
        let never = RuleEntry {
            position: 4,
            name: "never".to_owned(),
            matches: RuleMatch::default(),
            pool: false,
            max_size_bytes: None,
            window_us: None,
            max_count: None,
            adaptive: None,
            shared_hops: None,
            lone: None,
            representation: None,
            index: None,
            ..rule
        };
        assert_eq!(
            RuleList { rules: vec![all, odd, bulk, never] }.text(),
            "\
position  name   match        max-size  window  max-count  shared-hops  more                                                   source
       1  rest   everything       300B     2ms        255         path  -                                                      config
       2  odd    protocol 99      300B  1500us        255         path  -                                                      config
       3  bulk   everything       300B     2ms        255            3  required-count 5 hold 20ms path-mtu 1200B lone pooled  config
       4  never  everything          -       -          -            -  pool false                                             config
"
        );
    }
}
