//! Erasing all that lies in the directory of a store, for good.
//!
//! Files are unlinked, not overwritten: a flash card writes elsewhere than where it is told to, so
//! that overwriting would only look safe.

use std::fs;
use std::io;
use std::path::Path;

use super::error::OpenError;
use super::place::{Place, unwritable};

/// Removes everything in this directory but the entry of this name, durably. It can be repeated
/// when it was broken off. A store that is in use is an error, and nothing of it is touched.
pub fn erase(directory: &Path, but: &str) -> Result<(), OpenError> {
    let place = Place::make(directory)?;
    // It is empty, and stays as long as we hold it: whoever opened another one would not wait.
    let lock = place.lock()?;
    let failed = |cause: io::Error| unwritable(directory, cause);
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name() == but || entry.file_name() == "lock" {
            continue;
        }
        let is_directory = entry.file_type().map_err(failed)?.is_dir();
        let path = entry.path();
        let removed = if is_directory { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        removed.map_err(failed)?;
    }
    fs::File::open(directory).and_then(|opened| opened.sync_all()).map_err(failed)?;
    drop(lock);
    Ok(())
}
