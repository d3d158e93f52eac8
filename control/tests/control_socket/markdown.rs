//! The documents render as they are meant to: a fence that is not closed swallows the headings behind it, and a blank line
//! in a table turns the rest of it into text.

use std::path::{Path, PathBuf};

/// README.md and all of docs/, by name.
fn documents() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let entries = std::fs::read_dir(root.join("docs")).expect("docs/").map(|entry| entry.expect("an entry").path());
    let documents = entries.filter(|path| path.extension().is_some_and(|ending| ending == "md"));
    documents
        .chain([root.join("README.md"), root.join("tests/vectors/README.md")])
        .map(|path| (path.clone(), std::fs::read_to_string(&path).expect("a text")))
        .collect()
}

/// What is wrong with a document: the number of a line, and what about it.
fn faults(text: &str) -> Vec<(usize, &'static str)> {
    let columns = |line: &str| line.replace("\\|", "").matches('|').count();
    let is_rule = |line: &str| line.starts_with('|') && line.chars().all(|c| matches!(c, '|' | '-' | ':' | ' '));
    let (mut faults, mut fence) = (Vec::new(), None);
    let mut table: Vec<&str> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with("```") {
            let is_bare = line.trim() == "```";
            fence = match fence {
                None => Some(number),
                Some(_) if is_bare => None,
                Some(opened) => {
                    faults.push((opened, "a fence is not closed where the next one opens"));
                    Some(number)
                }
            };
        }
        if fence.is_some() || !line.starts_with('|') {
            if table.len() == 1 {
                faults.push((number - 1, "a row outside of a table"));
            }
            table.clear();
            continue;
        }
        table.push(line);
        match table.as_slice() {
            [_] => {}
            [_, second] if !is_rule(second) => faults.push((number - 1, "a row outside of a table")),
            [head, ..] if columns(head) != columns(line) => faults.push((number, "not the columns of its table")),
            _ => {}
        }
    }
    faults.extend(fence.map(|opened| (opened, "a fence is never closed")));
    faults
}

#[test]
fn every_document_has_whole_tables_and_closed_fences() {
    let documents = documents();
    assert!(documents.len() > 5, "the documents were found");
    for (path, text) in documents {
        assert_eq!(faults(&text), [], "{}", path.display());
    }
}

#[test]
fn a_table_that_falls_apart_and_a_fence_that_stays_open_are_found() {
    let table = "| a | b |\n| --- | --- |\n| 1 | 2 |\n";
    assert_eq!(faults(table), []);
    assert_eq!(faults(&format!("{table}\n| 3 | 4 |\n| 5 | 6 |\n")), [(5, "a row outside of a table")]);
    assert_eq!(faults(&format!("{table}\n| 3 | 4 |\n\n")), [(5, "a row outside of a table")]);
    assert_eq!(faults(&format!("{table}| 3 |\n")), [(4, "not the columns of its table")]);
    assert_eq!(faults("```\n| 1 |\n| 2 |\n```\n"), []);
    assert_eq!(faults("```\ntext\n"), [(1, "a fence is never closed")]);
    assert_eq!(faults("```\ntext\n```toml\nkey = 1\n```\n"), [(1, "a fence is not closed where the next one opens")]);
}
