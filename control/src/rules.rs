//! The pooling rules in force: those of the configuration, and what the control socket made of them.
//!
//! Rules of the file keep its order; a rule that came over the socket stands where it was put, or behind all others. A
//! configured rule that was deleted over the socket is hidden until a restart, whatever the file says meanwhile.

use std::collections::BTreeSet;

use carpool_dataplane::arch::TickRate;
use carpool_dataplane::pool::wire::{TemplateId, Templates};
use carpool_dataplane::pool::{self, RuleSet, RuleSetError};

use crate::api::route::Source;
use crate::config::{Index, Rule};

/// Why a rule cannot be added, deleted or reloaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    #[error("rule {0:?} is there already")]
    Exists(String),
    #[error("there is no rule {0:?}")]
    NotFound(String),
    #[error("rule {0:?} of the file has the name of one that came over the control socket; delete that one first")]
    Taken(String),
    #[error("rule {rule:?}: template {template}: there is no template of this id")]
    NoTemplate { rule: String, template: u8 },
    #[error(transparent)]
    Set(#[from] RuleSetError),
}

/// A rule that came over the socket.
#[derive(Clone, Debug)]
struct Added {
    rule: Rule,
    position: Option<usize>,
}

/// All rules.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    config: Vec<Rule>,
    added: Vec<Added>,
    hidden: BTreeSet<String>,
}

impl Rules {
    /// The rules of a configuration.
    pub fn new(config: Vec<Rule>) -> Rules {
        Rules { config, ..Rules::default() }
    }

    /// The rules in force in order of precedence, and who put each there.
    pub fn in_force(&self) -> Vec<(&Rule, Source)> {
        let configured = self.config.iter().filter(|rule| !self.hidden.contains(&rule.name));
        let mut rules: Vec<_> = configured.map(|rule| (rule, Source::Config)).collect();
        for Added { rule, position } in &self.added {
            let at = position.map_or(rules.len(), |position| position.min(rules.len()));
            rules.insert(at, (rule, Source::Socket));
        }
        rules
    }

    /// The names of the rules in force whose pooled packets name a template, in order of precedence.
    pub fn naming(&self, template: TemplateId) -> impl Iterator<Item = &str> {
        let index = |rule: &Rule| rule.criteria.as_ref().map(|criteria| criteria.index);
        let rules = self.in_force().into_iter().map(|(rule, _)| rule);
        rules.filter(move |rule| index(rule) == Some(Index::Predetermined(template))).map(|rule| rule.name.as_str())
    }

    /// The rules as they are after one was added over the socket.
    pub fn with(&self, rule: Rule, position: Option<usize>) -> Result<Rules, RulesError> {
        if self.in_force().iter().any(|(known, _)| known.name == rule.name) {
            return Err(RulesError::Exists(rule.name));
        }
        let mut rules = self.clone();
        rules.added.push(Added { rule, position });
        Ok(rules)
    }

    /// The rules as they are after one was deleted over the socket.
    pub fn without(&self, name: &str) -> Result<Rules, RulesError> {
        let mut rules = self.clone();
        if let Some(at) = rules.added.iter().position(|added| added.rule.name == name) {
            rules.added.remove(at);
        } else if rules.in_force().iter().any(|(rule, _)| rule.name == name) {
            rules.hidden.insert(name.into());
        } else {
            return Err(RulesError::NotFound(name.into()));
        }
        Ok(rules)
    }

    /// The rules as they are after the file changed.
    pub fn reloaded(&self, config: Vec<Rule>) -> Result<Rules, RulesError> {
        let visible = config.iter().filter(|rule| !self.hidden.contains(&rule.name));
        let taken = visible.into_iter().find(|rule| self.added.iter().any(|added| added.rule.name == rule.name));
        match taken {
            Some(rule) => Err(RulesError::Taken(rule.name.clone())),
            None => Ok(Rules { config, ..self.clone() }),
        }
    }

    /// What workers compare packets with.
    pub fn compile(&self, rate: TickRate, templates: &Templates) -> Result<RuleSet, RulesError> {
        let compiled = self.in_force().into_iter().map(|(rule, _)| {
            let new = pool::Rule::new(&rule.name, rule.matcher.clone());
            let Some(criteria) = &rule.criteria else { return Ok(pool::Rule { pool: false, ..new }) };
            Ok(pool::Rule {
                max_size: criteria.max_size(),
                window: rate.ticks(criteria.window),
                max_count: criteria.max_count(),
                required_count: criteria.required_count.unwrap_or(new.required_count),
                hold: rate.ticks(criteria.hold()),
                adaptive: criteria.adaptive,
                shared_hops: criteria.shared_hops,
                path_mtu: criteria.path_mtu,
                lone: criteria.lone,
                representation: criteria.representation,
                index: placed(&rule.name, criteria.index, templates)?,
                ..new
            })
        });
        Ok(RuleSet::new(compiled.collect::<Result<_, RulesError>>()?)?)
    }
}

