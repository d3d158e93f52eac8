//! Texts that nobody would write: none panics, and each error names a place.

use proptest::prelude::*;

use super::WHOLE;
use crate::config::parse;

/// A configuration with a few bytes of it changed, doubled, or swapped with what could stand there.
fn mutated() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "",
        "\"",
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        "=",
        "\n",
        "0",
        "-1",
        "99999999999999999999",
        "true",
        "\u{0}",
        "µ",
        "1e9",
        "0x7f",
        "1979-05-27",
        "\"\"",
        "[1]",
        "''",
        "nan",
        "/33",
        "255.255.255.255",
        "0.0.0.0",
    ]);
    prop::collection::vec((any::<prop::sample::Index>(), 0usize..12, pieces), 0..6).prop_map(|changes| {
        let mut text: Vec<char> = WHOLE.chars().collect();
        for (place, length, piece) in changes {
            let start = place.index(text.len() + 1);
            let end = (start + length).min(text.len());
            text.splice(start..end, piece.chars());
        }
        text.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_panics_and_every_error_names_a_place(text in mutated()) {
        if let Err(errors) = parse(&text, "c.toml") {
            prop_assert!(!errors.0.is_empty());
            let lines = text.split('\n').count();
            for error in errors.0 {
                prop_assert!((1..=lines).contains(&error.line), "{error}");
                prop_assert!(error.column >= 1, "{error}");
                prop_assert!(!error.message.is_empty());
            }
        }
    }

    #[test]
    fn no_garbage_panics(text in "\\PC{0,200}") {
        let _ = parse(&text, "c.toml");
    }
}
