//! What may be asked of us: callbacks from upstream, reads from local programs.
//!
//! A request comes through a gate, which deals with strangers, into the hall, which answers it.

pub mod asked;
pub mod board;
mod budget;
mod crossing;
pub mod declined;
mod forwarded;
pub mod gate;
pub mod hall;
mod lines;
pub mod local;
pub mod meters;
mod metrics;
mod page;
mod process;
mod query;
pub mod receive;
pub mod reply;
mod status;
pub mod summary;
mod zoho;
