//! A TOML document whose every value knows where it stands.
//!
//! [`Document`] keeps the place of each key and collects what is found wrong; a [`Table`] hands out one key at a time and
//! at its end reports the keys that nobody asked for. Keys are named by their path, `rule[1].match.ports`; people see
//! it without the numbers, which the line says better.

use std::cell::RefCell;
use std::ops::Range;

use hashbrown::{HashMap, HashSet};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, ConfigErrors};

/// Longest value that is repeated in an error.
const SHOWN: usize = 60;
/// Most errors that are reported of one file.
const REPORTED: usize = 20;

/// The places of a document's keys, and its errors so far.
pub(super) struct Document<'t> {
    file: &'t str,
    text: &'t str,
    places: RefCell<HashMap<String, Range<usize>>>,
    errors: RefCell<Vec<(usize, ConfigError)>>,
}

impl<'t> Document<'t> {
    pub(super) fn new(file: &'t str, text: &'t str) -> Document<'t> {
        Document { file, text, places: RefCell::default(), errors: RefCell::default() }
    }

    /// The document's own table; None, with the error noted, where it is not TOML.
    pub(super) fn root(&self) -> Option<Spanned<DeTable<'t>>> {
        match DeTable::parse(self.text) {
            Ok(table) => Some(table),
            Err(error) => {
                self.push("", error.span().unwrap_or(0..0), None, error.message().trim_end().replace('\n', ", "));
                None
            }
        }
    }

    /// Notes an error about the value at `path`, or about the nearest table that is written there.
    pub(super) fn error(&self, path: &str, message: impl Into<String>) {
        let mut nearest = path;
        let place = loop {
            if let Some(place) = self.places.borrow().get(nearest) {
                break place.clone();
            }
            match nearest.rfind(['.', '[']).and_then(|end| nearest.get(..end)) {
                Some(parent) => nearest = parent,
                None => break 0..0,
            }
        };
        let value = if nearest == path { self.shown(&place) } else { None };
        self.push(path, place, value, message.into());
    }

    /// The errors in the order of the file, or `config` where there are none.
    pub(super) fn finish<T>(self, config: Option<T>) -> Result<T, ConfigErrors> {
        let mut errors = self.errors.into_inner();
        errors.sort_by_key(|(start, _)| *start);
        let errors: Vec<_> = errors.into_iter().take(REPORTED).map(|(_, error)| error).collect();
        match config {
            Some(config) if errors.is_empty() => Ok(config),
            _ => Err(ConfigErrors(errors)),
        }
    }

    /// Whether nothing was found wrong yet.
    pub(super) fn is_sound(&self) -> bool {
        self.errors.borrow().is_empty()
    }

    fn place(&self, path: String, place: Range<usize>) {
        self.places.borrow_mut().insert(path, place);
    }

    /// The value's text, where it is short and on one line.
    fn shown(&self, place: &Range<usize>) -> Option<String> {
        let text = self.text.get(place.clone())?;
        (!text.is_empty() && text.len() <= SHOWN && !text.contains('\n') && !text.starts_with('[')).then(|| text.into())
    }

    fn push(&self, path: &str, place: Range<usize>, value: Option<String>, message: String) {
        let before = self.text.get(..place.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        let error = ConfigError {
            file: self.file.into(),
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or("").chars().count() + 1,
            key: without_numbers(path),
            value,
            message,
        };
        self.errors.borrow_mut().push((place.start, error));
    }
}

/// A key's path as people see it.
fn without_numbers(path: &str) -> String {
    let mut inside = false;
    let keep = |c: &char| {
        inside = (inside || *c == '[') && *c != ']';
        !inside && *c != ']'
    };
    path.chars().filter(keep).collect()
}

/// A table of a document, and which of its keys were asked for.
pub(super) struct Table<'d, 't> {
    document: &'d Document<'t>,
    /// The path of the table; empty for the document's own.
    pub(super) path: String,
    table: &'d DeTable<'t>,
    asked: RefCell<HashSet<&'static str>>,
}

impl<'d, 't> Table<'d, 't> {
    pub(super) fn new(document: &'d Document<'t>, path: String, table: &'d DeTable<'t>) -> Table<'d, 't> {
        Table { document, path, table, asked: RefCell::default() }
    }

