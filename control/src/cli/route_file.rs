//! Files of routes for `carpool route load`: a route a line, as `route add` takes it; `#` begins a comment.
//!
//! A file is read whole before anything is sent: a wrong line means that nothing is.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use super::words;
use crate::api::route::Route;

/// Reads the routes of a file; `-` is standard input.
///
/// # Errors
/// `FILE:LINE: what was expected` for the first wrong line, and how many others there are.
pub(super) fn read(file: &Path) -> Result<Vec<Route>, String> {
    let is_standard_input = file.as_os_str() == "-";
    let name = if is_standard_input { "standard input".into() } else { file.to_string_lossy() };
    let mut bytes = Vec::new();
    let outcome = if is_standard_input {
        io::stdin().lock().read_to_end(&mut bytes).map(drop)
    } else {
        fs::read(file).map(|content| bytes = content)
    };
    outcome.map_err(|error| format!("{name}: cannot read it: {error}"))?;
    parse(&name, &bytes)
}

fn parse(name: &str, bytes: &[u8]) -> Result<Vec<Route>, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes.iter().take(error.valid_up_to()).filter(|byte| **byte == b'\n').count();
        format!("{name}:{line}: expected text in UTF-8")
    })?;
    let mut routes = Vec::new();
    let mut first_error = None;
    let mut errors = 0usize;
    for (number, line) in (1..).zip(text.lines()) {
        let content = line.split_once('#').map_or(line, |(content, _)| content);
        let line_words: Vec<&str> = content.split_whitespace().collect();
        if line_words.is_empty() {
            continue;
        }
        match words::route(&line_words) {
            Ok(route) => routes.push(route),
            Err(error) => {
                errors += 1;
                first_error.get_or_insert_with(|| format!("{name}:{number}: {error}"));
            }
        }
    }
    match (first_error, errors) {
        (None, _) => Ok(routes),
        (Some(error), 1) => Err(error),
        (Some(error), _) => Err(format!("{error} (and {} other wrong lines)", errors - 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_blank_lines_are_skipped() {
        let text =
            b"# a table\n\n10.0.0.0/8 via 192.0.2.1\n  blackhole 10.1.0.0/16 # not there\r\nunreachable 10.2.0.0/16";
        assert_eq!(parse("table", text).map(|routes| routes.len()), Ok(3));
        assert_eq!(parse("table", b"").map(|routes| routes.len()), Ok(0));
    }

    #[test]
    fn the_first_wrong_line_is_named_and_the_others_are_counted() {
        let one = parse("table", b"10.0.0.0/8 via 192.0.2.1\n10.0.0.0/8 by 192.0.2.1\n");
        assert_eq!(one, Err("table:2: \"by\": expected via ADDRESS".to_owned()));
        let three = parse("table", b"x\n10.0.0.0/8 via 192.0.2.1\ny\nz\n").expect_err("wrong lines were accepted");
        assert!(three.starts_with("table:1: \"x\": expected a prefix"), "{three}");
        assert!(three.ends_with("(and 2 other wrong lines)"), "{three}");
    }

    #[test]
    fn bytes_that_are_no_text_are_found_by_line() {
        assert_eq!(parse("table", b"\n\n\xff"), Err("table:3: expected text in UTF-8".to_owned()));
    }
}
