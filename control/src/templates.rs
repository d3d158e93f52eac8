//! The templates in force: those of the configuration, and what the control socket made of them.
//!
//! A template is a list of lengths that predetermined pooled packets name by its id. No two have the same id. A configured
//! template that was deleted over the socket is hidden until a restart, whatever the file says. Whether a rule names one
//! is for the router to ask ([`Rules::naming`](crate::rules::Rules::naming)).

use std::collections::{BTreeMap, BTreeSet};

use carpool_dataplane::pool::wire::{Template, TemplateId, Templates};

use crate::api::route::Source;

/// Why a template cannot be added, deleted or reloaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplatesError {
    #[error("template {0} is there already")]
    Exists(u8),
    #[error("there is no template {0}")]
    NotFound(u8),
    #[error("template {id}: rule {rule:?} names it; delete that rule first")]
    Named { id: u8, rule: String },
}

/// All templates, whoever told them.
#[derive(Clone, Debug, Default)]
pub struct ToldTemplates {
    config: BTreeMap<TemplateId, Template>,
    added: BTreeMap<TemplateId, Template>,
    hidden: BTreeSet<TemplateId>,
}

impl ToldTemplates {
    /// The templates of a configuration, which has one for an id.
    pub fn new(config: &[(TemplateId, Template)]) -> ToldTemplates {
        ToldTemplates { config: config.iter().copied().collect(), ..ToldTemplates::default() }
    }

    /// The templates in force and who put each there, in order of id.
    pub fn in_force(&self) -> BTreeMap<TemplateId, (Template, Source)> {
        let configured = self.config.iter().filter(|(id, _)| !self.hidden.contains(id));
        let configured = configured.map(|(id, template)| (*id, (*template, Source::Config)));
        let added = self.added.iter().map(|(id, template)| (*id, (*template, Source::Socket)));
        configured.chain(added).collect()
    }

    /// The templates as they are after one was added over the socket.
    pub fn with(&self, id: TemplateId, template: Template) -> Result<ToldTemplates, TemplatesError> {
        if self.in_force().contains_key(&id) {
            return Err(TemplatesError::Exists(id.value()));
        }
        let mut templates = self.clone();
        templates.added.insert(id, template);
        Ok(templates)
    }

    /// The templates as they are after one was deleted over the socket.
    pub fn without(&self, id: TemplateId) -> Result<ToldTemplates, TemplatesError> {
        let mut templates = self.clone();
        if templates.added.remove(&id).is_none() {
            if !self.in_force().contains_key(&id) {
                return Err(TemplatesError::NotFound(id.value()));
            }
            templates.hidden.insert(id);
        }
        Ok(templates)
    }

    /// The templates as they are after the file changed.
    pub fn reloaded(&self, config: &[(TemplateId, Template)]) -> Result<ToldTemplates, TemplatesError> {
        let mut visible = config.iter().filter(|(id, _)| !self.hidden.contains(id));
        match visible.find(|(id, _)| self.added.contains_key(id)) {
            Some((id, _)) => Err(TemplatesError::Exists(id.value())),
            None => Ok(ToldTemplates { config: config.iter().copied().collect(), ..self.clone() }),
        }
    }

    /// What workers read and write predetermined packets by.
    pub fn compile(&self) -> Templates {
        self.in_force().into_iter().map(|(id, (template, _))| (id, template)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(id: u8, length: u16) -> (TemplateId, Template) {
        (TemplateId::new(id).expect("not 0"), Template::new(&[length]).expect("a sound length"))
    }

    fn lengths(templates: &ToldTemplates) -> Vec<(u8, u16, Source)> {
        let all = templates.in_force().into_iter();
        all.map(|(id, (template, source))| (id.value(), template.length_at(0), source)).collect()
    }

    #[test]
    fn what_the_socket_changed_survives_a_new_file() {
        let ((one, first), (three, third)) = (template(1, 60), template(3, 80));
        let templates = ToldTemplates::new(&[(one, first), template(2, 70)]);
        let templates = templates.without(one).and_then(|templates| templates.with(three, third)).expect("possible");
        let templates = templates.reloaded(&[(one, first), template(2, 75), template(4, 90)]).expect("no id is taken");
        assert_eq!(lengths(&templates), [(2, 75, Source::Config), (3, 80, Source::Socket), (4, 90, Source::Config)]);
        assert_eq!(templates.reloaded(&[(three, first)]).expect_err("the socket's"), TemplatesError::Exists(3));
        assert_eq!(templates.without(one).expect_err("it is hidden"), TemplatesError::NotFound(1));
        let again = templates.with(one, third).expect("the file's is hidden");
        assert_eq!(lengths(&again)[0], (1, 80, Source::Socket));
        assert!(again.reloaded(&[(one, first)]).is_ok(), "the file's stays hidden");
        assert_eq!(lengths(&again.without(one).expect("it is there"))[0].0, 2);
    }

    #[test]
    fn no_two_templates_have_the_same_id() {
        let (id, first) = template(1, 60);
        let templates = ToldTemplates::new(&[(id, first)]);
        assert_eq!(templates.with(id, template(1, 70).1).expect_err("taken"), TemplatesError::Exists(1));
        let (other, second) = template(2, 70);
        let added = templates.with(other, second).expect("a new id");
        assert_eq!(added.with(other, second).expect_err("taken"), TemplatesError::Exists(2));
    }

    #[test]
    fn workers_get_the_templates_in_force_under_their_ids() {
        let (id, first) = template(7, 60);
        let templates = ToldTemplates::new(&[(id, first), template(8, 70)]);
        let templates = templates.without(id).expect("it is there").with(template(9, 90).0, first).expect("a new id");
        let compiled = templates.compile();
        let known: Vec<u8> = (0..=255).filter(|id| compiled.get(*id).is_some()).collect();
        assert_eq!(known, [8, 9]);
        assert_eq!(compiled.get(9), Some(&first));
    }
}
