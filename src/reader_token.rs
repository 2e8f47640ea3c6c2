//! The token that readers show when they come over the network: a file that holds nothing else.
//!
//! Both sides read it: the daemon to know whom to answer, the commands to be answered. Nothing of
//! the file's content appears in an error.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::Failure;
use crate::secret::{self, FileFault, Secret};

/// Shortest token: what `openssl rand -hex 16` prints is twice as long, and a word that somebody
/// made up is mostly shorter.
pub const SHORTEST: usize = 16;
/// Largest file: whatever is longer is another file.
pub const FILE_LIMIT: usize = 4 << 10;

/// Reads the file. Beside the token comes a warning when other users can read it.
pub fn load(file: &Path) -> Result<(Secret, Option<String>), TokenFileError> {
    let wrong = |fault| TokenFileError { file: file.to_owned(), fault };
    let read = secret::read_file(file, FILE_LIMIT);
    let (text, warning) = read.map_err(|fault| wrong(Fault::Unread(fault)))?;
    let token = text.trim_ascii();
    // What is to stand in a header must not need an escape there.
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong(Fault::NotAToken));
    }
    if token.len() < SHORTEST {
        return Err(wrong(Fault::TooShort));
    }
    Ok((Secret::new(token.to_owned()), warning))
}

/// Why there is no token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenFileError {
    file: PathBuf,
    fault: Fault,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Fault {
    Unread(FileFault),
    NotAToken,
    TooShort,
}

impl fmt::Display for TokenFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        match &self.fault {
            Fault::Unread(FileFault::Missing) => {
                write!(f, "{file}: no such file; make it: umask 077; openssl rand -hex 32 > {file}")
            }
            Fault::Unread(FileFault::Forbidden) => {
                write!(f, "{file}: permission denied; let its group read it, and belong to that")
            }
            Fault::Unread(FileFault::Unreadable(why)) => write!(f, "{file}: cannot be read: {why}"),
            Fault::Unread(FileFault::NotText | FileFault::TooLarge) | Fault::NotAToken => write!(
                f,
                "{file}: not one word of visible ASCII; make it: openssl rand -hex 32 > {file}"
            ),
            Fault::TooShort => write!(
                f,
                "{file}: a token of fewer than {SHORTEST} characters can be guessed; make one: \
                 openssl rand -hex 32 > {file}"
            ),
        }
    }
}

impl std::error::Error for TokenFileError {}

impl From<TokenFileError> for Failure {
    fn from(error: TokenFileError) -> Failure {
        Failure::configuration(error.to_string())
    }
}
