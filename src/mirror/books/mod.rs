//! Zoho Books, the second upstream, as far as it is decided without a network or a disk.
//!
//! Its records are kept as those of CRM are: under a module's name and an id, and they wait, are
//! merged, committed and proved in the same way. What differs is how they are called
//! ([`entity`]), listed ([`scan`]) and counted ([`account`]); [`plan`] says what is read next.
//! Nothing here talks to anybody.

pub mod account;
pub mod callback;
pub mod entity;
pub mod histories;
mod listing;
mod pacer;
pub mod plan;
pub mod scan;
pub mod webhooks;
