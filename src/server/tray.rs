//! Where the reply to a request waits that went over a line.
//!
//! Worker and gate are threads of one process. What went back over the line would be written, sent,
//! read and taken apart again, in pieces of 8 KiB when it is long; and each piece would wake two
//! threads: the one that waits for it, and for nothing tiny_http's own that reads the line, which
//! Linux tells that it may write again. So the whole reply is laid beside the line, and whoever
//! asked is woken for it once.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::reply::Reply;

/// A tray for each line.
#[derive(Debug)]
pub(super) struct Trays(Box<[Tray]>);

#[derive(Debug, Default)]
struct Tray {
    laid: Mutex<Option<Reply>>,
    filled: Condvar,
}

impl Trays {
    /// Trays for so many lines, which count from zero.
    pub(super) fn new(lines: usize) -> Trays {
        Trays((0..lines).map(|_| Tray::default()).collect())
    }

    /// Lays a reply beside a line. One that nobody has taken is gone: whoever asked for it is.
    pub(super) fn lay(&self, line: usize, reply: Reply) {
        let Some(tray) = self.0.get(line) else { return };
        let left = tray.laid().replace(reply);
        tray.filled.notify_one();
        // Not freed under the lock.
        drop(left);
    }

    /// Takes the reply beside a line, and waits up to `patience` for it.
    pub(super) fn take(&self, line: usize, patience: Duration) -> Option<Reply> {
        let tray = self.0.get(line)?;
        let waited = tray.filled.wait_timeout_while(tray.laid(), patience, |laid| laid.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.take()
    }
}

impl Tray {
    fn laid(&self) -> MutexGuard<'_, Option<Reply>> {
        self.laid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
