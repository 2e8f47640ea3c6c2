//! What can go wrong with the store, and what opening it had to mend. Only words: nothing is done
//! about it here.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::values::Damage;

/// An operation on the store that did not succeed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreError {
    /// sled failed or panicked. This is fatal for the store: it takes no more writes, and nothing
    /// more may be acknowledged; the process is to end and to be started again.
    Failed {
        /// What was to be done.
        operation: &'static str,
        /// The directory of the store.
        path: PathBuf,
        /// What sled said.
        cause: String,
    },
    /// There is too little space on the disk to write. Nothing is lost, reading goes on, and
    /// writing does as soon as there is space: the caller waits and tries again.
    NoRoom {
        /// The directory of the store.
        path: PathBuf,
        /// Bytes that are free.
        free: u64,
    },
    /// A snapshot was not made; those made before are still there. The store is as it was.
    NoSnapshot {
        /// The directory of the snapshots.
        path: PathBuf,
        /// Why not.
        cause: String,
    },
    /// One value cannot be read; all others can. It can be written anew.
    Unreadable {
        /// What the value is of.
        key: String,
        /// Why it cannot be read.
        damage: Damage,
    },
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Failed { operation, path, cause } => write!(
                f,
                "the store {} failed to {operation}: {cause}; see that its disk has space and \
                 is sound, and start crmirror again",
                path.display()
            ),
            StoreError::NoRoom { path, free } => f.write_str(&no_room(path, *free)),
            StoreError::NoSnapshot { path, cause } => write!(
                f,
                "no snapshot was made in {}: {cause}; the one before is kept",
                path.display()
            ),
            StoreError::Unreadable { key, damage } => {
                write!(f, "{key} in the store cannot be read: {damage}; it is to be fetched again")
            }
        }
    }
}

impl std::error::Error for StoreError {}

/// Why arrivals were not taken in. None of them is in the inbox for good, and none may be
/// acknowledged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EnqueueError {
    /// There is no room for them.
    Full {
        /// How many ids wait.
        waiting: u64,
    },
    /// There is too little space on the disk.
    NoRoom {
        /// The directory of the store.
        path: PathBuf,
        /// Bytes that are free.
        free: u64,
    },
    /// The store failed.
    Store(StoreError),
}

impl fmt::Display for EnqueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EnqueueError::Full { waiting } => write!(
                f,
                "the inbox is full with {waiting} waiting ids; see why they are not fetched \
                 (crmirror status)"
            ),
            EnqueueError::NoRoom { path, free } => f.write_str(&no_room(path, *free)),
            EnqueueError::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for EnqueueError {}

impl From<StoreError> for EnqueueError {
    fn from(error: StoreError) -> EnqueueError {
        match error {
            StoreError::NoRoom { path, free } => EnqueueError::NoRoom { path, free },
            error => EnqueueError::Store(error),
        }
    }
}

fn no_room(path: &Path, free: u64) -> String {
    let path = path.display();
    format!("{} MiB are free on the disk of {path}, too little to write; free some", free >> 20)
}

/// What was done to make the store usable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Healing {
    /// The disk was nearly full: the ballast was given up, and this many bytes are free now.
    BallastReleased {
        /// Bytes free on the disk.
        free: u64,
    },
    /// A half-made snapshot was removed. Nothing is lost.
    HalfMadeSnapshot(PathBuf),
    /// The store was made anew from sled's log. Parts of it may be lost, so nothing is proved of
    /// any module any more: each is bootstrapped again.
    Rebuilt {
        /// Why it was.
        cause: String,
    },
    /// The store was much larger than what is in it, and was made anew. Nothing is lost.
    Compacted {
        /// Bytes before.
        before: u64,
        /// Bytes after.
        after: u64,
    },
    /// What could be read of the store was carried into a new one. Each module is listed again.
    Salvaged {
        /// Entries carried over.
        kept: u64,
        /// Values, and stretches of values, that could not be read.
        unreadable: u64,
        /// Where the old store is kept.
        to: PathBuf,
        /// Why it was.
        cause: String,
    },
    /// Nothing of the store could be read; a snapshot was put in its place. A catch-up finds what
    /// happened since.
    Restored {
        /// Entries in the snapshot.
        kept: u64,
        /// The snapshot.
        from: PathBuf,
        /// Where the old store is kept.
        to: PathBuf,
        /// Why it was.
        cause: String,
    },
    /// The store is to be mended, but there is no room for a second one. It is used as it is.
    Postponed {
        /// Why it is to be.
        cause: String,
    },
    /// The store could not be read. It is kept under another name, and a new one was started.
    SetAside {
        /// Its name now.
        to: PathBuf,
        /// Why it was.
        cause: String,
    },
}

