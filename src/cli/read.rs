//! `crmirror get` and `crmirror list`: the mirror, read through the running daemon, or from the
//! store itself when none runs.

use std::cmp::Ordering;

use serde_json::value::RawValue;

use crate::config::Config;
use crate::error::Failure;
use crate::mirror::record::{FieldName, ModuleName, Record, RecordId};

use super::args::List;
use super::source::{Source, fields_of};
use super::table::Table;
use super::{print, terminal_width};

/// Fields by which people know a record, shown in a table where it has them.
const TELLING: [&str; 10] = [
    "Full_Name",
    "Last_Name",
    "Deal_Name",
    "Account_Name",
    "Product_Name",
    "Name",
    "Subject",
    "Email",
    "Phone",
    "Modified_Time",
];

/// Shows one record.
pub(super) fn get(
    config: &Config,
    module: &ModuleName,
    id: RecordId,
    json: bool,
) -> Result<(), Failure> {
    let record = Source::of_module(config, module)?.record(module, id)?.ok_or_else(|| {
        Failure::failed(format!("{module}/{id} is not in the mirror, or was deleted"))
    })?;
    if json {
        return print(&format!("{}\n", record.json()));
    }
    let fields = fields_of(&record);
    let mut table = Table::new(["field", "value"]);
    for (name, value) in &fields {
        table.push([name.as_str(), shown(value).as_str()]);
    }
    print(&table.render(terminal_width()))
}

/// Shows records.
pub(super) fn list(config: &Config, list: &List, json: bool) -> Result<(), Failure> {
    let source = Source::of_module(config, &list.module)?;
    let mut records = Vec::new();
    let matches = |record: &Record| list.criteria.as_ref().is_none_or(|c| c.matches(record));
    // Sorted, the first few may be anywhere; unsorted, they come first.
    let enough = if list.sort.is_some() { usize::MAX } else { list.limit };
    source.each(&list.module, &mut |record| {
        if records.len() < enough && matches(&record) {
            records.push(record);
        }
        records.len() < enough
    })?;
    if let Some(field) = &list.sort {
        let mut keyed: Vec<_> =
            records.into_iter().map(|record| (sort_key(&record, field), record)).collect();
        keyed.sort_by(|(one, _), (other, _)| compare(one, other));
        records = keyed.into_iter().map(|(_, record)| record).collect();
    }
    records.truncate(list.limit);
    match (json, records.is_empty()) {
        (true, _) => print_json(&records, list.fields.as_deref()),
        (false, true) => print("no records\n"),
        (false, false) => print_table(&records, list),
    }
}

fn print_json(records: &[Record], fields: Option<&[FieldName]>) -> Result<(), Failure> {
    let texts: Result<Vec<String>, _> = records
        .iter()
        .map(|record| match fields {
            Some(fields) => record.select(fields),
            None => Ok(record.json().to_owned()),
        })
        .collect();
    let texts = texts.map_err(|error| Failure::failed(error.to_string()))?;
    print(&format!("{{\"data\":[{}]}}\n", texts.join(",")))
}

fn print_table(records: &[Record], list: &List) -> Result<(), Failure> {
    let columns: Vec<String> = match &list.fields {
        Some(fields) => fields.iter().map(ToString::to_string).collect(),
        None => {
            let first = records.first().map(fields_of).unwrap_or_default();
            let telling = TELLING.iter().filter(|name| first.contains_key(**name));
            telling.map(|name| (*name).to_owned()).collect()
        }
    };
    let mut table = Table::new(["id"].into_iter().chain(columns.iter().map(String::as_str)));
    for record in records {
        let fields = fields_of(record);
        let id = record.id().to_string();
        let cells: Vec<String> = columns
            .iter()
            .map(|name| fields.get(name).map(|value| shown(value)).unwrap_or_default())
            .collect();
        table.push([id.as_str()].into_iter().chain(cells.iter().map(String::as_str)));
    }
    print(&table.render(terminal_width()))
}

/// A value in one line: of a lookup its name, of anything else its own text.
fn shown(value: &RawValue) -> String {
    #[derive(serde::Deserialize)]
    struct Lookup {
        name: String,
    }
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'"') => serde_json::from_str(text).unwrap_or_default(),
        Some(b'{') => match serde_json::from_str::<Lookup>(text) {
            Ok(lookup) => lookup.name,
            Err(_) => text.to_owned(),
        },
        Some(b'n') => String::new(),
        Some(_) | None => text.to_owned(),
    }
}

/// By what a value is sorted: numbers before texts, each in their own order; what is empty comes
/// last.
fn sort_key(record: &Record, field: &FieldName) -> (u8, f64, String) {
    let value = fields_of(record).remove(field.as_str());
    let text = value.map(|value| shown(&value)).unwrap_or_default();
    match text.parse::<f64>() {
        _ if text.is_empty() => (2, 0.0, text),
        Ok(number) => (0, number, String::new()),
        Err(_) => (1, 0.0, text.to_lowercase()),
    }
}

fn compare(one: &(u8, f64, String), other: &(u8, f64, String)) -> Ordering {
    let numbers = || one.1.total_cmp(&other.1);
    one.0.cmp(&other.0).then_with(numbers).then_with(|| one.2.cmp(&other.2))
}
