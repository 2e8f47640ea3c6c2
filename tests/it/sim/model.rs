//! What upstream holds: modules, their records, and what it remembers of deleted ones.
//!
//! Values are raw JSON texts, so that every digit stays as it was written. Nothing here sends a
//! callback: that is what the changes of the simulator do.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use crmirror::mirror::books::entity::Entity;
use serde_json::json;

use super::clock::{Moment, stamp};
use super::wire::Answer;

/// How long the recycle bin keeps a record (facts §4.4).
const RECYCLE_KEPT: Duration = Duration::from_secs(60 * 86_400);
/// How long a deletion is remembered at all (facts §4.4).
const DELETION_KEPT: Duration = Duration::from_secs(120 * 86_400);
/// Ids are beyond 2^53, as upstream's are.
const FIRST_ID: u64 = 6_756_839_000_000_575_405;

/// All modules.
pub struct Model {
    modules: BTreeMap<String, Module>,
    last_id: u64,
}

/// A kind of record.
pub struct Module {
    /// Its API name.
    pub name: String,
    /// Its id.
    pub id: u64,
    /// Whether its records carry `Modified_Time`; some modules' do not (facts §4.3).
    pub has_modified_time: bool,
    /// Which of Books it is; `None` for a module of CRM.
    pub entity: Option<Entity>,
    /// Its fields, beside `id`, `Created_Time` and `Modified_Time`.
    pub fields: Vec<Field>,
    pub(super) rows: BTreeMap<u64, Row>,
    pub(super) gone: BTreeMap<u64, Gone>,
}

/// A field of a module.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its API name.
    pub name: String,
    /// Upstream's data type: `text`, `lookup`, `subform`, …
    pub data_type: String,
    /// Whether only a single record's reply shows it, as with subforms (facts §4.1).
    pub whole_only: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) values: BTreeMap<String, String>,
    /// Seconds since 1970.
    pub(super) created: i64,
    /// Seconds since 1970.
    pub(super) modified: i64,
    pub(super) converted: bool,
    /// The user has no permission to see it.
    pub(super) hidden: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Gone {
    pub(super) row: Row,
    pub(super) at: Moment,
    purged: bool,
}

/// Which list of deletions a deletion stands in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Bin {
    Recycle,
    Permanent,
}

impl Model {
    pub(super) fn new() -> Model {
        Model { modules: BTreeMap::new(), last_id: FIRST_ID }
    }

    /// Adds a module, or finds it.
    pub fn add(&mut self, name: &str) -> &mut Module {
        let id = 6_756_839_000_000_000_101 + 2 * self.modules.len() as u64;
        self.modules.entry(name.to_owned()).or_insert_with(|| Module {
            name: name.to_owned(),
            id,
            has_modified_time: true,
            entity: None,
            fields: Vec::new(),
            rows: BTreeMap::new(),
            gone: BTreeMap::new(),
        })
    }

    /// The module of an entity of Books that was added.
    pub(super) fn entity(&self, entity: Entity) -> &Module {
        &self.modules[entity.plural()]
    }

    /// The module of CRM; `INVALID_MODULE` when there is none.
    pub(super) fn module(&self, name: &str) -> Result<&Module, Answer> {
        let of_crm = self.modules.get(name).filter(|module| module.entity.is_none());
        of_crm.ok_or_else(|| {
            let details = json!({"resource_path_index": 0});
            Answer::refusal(
                400,
                "INVALID_MODULE",
                details,
                "the module name given seems to be invalid",
            )
        })
    }

    /// The module of a test's change, which the test must have added.
    pub(super) fn known(&mut self, name: &str) -> &mut Module {
        self.modules.get_mut(name).unwrap_or_else(|| panic!("no module {name} was added"))
    }

    pub(super) fn modules(&self) -> impl Iterator<Item = &Module> {
        self.modules.values()
    }

    /// An id that was never used.
    pub fn new_id(&mut self) -> u64 {
        self.last_id += 7;
        self.last_id
    }
}

impl Module {
    /// Adds fields that every reply shows.
    pub fn with_fields(&mut self, names: &[&str]) -> &mut Module {
        for name in names {
            self.define(name, "text", false);
        }
        self
    }

    /// Adds a field that only a single record's reply shows.
    pub fn with_whole_only(&mut self, name: &str) -> &mut Module {
        self.define(name, "subform", true);
        self
    }

    /// The records that the user may see, converted ones included.
    pub(super) fn visible(&self) -> impl DoubleEndedIterator<Item = (u64, &Row)> {
        self.rows.iter().filter(|(_, row)| !row.hidden).map(|(&id, row)| (id, row))
    }

