//! The people who work upstream: one random change after another, drawn from a seed.
//!
//! They remember whom they ever met, so that a change can hit what is deleted or hidden, and which
//! records were changed in a way that moves no stamp: of those no catch-up can know.

use std::collections::{BTreeMap, BTreeSet};

use crmirror::mirror::books::entity::Entity;

use crate::sim::Upstream;

/// What people do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Create,
    Edit,
    Delete,
    Purge,
    Restore,
    Merge,
    Revoke,
    Grant,
    MassCreate,
    MassUpdate,
    Convert,
    Formula,
}

/// What upstream announces by callbacks, whatever its knobs say.
pub(super) const ANNOUNCED: [Kind; 7] = [
    Kind::Create,
    Kind::Edit,
    Kind::Delete,
    Kind::Purge,
    Kind::MassCreate,
    Kind::MassUpdate,
    Kind::Convert,
];

/// What it may leave unsaid.
pub(super) const SILENT: [Kind; 5] =
    [Kind::Restore, Kind::Merge, Kind::Revoke, Kind::Grant, Kind::Formula];

/// A module that people work in, and the fields they fill.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    pub(super) module: String,
    pub(super) fields: Vec<String>,
}

/// The people.
pub(super) struct People {
    pub(super) dice: fastrand::Rng,
    pub(super) desks: Vec<Desk>,
    pub(super) kinds: Vec<Kind>,
    /// Records of an ordinary mass change, at most.
    pub(super) mass: usize,
    met: BTreeMap<String, Vec<u64>>,
    /// Changed without a stamp at some time: only a sweep can know.
    pub(super) silent: BTreeSet<(String, u64)>,
    /// When a record was deleted, in upstream's seconds.
    pub(super) deleted: BTreeMap<(String, u64), i64>,
    count: u64,
}

impl People {
    pub(super) fn new(seed: u64, desks: Vec<Desk>, kinds: Vec<Kind>, mass: usize) -> People {
        People {
            dice: fastrand::Rng::with_seed(seed),
            desks,
            kinds,
            mass,
            met: BTreeMap::new(),
            silent: BTreeSet::new(),
            deleted: BTreeMap::new(),
            count: 0,
        }
    }

    /// Records that were there before the story begins, made over the last month.
    pub(super) fn settle_in(&mut self, upstream: &mut Upstream, module: &str, count: usize) {
        let now = upstream.now().unix();
        for _ in 0..count {
            let id = upstream.model.new_id();
            let at = crate::sim::Moment::from_unix(now - self.dice.i64(0..30 * 86_400));
            let values = self.values(module, true);
            upstream.load(module, id, at, &borrowed(&values));
            self.meet(module, id);
        }
    }

    /// Somebody does something; says what.
    pub(super) fn act(&mut self, upstream: &mut Upstream) -> String {
        let kind = self.kinds[self.dice.usize(0..self.kinds.len())];
        let desk = self.dice.usize(0..self.desks.len());
        let module = self.desks[desk].module.clone();
        self.act_so(upstream, kind, &module)
    }

    pub(super) fn act_so(&mut self, upstream: &mut Upstream, kind: Kind, module: &str) -> String {
        let id = self.somebody(module);
        let now = upstream.now().unix();
        // Lists of Books show stamps alone: what moves none is never seen.
        let is_unseen = kind == Kind::Formula && Entity::of_plural(module).is_some();
        let kind = if is_unseen { Kind::Edit } else { kind };
        let key = (module.to_owned(), id);
        let hidden = !upstream.ids(module).contains(&id);
        if hidden {
            // What happens to a record out of sight shows no sooner than it comes in sight again.
            self.silent.insert(key.clone());
        }
        let done = match kind {
            Kind::Create => {
                let values = self.values(module, true);
                let id = upstream.create(module, &borrowed(&values));
                self.meet(module, id);
                return format!("create {module} {id}");
            }
            Kind::MassCreate => {
                let count = self.dice.usize(2..=self.mass.max(2));
                return self.mass_create(upstream, module, count);
            }
            Kind::MassUpdate => {
                return self.mass_update(upstream, module);
            }
            Kind::Edit => {
                let values = self.values(module, false);
                upstream.edit(module, id, &borrowed(&values))
            }
            Kind::Delete | Kind::Purge => {
                let done = match kind {
                    Kind::Delete => upstream.delete(module, id),
                    _ => upstream.purge(module, id),
                };
                if done {
                    self.deleted.entry(key).or_insert(now);
                }
                done
            }
            Kind::Restore => {
                let done = upstream.restore(module, id);
                if done {
                    self.deleted.remove(&key);
                    self.silent.insert(key);
                }
                done
            }
            Kind::Merge => {
                let other = self.somebody(module);
                self.silent.insert((module.to_owned(), other));
                let done = upstream.merge(module, id, other);
                return format!("merge {module} {other} into {id}: {done}");
            }
            Kind::Revoke => {
                self.silent.insert(key);
                upstream.revoke_permission(module, id)
            }
            Kind::Grant => {
                self.silent.insert(key);
                upstream.grant_permission(module, id)
            }
            Kind::Convert => module == "Leads" && upstream.convert(module, id),
            Kind::Formula => {
                self.silent.insert(key);
                self.count += 1;
                let value = format!("\"formula {}\"", self.count);
                let field = self.field(module);
                upstream.touch_formula(module, id, &field, &value)
            }
        };
        format!("{kind:?} {module} {id}: {done}").to_lowercase()
    }

