//! Pooling rules, their match in the words of `rule add`.

use super::{show, word};
use crate::api::quantity::format_microseconds;
use crate::api::rule::{RuleList, RuleMatch};
use crate::cli::table::{Align, Table};

show!(RuleList, text);

fn text(list: &RuleList) -> String {
    let mut table = Table::new(&[
        ("position", Align::Right),
        ("name", Align::Left),
        ("match", Align::Left),
        ("max-size", Align::Right),
        ("window", Align::Right),
        ("max-count", Align::Right),
        ("source", Align::Left),
    ]);
    for rule in &list.rules {
        table.row([
            rule.position.to_string(),
            rule.name.clone(),
            words(&rule.matches),
            format!("{}B", rule.max_size_bytes),
            format_microseconds(rule.window_us),
            rule.max_count.to_string(),
            word(&rule.source),
        ]);
    }
    table.text()
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
    use crate::api::rule::RuleEntry;
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
            max_size_bytes: added.max_size_bytes,
            window_us: added.window_us,
            max_count: 255,
            source: Source::Config,
        };
        assert_eq!(super::words(&rule.matches), line);
        let all = RuleEntry { position: 1, name: "rest".to_owned(), matches: RuleMatch::default(), ..rule.clone() };
        let number = RuleMatch { protocol: Some("99".parse().expect("a protocol")), ..RuleMatch::default() };
        let odd = RuleEntry { position: 2, name: "odd".to_owned(), matches: number, window_us: 1500, ..rule };
        assert_eq!(
            RuleList { rules: vec![all, odd] }.text(),
            "\
position  name  match        max-size  window  max-count  source
       1  rest  everything       300B     2ms        255  config
       2  odd   protocol 99      300B  1500us        255  config
"
        );
    }
}
