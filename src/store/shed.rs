//! Letting go of what a look at everything has left in memory.
//!
//! sled notes which pages are used in lists of 64, one for each of 256 parts of its cache, and sees
//! to it that a part holds no more than it may only when its list is full. Whoever goes through
//! everything uses each page once: so 16,384 pages can stay, 100 MB of records, whatever the cache
//! may hold, until something else has used as many. Here the lists are filled on purpose, by
//! reading the same few pages over and over.

use super::keys::{MODIFIED, RECORD};
use super::past::{Past, Step};
use super::{Store, StoreError};

/// Pages that are read of either kind: enough that hardly a part of the cache has none of them, and
/// so few that what has to be brought in for it is small. Of two kinds, since what is written
/// together takes turns in the parts: records may lie in the even ones, their index in the odd.
const PAGES: usize = 512;

/// Keys from one that is read to the next: the least that lie on a page.
const KEYS_A_PAGE: usize = 8;

/// Pages that are noted before every list is full, and as many again, since they fill unevenly.
const NOTED: usize = 2 * 256 * 64;

impl Store {
    /// Has the pages that lie in memory be no more than sled's cache may hold. Takes some 30,000
    /// reads of what is in memory: 40 ms on a PC.
    pub fn shed(&self) -> Result<(), StoreError> {
        let keys = self.run("look for pages", |db| {
            let mut keys = Vec::with_capacity(2 * PAGES);
            for kind in [RECORD, MODIFIED] {
                for step in Past::kind(db, kind).step_by(KEYS_A_PAGE).take(PAGES) {
                    // Whoever needs what cannot be read finds out and says so.
                    if let Step::Pair(key, _) = step? {
                        keys.push(key);
                    }
                }
            }
            Ok(keys)
        })?;
        for _ in 0..NOTED.div_ceil(keys.len().max(1)) {
            self.run("read the same again", |db| {
                keys.iter().for_each(|key| drop(db.get(key)));
                Ok(())
            })?;
        }
        Ok(())
    }
}
