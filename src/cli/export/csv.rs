//! Comma-separated values as RFC 4180 has them: CRLF at the end of each row, a header, a value in
//! quotes where it needs them, quotes in it doubled.
//!
//! Data stays exact: numbers digit by digit, lists and nested values as their JSON text. A field
//! without a value is empty; an empty text is `""`. A lookup is its name, and a column of its own
//! has the id. `id` comes first, so that no row is blank.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::error::Failure;
use crate::mirror::gather::Gather;
use crate::mirror::record::{FieldName, Record};

use crate::cli::source::fields_of;

/// Columns of an export at most: several times what a module of upstream's has fields, and so few
/// that a module gone wrong does not fill the memory.
const COLUMNS_LIMIT: usize = 5_000;

/// What ends each row.
const END: &str = "\r\n";

/// The columns of an export, learned from the records.
pub(super) struct Columns {
    /// By field, whether it is a lookup in any record.
    lookups: BTreeMap<String, bool>,
    /// The order of the fields, where a person gave one; else they are sorted.
    order: Option<Vec<String>>,
    excel_safe: bool,
}

impl Columns {
    /// The columns for these fields, or for all that there are.
    pub(super) fn new(fields: Option<&[FieldName]>, excel_safe: bool) -> Columns {
        let mut order: Option<Vec<String>> = None;
        if let Some(fields) = fields {
            let mut names: Vec<String> = Vec::new();
            for name in fields.iter().map(FieldName::as_str).filter(|name| *name != ID) {
                if !names.iter().any(|known| known == name) {
                    names.push(name.to_owned());
                }
            }
            order = Some(names);
        }
        let named = order.iter().flatten().map(|name| (name.clone(), false));
        Columns { lookups: named.gather(), order, excel_safe }
    }

    /// Takes in what fields a record has.
    pub(super) fn learn(&mut self, record: &Record) -> Result<(), Failure> {
        for (name, value) in fields_of(record) {
            if name == ID || (self.order.is_some() && !self.lookups.contains_key(&name)) {
                continue;
            }
            let is_lookup = Lookup::of(&value).is_some();
            *self.lookups.entry(name).or_default() |= is_lookup;
        }
        if self.lookups.len() > COLUMNS_LIMIT {
            let why =
                format!("there are more than {COLUMNS_LIMIT} fields; choose some by --fields");
            return Err(Failure::failed(why));
        }
        Ok(())
    }

    /// The first row.
    pub(super) fn header(&self) -> String {
        let mut row = String::from(ID);
        for name in self.names() {
            row.push(',');
            row.push_str(&quoted(name));
            if self.lookups[name] {
                row.push(',');
                row.push_str(&quoted(&format!("{name}.id")));
            }
        }
        row + END
    }

    /// The row of a record; `None` when there is no column for one of its values.
    pub(super) fn row(&self, record: &Record) -> Option<String> {
        let fields = fields_of(record);
        let fits = |name: &String, value| match self.lookups.get(name) {
            Some(is_lookup) => *is_lookup || Lookup::of(value).is_none(),
            None => self.order.is_some() || name == ID,
        };
        if !fields.iter().all(|(name, value)| fits(name, value)) {
            return None;
        }
        let mut row = record.id().to_string();
        for name in self.names() {
            let value = fields.get(name);
            let lookup = value.and_then(|value| Lookup::of(value));
            row.push(',');
            match (&lookup, value) {
                (Some(lookup), _) => row.push_str(&self.cell(lookup.name.as_deref())),
                (None, Some(value)) => row.push_str(&self.cell(Some(value))),
                (None, None) => {}
            }
            if self.lookups[name] {
                row.push(',');
                row.push_str(&self.cell(lookup.as_ref().map(|lookup| &*lookup.id)));
            }
        }
        Some(row + END)
    }

    fn names(&self) -> Box<dyn Iterator<Item = &String> + '_> {
        match &self.order {
            Some(order) => Box::new(order.iter()),
            None => Box::new(self.lookups.keys()),
        }
    }

    /// A value as it stands in a row.
    fn cell(&self, value: Option<&RawValue>) -> String {
        let Some(value) = value.map(RawValue::get).filter(|text| *text != "null") else {
            return String::new();
        };
        if !value.starts_with('"') {
            return quoted(value);
        }
        // A text that Rust cannot hold (half of a surrogate pair) stays as upstream wrote it.
        let text = serde_json::from_str(value).unwrap_or_else(|_| value.to_owned());
        if self.excel_safe && text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
            return quoted(&format!("'{text}"));
        }
        quoted(&text)
    }
}

/// The field that every record has.
const ID: &str = "id";

/// A value that points to another record.
#[derive(serde::Deserialize)]
struct Lookup {
    id: Box<RawValue>,
    name: Option<Box<RawValue>>,
}

impl Lookup {
    fn of(value: &RawValue) -> Option<Lookup> {
        let text = value.get();
        if text.starts_with('{') { serde_json::from_str(text).ok() } else { None }
    }
}

