//! The directory of a store, and what is done to the files in it while sled is not running.
//!
//! ```text
//! mirror.sled          sled's files: `db` (its log), `snap.*` and `conf` (made anew from it)
//! mirror.sled.new      a store in the making; may be removed at any time, unless
//! mirror.sled.old      is there and mirror.sled is not: then the new one is whole
//! mirror.sled.broken   the last store that could not be read
//! snapshots            from which a store can be made anew
//! lock                 held by the process that has the store open
//! numbers              which numbers of changes may have been given
//! ballast              space in reserve
//! condemned            why the store is to be made anew at the next start, for it cannot be read
//! oversized            why the store is to be made anew at the next start, to be smaller
//! replacing            the store in the making is that of another device; the old one is kept
//! replaced             the store that was here before, and its snapshots
//! ```
//! Which of this is done, and when, is said in `open.rs`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;

use super::error::{Healing, OpenError};
use super::file::{self, replace, sync_directory_of};
use super::{room, snapshot};

/// Free space below which the ballast is given up: sled writes its log in segments of 512 KiB and
/// moves live data to free old ones, and a burst of callbacks is to fit too.
const MIN_FREE: u64 = 64 << 20;

/// Space kept in reserve for a start on a full disk. sled's snapshot and a few segments fit in, and
/// no SD card misses it.
const BALLAST: u64 = 16 << 20;

/// The directory of a store.
#[derive(Clone, Debug)]
pub(super) struct Place(PathBuf);

