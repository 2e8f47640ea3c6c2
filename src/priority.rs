//! Who goes first when the processor is full.
//!
//! Reads wait for no disk, callbacks do: programs that read without a rest would take whatever a
//! callback leaves while it waits, and make it wait again when it goes on. So the threads behind
//! the local door are nicer than the others. A nice thread is not locked out: it has a tenth of
//! the share of each other one, and all of a processor that nobody else wants.
//!
//! Linux counts this for each thread, and hands it on to the threads that this one starts. Nobody
//! gets back what he has given up, so that a thread of its own has to open that door. Where
//! sessions or services share the processor as groups, it counts within ours, which is all that is
//! wanted.

use std::io;
use std::thread;

/// How much nicer: ten steps, each a fifth less, make a share of a tenth. With five, callbacks were
/// seen to lose a third of their rate; more than ten gains them nothing, and leaves readers less
/// while strangers flood the other door.
const NICER: i32 = 10;

/// Does something whose threads come behind all others. Where the system forbids it they are
/// like the others, and `forbidden` hears why. An error when there is no thread.
pub fn behind<T: Send>(
    open: impl FnOnce() -> T + Send,
    forbidden: impl FnOnce(io::Error) + Send,
) -> io::Result<T> {
    thread::scope(|scope| {
        let opening = thread::Builder::new().name("local".into()).spawn_scoped(scope, || {
            // From where this process is, which the system may have made nicer itself.
            if let Err(error) = rustix::process::nice(NICER) {
                forbidden(error.into());
            }
            open()
        })?;
        Ok(opening.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

#[cfg(test)]
mod tests {
    use rustix::process::getpriority_process;

    use super::*;

    #[test]
    fn what_is_started_there_comes_behind_and_nothing_else_does() {
        let nice = || getpriority_process(None).unwrap();
        let before = nice();
        let forbidden = |error| panic!("{error}");
        let within = || (nice(), thread::spawn(nice).join().unwrap());
        let (opener, child) = behind(within, forbidden).unwrap();
        assert_eq!((opener, child), ((before + NICER).min(19), opener));
        assert_eq!(nice(), before);
    }
}
