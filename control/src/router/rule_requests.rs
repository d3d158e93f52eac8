//! Pooling rules in the words of clients.

use std::time::Duration;

use carpool_dataplane::pool::{Dscp, Lone, Match, Representation};

use crate::api::Refusal;
use crate::api::route::Source;
use crate::api::rule::{LonePacket, PacketRepresentation, RuleAdd, RuleEntry, RuleMatch};
use crate::api::text::{CodePoint, HopsToShare, PortRange, Protocol};
use crate::config::{self, Criteria, PEER_MTU, RULE_COUNT, RULE_HOLD, RULE_SIZE, RULE_WINDOW, Rule};

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn rule_match(matcher: &Match) -> RuleMatch {
    let ports = |range: &Option<std::ops::RangeInclusive<u16>>| {
        range.as_ref().and_then(|range| PortRange::new(*range.start(), *range.end()))
    };
    RuleMatch {
        protocol: matcher.protocol.map(Protocol),
        ports: ports(&matcher.destination_ports),
        source_ports: ports(&matcher.source_ports),
        from: matcher.source,
        to: matcher.destination,
        dscp: matcher.dscp.and_then(|dscp| CodePoint::new(dscp.value())),
    }
}

/// A rule as clients are shown it.
pub(super) fn rule_entry(position: u32, rule: &Rule, source: Source) -> RuleEntry {
    let criteria = rule.criteria.as_ref();
    let held = criteria.filter(|criteria| criteria.required_count.is_some());
    RuleEntry {
        position,
        name: rule.name.clone(),
        matches: rule_match(&rule.matcher),
        pool: criteria.is_some(),
        max_size_bytes: criteria.map(Criteria::max_size),
        window_us: criteria.map(|criteria| microseconds(criteria.window)),
        max_count: criteria.map(Criteria::max_count),
        required_count: held.and_then(|criteria| criteria.required_count),
        hold_us: held.map(|criteria| microseconds(criteria.hold())),
        adaptive: criteria.map(|criteria| criteria.adaptive),
        shared_hops: criteria.map(|criteria| HopsToShare(criteria.shared_hops)),
        path_mtu: criteria.and_then(|criteria| criteria.path_mtu),
        lone: criteria.map(|criteria| match criteria.lone {
            Lone::Itself => LonePacket::Itself,
            Lone::Pooled => LonePacket::Pooled,
        }),
        representation: criteria.map(|criteria| match criteria.representation {
            Representation::Whole => PacketRepresentation::Whole,
            Representation::Learned => PacketRepresentation::Learned,
            Representation::Provisioned => PacketRepresentation::Provisioned,
        }),
        index: criteria.map(|criteria| criteria.index.place().0),
        template: criteria.and_then(|criteria| criteria.index.place().1),
        source,
    }
}

/// A rule as a client gives it, in the same bounds as in the file.
pub(super) fn added_rule(add: RuleAdd) -> Result<Rule, Refusal> {
    let name = add.name.clone();
    let wrong = |what: String| Refusal::conflict(format!("rule {name:?}: {what}"));
    if !config::is_name(&name) {
        return Err(wrong("expected a name of 1 to 32 letters, digits, '-', '_' or '.'".into()));
    }
    let criteria = criteria(&add).map_err(&wrong)?;
    let RuleMatch { protocol, ports, source_ports, from, to, dscp } = add.matches;
    if (ports.is_some() || source_ports.is_some()) && protocol.is_none_or(|protocol| !config::has_ports(protocol.0)) {
        return Err(wrong("ports: expected protocol udp, tcp or another one that has ports".into()));
    }
    let matcher = Match {
        protocol: protocol.map(|protocol| protocol.0),
        source_ports: source_ports.map(PortRange::range),
        destination_ports: ports.map(PortRange::range),
        source: from,
        destination: to,
        dscp: dscp.and_then(|dscp| Dscp::new(dscp.value())),
    };
    Ok(Rule { name, matcher, criteria })
}

