//! A text that must not be shown: tokens, client secrets.
//!
//! It has no `Display`, its `Debug` says nothing, and it wipes its memory when dropped. Where it
//! has to leave the program (a header, a form, the credentials file), [`Secret::reveal`] names the
//! place for a reader to find. Files that hold secrets are read here, and memory that holds them is
//! kept out of core dumps.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ring::hmac;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use serde::{Deserialize, Deserializer};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Keeps the memory of this process out of core dumps, and closed to other processes of its user:
/// for good, and before it holds a secret.
pub fn keep_out_of_dumps() {
    // Neither can fail on a Linux that runs this program; if one did, the other still helps. The
    // limit is for dumps that a program takes in (`core_pattern`), which look at it.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}

/// Reads a file that holds secrets, if it is no larger than `limit` bytes. Beside its text comes a
/// warning when other users can read it.
pub fn read_file(
    file: &Path,
    limit: usize,
) -> Result<(Zeroizing<String>, Option<String>), FileFault> {
    let open = File::open(file)?;
    let mode = open.metadata()?.permissions().mode();
    // Room for all of it from the start: a buffer that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(limit + 1));
    open.take(limit as u64 + 1).read_to_string(&mut text)?;
    if text.len() > limit {
        return Err(FileFault::TooLarge);
    }
    Ok((text, exposure(file, mode)))
}

/// Why a file of secrets could not be read; what to do about it depends on the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FileFault {
    /// There is none.
    Missing,
    /// It is another user's.
    Forbidden,
    /// It is not UTF-8 text.
    NotText,
    /// It is larger than such a file can be.
    TooLarge,
    /// Whatever else the system says.
    Unreadable(String),
}

impl From<io::Error> for FileFault {
    fn from(error: io::Error) -> FileFault {
        match error.kind() {
            io::ErrorKind::NotFound => FileFault::Missing,
            io::ErrorKind::PermissionDenied => FileFault::Forbidden,
            io::ErrorKind::InvalidData => FileFault::NotText,
            _ => FileFault::Unreadable(error.to_string()),
        }
    }
}

/// What to tell about a file of secrets with these permissions; nothing when only its owner and
/// its group can read it.
pub fn exposure(file: &Path, mode: u32) -> Option<String> {
    let (file, mode) = (file.display(), mode & 0o7777);
    let exposed = mode & 0o007 != 0;
    exposed
        .then(|| format!("{file}: other users can read it (mode {mode:04o}); run: chmod o= {file}"))
}

/// A secret text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text in.
    pub fn new(text: String) -> Secret {
        Secret(Zeroizing::new(text))
    }

    /// The text itself, for the wire and for the file that keeps it; never for a log or a message.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether this is what was offered, in a time that depends on the content of neither.
    pub fn is(&self, offered: &str) -> bool {
        self.0.as_bytes().ct_eq(offered.as_bytes()).into()
    }

    /// The code (HMAC-SHA256) that this secret makes of a text, which is given in parts.
    pub fn code_of(&self, parts: &[&[u8]]) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.as_bytes());
        let mut context = hmac::Context::with_key(&key);
        parts.iter().for_each(|part| context.update(part));
        context.sign().as_ref().try_into().expect("SHA-256 has 32 bytes")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Secret::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_secret_itself_is_the_secret() {
        let secret = Secret::new("S3CRET".to_owned());
        assert!(secret.is("S3CRET"));
        for other in ["", "S3CRE", "S3CRET ", "S3CREU", "s3cret"] {
            assert!(!secret.is(other), "{other:?}");
        }
        assert_eq!(format!("{secret:?} {secret:#?}"), "(secret) (secret)");
    }

    /// Test case 2 of RFC 4231.
    #[test]
    fn a_code_is_that_of_all_parts_in_a_row() {
        let secret = Secret::new("Jefe".to_owned());
        let whole = secret.code_of(&[b"what do ya want for nothing?"]);
        assert_eq!(whole, secret.code_of(&[b"what do ya", b"", b" want for nothing?"]));
        assert_eq!(whole[..4], [0x5b, 0xdc, 0xc1, 0x46]);
        assert_eq!(whole[28..], [0x64, 0xec, 0x38, 0x43]);
    }

    #[test]
    fn memory_is_kept_out_of_dumps() {
        keep_out_of_dumps();
        let behaviour = rustix::process::dumpable_behavior().unwrap();
        assert_eq!(behaviour, DumpableBehavior::NotDumpable);
        let limit = rustix::process::getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
    }
}
