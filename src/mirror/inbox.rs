//! What waits to be fetched, and what could not be.
//!
//! One callback may name many records; each waits on its own, so that each leaves in the
//! transaction that writes what *it* led to. A scan puts ids here too, when it has seen something
//! that only a fetch by name can settle.

use serde::{Deserialize, Serialize};

use super::record::{ModuleName, RecordId};
use super::road::Reading;
use super::time::UpstreamTime;

/// The number of a waiting id: its place in the order of arrival on this device.
pub type InboxSequence = u64;

/// An id that is to be fetched.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Arrival {
    /// The module of the record.
    pub module: ModuleName,
    /// The record.
    pub id: RecordId,
    /// Why it is to be fetched.
    pub reason: Reason,
    /// When (upstream) that was heard of; `None` when upstream had not told its time by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard: Option<UpstreamTime>,
    /// The scan that met it, where it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reading: Option<Reading>,
}

impl Arrival {
    /// An id that is to be fetched, heard of at a time that is not known.
    pub fn new(module: ModuleName, id: RecordId, reason: Reason) -> Arrival {
        Arrival { module, id, reason, heard: None, reading: None }
    }
}

/// Why an id is to be fetched. It never says what the record holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// A callback said that the record was created or edited.
    Touched,
    /// A callback said that the record was deleted.
    Deleted,
    /// A scan met the id and could not settle it from the page alone.
    Scanned,
}

/// An arrival under its number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InboxItem {
    /// Its number.
    pub sequence: InboxSequence,
    /// What arrived.
    pub arrival: Arrival,
}

/// An id that upstream denies again and again, set aside visibly.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Quarantined {
    /// The module of the record.
    pub module: ModuleName,
    /// The record.
    pub id: RecordId,
    /// What upstream answered.
    pub why: String,
    /// When it was set aside.
    pub since: UpstreamTime,
}