/// How a rule pools, None for never; or what is wrong with what is told.
fn criteria(add: &RuleAdd) -> Result<Option<Criteria>, String> {
    if !add.pool {
        let told = [
            ("max_size", add.max_size_bytes.is_some()),
            ("window", add.window_us.is_some()),
            ("max_count", add.max_count.is_some()),
            ("required_count", add.required_count.is_some()),
            ("hold", add.hold_us.is_some()),
            ("adaptive", add.adaptive),
            ("shared_hops", add.shared_hops.is_some()),
            ("path_mtu", add.path_mtu.is_some()),
            ("lone", add.lone.is_some()),
            ("representation", add.representation.is_some()),
            ("index", add.index.is_some()),
            ("template", add.template.is_some()),
        ];
        return match told.iter().find(|(_, told)| *told) {
            Some((key, _)) => Err(format!("{key}: a rule that never pools needs none")),
            None => Ok(None),
        };
    }
    let window = add.window_us.ok_or("expected a window, the longest time a packet waits for company")?;
    if let Some(size) = add.max_size_bytes.filter(|size| !RULE_SIZE.contains(size)) {
        return Err(format!("max_size {size}: expected {} to {} bytes", RULE_SIZE.start(), RULE_SIZE.end()));
    }
    if !RULE_WINDOW.contains(&Duration::from_micros(window)) {
        return Err(format!("window {window} us: expected 1 us to 10 s"));
    }
    for (key, count) in [("max_count", add.max_count), ("required_count", add.required_count)] {
        if let Some(count) = count.filter(|count| !RULE_COUNT.contains(count)) {
            return Err(format!("{key} {count}: expected {} to {}", RULE_COUNT.start(), RULE_COUNT.end()));
        }
    }
    if let Some(hold) = add.hold_us.filter(|hold| !RULE_HOLD.contains(&Duration::from_micros(*hold))) {
        return Err(format!("hold {hold} us: expected 1 us to 100 s"));
    }
    if let Some(path_mtu) = add.path_mtu.filter(|path_mtu| !PEER_MTU.contains(path_mtu)) {
        return Err(format!("path_mtu {path_mtu}: expected {} to {} bytes", PEER_MTU.start(), PEER_MTU.end()));
    }
    let default = Criteria::new(Duration::from_micros(window));
    let criteria = Criteria {
        max_size: add.max_size_bytes,
        max_count: add.max_count,
        required_count: add.required_count,
        hold: add.hold_us.map(Duration::from_micros),
        adaptive: add.adaptive,
        shared_hops: add.shared_hops.map_or(default.shared_hops, |HopsToShare(hops)| hops),
        path_mtu: add.path_mtu,
        lone: match add.lone {
            Some(LonePacket::Itself) => Lone::Itself,
            Some(LonePacket::Pooled) => Lone::Pooled,
            None => default.lone,
        },
        representation: match add.representation {
            Some(PacketRepresentation::Whole) => Representation::Whole,
            Some(PacketRepresentation::Learned) => Representation::Learned,
            Some(PacketRepresentation::Provisioned) => Representation::Provisioned,
            None => default.representation,
        },
        index: config::Index::told(add.index, add.template).map_err(|message| format!("template: {message}"))?,
        ..default
    };
    match criteria.contradiction() {
        Some((key, message)) => Err(format!("{key}: {message}")),
        None => Ok(Some(criteria)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn add(more: &Value) -> Result<Rule, String> {
        let mut rule = json!({"name": "voice", "match": {"protocol": "udp"}});
        if let (Some(rule), Some(more)) = (rule.as_object_mut(), more.as_object()) {
            rule.extend(more.clone());
        }
        added_rule(serde_json::from_value(rule).expect("sound parameters")).map_err(|refusal| refusal.message)
    }

    #[test]
    fn what_is_told_of_a_rule_is_what_is_shown_of_it() {
        let told = json!({
            "max_size_bytes": 300, "window_us": 2000, "max_count": 20, "required_count": 5, "hold_us": 50_000,
            "shared_hops": 3, "path_mtu": 1200, "lone": "pooled", "representation": "whole",
            "index": "predetermined", "template": 7,
        });
        let shown = rule_entry(0, &add(&told).expect("a sound rule"), Source::Socket);
        let shown = serde_json::to_value(shown).expect("JSON");
        for (key, value) in told.as_object().expect("an object") {
            assert_eq!(&shown[key], value, "{key}");
        }
        for representation in ["learned", "provisioned"] {
            let told = json!({"window_us": 2000, "representation": representation});
            let shown = rule_entry(0, &add(&told).expect("a sound rule"), Source::Socket);
            assert_eq!(serde_json::to_value(shown).expect("JSON")["representation"], representation);
        }
        let least = rule_entry(0, &add(&json!({"window_us": 2000})).expect("a sound rule"), Source::Socket);
        assert_eq!(
            serde_json::to_value(least).expect("JSON"),
            json!({
                "position": 0, "name": "voice", "match": {"protocol": "udp"}, "pool": true, "max_size_bytes": 1458,
                "window_us": 2000, "max_count": 255, "adaptive": false, "shared_hops": "path", "lone": "itself",
                "representation": "whole", "index": "in-band", "source": "socket",
            })
        );
        let never = rule_entry(0, &add(&json!({"pool": false})).expect("a sound rule"), Source::Socket);
        assert_eq!(
            serde_json::to_value(never).expect("JSON"),
            json!({"position": 0, "name": "voice", "match": {"protocol": "udp"}, "pool": false, "source": "socket"})
        );
    }

    #[test]
    fn what_is_wrong_with_a_rule_is_told_in_one_sentence() {
        let cases = [
            (json!({}), "expected a window, the longest time a packet waits for company"),
            (
                json!({"window_us": 9, "required_count": 2, "hold_us": 2_000_001, "representation": "learned"}),
                "hold: expected at most \"2s\" beside learned headers",
            ),
            (
                json!({"window_us": 9, "representation": "learned", "index": "out-of-band"}),
                "index: expected in-band beside learned headers, which have an index of their own",
            ),
            (
                json!({"window_us": 9, "representation": "provisioned", "index": "out-of-band"}),
                "index: expected in-band beside provisioned streams, whose rows say which entries are of streams",
            ),
            (json!({"window_us": 9, "template": 7}), "template: expected index = \"predetermined\" beside it"),
            (json!({"window_us": 0}), "window 0 us: expected 1 us to 10 s"),
            (json!({"window_us": 9, "max_size_bytes": 19}), "max_size 19: expected 20 to 9000 bytes"),
            (json!({"window_us": 9, "max_count": 1}), "max_count 1: expected 2 to 255"),
            (json!({"window_us": 9, "required_count": 1}), "required_count 1: expected 2 to 255"),
            (
                json!({"window_us": 9, "required_count": 9, "max_count": 8}),
                "required_count: expected at most 8, the rule's max_count",
            ),
            (
                json!({"window_us": 9, "hold_us": 90}),
                "hold: expected required_count beside it, the packets that pools are held for",
            ),
            (
                json!({"window_us": 9000, "required_count": 2, "hold_us": 8000}),
                "hold: expected at least \"9ms\", the rule's window",
            ),
            (
                json!({"window_us": 9, "required_count": 2, "hold_us": 100_000_001}),
                "hold 100000001 us: expected 1 us to 100 s",
            ),
            (json!({"window_us": 9, "path_mtu": 127}), "path_mtu 127: expected 128 to 9000 bytes"),
            (
                json!({"window_us": 9, "path_mtu": 600, "max_size_bytes": 559}),
                "max_size: expected at most \"558B\": path_mtu 600 less 42 bytes of headers",
            ),
            (json!({"pool": false, "window_us": 9}), "window: a rule that never pools needs none"),
            (json!({"pool": false, "lone": "itself"}), "lone: a rule that never pools needs none"),
        ];
        for (told, expected) in cases {
            assert_eq!(add(&told).expect_err("a broken rule was accepted"), format!("rule \"voice\": {expected}"));
        }
    }
}
