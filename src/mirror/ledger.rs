//! What is proved about a module's copy: complete through when, by which evidence, and how far
//! the scan that extends the proof has come.
//!
//! Only a finished scan extends the proof; a callback never does.

use serde::{Deserialize, Serialize};

use super::count::Count;
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
    /// Since when (upstream) every record has been read whole: no field is older than that.
    #[serde(default)]
    pub last_refresh: Option<UpstreamTime>,
    /// Changes that a catch-up found although a callback should have announced them.
    #[serde(default)]
    pub missed: u64,
    /// Whether the module's records carry no modification time: then only a listing shows what
    /// changed.
    #[serde(default)]
    pub unstamped: bool,
    /// How many records there were, there and here, when they were counted last.
    #[serde(default)]
    pub count: Option<Count>,
    /// The scan in progress, as of its last committed page.
    pub scan: Option<Scan>,
}

/// What a scan looks at, each more than the one before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScanKind {
    /// What was modified or deleted since the copy was proved complete.
    CatchUp,
    /// All ids: it finds what was never announced and left no stamp.
    Sweep,
    /// All records, whole: it finds what changed without a stamp, such as formula fields.
    Refresh,
}

/// A scan in progress. Its rules are in [`super::scan`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Scan {
    /// What it looks at.
    pub kind: ScanKind,
    /// When (upstream) it began: what it proves when it ends.
    pub started: UpstreamTime,
    /// From when on modified and deleted records are looked at.
    pub since: UpstreamTime,
    /// Whether rows went away while the first listing was read, so that it may have missed some.
    #[serde(default)]
    pub shifted: bool,
    /// Whether the copy had been proved complete before.
    #[serde(default)]
    pub proved: bool,
    /// Whether this reading of the list of the deleted left something in doubt.
    #[serde(default)]
    pub doubted: bool,
    /// How often the list of the deleted has been read to its end.
    #[serde(default)]
    pub readings: u32,
    /// The page to read next.
    pub next: Position,
    /// The largest id that the listing has shown so far.
    pub after: Option<RecordId>,
    /// Rows seen so far.
    pub seen: u64,
    /// Whether any row seen so far carried a modification time.
    pub stamped: bool,
    /// Whether a part of the listing showed nothing of its records but their stamps.
    #[serde(default)]
    pub narrow: bool,
    /// Changes found so far that a callback should have announced.
    pub missed: u64,
}

/// Where the next page of a scan is to be read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    /// This page of the listing, in the order of ids.
    Page(u32),
    /// The listing's page behind this token, in the order of ids.
    Token(String),
    /// The listing behind this id, by a query in the order of ids: what page numbers and page
    /// tokens do not reach.
    ById {
        /// The last id seen.
        after: RecordId,
    },
    /// This page of what was modified at `from` or later, in the order of modification.
    Modified {
        /// The first second looked at.
        from: UpstreamTime,
        /// The page within.
        page: u32,
    },
    /// The page behind this token of what was modified at `from` or later.
    ModifiedToken {
        /// The first second looked at; a token holds for the same request only (facts §4.2).
        from: UpstreamTime,
        /// The token.
        token: String,
        /// From where to go on without the token, when it is no longer accepted.
        reached: UpstreamTime,
    },
    /// What was modified in one very second, in the order of ids.
    Second {
        /// Where the window began that this second was too full for.
        from: UpstreamTime,
        /// The second.
        at: UpstreamTime,
        /// The last id seen.
        after: RecordId,
    },
    /// This page of what was deleted.
    Deleted {
        /// The page.
        page: u32,
        /// Its token, where upstream offers one.
        token: Option<String>,
    },
    /// Every page has been read; ids that they left in doubt are still to be fetched.
    Settling,
}

impl Position {
    /// Where the listing of a whole module begins.
    pub const START: Position = Position::Page(1);
}
