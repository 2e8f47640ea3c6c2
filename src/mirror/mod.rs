//! The core. Pure: no clock, disk, network, thread or log.

pub mod inbox;
pub mod ledger;
pub mod record;
pub mod time;
