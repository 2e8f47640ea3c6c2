//! What is to be done now and then: a snapshot, a look at the size, the ballast.
//!
//! The daemon calls [`Store::maintain`] every few minutes, from a thread of its own that is in no
//! hurry; it does nothing until a snapshot is due, and then takes minutes on a slow card.

use std::fs;
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::snapshot::Listed;
use super::{SnapshotReport, Store, StoreError, index, snapshot};
use crate::mirror::time::UpstreamTime;

/// Time between two snapshots. A store of 150 MB costs a card as many bytes a day as 10,000
/// callbacks do.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(24 * 3_600);

/// Time after which a store that has swollen meanwhile is looked at before its day has passed. The
/// daemon starts anew for what is found, and that is not to be felt.
const LOOK_EVERY: Duration = Duration::from_secs(3_600);

/// The store is made anew when it takes more than this many times the bytes of what is in it. sled
/// settles at three to three and a half (measured), so that it takes a mass deletion, or a burst of
/// changes, to get there.
const OVERSIZE: u64 = 4;

/// A store that takes less is left alone: sled's least is some MB. Nor is one looked at again that
/// has not grown by as much: so what looking and making anew write to the card is a part of what
/// the records have written that made it grow.
const OVERSIZE_FLOOR: u64 = 64 << 20;

/// What was done.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Maintenance {
    /// The snapshot that was taken, if one was due.
    pub snapshot: Option<SnapshotReport>,
    /// Whether the next start makes the store anew to be smaller.
    pub wants_compaction: bool,
}

impl Store {
    /// Takes a snapshot if a day (upstream's) has passed since the last one, or an hour in which
    /// the store has swollen, and sees whether the store is worth being made anew; that is done by
    /// the next start. Takes back the space in reserve that a full disk had it give up.
    pub fn maintain(&self, now: UpstreamTime) -> Result<Maintenance, StoreError> {
        self.0.place.keep_ballast();
        if self.damaged() || self.has_failed() || self.room().low || !self.is_due(now)? {
            let wants_compaction = self.wants_compaction();
            return Ok(Maintenance { snapshot: None, wants_compaction });
        }
        let snapshot = self.snapshot(now)?;
        let size = self.size_on_disk()?;
        self.0.looked_at.store(size, Ordering::Relaxed);
        let data = snapshot.bytes + self.run("measure the indexes", index::bytes)?;
        if size > OVERSIZE_FLOOR && size / OVERSIZE > data {
            let why = format!("{size} bytes for {data} bytes of data");
            let said = self.0.place.call_oversized(&why);
            said.map_err(|cause| self.unkept(&cause))?;
        }
        let wants_compaction = self.wants_compaction();
        Ok(Maintenance { snapshot: Some(snapshot), wants_compaction })
    }

    /// Whether the next start makes the store anew to be smaller. A daemon that has nothing to do
    /// may end for that.
    pub fn wants_compaction(&self) -> bool {
        self.0.place.is_oversized()
    }

    /// A last snapshot from the future was taken under a wrong clock, and says nothing.
    fn is_due(&self, now: UpstreamTime) -> Result<bool, StoreError> {
        let listed = snapshot::list(&self.0.place.snapshots()).unwrap_or_default();
        let Some(newest) = listed.first() else { return Ok(true) };
        let Ok(last) = snapshot::taken(&newest.path) else { return Ok(true) };
        if last > now || now >= last.after(SNAPSHOT_EVERY) {
            return Ok(true);
        }
        Ok(now >= last.after(LOOK_EVERY) && self.has_swollen(newest)?)
    }

    /// Whether the store has grown much since it was opened or looked at, and is too large for what
    /// was in it when this snapshot was taken.
    fn has_swollen(&self, newest: &Listed) -> Result<bool, StoreError> {
        let (size, before) = (self.size_on_disk()?, self.0.looked_at.load(Ordering::Relaxed));
        let data = fs::metadata(&newest.path).map_or(u64::MAX, |snapshot| snapshot.len());
        Ok(size >= before + OVERSIZE_FLOOR && size / OVERSIZE > data)
    }

    fn unkept(&self, cause: &io::Error) -> StoreError {
        StoreError::NoSnapshot { path: self.0.place.sled(), cause: cause.to_string() }
    }
}