/// The value in quotes, where it needs them. Blanks at its ends do not, but programs trim them.
fn quoted(value: &str) -> String {
    let is_plain = !value.is_empty()
        && !value.contains([',', '"', '\r', '\n'])
        && !value.starts_with([' ', '\t'])
        && !value.ends_with([' ', '\t']);
    if is_plain { value.to_owned() } else { format!("\"{}\"", value.replace('"', "\"\"")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(json: &str) -> Record {
        Record::parse(json).unwrap()
    }

    fn export(records: &[&str], fields: Option<&[&str]>, excel_safe: bool) -> String {
        let fields: Option<Vec<FieldName>> =
            fields.map(|names| names.iter().map(|name| FieldName::parse(name).unwrap()).collect());
        let mut columns = Columns::new(fields.as_deref(), excel_safe);
        let records: Vec<Record> = records.iter().map(|json| record(json)).collect();
        records.iter().for_each(|record| columns.learn(record).unwrap());
        let rows = records.iter().map(|record| columns.row(record).unwrap());
        columns.header() + &rows.collect::<String>()
    }

    #[test]
    fn a_row_holds_what_upstream_wrote() {
        let records = [
            r#"{"id":"2","Name":"a \"b\", c","Amount":1.50,"Owner":{"name":"Öz","id":"7","x":1}}"#,
            r#"{"id":"1","Name":null,"Tags":["a,b"],"Amount":-12345678901234567890.10,"E":""}"#,
        ];
        let expected = "id,Amount,E,Name,Owner,Owner.id,Tags\r\n\
                        2,1.50,,\"a \"\"b\"\", c\",Öz,7,\r\n\
                        1,-12345678901234567890.10,\"\",,,,\"[\"\"a,b\"\"]\"\r\n";
        assert_eq!(export(&records, None, false), expected);
        let chosen = "id,Owner,Owner.id,Gone,Name\r\n2,Öz,7,,\"a \"\"b\"\", c\"\r\n1,,,,\r\n";
        assert_eq!(export(&records, Some(&["Owner", "Gone", "Name", "id"]), false), chosen);
    }

    #[test]
    fn a_formula_is_made_harmless_only_when_asked() {
        let records = [r#"{"id":"1","A":"=1+1","B":-5,"C":"a=b","D":"@x"}"#];
        assert!(export(&records, None, false).ends_with("1,=1+1,-5,a=b,@x\r\n"));
        assert!(export(&records, None, true).ends_with("1,'=1+1,-5,a=b,'@x\r\n"));
    }

    #[test]
    fn a_field_that_came_up_in_between_is_not_left_out_in_silence() {
        let mut columns = Columns::new(None, false);
        columns.learn(&record(r#"{"id":"1","A":1,"B":null}"#)).unwrap();
        assert!(columns.row(&record(r#"{"id":"1","A":1}"#)).is_some());
        assert_eq!(columns.row(&record(r#"{"id":"1","C":1}"#)), None);
        assert_eq!(columns.row(&record(r#"{"id":"1","B":{"id":"2"}}"#)), None);
    }

    /// A reader as RFC 4180 has it, and nothing more lenient.
    fn read(text: &str) -> Vec<Vec<String>> {
        let (mut rows, mut row, mut rest) = (Vec::new(), Vec::new(), text);
        while !rest.is_empty() {
            let mut value = String::new();
            if let Some(inside) = rest.strip_prefix('"') {
                rest = inside;
                loop {
                    let (before, after) = rest.split_once('"').expect("a quote is closed");
                    value.push_str(before);
                    rest = after;
                    let Some(more) = rest.strip_prefix('"') else { break };
                    value.push('"');
                    rest = more;
                }
            } else {
                let end = rest.find([',', '\r', '\n', '"']).expect("a row ends");
                value.push_str(&rest[..end]);
                rest = &rest[end..];
            }
            row.push(value);
            if let Some(more) = rest.strip_prefix(',') {
                rest = more;
            } else {
                rest = rest.strip_prefix("\r\n").expect("a comma or the end of the row follows");
                rows.push(std::mem::take(&mut row));
            }
        }
        rows
    }

    #[test]
    fn what_is_quoted_is_read_back() {
        for seed in 0..300 {
            let mut random = fastrand::Rng::with_seed(seed);
            let letters = ['a', ',', '"', '\r', '\n', ' ', '\t', '=', '\'', 'ß', '😀', '\\', '\0'];
            let texts: Vec<String> = (0..random.usize(1..5))
                .map(|_| (0..random.usize(..8)).map(|_| letters[random.usize(..13)]).collect())
                .collect();
            let fields = texts.iter().enumerate().map(|(number, text)| {
                format!(",\"F{number}\":{}", serde_json::to_string(text).unwrap())
            });
            let json = format!("{{\"id\":\"1\"{}}}", fields.collect::<String>());
            let rows = read(&export(&[&json], None, false));
            assert_eq!(rows.len(), 2, "seed {seed}");
            assert_eq!(rows[1][1..], texts, "seed {seed}");
        }
    }
}
