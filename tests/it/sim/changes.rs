//! What people do upstream: records are created, edited, deleted, merged, hidden. Each change that
//! upstream would announce and a channel covers goes to the outbox.
//!
//! Changes return whether they found what they change, so that a random sequence of them needs no
//! bookkeeping. Values are given as raw JSON: `("Last_Name", "\"Holmes\"")`, `("Amount", "12.50")`.

use std::collections::BTreeMap;

use super::callbacks::{Changed, Verb};
use super::clock::Moment;
use super::model::Row;
use super::{Upstream, stamp};

impl Upstream {
    /// A new record under an id of upstream's choice.
    pub fn create(&mut self, module: &str, values: &[(&str, &str)]) -> u64 {
        let id = self.model.new_id();
        self.create_as(module, id, values);
        id
    }

    /// A new record under this id, which must be free and never used before.
    pub fn create_as(&mut self, module: &str, id: u64, values: &[(&str, &str)]) {
        self.load(module, id, self.now(), values);
        self.announce(module, Verb::Create, &[(id, Vec::new())]);
    }

    /// `count` new records in one second, announced together: an import.
    pub fn mass_create(&mut self, module: &str, count: usize, values: &[(&str, &str)]) -> Vec<u64> {
        let now = self.now();
        let ids: Vec<u64> = (0..count).map(|_| self.model.new_id()).collect();
        for &id in &ids {
            self.load(module, id, now, values);
        }
        let changed: Vec<Changed> = ids.iter().map(|&id| (id, Vec::new())).collect();
        self.announce(module, Verb::Create, &changed);
        ids
    }

    /// A record that was there before the story begins: no callback, stamped `at`.
    pub fn load(&mut self, module: &str, id: u64, at: Moment, values: &[(&str, &str)]) {
        let module = self.model.known(module);
        let fresh = Row { created: at.unix(), modified: at.unix(), ..Row::default() };
        let before = module.rows.insert(id, fresh);
        assert!(before.is_none() && !module.gone.contains_key(&id), "id {id} was used before");
        module.set(id, values);
    }

    /// Sets values of a record.
    pub fn edit(&mut self, module: &str, id: u64, values: &[(&str, &str)]) -> bool {
        self.mass_update(module, &[id], values) == 1
    }

    /// Sets the same values of many records in one second, announced together. Gives the number of
    /// records found.
    pub fn mass_update(&mut self, module: &str, ids: &[u64], values: &[(&str, &str)]) -> usize {
        let seconds = self.now().unix();
        let known = self.model.known(module);
        let mut changed: Vec<Changed> = Vec::new();
        for &id in ids {
            if let Some(row) = known.rows.get_mut(&id) {
                row.modified = seconds;
                changed.push((id, known.set(id, values)));
            }
        }
        self.announce(module, Verb::Edit, &changed);
        changed.len()
    }

    /// Moves a record to the recycle bin.
    pub fn delete(&mut self, module: &str, id: u64) -> bool {
        self.remove(module, id, false)
    }

    /// Deletes a record for good, be it live or in the recycle bin; only the former is announced.
    pub fn purge(&mut self, module: &str, id: u64) -> bool {
        let now = self.now();
        self.model.known(module).empty_bin_of(id, now) || self.remove(module, id, true)
    }

    /// Takes a record back from the recycle bin; whether it is announced and restamped, the knobs
    /// say.
    pub fn restore(&mut self, module: &str, id: u64) -> bool {
        let now = self.now();
        let known = self.model.known(module);
        if !known.take_back(id, now) {
            return false;
        }
        if self.knobs.restore_moves_modified {
            known.rows.get_mut(&id).expect("it was just taken back").modified = now.unix();
        }
        if self.knobs.restore_notifies {
            self.announce(module, Verb::Create, &[(id, Vec::new())]);
        }
        true
    }

