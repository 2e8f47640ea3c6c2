//! Work done aside: in a thread of its own, and waited for only so long.
//!
//! What hangs in the kernel or in the C library cannot be told to stop. It is left behind with its
//! thread, and whoever bounds how many of those there may be does so by what the work holds.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What a thread is finding out.
#[derive(Debug)]
pub struct Aside<T> {
    /// Where it stands once it is there. Told of apart: a channel of each type would be program
    /// for each type.
    found: Arc<Mutex<Option<T>>>,
    told: Receiver<()>,
}

/// Why nothing was found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It is not done yet; nobody will ask again.
    Late,
    /// It panicked.
    Ended,
}

impl<T: Send + 'static> Aside<T> {
    /// Begins the work.
    ///
    /// # Errors
    ///
    /// There is no thread for it.
    pub fn begin(
        thread: thread::Builder,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<Aside<T>> {
        let (tell, told) = mpsc::channel();
        let found = Arc::new(Mutex::new(None));
        let place = Arc::clone(&found);
        spawn(thread, move || {
            let outcome = work();
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
            // Who has stopped waiting does not hear it.
            let _ = tell.send(());
        })?;
        Ok(Aside { found, told })
    }

    /// What was found out, if it is there within `limit`.
    ///
    /// # Errors
    ///
    /// See [`Missing`].
    pub fn within(self, limit: Duration) -> Result<T, Missing> {
        self.told.recv_timeout(limit).map_err(|error| match error {
            RecvTimeoutError::Timeout => Missing::Late,
            RecvTimeoutError::Disconnected => Missing::Ended,
        })?;
        self.found.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or(Missing::Ended)
    }
}

/// Starts a thread. Its work goes in a box, so that what starts a thread is compiled once for all.
///
/// # Errors
///
/// The system gives none.
pub fn spawn(
    thread: thread::Builder,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let work: Box<dyn FnOnce() + Send> = Box::new(work);
    thread.spawn(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn it_is_found_late_or_never() {
        let begin = |work: fn() -> u8| Aside::begin(thread::Builder::new(), work).unwrap();
        assert_eq!(begin(|| 7).within(PATIENCE), Ok(7));
        assert_eq!(begin(|| panic!("as is tried here")).within(PATIENCE), Err(Missing::Ended));
        let hangs = begin(|| {
            loop {
                thread::park();
            }
        });
        assert_eq!(hangs.within(Duration::from_millis(1)), Err(Missing::Late));
    }
}
