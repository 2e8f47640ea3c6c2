//! Space on the disk: the store stops writing before the disk is full, since what sled does when
//! it is full can only be mended by a new start.
//!
//! Two things see to that. Below [`FLOOR`] nothing is written: callbacks are turned away, reading
//! goes on, and writing does by itself when there is space again. But others can take the last
//! space between that look and the write, or while sled still holds in memory what was written
//! before: so the space behind the end of its log is taken beforehand, as a [`Runway`] on which
//! whatever is in the air can land. The floor is itself the space that a start needs; the ballast
//! is a second one, for when others have filled the disk to the brim.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate, fstat};
use rustix::io::{Errno, retry_on_intr};

use super::{Store, StoreError};

/// Free bytes below which nothing is written: some MB for the stores that fit on a card. sled
/// moves live data to free old segments of its log, and writes a snapshot at the next start.
const FLOOR: u64 = 16 << 20;

/// Bytes that are taken behind the end of sled's log at least. Segments are of 512 KiB: one is
/// being filled, a few are on their way to the disk, and a few are needed to free old ones.
const RUNWAY: u64 = 8 << 20;

/// How much more a write may take in sled's log than it has bytes: its pages are written anew as
/// they grow and are split (measured: three to three and a half).
const GROWTH: u64 = 4;

/// Bytes of a block, as `stat` counts them.
const BLOCK: u64 = 512;

/// The space on the store's disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// Bytes that are free.
    pub free: u64,
    /// Whether that is too little to write.
    pub low: bool,
}

impl Room {
    /// The space on the disk that this directory is on.
    pub fn of(directory: &Path) -> io::Result<Room> {
        free(directory).map(Room::with)
    }

    fn with(free: u64) -> Room {
        Room { free, low: free < FLOOR }
    }
}

/// Bytes that are free on the disk that this directory is on.
pub(super) fn free(directory: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(directory)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

impl Store {
    /// The space that is left. A disk that does not say counts as roomy: writing will tell.
    pub fn room(&self) -> Room {
        Room::with(self.0.place.free().unwrap_or(u64::MAX))
    }

    /// Bytes that the store's log takes on the disk, the space behind its end with it; none where
    /// that cannot be asked for.
    pub fn taken(&self) -> Option<u64> {
        let stat = fstat(self.0.runway.0.as_ref()?).ok()?;
        Some(stat.st_blocks as u64 * BLOCK)
    }

    /// Makes sure that so many bytes can be written, whatever others do to the disk meanwhile.
    pub(super) fn check_room(&self, bytes: u64) -> Result<(), StoreError> {
        let long_enough = self.0.runway.extend(bytes);
        let Room { free, low } = self.room();
        if low || !long_enough {
            return Err(StoreError::NoRoom { path: self.0.place.sled(), free });
        }
        Ok(())
    }
}

/// Space behind the end of sled's log that belongs to it already.
pub(super) struct Runway(Option<File>);

impl Runway {
    /// Behind this log, which sled has open. It is a comfort, so failing is no error.
    pub(super) fn behind(log: &Path) -> Runway {
        let runway = Runway(File::options().write(true).open(log).ok());
        let _ = runway.extend(0);
        runway
    }

    /// Whether a write of so many bytes fits, after more was taken if need be. It asks the file
    /// each time how much it has: sled cuts its log when it can, and the runway with it.
    ///
    /// Where that cannot be asked for, as on a file system that knows no `fallocate`, or that
    /// writes everything to a new place, the floor is all there is.
    fn extend(&self, bytes: u64) -> bool {
        let Some(Ok((log, stat))) = self.0.as_ref().map(|log| fstat(log).map(|stat| (log, stat)))
        else {
            return true;
        };
        let (end, taken) = (stat.st_size as u64, stat.st_blocks as u64 * BLOCK);
        let wanted = RUNWAY + bytes.saturating_mul(GROWTH);
        if taken >= end + wanted {
            return true;
        }
        // As much again, so that it is not asked for at every write.
        let more = wanted + RUNWAY;
        let done = retry_on_intr(|| fallocate(log, FallocateFlags::KEEP_SIZE, end, more));
        !matches!(done, Err(Errno::NOSPC | Errno::DQUOT))
    }
}
