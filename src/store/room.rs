//! Space on the disk: the store stops writing before the disk is full, since what sled does when
//! it is full can only be mended by a new start.
//!
//! Below [`FLOOR`] nothing is written: callbacks are turned away, reading goes on, and writing does
//! by itself when there is space again. The floor is itself the space that a start needs; the
//! ballast is a second one, for when others have filled the disk to the brim.

use super::{Store, StoreError};

/// Free bytes below which nothing is written. sled writes its log in segments of 512 KiB, moves
/// live data to free old ones, and writes a snapshot at the next start: some MB for the stores that
/// fit on a card. Eight callbacks of 256 KiB may pass this check at once.
const FLOOR: u64 = 16 << 20;

/// The space on the store's disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// Bytes that are free.
    pub free: u64,
    /// Whether that is too little to write.
    pub low: bool,
}

impl Store {
    /// The space that is left. A disk that does not say counts as roomy: writing will tell.
    pub fn room(&self) -> Room {
        let free = self.0.place.free().unwrap_or(u64::MAX);
        Room { free, low: free < FLOOR }
    }

    pub(super) fn check_room(&self) -> Result<(), StoreError> {
        let Room { free, low } = self.room();
        if low { Err(StoreError::NoRoom { path: self.0.place.sled(), free }) } else { Ok(()) }
    }
}
