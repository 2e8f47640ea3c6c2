//! Fetching records by their names, and committing what was seen.

use std::collections::BTreeMap;

use crate::mirror::gather::Gather;
use crate::mirror::inbox::Quarantined;
use crate::mirror::merge::{Merged, Observation, live_delta, merge};
use crate::mirror::planner::Outcome;
use crate::mirror::record::{Entry, ModuleName, Record, RecordId};
use crate::mirror::road::How;
use crate::mirror::time::UpstreamTime;
use crate::mirror::trouble::Trouble;
use crate::mirror::waiting::Fetch;
use crate::store::{Commit, StoreError, Write};
use crate::upstream::records::{self, Passes};
use crate::upstream::verdict::judge;

use super::{Heart, Stop};

/// How often records that changed between two passes are read again before we come back later.
const ROUNDS_LIMIT: u32 = 3;

/// What folding an observation in came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Folded {
    /// The mirror had it already.
    Known,
    /// It was written; `known` when it took the place of a live record.
    News { known: bool },
    /// It is in doubt: only a fetch by name can settle it.
    Doubt,
}

type Seen = BTreeMap<RecordId, Record>;

impl Heart {
    /// Fetches records and commits them; those that upstream does not show are gone.
    pub(super) fn fetch(&mut self, fetch: &Fetch) -> Result<Outcome, Stop> {
        let mut seen = match self.modules[&fetch.module].entity {
            Some(entity) => self.read_of_books(entity, fetch.batch.ids())?,
            None => self.read_named(&fetch.module, fetch.batch.ids())?,
        };
        let now = self.now();
        let mut commit = self.commit_of(&fetch.module, now);
        commit.settled = fetch.settles.clone();
        commit.how = How::fetched(&self.store.arrivals(&fetch.settles)?);
        for id in fetch.batch.ids() {
            let observed = seen.remove(id).map_or(Observation::Missing, Observation::Named);
            self.fold(&mut commit, *id, observed)?;
            commit.released.push(*id);
        }
        self.commit(commit)?;
        self.board.meters.arrive(&fetch.settles, self.line.tick());
        Ok(Outcome::Fetched)
    }

    /// Sets aside what upstream denies again and again, where the status shows it.
    pub(super) fn set_aside(&mut self, fetch: &Fetch, why: &str) -> Result<Outcome, Stop> {
        let now = self.now();
        let mut commit = self.commit_of(&fetch.module, now);
        commit.settled = fetch.settles.clone();
        for id in fetch.batch.ids() {
            log::warn!("{}/{id} is set aside: {why}", fetch.module);
            commit.set_aside.push(Quarantined {
                module: fetch.module.clone(),
                id: *id,
                why: why.to_owned(),
                since: now,
            });
        }
        self.commit(commit)?;
        self.board.meters.give_up(&fetch.settles);
        Ok(Outcome::SetAside)
    }

    /// Folds an observation into a commit.
    pub(super) fn fold(
        &self,
        commit: &mut Commit,
        id: RecordId,
        observed: Observation,
    ) -> Result<Folded, StoreError> {
        let stored = self.stored(&commit.module, id)?;
        match merge(stored.as_ref(), observed, commit.time) {
            Merged::Unchanged => Ok(Folded::Known),
            Merged::Doubt => Ok(Folded::Doubt),
            Merged::Write(entry, change) => {
                let delta = live_delta(stored.as_ref(), &entry);
                commit.ledger.records = commit.ledger.records.saturating_add_signed(delta);
                commit.writes.push(Write { id, entry, change });
                Ok(Folded::News { known: matches!(stored, Some(Entry::Live(_))) })
            }
        }
    }

    /// What the mirror knows of an id. A value that cannot be read counts as none: what was
    /// observed takes its place.
    pub(super) fn stored(
        &self,
        module: &ModuleName,
        id: RecordId,
    ) -> Result<Option<Entry>, StoreError> {
        match self.store.entry(module, id) {
            Ok(stored) => Ok(stored.map(|stored| stored.entry)),
            Err(StoreError::Unreadable { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn now(&self) -> UpstreamTime {
        self.line.upstream_now().unwrap_or_else(|| self.line.wall())
    }

    fn read_named(&mut self, module: &ModuleName, ids: &[RecordId]) -> Result<Seen, Stop> {
        let passes = self.modules[module].passes.clone().unwrap_or(Passes::Everything);
        let mut whole = Seen::new();
        let mut open: Vec<RecordId> = ids.to_vec();
        for _ in 0..ROUNDS_LIMIT {
            let (agreed, torn) = self.read_in_passes(module, &open, &passes)?;
            whole.extend(agreed);
            open = torn;
            if open.is_empty() {
                return Ok(whole);
            }
        }
        let why = format!("{} records change faster than they can be read", open.len());
        Err(Trouble::Failed { after: None, why }.into())
    }

    /// Reads records pass by pass. Those that changed or vanished between two passes are returned
    /// as torn: half of one state and half of another is no state.
    fn read_in_passes(
        &mut self,
        module: &ModuleName,
        ids: &[RecordId],
        passes: &Passes,
    ) -> Result<(Seen, Vec<RecordId>), Stop> {
        let each = passes.each();
        let (first, others) = each.split_first().expect("there is at least one pass");
        let mut joined = self.read_pass(module, ids, *first)?;
        let mut torn = Vec::new();
        for pass in others {
            let there: Vec<RecordId> = joined.keys().copied().collect();
            if there.is_empty() {
                break;
            }
            let mut seen = self.read_pass(module, &there, *pass)?;
            for id in there {
                match (joined.remove(&id), seen.remove(&id)) {
                    (Some(record), Some(more)) if record.modified() == more.modified() => {
                        let record = record.joined(&more).map_err(|error| Trouble::Failed {
                            after: None,
                            why: error.to_string(),
                        })?;
                        joined.insert(id, record);
                    }
                    _ => torn.push(id),
                }
            }
        }
        Ok((joined, torn))
    }

    /// Reads one pass: all ids in a call, or one id whole when the module is read so.
    fn read_pass(
        &mut self,
        module: &ModuleName,
        ids: &[RecordId],
        fields: Option<&[crate::mirror::record::FieldName]>,
    ) -> Result<Seen, Stop> {
        let api = self.line.api()?;
        let request = match ids {
            [id] if self.modules[module].whole_records => records::by_id(&api, module, *id, fields),
            _ => records::by_ids(&api, module, ids, fields),
        };
        let reply = self.line.call(&request)?;
        let (rows, _) = records::parse(judge(&reply)?)?;
        let asked = |record: &Record| ids.contains(&record.id());
        Ok(rows.into_iter().filter(asked).map(|record| (record.id(), record)).gather())
    }
}
