//! A seed: a whole store in one file, from which another device begins without asking upstream for
//! every record.
//!
//! ```text
//! head    magic (8) · format (4) · length of the description (4) · description, as a value
//! body    a snapshot (see `snapshot.rs`), deflated
//! foot    SHA-256 of all before it (32)
//! ```
//! Numbers are big-endian. Nothing of a seed is believed before its foot was found right. There are
//! no secrets in it: tokens and credentials are no part of a store. But all records are.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::error::OpenError;
use crate::mirror::record::{FieldName, ModuleName};
use crate::mirror::time::UpstreamTime;

pub(super) use self::read::Seed;
pub use self::write::write_seed;

mod read;
mod write;

const MAGIC: &[u8; 8] = b"crm-seed";
const FORMAT: u32 = 1;

/// Magic, format, and the length of the description.
const HEAD: u64 = 16;

/// Longest description: a hundred modules with all their fields named are far below.
const DESCRIPTION_LIMIT: u32 = 4 << 20;

/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

/// What a mirror holds by its configuration. Records of another shape are read, but prove nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Terms {
    /// Where tokens are asked for: which upstream it is.
    pub accounts: String,
    /// The version of the API, by which records differ.
    pub api_version: String,
    /// What is mirrored of each module.
    pub modules: BTreeMap<ModuleName, Shape>,
}

/// What is mirrored of a module.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Shape {
    /// The fields; `None` means all.
    pub fields: Option<Vec<FieldName>>,
    /// Whether records are fetched one by one, with subforms and multi-selects.
    pub whole_records: bool,
    /// The organization of Books that the records are of; `None` for a module of CRM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
}

/// What is in a seed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Description {
    /// The version of the program that wrote it.
    pub crmirror: String,
    /// When (upstream, as far as that was known) its snapshot was taken.
    pub taken: UpstreamTime,
    /// Bytes of the snapshot.
    pub bytes: u64,
    /// The configuration that it was mirrored by.
    pub terms: Terms,
    /// What the mirror held.
    pub modules: BTreeMap<ModuleName, Contents>,
}

/// What a mirror holds of a module.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Contents {
    /// Live records.
    pub records: u64,
    /// Upstream time up to which they are proved complete.
    pub complete_through: Option<UpstreamTime>,
}

/// Why there is no seed, or none that can be used.
#[derive(Debug)]
pub enum SeedError {
    /// The file cannot be read, or is damaged.
    Unreadable(PathBuf, io::Error),
    /// What it is to be made of cannot be read.
    Locked(PathBuf, io::Error),
    /// There is no snapshot to make one of.
    NoSnapshot(PathBuf),
    /// It could not be written.
    Unwritten(io::Error),
    /// It was mirrored from another upstream.
    Elsewhere {
        /// From where.
        from: String,
        /// What this configuration names.
        here: String,
    },
    /// None of its modules is mirrored here.
    NothingShared,
    /// There are records here already.
    Occupied(PathBuf),
    /// There is no room for it.
    NoRoom {
        /// Bytes that it may take.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The store here cannot be used.
    Open(OpenError),
}

impl fmt::Display for SeedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SeedError::Unreadable(path, cause) => {
                let path = path.display();
                write!(f, "{path} is not a whole seed: {cause}; export it and copy it anew")
            }
            SeedError::Locked(path, cause) => {
                let path = path.display();
                write!(f, "{path} cannot be read: {cause}; run this as the user of the daemon")
            }
            SeedError::NoSnapshot(path) => {
                let path = path.display();
                write!(f, "there is no snapshot in {path} yet; the daemon takes one a day")
            }
            SeedError::Unwritten(cause) => write!(f, "the seed cannot be written: {cause}"),
            SeedError::Elsewhere { from, here } => write!(
                f,
                "it was mirrored from {from}, and this configuration mirrors {here}; use the \
                 configuration of its upstream"
            ),
            SeedError::NothingShared => {
                f.write_str("none of its modules is mirrored here; name them in the configuration")
            }
            SeedError::Occupied(path) => {
                let path = path.display();
                write!(f, "there are records in {path} already; --replace sets them aside")
            }
            SeedError::NoRoom { needed, free } => write!(
                f,
                "it may take {} MiB on the disk, and {} are free; free some",
                needed >> 20,
                free >> 20
            ),
            SeedError::Open(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SeedError {}

impl From<OpenError> for SeedError {
    fn from(error: OpenError) -> SeedError {
        SeedError::Open(error)
    }
}

fn damaged(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}
