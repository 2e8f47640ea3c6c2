//! How long a deletion is remembered: by age, and by count when there are very many.
//!
//! A tombstone keeps a list that lags behind from bringing a deleted record back. Upstream lists
//! deletions for 60 to 120 days, so that is how long one is needed. They are looked for a little at
//! a time, in a walk over the records of a module that begins anew when it has come to the end.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};
use std::sync::PoisonError;
use std::time::Duration;

use super::keys::{self, Key};
use super::past::{Past, Step};
use super::values::{self, Kept};
use super::{Store, StoreError};
use crate::mirror::record::{ModuleName, RecordId};
use crate::mirror::time::UpstreamTime;

/// How long a tombstone is kept at least: as long as upstream's list of deletions reaches.
pub const TOMBSTONE_AGE: Duration = Duration::from_secs(120 * 24 * 3_600);

/// Tombstones of a module beyond which the oldest are given up before their time. About 60 bytes
/// each: 6 MB, some 20 MB on disk; a day on which more are deleted is a mass deletion.
pub const TOMBSTONE_LIMIT: u64 = 100_000;

const DAY: i64 = 24 * 3_600;

/// A walk over the records of a module.
#[derive(Default)]
pub(super) struct Walk {
    /// The last id looked at.
    after: Option<RecordId>,
    /// How many tombstones it has met, by the day on which they went.
    days: BTreeMap<i64, u64>,
    /// What the last walk found: tombstones of earlier days are too many.
    crowded: Option<i64>,
}

impl Walk {
    fn end(&mut self) {
        let days = std::mem::take(&mut self.days);
        let mut count = 0_u64;
        self.after = None;
        self.crowded = days.into_iter().rev().find_map(|(day, tombstones)| {
            count += tombstones;
            (count > TOMBSTONE_LIMIT).then_some(day + 1)
        });
    }
}

impl Store {
    /// Removes tombstones of records that went before `older_than` (upstream's now, less
    /// [`TOMBSTONE_AGE`]), or that are beyond [`TOMBSTONE_LIMIT`] as the last walk found. Looks at
    /// `limit` records and goes on from there next time. Returns how many were removed.
    pub fn trim_tombstones(
        &self,
        module: &ModuleName,
        older_than: UpstreamTime,
        limit: usize,
    ) -> Result<u64, StoreError> {
        let mut walks = self.0.tombstones.lock().unwrap_or_else(PoisonError::into_inner);
        let walk = walks.entry(module.clone()).or_default();
        let start = match walk.after {
            Some(id) => Excluded(Key::Record(module.clone(), id).bytes()),
            None => Included(Key::Record(module.clone(), RecordId::new(0)).bytes()),
        };
        let end = Included(Key::Record(module.clone(), RecordId::new(u64::MAX)).bytes());
        let crowded = walk.crowded.map(|day| UpstreamTime::from_unix(day.saturating_mul(DAY)));
        let bound = crowded.map_or(older_than, |crowded| crowded.max(older_than));
        let looked = self.run("look for old tombstones", |db| {
            let mut old = Vec::new();
            let mut looked = 0;
            for step in Past::new(db, (start, end)) {
                match step? {
                    Step::Pair(key, value) => {
                        let Some(id) = keys::id_at_end(&key) else { continue };
                        walk.after = Some(id);
                        match gone(&key, &value) {
                            Some(gone) if gone < bound => old.push((key, id)),
                            Some(gone) => {
                                *walk.days.entry(gone.unix().div_euclid(DAY)).or_default() += 1
                            }
                            None => {}
                        }
                        looked += 1;
                    }
                    Step::Gap(gap) => self.found_damage(&gap),
                }
                if looked >= limit {
                    return Ok((old, false));
                }
            }
            Ok((old, true))
        });
        let (old, ended) = looked?;
        if ended {
            walk.end();
        }
        drop(walks);
        if old.is_empty() {
            return Ok(0);
        }
        self.write("remove old tombstones", |db, _| {
            let mut batch = sled::Batch::default();
            let mut removed = 0;
            for (key, id) in old {
                // It may have come back since.
                let value = db.get(&key)?;
                let gone = value.and_then(|value| gone(&key, &value));
                if let Some(gone) = gone.filter(|gone| *gone < bound) {
                    batch.remove(key);
                    // A module without indexes has no such key, and its removal writes nothing.
                    batch.remove(Key::Gone(module.clone(), gone, id).bytes());
                    removed += 1;
                }
            }
            db.apply_batch(batch)?;
            Ok(removed)
        })
    }
}

fn gone(key: &[u8], value: &[u8]) -> Option<UpstreamTime> {
    match values::read_kept(key, value) {
        Ok((_, Kept::Gone(at))) => Some(at),
        Ok((_, Kept::Live { .. })) | Err(_) => None,
    }
}