    /// Merges `duplicate` into `kept`, which takes over what it has no value for. Nothing is
    /// announced (facts §2.4) and the duplicate is in no list of deletions.
    pub fn merge(&mut self, module: &str, kept: u64, duplicate: u64) -> bool {
        let seconds = self.now().unix();
        let known = self.model.known(module);
        if kept == duplicate || !known.rows.contains_key(&kept) {
            return false;
        }
        let Some(duplicate) = known.rows.remove(&duplicate) else { return false };
        let row = known.rows.get_mut(&kept).expect("looked for above");
        row.modified = seconds;
        for (name, raw) in duplicate.values {
            let own = row.values.entry(name).or_insert_with(|| "null".to_owned());
            if own == "null" {
                *own = raw;
            }
        }
        true
    }

    /// Converts a lead: it leaves the lists that do not ask for converted ones (facts §2.4).
    pub fn convert(&mut self, module: &str, id: u64) -> bool {
        let seconds = self.now().unix();
        let Some(row) = self.model.known(module).rows.get_mut(&id) else { return false };
        row.converted = true;
        row.modified = seconds;
        self.announce(module, Verb::Edit, &[(id, Vec::new())]);
        true
    }

    /// Takes from the user the permission to see a record: it is gone without a word.
    pub fn revoke_permission(&mut self, module: &str, id: u64) -> bool {
        self.hide(module, id, true)
    }

    /// Gives the permission back: the record is there again, its stamps as they were.
    pub fn grant_permission(&mut self, module: &str, id: u64) -> bool {
        self.hide(module, id, false)
    }

    /// A formula gives a new value: the content changes and `Modified_Time` does not (facts §2.4).
    pub fn touch_formula(&mut self, module: &str, id: u64, field: &str, raw: &str) -> bool {
        let known = self.model.known(module);
        known.rows.contains_key(&id) && !known.set(id, &[(field, raw)]).is_empty()
    }

    /// Removes a channel without a word, as upstream is seen to do.
    pub fn drop_channel(&mut self, id: &str) -> bool {
        self.channels.remove(id)
    }

    /// The ids of the channels that are live now.
    pub fn live_channels(&self) -> Vec<String> {
        self.channels.live(self.now()).map(|channel| channel.id.clone()).collect()
    }

    /// The ids of the records that the user may see, converted ones included.
    pub fn ids(&self, module: &str) -> Vec<u64> {
        let module = self.model.modules().find(|known| known.name == module);
        module.map_or_else(Vec::new, |module| module.visible().map(|(id, _)| id).collect())
    }

    /// What a mirror must hold in the end: every record the user may see, as a JSON object with
    /// its keys in order; with or without the fields that only a single record's reply shows.
    pub fn truth(&self, module: &str, whole: bool) -> BTreeMap<u64, String> {
        let offset = self.knobs.offset_minutes;
        let module = self.model.modules().find(|known| known.name == module);
        let rows = module.into_iter().flat_map(|module| {
            module.visible().map(move |(id, row)| (id, module.json(id, row, whole, None, offset)))
        });
        rows.collect()
    }

    fn remove(&mut self, module: &str, id: u64, purged: bool) -> bool {
        let now = self.now();
        let known = self.model.known(module);
        if known.rows.get(&id).is_some_and(|row| row.hidden) {
            return known.throw_away(id, now, purged);
        }
        if !known.throw_away(id, now, purged) {
            return false;
        }
        // What a deletion is seen to carry (facts §2.1).
        let by = r#"{"name":"Ada Lovelace","id":"6756839000000421001","email":"ada@example.com"}"#;
        let values = vec![
            ("Modified_By".to_owned(), by.to_owned()),
            ("Record_Status__s".to_owned(), "0".to_owned()),
        ];
        self.announce(module, Verb::Delete, &[(id, values)]);
        true
    }

    fn hide(&mut self, module: &str, id: u64, hidden: bool) -> bool {
        let row = self.model.known(module).rows.get_mut(&id);
        row.is_some_and(|row| std::mem::replace(&mut row.hidden, hidden) != hidden)
    }
}
