//! crmirror mirrors Zoho CRM records onto an edge device: fed by callbacks, readable offline.
//!
//! # Which room may use which
//!
//! ```text
//! main → daemon, cli → heart, courier → server → store → mirror
//!                                     ↘ upstream ────────↗
//! ```
//!
//! `mirror` is pure and decides. `upstream`, `store` and `server` do; the first two do not know
//! each other, and `server` does not know `upstream`. `heart` asks `mirror` what to do and does it
//! with `upstream` and `store`; so does `courier` with calls to functions. `daemon` wires. Nobody
//! imports `daemon`.
//!
//! # In which order to read
//!
//! `mirror::record`, `mirror::callback`, `mirror::planner`, `mirror::merge`; then `heart`; then
//! `store`, `upstream`, `server`; then `daemon` and `cli`.

pub mod aside;
pub mod cli;
pub mod clock;
pub mod config;
pub mod courier;
pub mod credentials;
pub mod daemon;
pub mod error;
pub mod heart;
pub mod identity;
pub mod logger;
pub mod memory;
pub mod mirror;
pub mod priority;
pub mod reader_token;
pub mod secret;
pub mod server;
pub mod store;
pub mod systemd;
pub mod upstream;
pub mod vitals;
pub mod wear;
