//! Where the body of a reply waits while its head goes over the line.
//!
//! Worker and gate are threads of one process. tiny_http would copy a body into the line in pieces
//! of 8 KiB, each with two calls of the system and a thread woken for it, and the gate would put
//! them together again: a page of 200 records took most of its time there. So the body is laid
//! beside the line before its head is sent, and whoever has read the head takes it.

use std::sync::{Mutex, PoisonError};

/// A tray for each line.
#[derive(Debug)]
pub(super) struct Trays(Box<[Mutex<Vec<u8>>]>);

impl Trays {
    /// Trays for so many lines, which count from zero.
    pub(super) fn new(lines: usize) -> Trays {
        Trays((0..lines).map(|_| Mutex::default()).collect())
    }

    /// Lays a body beside a line. One that nobody has taken is gone: whoever asked for it is.
    pub(super) fn lay(&self, line: usize, body: Vec<u8>) {
        let laid = self.swap(line, body);
        // Not freed under the lock.
        drop(laid);
    }

    /// Takes what lies beside a line; an empty body when nothing does.
    pub(super) fn take(&self, line: usize) -> Vec<u8> {
        self.swap(line, Vec::new())
    }

    fn swap(&self, line: usize, body: Vec<u8>) -> Vec<u8> {
        let Some(tray) = self.0.get(line) else { return body };
        std::mem::replace(&mut *tray.lock().unwrap_or_else(PoisonError::into_inner), body)
    }
}
