//! A section of the file, read key by key, with the line of everything that is wrong in it.
//!
//! What is asked for is what is allowed: a key that nobody has asked for when the section is
//! finished is an unknown key. So the keys stand in one place, where they are read. This is why
//! the raw file is walked here and not derived by serde, which would also stop at the first
//! problem and could not say which key it lay in.

use std::ops::RangeInclusive;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Problem;
use crate::mirror::span::shown;

/// The file and what it holds, for telling where something stands.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    /// The path of the file, as it was given.
    pub(super) file: &'a Path,
    /// What the file holds.
    pub(super) bytes: &'a [u8],
}

impl Source<'_> {
    /// The line, from 1, of the byte at this place.
    pub(super) fn line(&self, offset: usize) -> usize {
        let before = &self.bytes[..offset.min(self.bytes.len())];
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }

    /// A problem in this file.
    pub(super) fn problem(&self, line: Option<usize>, key: String, what: String) -> Problem {
        Problem { file: self.file.to_owned(), line, key, what }
    }
}

/// What was found in a file: what makes it unusable, and what is only worth saying.
#[derive(Default)]
pub(super) struct Findings {
    /// What is wrong.
    pub(super) errors: Vec<Problem>,
    /// What works, but hardly as it was meant.
    pub(super) warnings: Vec<Problem>,
}

/// A section, or the whole file as the section without a name.
pub(super) struct Section<'a> {
    source: Source<'a>,
    name: &'static str,
    /// The line of its header; the whole file and a section left out have none.
    line: Option<usize>,
    /// `None` for a section left out, which reads like an empty one.
    table: Option<&'a DeTable<'a>>,
    /// It is there but is no section. That has been noted, and that keys are missing in it would
    /// only mislead.
    broken: bool,
    allowed: Vec<&'static str>,
    findings: Findings,
}

impl<'a> Section<'a> {
    /// The whole file.
    pub(super) fn whole(source: Source<'a>, table: &'a DeTable<'a>) -> Section<'a> {
        Section::new(source, "", None, Some(table))
    }

    fn new(
        source: Source<'a>,
        name: &'static str,
        line: Option<usize>,
        table: Option<&'a DeTable<'a>>,
    ) -> Section<'a> {
        let (allowed, findings) = (Vec::new(), Findings::default());
        Section { source, name, line, table, broken: false, allowed, findings }
    }

