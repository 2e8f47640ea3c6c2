//! That the extension was removed, and how far we have come with what follows from it.
//!
//! A file of one word, beside the store: it outlives the store, which a removal may erase. It is on
//! disk before anything is done about the removal, so that a crash only delays it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::IdentityError;
use crate::mirror::platform::Removal;
use crate::store::file;

/// What the file is called; the one thing that [`Removal::Wiped`] leaves in the state directory.
pub const NAME: &str = "uninstalled";

/// The file.
#[derive(Clone, Debug)]
pub struct RemovalFile(PathBuf);

impl RemovalFile {
    /// The file in this directory.
    pub fn of(directory: &Path) -> RemovalFile {
        RemovalFile(directory.join(NAME))
    }

    /// How far a removal has come, if there was one. A word that is not known is one of a newer
    /// crmirror: it keeps us from fetching, and from no more.
    pub fn read(&self) -> Result<Option<Removal>, IdentityError> {
        match fs::read_to_string(&self.0) {
            Ok(word) => Ok(Some(Removal::parse(word.trim()).unwrap_or(Removal::Closed))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(self.failed(cause)),
        }
    }

    /// Keeps how far it has come, durably; `None` when the extension is back.
    pub fn set(&self, removal: Option<Removal>) -> Result<(), IdentityError> {
        let done = match removal {
            Some(removal) => file::replace(&self.0, removal.as_str().as_bytes(), 0o600),
            None => file::remove(&self.0),
        };
        done.map_err(|cause| self.failed(cause))
    }

    fn failed(&self, cause: io::Error) -> IdentityError {
        IdentityError { path: self.0.clone(), cause }
    }
}