impl fmt::Display for Healing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Healing::BallastReleased { free } => write!(
                f,
                "gave up the store's reserve, since its disk is nearly full; {} MiB are free now: \
                 free some more",
                free >> 20
            ),
            Healing::HalfMadeSnapshot(path) => {
                write!(f, "removed the half-made snapshot {}", path.display())
            }
            Healing::Rebuilt { cause } => write!(
                f,
                "rebuilt the store from its log, since it did not open; every module is listed \
                 anew: {cause}"
            ),
            Healing::Compacted { before, after } => write!(
                f,
                "made the store anew to save space: {} MiB were {} MiB",
                after >> 20,
                before >> 20
            ),
            Healing::Salvaged { kept, unreadable, to, cause } => write!(
                f,
                "made the store anew from the {kept} entries of it that can be read; {unreadable} \
                 values or stretches of values cannot; every module is listed anew; the old store \
                 is kept in {}: {cause}; check the disk",
                to.display()
            ),
            Healing::Restored { kept, from, to, cause } => write!(
                f,
                "restored {kept} entries from the snapshot {}, since nothing of the store can be \
                 read; the old store is kept in {}: {cause}; check the disk",
                from.display(),
                to.display()
            ),
            Healing::Postponed { cause } => write!(
                f,
                "the store is to be made anew, but there is no room for that: {cause}; free some \
                 space and start crmirror again"
            ),
            Healing::SetAside { to, cause } => write!(
                f,
                "moved the store aside to {} and started an empty one, which is filled from \
                 upstream: {cause}; check the disk",
                to.display()
            ),
        }
    }
}

/// Why the store cannot be opened.
#[derive(Debug)]
pub enum OpenError {
    /// Another process has it open.
    InUse {
        /// The directory of the store.
        path: PathBuf,
    },
    /// Something in it cannot be made, read or written.
    Unwritable {
        /// What cannot.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The program was built without the shim of `sync.rs`; it would acknowledge what a power cut
    /// can take.
    NoShim,
    /// A newer crmirror wrote it.
    Newer {
        /// The directory of the store.
        path: PathBuf,
        /// The format it has.
        format: u32,
        /// The newest format that this program reads.
        reads: u32,
    },
    /// An empty store could not be opened either.
    Failed {
        /// The directory of the store.
        path: PathBuf,
        /// What sled said.
        cause: String,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::InUse { path } => write!(
                f,
                "the store {} is in use by another process; stop that first \
                 (systemctl stop crmirror)",
                path.display()
            ),
            OpenError::Unwritable { path, cause } => {
                write!(f, "cannot use {} as a store: {cause}; {}", path.display(), hint(cause))
            }
            OpenError::NoShim => f.write_str(
                "this build does not bring data to the disk for sure: its sync_file_range is not \
                 our own; build it anew with Cargo as the README says",
            ),
            OpenError::Newer { path, format, reads } => write!(
                f,
                "the store {} has format {format}, this crmirror reads up to {reads}; install the \
                 newer crmirror again, or move the directory away to start anew",
                path.display()
            ),
            OpenError::Failed { path, cause } => write!(
                f,
                "cannot open even an empty store in {}: {cause}; check the disk",
                path.display()
            ),
        }
    }
}

impl std::error::Error for OpenError {}

fn hint(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::PermissionDenied => "give it to the user that runs crmirror (chown)",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space on its disk",
        io::ErrorKind::ReadOnlyFilesystem => {
            "its disk is mounted read-only: check it, then mount it writable"
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "let [store] path name a directory"
        }
        _ => "check its owner, its permissions and its disk",
    }
}
