//! Rules and the templates that they name.

use super::{LEAST, wrong};
use crate::config::{Index, parse};

#[test]
fn templates_list_lengths_and_rules_name_them() {
    let template = |text: &str| format!("[[template]]\n{text}\n");
    let rule = "[[rule]]\nname = \"r\"\nmatch = {}\nwindow = \"2ms\"\nindex = \"predetermined\"\ntemplate = 7\n";
    let text = format!("{LEAST}{}{rule}", template("id = 7\nlengths = [60, 200]"));
    let config = parse(&text, "c.toml").expect("sound");
    let (id, lengths) = config.templates.first().expect("one");
    assert_eq!((id.value(), lengths.lengths()), (7, &[60, 200][..]));
    let criteria = config.rules.first().and_then(|rule| rule.criteria.as_ref()).expect("it pools");
    assert_eq!(criteria.index, Index::Predetermined(*id));
    let cases = [
        (template("id = 0\nlengths = [60]"), "c.toml:7:6: template.id = 0: expected a whole number from 1 to 255"),
        (template("id = 7\nlengths = []"), "c.toml:8:11: template.lengths: no lengths: at least one is needed"),
        (
            template("id = 7\nlengths = [60]") + &template("id = 7\nlengths = [60]"),
            "c.toml:10:6: template.id = 7: a template of this id is there twice",
        ),
    ];
    for (more, expected) in cases {
        let errors = parse(&format!("{LEAST}{more}"), "c.toml").expect_err("it is not sound").to_string();
        assert!(errors.contains(expected), "{errors}");
    }
    let short = parse(&format!("{LEAST}{}", template("id = 7\nlengths = [19]")), "c.toml").expect_err("too short");
    assert!(short.to_string().contains("expected a length from 20 to 9000 bytes"), "{short}");
}

