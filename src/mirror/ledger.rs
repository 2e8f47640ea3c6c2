//! What is proved about a module's copy: complete through when, by which evidence, and how far
//! the scan that extends the proof has come.
//!
//! Only a finished scan extends the proof; a callback never does.

use serde::{Deserialize, Serialize};

use super::record::RecordId;
use super::time::UpstreamTime;

/// The proof of one module, kept in the transaction that changes what it speaks of.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// Live records in the mirror.
    pub records: u64,
    /// Upstream time up to which the copy is proved complete; `None` before the first scan ends.
    pub complete_through: Option<UpstreamTime>,
    /// When (upstream) the last catch-up ended.
    pub last_catch_up: Option<UpstreamTime>,
    /// When (upstream) the last listing of the whole module ended.
    pub last_sweep: Option<UpstreamTime>,
    /// The scan in progress, as of its last committed page.
    pub scan: Option<Scan>,
}

/// A scan in progress.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Scan {
    /// When (upstream) it began: what it proves when it ends.
    pub started: UpstreamTime,
    /// The page to read next.
    pub next: Position,
    /// Records seen so far.
    pub seen: u64,
}

/// Where the next page of a module's listing is to be read.
///
/// Upstream serves the first 2,000 records by page number, then by page token (facts §4.2). Where
/// it offers no token the listing goes on by modification time, and within one second by id.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    /// This page, in the order of ids.
    Page(u32),
    /// The page behind this token, in the order of ids.
    Token(String),
    /// This page of what was modified at `from` or later, in the order of modification.
    Modified {
        /// The first second looked at.
        from: UpstreamTime,
        /// The page within.
        page: u32,
    },
    /// What was modified in this very second, in the order of ids.
    Second {
        /// The second.
        at: UpstreamTime,
        /// The last id seen.
        after: RecordId,
    },
}

impl Position {
    /// Where every listing begins.
    pub const START: Position = Position::Page(1);
}
