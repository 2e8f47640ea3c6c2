//! Small files that are either the old or the new one, whatever happens: identity, credentials; and
//! locks.
//!
//! For files with one writer at a time, which a lock beside them sees to. Not for anything that
//! grows.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Makes `bytes` the content of `path`, durably and all at once: a reader, or a start after a
/// power cut, sees the old content or the new, never a part.
///
/// The file has the permissions `mode` from its first moment, so that a secret in it is never open
/// to others. The new content is first written beside `path`, in a file that a crash may leave
/// behind and the next call removes. A symbolic link at `path` is replaced, not followed.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let fresh = beside(path)?;
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let written = write_new(&fresh, bytes, mode).and_then(|()| fs::rename(&fresh, path));
    if written.is_err() {
        // The first error is the one to tell; what is left behind goes at the next call.
        let _ = fs::remove_file(&fresh);
    }
    written?;
    sync_directory_of(path)
}

/// Removes the file durably; that there is none is no error.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => sync_directory_of(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// How often a lock is tried. Who let go of it may have started a program just before: until that
/// runs, its process holds a copy of what was open here.
const LOCK_TRIES: u32 = 20;
/// Between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// A lock, for as long as the file is open; `None` when another process holds it, and does not let
/// go at once.
pub fn lock(path: &Path) -> io::Result<Option<File>> {
    let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    for _ in 0..LOCK_TRIES {
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(lock)),
            Err(Errno::WOULDBLOCK) => thread::sleep(LOCK_PAUSE),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// Whether it failed because the disk is full, which passes.
pub fn is_for_want_of_room(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::StorageFull) || cause.raw_os_error() == Some(libc::EDQUOT)
}

fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    let mut fresh = std::ffi::OsString::from(".");
    fresh.push(name);
    fresh.push(".new");
    Ok(path.with_file_name(fresh))
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    // The umask can only have taken permissions away; give back what was asked for.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes what `path` is called durable: a name is kept by its directory, not by its file.
pub(super) fn sync_directory_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if parent != Path::new("") => File::open(parent)?.sync_all(),
        Some(_) => File::open(".")?.sync_all(),
        None => Ok(()),
    }
}
