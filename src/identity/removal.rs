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
    /// crmirror, or of a bad card: it keeps us from fetching, and from no more.
    pub fn read(&self) -> Result<Option<Removal>, IdentityError> {
        match fs::read(&self.0) {
            Ok(word) => {
                let word = String::from_utf8_lossy(&word);
                Ok(Some(Removal::parse(word.trim()).unwrap_or(Removal::Closed)))
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_not_known_keeps_us_from_fetching_and_from_no_more() {
        let name = format!("crmirror-removal-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).unwrap();
        let file = RemovalFile::of(&directory);
        assert_eq!(file.read().unwrap(), None);
        for (word, expected) in [
            (&b"wiping\n"[..], Removal::Wiping),
            (b"of a newer crmirror", Removal::Closed),
            (b"\xff\xfe\0", Removal::Closed),
            (b"", Removal::Closed),
        ] {
            fs::write(directory.join(NAME), word).unwrap();
            assert_eq!(file.read().unwrap(), Some(expected), "{word:?}");
        }
        fs::remove_dir_all(&directory).unwrap();
    }
}