    /// What lists show that know of changes until `indexed` only, in the order of ids from this one
    /// on.
    pub(super) fn listed<'a>(
        &'a self,
        indexed: i64,
        from: u64,
    ) -> Box<dyn Iterator<Item = (u64, &'a Row)> + 'a> {
        let rows = self.rows.range(from..).map(|(&id, row)| (id, row));
        let rows = rows.filter(move |(_, row)| !row.hidden && row.created <= indexed);
        let mut gone = self.gone.range(from..).filter(move |(_, gone)| {
            gone.at.unix() > indexed && !gone.row.hidden && gone.row.created <= indexed
        });
        let Some(first) = gone.next() else { return Box::new(rows) };
        let gone = std::iter::once(first).chain(gone).map(|(&id, gone)| (id, &gone.row));
        let mut rows: Vec<(u64, &Row)> = rows.chain(gone).collect();
        rows.sort_unstable_by_key(|(id, _)| *id);
        Box::new(rows.into_iter())
    }

    /// The deletions that upstream still remembers and the user may see.
    pub(super) fn remembered(&self, now: Moment) -> impl Iterator<Item = (u64, &Gone, Bin)> {
        let seen = self.gone.iter().filter(|(_, gone)| !gone.row.hidden);
        seen.filter_map(move |(&id, gone)| gone.bin(now).map(|bin| (id, gone, bin)))
    }

    pub(super) fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    pub(super) fn define(&mut self, name: &str, data_type: &str, whole_only: bool) {
        if self.field(name).is_none() {
            let data_type = match data_type {
                "text" if name.contains("Email") => "email",
                "text" if name.contains("Phone") => "phone",
                other => other,
            };
            let (name, data_type) = (name.to_owned(), data_type.to_owned());
            self.fields.push(Field { name, data_type, whole_only });
        }
    }

    /// Sets values; fields that were not known are now. Gives back what was set.
    pub(super) fn set(&mut self, id: u64, values: &[(&str, &str)]) -> Vec<(String, String)> {
        for (name, raw) in values {
            let parsed = serde_json::from_str::<&serde_json::value::RawValue>(raw);
            assert!(parsed.is_ok(), "{name}: {raw} is not JSON; a string needs its quotes");
            let data_type = if raw.starts_with('{') { "lookup" } else { "text" };
            self.define(name, data_type, false);
        }
        let values: Vec<(String, String)> =
            values.iter().map(|&(name, raw)| (name.to_owned(), raw.to_owned())).collect();
        let row = self.rows.get_mut(&id).expect("values are set on a record that is there");
        row.values.extend(values.iter().cloned());
        values
    }

    pub(super) fn throw_away(&mut self, id: u64, now: Moment, purged: bool) -> bool {
        let Some(row) = self.rows.remove(&id) else { return false };
        self.gone.insert(id, Gone { row, at: now, purged });
        true
    }

    /// Ends a record in the recycle bin for good. False when it is not there.
    pub(super) fn empty_bin_of(&mut self, id: u64, now: Moment) -> bool {
        match self.gone.get_mut(&id) {
            Some(gone) if gone.bin(now) == Some(Bin::Recycle) => {
                gone.purged = true;
                true
            }
            _ => false,
        }
    }

    /// Takes a record back from the recycle bin. False when it is not there.
    pub(super) fn take_back(&mut self, id: u64, now: Moment) -> bool {
        match self.gone.remove(&id) {
            Some(gone) if gone.bin(now) == Some(Bin::Recycle) => {
                self.rows.insert(id, gone.row);
                true
            }
            Some(gone) => {
                self.gone.insert(id, gone);
                false
            }
            None => false,
        }
    }

    /// The record as a JSON object with its keys in order; `whole` as a single record's reply
    /// shows it, else as a list does. `only` leaves all other fields out, `id` excepted.
    pub(super) fn json(
        &self,
        id: u64,
        row: &Row,
        whole: bool,
        only: Option<&[&str]>,
        offset: i32,
    ) -> String {
        let [key, created, modified] = match self.entity {
            None => ["id", "Created_Time", "Modified_Time"],
            Some(entity) => [entity.id_key(), "created_time", "last_modified_time"],
        };
        let quoted = |seconds: i64| {
            let mut stamp = stamp(seconds, offset);
            if self.entity.is_some() {
                // Books writes no colon there.
                stamp.remove(stamp.len() - 3);
            }
            Cow::Owned(format!("\"{stamp}\""))
        };
        let mut shown: BTreeMap<&str, Cow<'_, str>> = match only {
            Some(only) => only
                .iter()
                .filter_map(|name| row.values.get_key_value(*name))
                .map(|(name, raw)| (name.as_str(), Cow::Borrowed(raw.as_str())))
                .collect(),
            None => row
                .values
                .iter()
                .map(|(name, raw)| (name.as_str(), Cow::Borrowed(raw.as_str())))
                .collect(),
        };
        for field in self.fields.iter().filter(|field| field.whole_only && !whole) {
            shown.remove(field.name.as_str());
        }
        shown.insert(created, quoted(row.created));
        if self.has_modified_time {
            shown.insert(modified, quoted(row.modified));
        }
        for stamp in [created, modified] {
            if only.is_some_and(|only| !only.contains(&stamp)) {
                shown.remove(stamp);
            }
        }
        shown.insert(key, Cow::Owned(format!("\"{id}\"")));
        let members: Vec<String> =
            shown.iter().map(|(name, raw)| format!("\"{name}\":{raw}")).collect();
        format!("{{{}}}", members.join(","))
    }
}

impl Gone {
    fn bin(&self, now: Moment) -> Option<Bin> {
        let age = now.since(self.at);
        match self.purged || age > RECYCLE_KEPT {
            false => Some(Bin::Recycle),
            true if age <= DELETION_KEPT => Some(Bin::Permanent),
            true => None,
        }
    }
}
