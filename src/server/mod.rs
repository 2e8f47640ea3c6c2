//! What may be asked of us: callbacks from upstream, reads from local programs.
//!
//! A request comes through a gate, which deals with strangers, into the hall, which answers it.

pub mod again;
pub mod asked;
pub mod board;
pub mod books;
mod budget;
mod crossing;
pub mod declined;
mod explain;
pub mod feed;
mod forwarded;
mod freshness;
pub mod gate;
pub mod hall;
pub mod hatch;
pub mod intake;
mod lines;
mod live;
pub mod local;
mod metadata;
pub mod meters;
mod metrics;
mod oauth;
mod openapi;
mod outbox;
mod page;
pub mod process;
mod query;
pub mod receive;
pub mod receive_books;
pub mod receive_platform;
pub mod reception;
pub mod reply;
mod status;
pub mod summary;
mod text;
mod tray;
mod wait_for;
mod zoho;