impl Place {
    /// The store in `directory`, which is made when it is missing.
    pub(super) fn make(directory: &Path) -> Result<Place, OpenError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|cause| unwritable(directory, cause))?;
        Ok(Place(directory.to_owned()))
    }

    /// Where sled's files are.
    pub(super) fn sled(&self) -> PathBuf {
        self.0.join("mirror.sled")
    }

    /// Where sled's files are after [`Place::set_aside`].
    pub(super) fn broken(&self) -> PathBuf {
        self.0.join("mirror.sled.broken")
    }

    /// Where a store is made before it takes the place of the old one.
    pub(super) fn new_sled(&self) -> PathBuf {
        self.0.join("mirror.sled.new")
    }

    fn old_sled(&self) -> PathBuf {
        self.0.join("mirror.sled.old")
    }

    /// Where our own snapshots are.
    pub(super) fn snapshots(&self) -> PathBuf {
        self.0.join("snapshots")
    }

    fn oversized(&self) -> PathBuf {
        self.0.join("oversized")
    }

    /// Where the store is that another device's has replaced.
    pub(super) fn replaced(&self) -> PathBuf {
        self.0.join("replaced")
    }

    fn replacing(&self) -> PathBuf {
        self.0.join("replacing")
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Where it is kept which numbers of changes may have been given.
    pub(super) fn numbers(&self) -> PathBuf {
        self.0.join("numbers")
    }

    fn condemned(&self) -> PathBuf {
        self.0.join("condemned")
    }

    /// Keeps every other process out, for as long as the file is open.
    pub(super) fn lock(&self) -> Result<File, OpenError> {
        let path = self.0.join("lock");
        let lock = file::lock(&path).map_err(|cause| unwritable(&path, cause))?;
        lock.ok_or_else(|| OpenError::InUse { path: self.0.clone() })
    }

    /// Gives up the reserve when the disk is nearly full.
    pub(super) fn make_room(&self) -> Result<Option<Healing>, OpenError> {
        if self.free()? >= MIN_FREE || !self.ballast().exists() {
            return Ok(None);
        }
        remove_file(&self.ballast())?;
        Ok(Some(Healing::BallastReleased { free: self.free()? }))
    }

    /// Takes the reserve while there is plenty. It is a comfort, so failing is no error.
    pub(super) fn keep_ballast(&self) {
        let path = self.ballast();
        if path.exists() || !self.free().is_ok_and(|free| free >= MIN_FREE + BALLAST) {
            return;
        }
        let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let taken = new.and_then(|file| {
            rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, BALLAST).map_err(Into::into)
        });
        if let Err(error) = taken {
            log::info!("no reserve of disk space is kept in {}: {error}", path.display());
            // Without its space the file is of no use, and would keep the next start from trying.
            let _ = fs::remove_file(&path);
        }
    }

    /// Whether there is so little space that nothing new can be started.
    pub(super) fn is_full(&self) -> Result<bool, OpenError> {
        Ok(self.free()? < BALLAST)
    }

    /// Bytes in the files of the store; 0 when there is none.
    pub(super) fn size(&self) -> u64 {
        let Ok(entries) = fs::read_dir(self.sled()) else { return 0 };
        entries.flatten().filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
    }

    /// Bytes that are free on the disk.
    pub(super) fn free(&self) -> Result<u64, OpenError> {
        room::free(&self.0).map_err(|cause| unwritable(&self.0, cause))
    }

    /// Whether there is no store yet: neither a log nor a snapshot, be it
    /// sled's or ours.
    pub(super) fn is_fresh(&self) -> Result<bool, OpenError> {
        let log = self.sled().join("db");
        let empty = fs::metadata(log).map_or(true, |log| log.len() == 0);
        let ours = snapshot::list(&self.snapshots());
        let ours = ours.map_err(|cause| unwritable(&self.snapshots(), cause))?;
        Ok(empty && self.sled_snapshots()?.is_empty() && ours.is_empty())
    }

    /// Removes the snapshots that a crash or a full disk kept from being finished.
    pub(super) fn remove_half_made_snapshots(&self) -> Result<Vec<Healing>, OpenError> {
        let mut half_made = self.sled_snapshots()?;
        half_made.retain(|path| path.extension().is_some_and(|end| end == "generating"));
        for path in &half_made {
            remove_file(path)?;
        }
        Ok(half_made.into_iter().map(Healing::HalfMadeSnapshot).collect())
    }

    /// Removes sled's snapshots, and its settings: they are the same in every store of ours.
    pub(super) fn remove_what_sled_rebuilds(&self) -> Result<(), OpenError> {
        for path in self.sled_snapshots()? {
            remove_file(&path)?;
        }
        remove_file(&self.sled().join("conf"))
    }

    /// sled's snapshots, half-made ones included; none where there is no store.
    fn sled_snapshots(&self) -> Result<Vec<PathBuf>, OpenError> {
        let path = self.sled();
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(unwritable(&path, error)),
        };
        let mut snapshots = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|cause| unwritable(&path, cause))?;
            if entry.file_name().as_encoded_bytes().starts_with(b"snap.") {
                snapshots.push(entry.path());
            }
        }
        Ok(snapshots)
    }

    /// Has the store set aside when it is next opened. sled finds a damaged page only when it reads
    /// it: without a word to the next start, the daemon would start and die on it for ever.
    pub(super) fn condemn(&self, cause: &str) {
        let path = self.condemned();
        if let Err(error) = replace(&path, cause.as_bytes(), 0o600) {
            log::error!("cannot write {}: {error}; check the disk", path.display());
        }
    }

    /// Why the store is to be set aside, if it is.
    pub(super) fn condemnation(&self) -> Option<String> {
        fs::read_to_string(self.condemned()).ok()
    }

    /// Takes that back.
    pub(super) fn absolve(&self) -> Result<(), OpenError> {
        remove_file(&self.condemned())
    }

    /// Has the store made anew when it is next opened, since it is larger than it need be.
    pub(super) fn call_oversized(&self, why: &str) -> io::Result<()> {
        replace(&self.oversized(), why.as_bytes(), 0o600)
    }

    /// Whether the store is to be made anew to be smaller.
    pub(super) fn is_oversized(&self) -> bool {
        self.oversized().exists()
    }

    /// Takes that back, whether it was done or could not be.
    pub(super) fn accept_size(&self) -> Result<(), OpenError> {
        remove_file(&self.oversized())
    }

    /// Moves the store out of the way. One is kept, the newest, for whoever wants to look into it.
    pub(super) fn set_aside(&self) -> Result<(), OpenError> {
        self.keep_broken(&self.sled())?;
        self.absolve()
    }

    /// Removes what is left of a store in the making.
    pub(super) fn remove_new(&self) -> Result<(), OpenError> {
        remove_directory(&self.new_sled())
    }

    /// Puts the new store in the place of the old one. The new one must be whole on disk.
    pub(super) fn swap(&self) -> Result<(), OpenError> {
        remove_directory(&self.old_sled())?;
        if self.sled().exists() {
            rename(&self.sled(), &self.old_sled())?;
        }
        rename(&self.new_sled(), &self.sled())?;
        self.finish_swap()?;
        // When there was no old store, nothing was to be finished.
        self.absolve()
    }

    /// Goes on with a swap that a crash interrupted, wherever that was.
    pub(super) fn finish_swap(&self) -> Result<(), OpenError> {
        if !self.old_sled().exists() {
            // It is finished, or was never begun.
            return remove_file(&self.replacing());
        }
        if !self.sled().exists() {
            let new = if self.new_sled().exists() { self.new_sled() } else { self.old_sled() };
            rename(&new, &self.sled())?;
        }
        // What was said of the old store does not hold for the new one. Say so before the old one
        // goes, which is the sign that there is something to finish.
        let condemned = self.condemnation().is_some();
        self.absolve()?;
        self.accept_size()?;
        sync_directory_of(&self.sled()).map_err(|cause| unwritable(&self.0, cause))?;
        if self.replacing().exists() {
            self.keep_replaced()?;
            remove_file(&self.replacing())
        } else if condemned {
            self.keep_broken(&self.old_sled())
        } else {
            remove_directory(&self.old_sled())
        }
    }

    /// Puts the new store in the place of the old one, which is kept with its snapshots: they are
    /// not those of the new one, and are not to mend it. One is kept, the newest.
    pub(super) fn swap_and_keep(&self) -> Result<(), OpenError> {
        remove_directory(&self.replaced())?;
        let why = b"another device's store takes its place";
        let said = replace(&self.replacing(), why, 0o600);
        said.map_err(|cause| unwritable(&self.replacing(), cause))?;
        self.swap()
    }

    fn keep_replaced(&self) -> Result<(), OpenError> {
        let kept = Place::make(&self.replaced())?;
        if self.snapshots().exists() && !kept.snapshots().exists() {
            rename(&self.snapshots(), &kept.snapshots())?;
        }
        rename(&self.old_sled(), &kept.sled())
    }

    fn keep_broken(&self, path: &Path) -> Result<(), OpenError> {
        if path.exists() {
            remove_directory(&self.broken())?;
            rename(path, &self.broken())?;
        }
        Ok(())
    }

    /// Makes the names of a new store's files durable, which sled does not.
    pub(super) fn sync_names(&self, sled: &Path) -> Result<(), OpenError> {
        let settings = sled.join("conf");
        File::open(&settings)
            .and_then(|file| file.sync_all())
            .and_then(|()| sync_directory_of(&settings))
            .and_then(|()| sync_directory_of(sled))
            .and_then(|()| sync_directory_of(&self.0))
            .map_err(|cause| unwritable(sled, cause))
    }
}

/// Removes a file, or finds it gone.
fn remove_file(path: &Path) -> Result<(), OpenError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unwritable(path, error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn remove_directory(path: &Path) -> Result<(), OpenError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unwritable(path, error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Renames durably.
fn rename(from: &Path, to: &Path) -> Result<(), OpenError> {
    let renamed = fs::rename(from, to).and_then(|()| sync_directory_of(to));
    renamed.map_err(|cause| unwritable(from, cause))
}

pub(super) fn unwritable(path: &Path, cause: io::Error) -> OpenError {
    OpenError::Unwritable { path: path.to_owned(), cause }
}
