//! Templates in the words of clients: what they add, delete and are shown.

use carpool_dataplane::pool::wire::{Template, TemplateId};

use super::Router;
use super::handler::Client;
use crate::api::Refusal;
use crate::api::command::Done;
use crate::api::template::{TemplateAdd, TemplateDel, TemplateEntry, TemplateList};
use crate::config::RULE_SIZE;
use crate::templates::{TemplatesError, ToldTemplates};

impl From<TemplatesError> for Refusal {
    fn from(error: TemplatesError) -> Refusal {
        let message = error.to_string();
        match error {
            TemplatesError::Exists(_) => Refusal::exists(message),
            TemplatesError::NotFound(_) => Refusal::not_found(message),
            TemplatesError::Named { .. } => Refusal::conflict(message),
        }
    }
}

impl Client<'_> {
    pub(super) fn add_template(&mut self, add: &TemplateAdd) -> Result<Done, Refusal> {
        let (id, template) = added_template(add)?;
        let templates = self.router.templates.with(id, template)?;
        Ok(self.change_templates(templates))
    }

    pub(super) fn del_template(&mut self, del: &TemplateDel) -> Result<Done, Refusal> {
        let id = TemplateId::new(del.id).ok_or(TemplatesError::NotFound(del.id))?;
        let templates = self.router.templates.without(id)?;
        if let Some(rule) = self.router.rules.naming(id).next() {
            return Err(TemplatesError::Named { id: del.id, rule: rule.into() }.into());
        }
        Ok(self.change_templates(templates))
    }

    /// What rules have of a template was copied when they were compiled, and no rule names one that comes or goes.
    fn change_templates(&mut self, templates: ToldTemplates) -> Done {
        self.router.templates = templates;
        self.router.publish(true, self.now);
        Done {}
    }
}

impl Router {
    pub(super) fn template_list(&self) -> TemplateList {
        let entry = |(id, (template, source)): (TemplateId, (Template, _))| TemplateEntry {
            id: id.value(),
            lengths: template.lengths().to_vec(),
            rules: self.rules.naming(id).map(str::to_owned).collect(),
            source,
        };
        TemplateList { templates: self.templates.in_force().into_iter().map(entry).collect() }
    }
}

/// A template as a client gives it, in the same bounds as in the file.
fn added_template(add: &TemplateAdd) -> Result<(TemplateId, Template), Refusal> {
    let TemplateAdd { id, lengths } = add;
    let wrong = |what: String| Refusal::conflict(format!("template {id}: {what}"));
    let named = TemplateId::new(*id).ok_or_else(|| wrong("id: expected 1 to 255".into()))?;
    if let Some(length) = lengths.iter().find(|length| !RULE_SIZE.contains(length)) {
        let (least, most) = (RULE_SIZE.start(), RULE_SIZE.end());
        return Err(wrong(format!("length {length}: expected {least} to {most} bytes")));
    }
    match Template::new(lengths) {
        Ok(template) => Ok((named, template)),
        Err(error) => Err(wrong(error.to_string())),
    }
}
