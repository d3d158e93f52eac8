//! Templates: a line each, lengths in the order that packets have them in.

use super::{show, word};
use crate::api::template::TemplateList;
use crate::cli::table::{Align, Table};

show!(TemplateList, text);

fn text(list: &TemplateList) -> String {
    let mut table = Table::new(&[
        ("id", Align::Right),
        ("lengths", Align::Left),
        ("named by rules", Align::Left),
        ("source", Align::Left),
    ]);
    for template in &list.templates {
        let lengths: Vec<_> = template.lengths.iter().map(|length| format!("{length}B")).collect();
        table.row([template.id.to_string(), lengths.join(" "), template.rules.join(" "), word(&template.source)]);
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::route::Source;
    use crate::api::template::TemplateEntry;
    use crate::cli::show::Show;

    #[test]
    fn templates_show_their_lengths_and_the_rules_that_keep_them() {
        let rules = vec!["records".to_owned(), "meters".to_owned()];
        let file = TemplateEntry { id: 7, lengths: vec![60, 200], rules, source: Source::Config };
        let socket = TemplateEntry { id: 255, lengths: vec![9000], rules: vec![], source: Source::Socket };
        assert_eq!(
            TemplateList { templates: vec![file, socket] }.text(),
            "\
\x20id  lengths   named by rules  source
  7  60B 200B  records meters  config
255  9000B     -               socket
"
        );
    }
}
