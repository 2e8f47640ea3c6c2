//! The core. Pure: no clock, disk, network, thread or log.
//!
//! A callback becomes a [`callback::Notification`], its ids wait in [`waiting`], the [`planner`]
//! says when they are fetched, [`merge`] folds what was seen into what is stored, and the
//! [`ledger`] says what is thereby proved.

pub mod backoff;
pub mod books;
pub mod callback;
pub mod channel;
pub mod count;
pub mod credits;
pub mod criteria;
pub mod document;
pub mod gather;
pub mod inbox;
pub mod ledger;
mod members;
pub mod merge;
pub mod origin;
pub mod outbox;
pub mod planner;
pub mod platform;
pub mod record;
pub mod road;
pub mod scan;
pub mod search;
pub mod span;
pub mod time;
pub mod trouble;
pub mod version;
pub mod waiting;