    /// The directory of the file: what relative paths are relative to.
    pub(super) fn directory(&self) -> &'a Path {
        self.source.file.parent().unwrap_or(Path::new(""))
    }

    /// Whether the key is there, with a right value or a wrong one.
    pub(super) fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    /// Reads a text. `None` when the key is left out, or wrong and noted as such.
    pub(super) fn text<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.read(key, |value| text_of(value).and_then(parse))
    }

    /// Reads a text, or takes the default when the key is left out. `None` when it is wrong.
    pub(super) fn text_or<T>(
        &mut self,
        key: &'static str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let left_out = !self.has(key);
        self.text(key, parse).or_else(|| left_out.then_some(default))
    }

    /// Reads a text that must be there; `hint` says what to write.
    pub(super) fn required_text<T>(
        &mut self,
        key: &'static str,
        hint: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        if !self.has(key) {
            self.wrong(key, format!("missing; {hint}"));
        }
        self.text(key, parse)
    }

    /// Reads a text, or a whole number as the text of its digits.
    pub(super) fn digits<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.read(key, |value| match value {
            DeValue::Integer(number) if number.radix() == 10 => parse(number.as_str()),
            other => text_of(other).and_then(parse),
        })
    }

    /// Reads `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        self.read(key, |value| value.as_bool().ok_or_else(|| mismatch("true or false", value)))
    }

    /// Reads a whole number within these bounds.
    pub(super) fn number(&mut self, key: &'static str, bounds: RangeInclusive<u32>) -> Option<u32> {
        self.read(key, |value| {
            let wanted = format!("a whole number from {} to {}", bounds.start(), bounds.end());
            let number = value.as_integer().ok_or_else(|| mismatch(&wanted, value))?;
            u32::from_str_radix(number.as_str(), number.radix())
                .ok()
                .filter(|number| bounds.contains(number))
                .ok_or_else(|| format!("write {wanted}, not {number}"))
        })
    }

    /// Reads a list of texts, none of them twice. Each wrong one is noted with its own line.
    pub(super) fn texts<T: PartialEq>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let list = self.read(key, |value| {
            value.as_array().ok_or_else(|| mismatch("a list of texts in quotes", value))
        })?;
        let mut found = Vec::with_capacity(list.len());
        for element in list {
            let parsed = text_of(element.get_ref()).and_then(|text| {
                let value = parse(text)?;
                if found.contains(&value) {
                    return Err(format!("{} is there twice; write it once", shown(text)));
                }
                Ok(value)
            });
            match parsed {
                Ok(value) => found.push(value),
                Err(what) => {
                    let line = self.source.line(element.span().start);
                    self.note(Some(line), key, what);
                }
            }
        }
        (found.len() == list.len()).then_some(found)
    }

    /// Opens a section of this one (`[upstream]`); one left out reads like an empty one.
    pub(super) fn section(&mut self, name: &'static str) -> Section<'a> {
        let line = self.key_line(name);
        let table = self.read(name, |value| {
            value.as_table().ok_or_else(|| format!("write it as a section: [{name}], once"))
        });
        let broken = self.has(name) && table.is_none();
        Section { broken, ..Section::new(self.source, name, line, table) }
    }

    /// Opens each of the sections of this name (`[[module]]`).
    pub(super) fn sections(&mut self, name: &'static str) -> Vec<Section<'a>> {
        self.inner_sections(name, name)
    }

    /// Opens each of the sections of this name within this one, of which messages show the whole
    /// name: `[[books.webhook]]` in that of Books.
    pub(super) fn inner_sections(
        &mut self,
        name: &'static str,
        shown: &'static str,
    ) -> Vec<Section<'a>> {
        type Tables<'a> = Vec<(usize, &'a DeTable<'a>)>;
        let tables = self.read(name, |value| {
            value
                .as_array()
                .and_then(|list| {
                    let table = |one: &'a Spanned<DeValue<'a>>| {
                        Some((one.span().start, one.get_ref().as_table()?))
                    };
                    list.iter().map(table).collect()
                })
                .filter(|tables: &Tables<'a>| !tables.is_empty())
                .ok_or_else(|| format!("write it with two brackets, [[{shown}]], once for each"))
        });
        let source = self.source;
        tables
            .into_iter()
            .flatten()
            .map(|(at, table)| Section::new(source, shown, Some(source.line(at)), Some(table)))
            .collect()
    }

    /// Notes that the value of this key, or its absence, is wrong.
    pub(super) fn wrong(&mut self, key: &str, what: impl Into<String>) {
        self.note(self.key_line(key).or(self.line), key, what.into());
    }

    /// Notes something that works, but hardly as it was meant.
    pub(super) fn warn(&mut self, key: &str, what: impl Into<String>) {
        let line = self.key_line(key).or(self.line);
        self.findings.warnings.push(self.source.problem(line, self.path_of(key), what.into()));
    }

    /// Ends the reading: what nobody asked for is unknown.
    pub(super) fn finish(mut self, findings: &mut Findings) {
        for key in self.table.into_iter().flat_map(|table| table.keys()) {
            if !self.allowed.contains(&key.get_ref().as_ref()) {
                let line = self.source.line(key.span().start);
                self.note(Some(line), key.get_ref(), self.unknown(key.get_ref()));
            }
        }
        if !self.broken {
            findings.errors.append(&mut self.findings.errors);
        }
        findings.warnings.append(&mut self.findings.warnings);
    }

    fn unknown(&self, key: &str) -> String {
        let allowed = self.allowed.join(", ");
        let mut what = match self.name {
            "" => format!("unknown section; allowed are {allowed}"),
            name => format!("unknown key; allowed in {name} are {allowed}"),
        };
        if let Some(meant) = nearest(key, &self.allowed) {
            what += &format!("; did you mean '{meant}'?");
        }
        what
    }

    fn read<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&'a DeValue<'a>) -> Result<T, String>,
    ) -> Option<T> {
        self.allowed.push(key);
        match read(self.value(key)?.get_ref()) {
            Ok(value) => Some(value),
            Err(what) => {
                self.wrong(key, what);
                None
            }
        }
    }

    fn value(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table?.get(key)
    }

    fn key_line(&self, key: &str) -> Option<usize> {
        let (key, _) = self.table?.get_key_value(key)?;
        Some(self.source.line(key.span().start))
    }

    fn path_of(&self, key: &str) -> String {
        let key = key.escape_debug();
        if self.name.is_empty() { key.to_string() } else { format!("{}.{key}", self.name) }
    }

    fn note(&mut self, line: Option<usize>, key: &str, what: String) {
        self.findings.errors.push(self.source.problem(line, self.path_of(key), what));
    }
}

fn text_of<'a>(value: &'a DeValue<'_>) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| mismatch("a text in quotes", value))
}

fn mismatch(wanted: &str, found: &DeValue<'_>) -> String {
    let found = match found {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    };
    format!("write {wanted}, not {found}")
}

/// More wrong letters than this and a guess is as likely to mislead as to help.
const TYPING_ERRORS: usize = 2;

fn nearest<'k>(key: &str, allowed: &[&'k str]) -> Option<&'k str> {
    allowed
        .iter()
        .map(|known| (distance(key, known), *known))
        .filter(|(distance, known)| *distance <= TYPING_ERRORS && *distance < known.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// How many letters must be put in, taken out or replaced to make one text of the other.
fn distance(one: &str, other: &str) -> usize {
    let mut above: Vec<usize> = (0..=other.chars().count()).collect();
    for (row, a) in one.chars().enumerate() {
        let mut diagonal = row;
        above[0] = row + 1;
        for (column, b) in other.chars().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = above[column + 1];
            above[column + 1] = replaced.min(above[column] + 1).min(diagonal + 1);
        }
    }
    above[above.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_that_was_meant_is_found() {
        let allowed = ["data_centre", "accounts", "api", "api_version"];
        assert_eq!(nearest("data_center", &allowed), Some("data_centre"));
        assert_eq!(nearest("account", &allowed), Some("accounts"));
        assert_eq!(nearest("apis", &allowed), Some("api"));
        assert_eq!(nearest("region", &allowed), None);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