    /// The path of one of the table's keys.
    pub(super) fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.into() } else { format!("{}.{key}", self.path) }
    }

    /// Notes an error about one of the table's keys.
    pub(super) fn error(&self, key: &str, message: impl Into<String>) {
        self.document.error(&self.key(key), message);
    }

    /// The value of a key and its path; None where it is not there.
    pub(super) fn value(&self, key: &'static str) -> Option<&'d DeValue<'t>> {
        self.asked.borrow_mut().insert(key);
        let value = self.table.get(key)?;
        self.document.place(self.key(key), value.span());
        Some(value.get_ref())
    }

    /// A key that may be absent. `read` says what the value means, or None: then `expected` is what should be there.
    pub(super) fn optional<T>(
        &self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&'d DeValue<'t>) -> Option<T>,
    ) -> Option<T> {
        let value = read(self.value(key)?);
        if value.is_none() {
            self.error(key, format!("expected {expected}"));
        }
        value
    }

    /// A key that must be there.
    pub(super) fn required<T>(
        &self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&'d DeValue<'t>) -> Option<T>,
    ) -> Option<T> {
        if self.value(key).is_none() {
            self.error(key, format!("missing; expected {expected}"));
            return None;
        }
        self.optional(key, expected, read)
    }

    /// A string that `read` understands.
    pub(super) fn text<T>(&self, key: &'static str, expected: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        self.optional(key, expected, |value| value.as_str().and_then(read))
    }

    /// A string that must be there and that `read` understands.
    pub(super) fn required_text<T>(
        &self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        self.required(key, expected, |value| value.as_str().and_then(read))
    }

    /// An integer in a range.
    pub(super) fn integer(&self, key: &'static str, range: std::ops::RangeInclusive<u32>) -> Option<u32> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        self.optional(key, &expected, |value| integer(value).filter(|value| range.contains(value)))
    }

    /// A list whose elements are strings that `read` understands. Elements that it does not are left out and reported.
    pub(super) fn texts<T>(&self, key: &'static str, expected: &str, read: impl Fn(&str) -> Option<T>) -> Vec<T> {
        self.list(key, expected, |value| value.as_str().and_then(&read))
    }

    /// A list whose elements `read` understands. Elements that it does not are left out and reported.
    pub(super) fn list<T>(
        &self,
        key: &'static str,
        expected: &str,
        read: impl Fn(&'d DeValue<'t>) -> Option<T>,
    ) -> Vec<T> {
        let Some(values) = self.optional(key, &format!("a list, each {expected}"), |value| value.as_array()) else {
            return Vec::new();
        };
        let mut read_values = Vec::new();
        for (position, value) in values.iter().enumerate() {
            let path = format!("{}[{position}]", self.key(key));
            self.document.place(path.clone(), value.span());
            match read(value.get_ref()) {
                Some(value) => read_values.push(value),
                None => self.document.error(&path, format!("expected {expected}")),
            }
        }
        read_values
    }

    /// The table under a key.
    pub(super) fn table(&self, key: &'static str) -> Option<Table<'d, 't>> {
        let table = self.optional(key, "a table", |value| value.as_table())?;
        Some(Table::new(self.document, self.key(key), table))
    }

    /// The tables of an array of tables, `[[key]]`.
    pub(super) fn tables(&self, key: &'static str) -> Vec<Table<'d, 't>> {
        let expected = format!("tables, each begun with [[{key}]]");
        let Some(tables) = self.optional(key, &expected, |value| value.as_array()) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for (position, value) in tables.iter().enumerate() {
            let path = format!("{}[{position}]", self.key(key));
            self.document.place(path.clone(), value.span());
            match value.get_ref().as_table() {
                Some(table) => found.push(Table::new(self.document, path, table)),
                None => self.document.error(&path, format!("expected {expected}")),
            }
        }
        found
    }

    /// Reports the keys that were not asked for.
    pub(super) fn finish(self) {
        let asked = self.asked.borrow();
        let mut known: Vec<_> = asked.iter().copied().collect();
        known.sort_unstable();
        for key in self.table.keys().filter(|key| !asked.contains(key.get_ref().as_ref())) {
            let path = self.key(key.get_ref());
            let message = format!("unknown key; expected one of {}", known.join(", "));
            self.document.push(&path, key.span(), None, message);
        }
    }
}

/// An integer that fits 32 bits without a sign.
pub(super) fn integer(value: &DeValue<'_>) -> Option<u32> {
    let value = value.as_integer()?;
    let digits = value.as_str().strip_prefix('+').unwrap_or(value.as_str());
    u32::from_str_radix(digits, value.radix()).ok()
}
