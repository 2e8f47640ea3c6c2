//! Why a callback was not acknowledged, as a word and a counter.
//!
//! Who refuses says why in full, to the log and to the caller as far as he may know it. What
//! remains is a number for each kind of reason.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::mirror::books::callback;
use crate::mirror::callback::Refusal;

/// Why a callback was not acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Declined {
    /// It is no callback.
    Unreadable,
    /// It names a channel that is not ours.
    UnknownChannel,
    /// Its token is not one of ours.
    WrongToken,
    /// Nobody who has our secret signed it.
    WrongSignature,
    /// It leads to another place than upstream's API.
    ForeignResource,
    /// It contradicts itself about the module.
    ModuleMismatch,
    /// The module is not mirrored here.
    UnknownModule,
    /// The platform's hash of it is missing or wrong.
    WrongHash,
    /// The platform speaks of another organisation's extension.
    OtherOrg,
    /// Upstream has not named its API yet.
    NotReady,
    /// Too many ids wait already.
    InboxFull,
    /// The disk is full.
    NoRoom,
    /// The store takes no writes.
    StoreFailed,
}

impl Declined {
    /// All of them, in the order of their counters.
    pub const ALL: [Declined; 13] = [
        Declined::Unreadable,
        Declined::UnknownChannel,
        Declined::WrongToken,
        Declined::WrongSignature,
        Declined::ForeignResource,
        Declined::ModuleMismatch,
        Declined::UnknownModule,
        Declined::WrongHash,
        Declined::OtherOrg,
        Declined::NotReady,
        Declined::InboxFull,
        Declined::NoRoom,
        Declined::StoreFailed,
    ];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Declined::Unreadable => "unreadable",
            Declined::UnknownChannel => "unknown_channel",
            Declined::WrongToken => "wrong_token",
            Declined::WrongSignature => "wrong_signature",
            Declined::ForeignResource => "foreign_resource",
            Declined::ModuleMismatch => "module_mismatch",
            Declined::UnknownModule => "unknown_module",
            Declined::WrongHash => "wrong_hash",
            Declined::OtherOrg => "other_org",
            Declined::NotReady => "not_ready",
            Declined::InboxFull => "inbox_full",
            Declined::NoRoom => "no_room",
            Declined::StoreFailed => "store_failed",
        }
    }
}

impl From<&Refusal> for Declined {
    fn from(refusal: &Refusal) -> Declined {
        match refusal {
            Refusal::Unreadable(_) => Declined::Unreadable,
            Refusal::UnknownChannel => Declined::UnknownChannel,
            Refusal::WrongToken => Declined::WrongToken,
            Refusal::ForeignResource => Declined::ForeignResource,
            Refusal::ModuleMismatch => Declined::ModuleMismatch,
            Refusal::UnknownModule(_) => Declined::UnknownModule,
            Refusal::NotReady => Declined::NotReady,
        }
    }
}

impl From<&callback::Refusal> for Declined {
    fn from(refusal: &callback::Refusal) -> Declined {
        match refusal {
            callback::Refusal::Unsigned | callback::Refusal::WrongSignature => {
                Declined::WrongSignature
            }
            callback::Refusal::Unreadable(_) => Declined::Unreadable,
            callback::Refusal::OtherEntity(_) => Declined::ModuleMismatch,
        }
    }
}

/// How many were declined since the start, by reason.
#[derive(Debug, Default)]
pub struct DeclinedCounts([AtomicU64; Declined::ALL.len()]);

impl DeclinedCounts {
    /// One more.
    pub fn add(&self, why: Declined) {
        self.0[why as usize].fetch_add(1, Relaxed);
    }

    /// Each reason's number.
    pub fn each(&self) -> [(Declined, u64); Declined::ALL.len()] {
        Declined::ALL.map(|why| (why, self.0[why as usize].load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter() {
        for (place, why) in Declined::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, place, "{}", why.name());
        }
    }
}
