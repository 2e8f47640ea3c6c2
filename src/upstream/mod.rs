//! How to talk to upstream. Builders and parsers are pure; one file does I/O.

pub mod api;
pub mod channels;
pub mod metadata;
pub mod records;
pub mod token;
pub mod transport;
pub mod verdict;
