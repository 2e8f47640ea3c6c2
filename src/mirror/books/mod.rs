//! Zoho Books, the second upstream, as far as it is decided without a network or a disk.
//!
//! Its records are kept as those of CRM are: under a module's name and an id. What differs is how
//! they are called, listed and announced, and that is here. Nothing here talks to anybody.

pub mod entity;
