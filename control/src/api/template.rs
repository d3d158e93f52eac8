//! Templates: the lists of lengths that predetermined pooled packets name, so that they need no index.

use serde::{Deserialize, Serialize};

use super::route::Source;

/// `template_add`. Both ends are told the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplateAdd {
    /// What pooled packets call it, 1 to 255.
    pub id: u8,
    /// 1 to 16 lengths of IP packets in bytes, each 20 to 9000, which packets have in turn.
    pub lengths: Vec<u16>,
}

/// `template_del`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplateDel {
    /// The template's id.
    pub id: u8,
}

/// `template_show`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplateShow {}

/// A template as the router has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateEntry {
    /// What pooled packets call it.
    pub id: u8,
    /// Lengths of IP packets in bytes, which packets have in turn.
    pub lengths: Vec<u16>,
    /// The rules that name it, in their order: while there is one, it cannot be deleted.
    pub rules: Vec<String>,
    /// Who put it there.
    pub source: Source,
}

/// Reply to `template_show`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateList {
    /// The templates in order of id.
    pub templates: Vec<TemplateEntry>,
}
