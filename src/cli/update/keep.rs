//! What an update keeps: the binary that proved itself last, and notes.
//!
//! ```text
//! proven      the binary that is put back
//! notes.json  which binaries were refused and why; the trial that is under way
//! lock        held by the update that is running
//! ```
//! They lie in one directory beside `/usr/local/bin`: as writable and on the same disk as the
//! binary, never mounted `noexec`, and never the daemon's to write. Each file is replaced as a
//! whole, so that a power cut leaves the old one or the new.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::error::Failure;
use crate::store::file;

/// Largest binary: ours are a tenth of it with everything that a debugger wants in them.
pub(super) const BINARY_LIMIT: u64 = 512 << 20;
/// Refused binaries that are remembered: one a week for half a year.
const REFUSED_LIMIT: usize = 26;
/// The permissions of a binary.
pub(in crate::cli) const MODE: u32 = 0o755;

/// A binary, read whole.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Binary {
    pub(super) bytes: Vec<u8>,
    pub(super) checksum: String,
}

/// The directory.
pub(super) struct Keep {
    directory: PathBuf,
    notes: Notes,
    _lock: File,
}

#[derive(Clone, Default)]
struct Notes {
    /// Checksums and reasons, the newest last.
    refused: Vec<(String, String)>,
    under_way: Option<UnderWay>,
}

/// A trial that was begun.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct UnderWay {
    /// The binary's checksum.
    pub(super) checksum: String,
    /// How often it was begun.
    pub(super) begun: u64,
}

impl Keep {
    /// Opens the directory, which is made when it is missing.
    pub(super) fn open(directory: &Path) -> Result<Keep, Failure> {
        let cannot = |error: io::Error| cannot_write(directory, &error);
        let made = DirBuilder::new().recursive(true).mode(0o755).create(directory);
        made.map_err(cannot)?;
        let lock = file::lock(&directory.join("lock")).map_err(cannot)?;
        let lock = lock.ok_or_else(|| Failure::failed("another update is running: let it end"))?;
        let notes = read_notes(&directory.join("notes.json"));
        Ok(Keep { directory: directory.to_owned(), notes, _lock: lock })
    }

    /// Where the binary is that proved itself last.
    pub(super) fn proven_path(&self) -> PathBuf {
        self.directory.join("proven")
    }

    /// The binary that proved itself last, if there is one.
    pub(super) fn proven(&self) -> Option<Binary> {
        read_binary(&self.proven_path()).ok()
    }

    /// Makes this the binary that is put back.
    pub(super) fn prove(&mut self, binary: &Binary) -> Result<(), Failure> {
        let path = self.proven_path();
        file::replace(&path, &binary.bytes, MODE).map_err(|e| cannot_write(&path, &e))?;
        self.note(|notes| notes.under_way = None)
    }

    /// Why a binary was refused.
    pub(super) fn refused(&self, checksum: &str) -> Option<&str> {
        let found = self.notes.refused.iter().find(|(of, _)| of == checksum);
        found.map(|(_, why)| why.as_str())
    }

    /// Remembers that a binary is not to be tried again.
    pub(super) fn refuse(&mut self, checksum: &str, why: &str) -> Result<(), Failure> {
        if self.refused(checksum).is_some() {
            return Ok(());
        }
        self.note(|notes| {
            notes.refused.push((checksum.to_owned(), why.to_owned()));
            let excess = notes.refused.len().saturating_sub(REFUSED_LIMIT);
            notes.refused.drain(..excess);
        })
    }

    /// Forgets which binaries were refused; how many.
    pub(super) fn forget(&mut self) -> Result<usize, Failure> {
        let count = self.notes.refused.len();
        self.note(|notes| *notes = Notes::default())?;
        Ok(count)
    }

    /// The trial that was begun and not ended.
    pub(super) fn under_way(&self) -> Option<&UnderWay> {
        self.notes.under_way.as_ref()
    }

    /// Notes that a trial begins.
    pub(super) fn begin(&mut self, trial: UnderWay) -> Result<(), Failure> {
        self.note(|notes| notes.under_way = Some(trial))
    }

    /// Notes that no trial is under way any more.
    pub(super) fn end(&mut self) -> Result<(), Failure> {
        match self.notes.under_way {
            Some(_) => self.note(|notes| notes.under_way = None),
            None => Ok(()),
        }
    }

    fn note(&mut self, change: impl FnOnce(&mut Notes)) -> Result<(), Failure> {
        change(&mut self.notes);
        let path = self.directory.join("notes.json");
        let text = format!("{:#}\n", self.notes.to_json());
        file::replace(&path, text.as_bytes(), 0o644).map_err(|e| cannot_write(&path, &e))
    }
}

impl Notes {
    fn to_json(&self) -> Value {
        let refused =
            |(checksum, why): &(String, String)| json!({ "sha256": checksum, "why": why });
        let under_way = self
            .under_way
            .as_ref()
            .map(|trial| json!({ "sha256": trial.checksum, "begun": trial.begun }));
        let refused: Vec<Value> = self.refused.iter().map(refused).collect();
        json!({ "refused": refused, "under_way": under_way })
    }

    fn from_json(notes: &Value) -> Notes {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let refused = |row: &Value| Some((text(&row["sha256"])?, text(&row["why"])?));
        let rows = notes["refused"].as_array().map(Vec::as_slice).unwrap_or_default();
        let trial = &notes["under_way"];
        let under_way = text(&trial["sha256"]).zip(trial["begun"].as_u64());
        let under_way = under_way.map(|(checksum, begun)| UnderWay { checksum, begun });
        Notes { refused: rows.iter().filter_map(refused).collect(), under_way }
    }
}

/// Notes that cannot be read are begun anew: at worst a binary is refused a second time.
fn read_notes(path: &Path) -> Notes {
    let text = fs::read(path).unwrap_or_default();
    serde_json::from_slice(&text).map(|notes| Notes::from_json(&notes)).unwrap_or_default()
}

/// Reads a binary whole.
pub(super) fn read_binary(path: &Path) -> io::Result<Binary> {
    let mut bytes = Vec::new();
    File::open(path)?.take(BINARY_LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > BINARY_LIMIT {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is too large to be crmirror"));
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
    let checksum = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Binary { bytes, checksum })
}

/// The failure of whoever has to write there and cannot.
pub(super) fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => "run it as root",
        io::ErrorKind::ReadOnlyFilesystem => "have its file system mounted for writing",
        _ if file::is_for_want_of_room(error) => "make room on its disk",
        _ => "see that its disk is sound",
    };
    Failure::failed(format!("{} cannot be written: {error}; {hint}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_read_as_they_were_written() {
        let under_way = Some(UnderWay { checksum: "ab".to_owned(), begun: 2 });
        let refused = vec![("cd".to_owned(), "it hung".to_owned())];
        let notes = Notes { refused: refused.clone(), under_way: under_way.clone() };
        let read = Notes::from_json(&notes.to_json());
        assert_eq!((read.refused, read.under_way), (refused, under_way));
        for other in ["null", "[]", "{\"refused\":7,\"under_way\":\"x\"}"] {
            let read = Notes::from_json(&serde_json::from_str(other).unwrap());
            assert!(read.refused.is_empty() && read.under_way.is_none(), "{other}");
        }
    }
}