    /// So many records are changed in one second.
    fn mass_update(&mut self, upstream: &mut Upstream, module: &str) -> String {
        let count = self.dice.usize(2..=self.mass.max(2));
        let ids: BTreeSet<u64> = (0..count).map(|_| self.somebody(module)).collect();
        let ids: Vec<u64> = ids.into_iter().collect();
        let values = self.values(module, false);
        self.silent.extend(
            ids.iter()
                .filter(|id| !upstream.ids(module).contains(id))
                .map(|id| (module.to_owned(), *id)),
        );
        let count = upstream.mass_update(module, &ids, &borrowed(&values));
        format!("mass update of {count} {module} {ids:?}")
    }

    /// An import: so many new records in one second.
    pub(super) fn mass_create(
        &mut self,
        upstream: &mut Upstream,
        module: &str,
        count: usize,
    ) -> String {
        let values = self.values(module, true);
        let ids = upstream.mass_create(module, count, &borrowed(&values));
        ids.iter().for_each(|id| self.meet(module, *id));
        format!("mass create of {count} {module} from {:?}", ids.first())
    }

    /// Everybody in one second.
    pub(super) fn update_all(&mut self, upstream: &mut Upstream, module: &str) -> String {
        let ids = upstream.ids(module);
        let values = self.values(module, false);
        upstream.mass_update(module, &ids, &borrowed(&values));
        format!("update of all {} {module}", ids.len())
    }

    /// Deletes every record in sight but the first few.
    pub(super) fn delete_most(&mut self, upstream: &mut Upstream, module: &str) -> String {
        let now = upstream.now().unix();
        let ids = upstream.ids(module);
        for id in ids.iter().skip(3) {
            upstream.delete(module, *id);
            self.deleted.insert((module.to_owned(), *id), now);
        }
        format!("delete of {} {module}", ids.len().saturating_sub(3))
    }

    /// Somebody met before, more likely one of the last: what happens twice to one record within
    /// a second is what goes wrong.
    fn somebody(&mut self, module: &str) -> u64 {
        let met = self.met.entry(module.to_owned()).or_default();
        match met.len() {
            0 => 1,
            count if self.dice.bool() => met[count - 1 - self.dice.usize(0..count.min(4))],
            count => met[self.dice.usize(0..count)],
        }
    }

    fn meet(&mut self, module: &str, id: u64) {
        self.met.entry(module.to_owned()).or_default().push(id);
    }

    fn field(&mut self, module: &str) -> String {
        let desk = self.desks.iter().find(|desk| desk.module == module).expect("a known desk");
        desk.fields[self.dice.usize(0..desk.fields.len())].clone()
    }

    /// A value that is never written twice: into every field of a new record, into the first, the
    /// last and one between of an old one, so that half a state shows.
    fn values(&mut self, module: &str, all: bool) -> Vec<(String, String)> {
        self.count += 1;
        let value = format!("\"n{}\"", self.count);
        let middle = self.field(module);
        let desk = self.desks.iter().find(|desk| desk.module == module).expect("a known desk");
        let first_and_last = [&desk.fields[0], desk.fields.last().expect("at least one field")];
        let filled =
            desk.fields.iter().filter(|&f| all || *f == middle || first_and_last.contains(&f));
        filled.map(|field| (field.clone(), value.clone())).collect()
    }
}

fn borrowed(values: &[(String, String)]) -> Vec<(&str, &str)> {
    values.iter().map(|(name, raw)| (name.as_str(), raw.as_str())).collect()
}
