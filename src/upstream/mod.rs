//! How to talk to upstream. Builders and parsers are pure; one file does I/O.

pub mod transport;