#[test]
fn rules_say_what_can_be_pooled() {
    let rule = |more: &str| format!("[[rule]]\nname = \"a\"\n{more}\n");
    let cases = [
        (
            rule("window = \"1ms\""),
            "c.toml:6:1: rule.match: missing; expected a table such as { protocol = \"udp\", ports = \"5004\" }",
        ),
        (rule("match = {}"), "c.toml:6:1: rule.window: missing; expected a time from \"1us\" to \"10s\""),
        (
            rule("match = {}\nwindow = \"1ms\"\nmax_size = \"1459B\""),
            "c.toml:10:12: rule.max_size = \"1459B\": expected at most \"1458B\": a path MTU of 1500 less 42 bytes of headers",
        ),
        (
            rule("match = {}\nwindow = \"1ms\"\nmax_count = 1"),
            "c.toml:10:13: rule.max_count = 1: expected a whole number from 2 to 255",
        ),
        (
            rule("match = {}\nwindow = \"1ms\"\nmax_count = 4\nrequired_count = 5"),
            "c.toml:11:18: rule.required_count = 5: expected at most 4, the rule's max_count",
        ),
        (
            rule("match = {}\nwindow = \"2ms\"\nrequired_count = 5\nhold = \"1ms\""),
            "c.toml:11:8: rule.hold = \"1ms\": expected at least \"2ms\", the rule's window",
        ),
        (
            rule("match = {}\nwindow = \"2ms\"\nhold = \"9ms\""),
            "c.toml:10:8: rule.hold = \"9ms\": expected required_count beside it, the packets that pools are held for",
        ),
        (
            rule("match = {}\nwindow = \"2001ms\"\nrepresentation = \"learned\""),
            "c.toml:9:10: rule.window = \"2001ms\": expected at most \"2s\" beside learned headers",
        ),
        (
            rule("match = {}\nwindow = \"2ms\"\nrequired_count = 5\nhold = \"2001ms\"\nrepresentation = \"learned\""),
            "c.toml:11:8: rule.hold = \"2001ms\": expected at most \"2s\" beside learned headers",
        ),
        (
            rule("match = {}\nwindow = \"201ms\"\nrequired_count = 5\nrepresentation = \"learned\""),
            "c.toml:9:10: rule.window = \"201ms\": expected at most \"200ms\" beside learned headers and required_count: without hold, 10 times that is what pools are held for",
        ),
        (
            rule("match = {}\nwindow = \"2ms\"\nmax_size = \"1kB\"\npath_mtu = 1000"),
            "c.toml:10:12: rule.max_size = \"1kB\": expected at most \"958B\": path_mtu 1000 less 42 bytes of headers",
        ),
        (
            rule("match = {}\nwindow = \"2ms\"\nshared_hops = 17"),
            "c.toml:10:15: rule.shared_hops = 17: expected \"path\" or a whole number from 1 to 16",
        ),
        (
            rule("match = {}\nwindow = \"2ms\"\nshared_hops = \"3\""),
            "c.toml:10:15: rule.shared_hops = \"3\": expected \"path\" or a whole number from 1 to 16",
        ),
        (
            rule("match = {}\nwindow = \"2ms\"\nlone = \"alone\""),
            "c.toml:10:8: rule.lone = \"alone\": expected \"itself\" or \"pooled\"",
        ),
        (
            rule("match = {}\nwindow = \"2ms\"\nindex = \"elsewhere\""),
            "c.toml:10:9: rule.index = \"elsewhere\": expected \"in-band\", \"out-of-band\" or \"predetermined\"",
        ),
        (
            rule("match = {}\nwindow = \"2ms\"\nindex = \"out-of-band\"\ntemplate = 7"),
            "c.toml:11:12: rule.template = 7: expected index = \"predetermined\" beside it",
        ),
        (
            rule("match = {}\nwindow = \"2ms\"\nindex = \"predetermined\"\ntemplate = 0"),
            "c.toml:11:12: rule.template = 0: expected a whole number from 1 to 255",
        ),
        (
            rule("match = {}\nwindow = \"2ms\"\nindex = \"predetermined\"\ntemplate = 7"),
            "c.toml:11:12: rule.template = 7: expected the id of a [[template]]",
        ),
        (
            rule("match = {}\npool = false\nwindow = \"2ms\""),
            "c.toml:10:10: rule.window = \"2ms\": expected no such key beside pool = false: a rule that never pools needs none",
        ),
        (
            rule("match = { ports = \"5004\" }\nwindow = \"1ms\""),
            "c.toml:8:9: rule.match = { ports = \"5004\" }: expected protocol = \"udp\", \"tcp\" or another one that has ports",
        ),
        (
            rule("match = { protocol = \"udp\", ports = \"9-1\" }\nwindow = \"1ms\""),
            "c.toml:8:37: rule.match.ports = \"9-1\": expected a port such as \"5060\" or a range such as \"16384-32767\"",
        ),
        (
            rule("match = { dscp = 64 }\nwindow = \"1ms\""),
            "c.toml:8:18: rule.match.dscp = 64: expected a code point such as \"ef\", or its number from 0 to 63",
        ),
        (
            rule("match = {}\nwindow = \"1ms\"") + &rule("match = {}\nwindow = \"1ms\""),
            "c.toml:11:8: rule.name = \"a\": a rule of this name is there twice",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(wrong(&text), expected);
    }
}

#[test]
fn there_are_at_most_so_many_different_windows() {
    let rule = |i: usize, window: usize| format!("[[rule]]\nname = \"r{i}\"\nmatch = {{}}\nwindow = \"{window}ms\"\n");
    let sixteen: String = (1..=16).map(|i| rule(i, i)).collect();
    assert!(parse(&format!("{LEAST}{sixteen}{}", rule(99, 16)), "c.toml").is_ok());
    let told = wrong(&format!("{sixteen}{}", rule(17, 17)));
    let expected = "rule.window = \"17ms\": expected one of the windows above: there can be 16 different ones";
    assert!(told.ends_with(expected), "{told}");
    let holds = rule(17, 16) + "required_count = 2\nhold = \"99ms\"\n";
    let told = wrong(&format!("{sixteen}{holds}"));
    let expected = "rule.hold = \"99ms\": what it is longer than the window is one more than 16 different windows";
    assert!(told.ends_with(expected), "{told}");
    let never = "[[rule]]\nname = \"never\"\nmatch = {}\npool = false\n";
    assert!(parse(&format!("{LEAST}{sixteen}{never}"), "c.toml").is_ok(), "it has no window");
}