/// Where the index of a rule's pooled packets is, with the lengths that it names.
fn placed(rule: &str, index: Index, templates: &Templates) -> Result<pool::Index, RulesError> {
    match index {
        Index::InBand => Ok(pool::Index::InBand),
        Index::OutOfBand => Ok(pool::Index::OutOfBand),
        Index::Predetermined(id) => match templates.get(id.value()) {
            Some(template) => Ok(pool::Index::Predetermined { id, template: *template }),
            None => Err(RulesError::NoTemplate { rule: rule.into(), template: id.value() }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Criteria;
    use carpool_dataplane::arch::TickSpan;
    use carpool_dataplane::pool::path::SharedHops;
    use carpool_dataplane::pool::wire::Template;
    use carpool_dataplane::pool::{Lone, Match};
    use std::time::Duration;

    fn rule(name: &str) -> Rule {
        let criteria = Some(Criteria::new(Duration::from_millis(2)));
        Rule { name: name.into(), matcher: Match::default(), criteria }
    }

    fn names(rules: &Rules) -> Vec<&str> {
        rules.in_force().into_iter().map(|(rule, _)| rule.name.as_str()).collect()
    }

    #[test]
    fn a_rule_stands_where_it_was_put() {
        let rules = Rules::new(vec![rule("a"), rule("b")]);
        let rules =
            rules.with(rule("last"), None).and_then(|rules| rules.with(rule("first"), Some(0))).expect("new names");
        let rules = rules.with(rule("far"), Some(99)).expect("a new name");
        assert_eq!(names(&rules), ["first", "a", "b", "last", "far"]);
        assert_eq!(rules.with(rule("a"), None).expect_err("taken"), RulesError::Exists("a".into()));
    }

    #[test]
    fn what_the_socket_changed_survives_a_new_file() {
        let rules = Rules::new(vec![rule("a"), rule("b")]);
        let rules = rules.without("a").and_then(|rules| rules.with(rule("c"), None)).expect("possible");
        let rules = rules.reloaded(vec![rule("a"), rule("b"), rule("d")]).expect("no name is taken");
        assert_eq!(names(&rules), ["b", "d", "c"]);
        let error = rules.reloaded(vec![rule("c")]).expect_err("the socket has one of this name");
        assert_eq!(error, RulesError::Taken("c".into()));
        let own = rules.with(rule("a"), None).expect("the file's is hidden");
        assert!(own.reloaded(vec![rule("a")]).is_ok());
        assert_eq!(rules.without("a").expect_err("hidden already"), RulesError::NotFound("a".into()));
    }

    #[test]
    fn workers_get_the_window_in_ticks_and_the_defaults() {
        let set =
            Rules::new(vec![rule("a")]).compile(TickRate::NANOSECONDS, &Templates::default()).expect("a sound rule");
        let compiled = set.rules().first().expect("one");
        assert_eq!((compiled.window, compiled.hold), (TickSpan(2_000_000), TickSpan(20_000_000)));
        assert_eq!((compiled.max_size, compiled.max_count, compiled.required_count), (1458, 255, 1));
        assert!(compiled.pool && !compiled.adaptive);
    }

    #[test]
    fn workers_get_the_lengths_of_the_template_that_a_rule_names() {
        let id = TemplateId::new(7).expect("not 0");
        let records = Criteria { index: Index::Predetermined(id), ..Criteria::new(Duration::from_millis(2)) };
        let apart = Criteria { index: Index::OutOfBand, ..records.clone() };
        let rules = Rules::new(vec![
            Rule { criteria: Some(apart), ..rule("apart") },
            Rule { criteria: Some(records), ..rule("records") },
        ]);
        let template = Template::new(&[60, 200]).expect("sound lengths");
        let templates = Templates::from_iter([(id, template)]);
        let set = rules.compile(TickRate::NANOSECONDS, &templates).expect("sound rules");
        let [apart, records] = set.rules() else { panic!("two rules") };
        assert_eq!((apart.index, records.index), (pool::Index::OutOfBand, pool::Index::Predetermined { id, template }));
        let error = rules.compile(TickRate::NANOSECONDS, &Templates::default()).expect_err("it has no template");
        assert_eq!(error, RulesError::NoTemplate { rule: "records".into(), template: 7 });
    }

    #[test]
    fn workers_get_all_that_a_rule_asks_for() {
        let criteria = Criteria {
            max_size: Some(300),
            max_count: Some(20),
            required_count: Some(5),
            hold: Some(Duration::from_millis(50)),
            shared_hops: SharedHops::AtLeast(3),
            path_mtu: Some(1200),
            lone: Lone::Pooled,
            ..Criteria::new(Duration::from_millis(2))
        };
        let bulk = Rule { criteria: Some(criteria), ..rule("bulk") };
        let never = Rule { criteria: None, ..rule("never") };
        let quick = Criteria { adaptive: true, ..Criteria::new(Duration::from_millis(2)) };
        let quick = Rule { criteria: Some(quick), ..rule("quick") };
        let set = Rules::new(vec![bulk, never, quick])
            .compile(TickRate::NANOSECONDS, &Templates::default())
            .expect("sound rules");
        let [bulk, never, quick] = set.rules() else { panic!("three rules") };
        assert_eq!((bulk.max_size, bulk.max_count, bulk.required_count), (300, 20, 5));
        assert_eq!((bulk.hold, bulk.shared_hops), (TickSpan(50_000_000), SharedHops::AtLeast(3)));
        assert_eq!((bulk.path_mtu, bulk.lone), (Some(1200), Lone::Pooled));
        assert_eq!((never.pool, quick.pool, quick.adaptive), (false, true, true));
    }
}
