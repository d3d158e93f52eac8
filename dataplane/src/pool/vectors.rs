//! Reads the golden vectors of tests/vectors, whose README says what they look like.

use std::path::Path;

/// A part of a vector: a line of words, and the bytes behind it.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) words: Vec<String>,
    pub(crate) bytes: Vec<u8>,
}

/// A file of tests/vectors.
#[derive(Clone, Debug)]
pub(crate) struct Vector {
    /// The file's name without its ending.
    pub(crate) name: String,
    sections: Vec<Section>,
}

impl Vector {
    /// All vectors of a directory, in the order of their names.
    pub(crate) fn all(directory: &str) -> Vec<Vector> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors").join(directory);
        let mut vectors: Vec<Vector> = std::fs::read_dir(&directory)
            .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
            .map(|entry| {
                let path = entry.expect("an entry of the directory").path();
                let name = path.file_stem().and_then(|name| name.to_str()).expect("a name in ASCII").to_owned();
                let text = std::fs::read_to_string(&path).expect("a text file");
                Vector { sections: parse(&text).unwrap_or_else(|problem| panic!("{name}: {problem}")), name }
            })
            .collect();
        vectors.sort_by(|a, b| a.name.cmp(&b.name));
        vectors
    }

    /// The vector with this name.
    pub(crate) fn named(directory: &str, name: &str) -> Vector {
        let mut vectors = Vector::all(directory).into_iter();
        vectors.find(|vector| vector.name == name).unwrap_or_else(|| panic!("{directory} has no {name}"))
    }

    /// What both ends were told before: the words behind `given`.
    pub(crate) fn given(&self) -> Vec<Vec<&str>> {
        let given = self.sections.iter().filter(|section| section.words[0] == "given");
        given.map(|section| section.words[1..].iter().map(String::as_str).collect()).collect()
    }

    /// What arrives, in its order: `packet` or `payload`, and the bytes.
    pub(crate) fn arrivals(&self) -> Vec<(&str, &[u8])> {
        let arrivals = self.sections.iter().map(|section| (section.words[0].as_str(), section.bytes.as_slice()));
        arrivals.filter(|(word, _)| matches!(*word, "packet" | "payload")).collect()
    }

    /// The only section that begins with this word.
    pub(crate) fn section(&self, word: &str) -> &Section {
        let mut found = self.sections.iter().filter(|section| section.words[0] == word);
        let section = found.next().unwrap_or_else(|| panic!("{}: no {word}", self.name));
        assert!(found.next().is_none(), "{}: {word} twice", self.name);
        section
    }

    /// Whether a section begins with this word.
    pub(crate) fn has(&self, word: &str) -> bool {
        self.sections.iter().any(|section| section.words[0] == word)
    }

    /// What a receiver must do: the words behind `expect`, and the bytes that are the outcome.
    pub(crate) fn expected(&self) -> Vec<(Vec<&str>, &[u8])> {
        let expected = self.sections.iter().filter(|section| section.words[0] == "expect");
        expected
            .map(|section| (section.words[1..].iter().map(String::as_str).collect(), section.bytes.as_slice()))
            .collect()
    }
}

fn is_byte(word: &str) -> bool {
    word.len() == 2 && word.bytes().all(|digit| digit.is_ascii_hexdigit())
}

fn parse(text: &str) -> Result<Vec<Section>, String> {
    let mut sections: Vec<Section> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some(first) = words.first() else { continue };
        if is_byte(first) {
            let section = sections.last_mut().ok_or(format!("line {number}: bytes of what?"))?;
            for word in words {
                let byte = u8::from_str_radix(word, 16).ok().filter(|_| is_byte(word));
                section.bytes.push(byte.ok_or(format!("line {number}: {word} is no byte in hex"))?);
            }
        } else if !["at", "given", "packet", "payload", "expect", "written"].contains(first) {
            return Err(format!("line {number}: {first} begins no section"));
        } else {
            let words = words.into_iter().map(str::to_owned).collect();
            sections.push(Section { words, bytes: Vec::new() });
        }
    }
    Ok(sections)
}

#[test]
fn comments_and_white_space_say_nothing_and_what_is_no_byte_is_refused() {
    let sections = parse("# a comment\n\npayload # the bytes\n10 0a\n  ff\nexpect drop no_rows\n").expect("sound");
    let [payload, expect] = sections.as_slice() else { panic!("{sections:?}") };
    assert_eq!((payload.words[0].as_str(), payload.bytes.as_slice()), ("payload", &[0x10, 0x0a, 0xff][..]));
    assert_eq!(expect.words, ["expect", "drop", "no_rows"]);
    assert!(parse("payload\n10 zz").is_err_and(|problem| problem.contains("line 2: zz")));
    assert!(parse("10 20").is_err());
    assert!(parse("kind 1\n10").is_err_and(|problem| problem.contains("line 1: kind")));
}
