//! How to talk to upstream. Builders and parsers are pure; one file does I/O.

pub mod api;
pub mod books;
pub mod channels;
pub mod desk;
pub mod functions;
pub mod metadata;
pub mod records;
pub mod token;
pub mod transport;
pub mod verdict;
