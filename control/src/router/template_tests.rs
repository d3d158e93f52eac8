//! Templates from the file and over the socket, as workers and clients see them.

use super::bench::*;
use carpool_dataplane::fib::FibOptions;
use carpool_dataplane::pool::Index;

use crate::api::route::Source;
use crate::api::rule::{IndexPlace, RuleAdd, RuleDel};
use crate::api::template::{TemplateAdd, TemplateDel, TemplateShow};
use crate::api::{Handler, RefusalKind};

/// The usual configuration with a template 7 of these lengths.
fn with(lengths: &str) -> String {
    format!("{CONFIG}\n[[template]]\nid = 7\nlengths = {lengths}\n")
}

/// A rule whose pooled packets name a template.
fn records(template: u8) -> RuleAdd {
    RuleAdd {
        window_us: Some(1000),
        index: Some(IndexPlace::Predetermined),
        template: Some(template),
        ..RuleAdd::new("records".into())
    }
}

/// The lengths that workers have under an id.
fn lengths(bench: &mut Bench, id: u8) -> Option<Vec<u16>> {
    bench.state().templates.get(id).map(|template| template.lengths().to_vec())
}

fn shown(bench: &mut Bench) -> Vec<(u8, Vec<u16>, Vec<String>, Source)> {
    let list = bench.client().template_show(TemplateShow {}).expect("answered");
    list.templates.into_iter().map(|entry| (entry.id, entry.lengths, entry.rules, entry.source)).collect()
}

#[test]
fn templates_come_with_the_file_and_stay_while_a_rule_of_the_socket_names_one() {
    let mut bench = Bench::new(CONFIG);
    bench.reload(&with("[60, 200]")).expect("possible");
    assert_eq!(lengths(&mut bench, 7), Some(vec![60, 200]));
    let error = bench.client().rule_add(records(8)).expect_err("there is no template 8");
    assert_eq!(error.message, "rule \"records\": template 8: there is no template of this id");
    bench.client().rule_add(records(7)).expect("there is one");
    let pools = bench.state().pools;
    bench.reload(&with("[80]")).expect("possible");
    assert_eq!(lengths(&mut bench, 7), Some(vec![80]));
    assert!(bench.state().pools > pools, "pools that are open have the old lengths");
    let index = bench.state().rules.rules().last().map(|rule| rule.index);
    assert!(matches!(index, Some(Index::Predetermined { template, .. }) if template.lengths() == [80]), "{index:?}");
    let error = bench.reload(CONFIG).expect_err("a rule needs it");
    assert!(error.to_string().contains("template 7"), "{error}");
    assert_eq!(lengths(&mut bench, 7), Some(vec![80]));
}

#[test]
fn templates_come_and_go_over_the_socket_and_stay_over_a_reload() {
    let mut bench = Bench::new(&with("[60]"));
    let first = bench.state().pools;
    bench.client().template_add(TemplateAdd { id: 8, lengths: vec![80, 90] }).expect("a new id");
    assert_eq!(lengths(&mut bench, 8), Some(vec![80, 90]));
    let second = bench.state().pools;
    assert!(second > first, "pools are flushed at the change");
    bench.client().template_del(TemplateDel { id: 7 }).expect("no rule names it");
    assert_eq!(lengths(&mut bench, 7), None, "the file's is hidden");
    assert!(bench.state().pools > second, "pools are flushed at the change");
    bench.reload(&with("[70]")).expect("possible");
    assert_eq!(shown(&mut bench), [(8, vec![80, 90], vec![], Source::Socket)]);
    assert_eq!(lengths(&mut bench, 7), None);

    let error = bench.reload(&with("[60]").replace("id = 7", "id = 8")).expect_err("the socket's has this id");
    assert_eq!(error.to_string(), "with those that came over the control socket: template 8 is there already");
    let named = "[[rule]]\nname = \"named\"\nmatch = {}\nwindow = \"2ms\"\nindex = \"predetermined\"\ntemplate = 7\n";
    let error = bench.reload(&(with("[60]") + named)).expect_err("what its rule names is hidden");
    assert_eq!(error.to_string(), "rule \"named\": template 7: there is no template of this id");
    assert_eq!(lengths(&mut bench, 8), Some(vec![80, 90]), "nothing has changed");
}

#[test]
fn a_template_that_a_rule_names_is_not_deleted() {
    let mut bench = Bench::new(CONFIG);
    let refusal = bench.client().rule_add(records(9)).expect_err("it is not there yet");
    assert_eq!(refusal.kind, RefusalKind::Conflict);
    bench.client().template_add(TemplateAdd { id: 9, lengths: vec![60] }).expect("a new id");
    bench.client().rule_add(records(9)).expect("it is there");
    assert_eq!(shown(&mut bench), [(9, vec![60], vec!["records".to_owned()], Source::Socket)]);
    let before = bench.state().pools;
    let refusal = bench.client().template_del(TemplateDel { id: 9 }).expect_err("a rule names it");
    assert_eq!(
        (refusal.kind, refusal.message.as_str()),
        (RefusalKind::Conflict, "template 9: rule \"records\" names it; delete that rule first")
    );
    assert_eq!((lengths(&mut bench, 9), bench.state().pools), (Some(vec![60]), before), "nothing was published");
    bench.client().rule_del(RuleDel { name: "records".into() }).expect("it is there");
    bench.client().template_del(TemplateDel { id: 9 }).expect("no rule names it any more");
    assert_eq!(lengths(&mut bench, 9), None);
}

#[test]
fn what_is_no_template_is_refused_in_a_sentence() {
    let mut bench = Bench::new(&with("[60]"));
    let before = bench.state().pools;
    let cases = [
        (7, vec![80], RefusalKind::Exists, "template 7 is there already"),
        (0, vec![60], RefusalKind::Conflict, "template 0: id: expected 1 to 255"),
        (8, vec![], RefusalKind::Conflict, "template 8: no lengths: at least one is needed"),
        (8, vec![60; 17], RefusalKind::Conflict, "template 8: 17 lengths: at most 16 are possible"),
        (8, vec![60, 19], RefusalKind::Conflict, "template 8: length 19: expected 20 to 9000 bytes"),
        (8, vec![9001], RefusalKind::Conflict, "template 8: length 9001: expected 20 to 9000 bytes"),
    ];
    for (id, lengths, kind, message) in cases {
        let refusal = bench.client().template_add(TemplateAdd { id, lengths }).expect_err("it was accepted");
        assert_eq!((refusal.kind, refusal.message.as_str()), (kind, message));
    }
    for id in [0, 8] {
        let refusal = bench.client().template_del(TemplateDel { id }).expect_err("it is not there");
        let expected = format!("there is no template {id}");
        assert_eq!((refusal.kind, refusal.message), (RefusalKind::NotFound, expected));
    }
    assert_eq!(bench.state().pools, before, "nothing was published");
}

#[test]
fn a_reload_that_fails_late_leaves_the_templates_as_they_were() {
    let mut bench = Bench::with(&with("[60]"), FibOptions { leaves: 2048, ..FibOptions::default() });
    let route = |i: u32| format!("\n[[route]]\nprefix = \"{}.{}.3.0/24\"\nvia = \"10.0.0.2\"\n", 20 + i % 5, i / 5);
    let text = with("[80]") + &(0..1000).map(route).collect::<String>();
    bench.reload(&text).expect_err("there is no room for so many routes");
    assert_eq!(lengths(&mut bench, 7), Some(vec![60]));
    assert_eq!(shown(&mut bench), [(7, vec![60], vec![], Source::Config)]);
}
